"""What the client does once it is connected: it uses all that the server offers."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    TextContent,
    Tool,
)
from pydantic import ValidationError

Json = dict[str, Any]

# A value of each JSON type; sums of them tell arguments from one another on the wire.
EXAMPLES: Json = {
    "string": "text",
    "integer": 5,
    "number": 3,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


def _example(schema: Json) -> Any:
    return schema.get("default", EXAMPLES.get(schema.get("type", "string")))


async def sample(
    context: ClientRequestContext,  # noqa: ARG001 - the SDK passes it by this name
    params: CreateMessageRequestParams,  # noqa: ARG001
) -> CreateMessageResult:
    """Answer as a model would, always the same."""
    return CreateMessageResult(role="assistant", content=TextContent(text="Paris"), model="none")


async def list_roots(context: ClientRequestContext) -> ListRootsResult:  # noqa: ARG001
    """Expose nothing."""
    return ListRootsResult(roots=[])


async def elicit(
    context: ClientRequestContext,  # noqa: ARG001
    params: ElicitRequestParams,
) -> ElicitResult:
    """Accept every form: defaults where the form has them, else what is required."""
    if not isinstance(params, ElicitRequestFormParams):
        return ElicitResult(action="accept")
    required = params.requested_schema.get("required", ())
    fields: dict[str, Json] = params.requested_schema.get("properties", {})
    wanted = {name: form for name, form in fields.items() if name in required or "default" in form}
    return ElicitResult(
        action="accept", content={name: _example(form) for name, form in wanted.items()}
    )


def _arguments(tool: Tool, listed: list[Tool]) -> Json:
    if tool.name == "json_schema_echo":
        # The suite compares what arrives with what it sent in its first tool.
        return {"schema": listed[0].input_schema}
    properties = tool.input_schema.get("properties", {})
    return {
        name: _example(properties.get(name, {})) for name in tool.input_schema.get("required", ())
    }


@contextlib.contextmanager
def _tolerating(what: str) -> Iterator[None]:
    """Go on after an error reply or a malformed result: scenarios send some on purpose."""
    try:
        yield
    except (MCPError, ValidationError) as error:
        print(f"{what}: {error}", file=sys.stderr)


async def _use_tools(client: Client, context: Json) -> None:
    listed = (await client.list_tools()).tools
    names = {tool.name for tool in listed}
    invented = [{"name": tool.name, "arguments": _arguments(tool, listed)} for tool in listed]
    for call in context.get("toolCalls", invented):
        if call["name"] in names:
            with _tolerating(f"tools/call {json.dumps(call)}"):
                await client.call_tool(call["name"], call.get("arguments") or {})


async def _use_prompts(client: Client) -> None:
    for prompt in (await client.list_prompts()).prompts:
        with _tolerating(f"prompts/get {prompt.name}"):
            wanted = [each.name for each in prompt.arguments or () if each.required]
            await client.get_prompt(prompt.name, dict.fromkeys(wanted, "text"))


async def _use_resources(client: Client) -> None:
    for resource in (await client.list_resources()).resources:
        with _tolerating(f"resources/read {resource.uri}"):
            await client.read_resource(resource.uri)


async def explore(client: Client, context: Json) -> None:
    """Call every tool, get every prompt, read every resource.

    ``context`` is what the suite hands to this scenario; its ``toolCalls`` replace invented calls.
    """
    await _use_tools(client, context)
    offered = client.server_capabilities
    if offered and offered.prompts:
        await _use_prompts(client)
    if offered and offered.resources:
        await _use_resources(client)
