"""The configuration: every client's file loads, every mistake is one line with its mend."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import client_keys
from exporter.config.document import MAX_FILE_BYTES
from exporter.config.errors import ConfigError
from exporter.config.limits import Timeout
from exporter.config.load import load_config, parse_config
from exporter.config.model import Config, Limits, ProbeSettings, Server
from exporter.config.validators import parse_duration
from tests.support.paths import ROOT, TESTDATA

DATA = TESTDATA / "config"
DOCS = ROOT / "docs" / "configuration.md"
BAD = sorted(path for path in (DATA / "bad").iterdir() if path.suffix != ".error")
CLIENTS = DATA / "clients"
ENVIRON = {"HOME": "/home/user"}
SECRET = "planted-secret"


def problem(text: str, source: str = "mcp.yaml", environ: Mapping[str, str] = ENVIRON) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, source, environ)
    return str(caught.value)


def client(path: str, **environ: str) -> Config:
    return load_config(CLIENTS / path, {**ENVIRON, "TOKEN": SECRET, **environ})


def one(settings: str) -> Server:
    """The server that these settings make, in YAML's flow style."""
    return parse_config(f"servers: {{files: {{{settings}}}}}", "mcp.yaml", ENVIRON).servers["files"]


def test_a_number_in_env_is_taken_as_it_was_written_and_null_leaves_it_out() -> None:
    text = '{"servers": {"a": {"command": "x", "env": {"PORT": 8080, "N": 1e3, "DEBUG": null}}}}'
    assert dict(parse_config(text, "mcp.json", ENVIRON).servers["a"].env) == {
        "PORT": "8080",
        "N": "1e3",
    }
    assert dict(one("command: x, env: {MODE: 0755, NONE: null}").env) == {"MODE": "0755"}


# Mistakes


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_a_mistake_gives_its_one_line(path: Path) -> None:
    expected = path.with_name(f"{path.name}.error").read_text("utf-8")
    assert problem(path.read_text("utf-8"), path.name) + "\n" == expected


def test_every_expected_line_belongs_to_a_mistake() -> None:
    names = {path.name for path in BAD}
    assert {path.stem for path in (DATA / "bad").glob("*.error")} == names


def test_every_line_names_its_file() -> None:
    for path in (DATA / "bad").glob("*.error"):
        assert path.read_text("utf-8").startswith(f"{path.stem}:")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    with pytest.raises(ConfigError, match=r"mcp\.json: cannot be read: no such file or directory"):
        load_config(path, ENVIRON)


def test_a_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory; check the path"):
        load_config(tmp_path, ENVIRON)


def test_a_path_that_cannot_be_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"mcp\\x00: cannot be read: not a path; check the path"):
        load_config(Path("mcp\0"), ENVIRON)


def test_a_file_in_another_encoding_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"servers": {}}', "utf-16")
    with pytest.raises(ConfigError, match="is not UTF-8; save it as UTF-8"):
        load_config(path, ENVIRON)


def test_an_endless_file_is_rejected() -> None:
    with pytest.raises(ConfigError, match=f"/dev/zero: is larger than {MAX_FILE_BYTES} bytes"):
        load_config(Path("/dev/zero"), ENVIRON)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"servers": {"files": {"command": "npx"}}}', "utf-8-sig")
    assert list(load_config(path, ENVIRON).servers) == ["files"]


def test_a_missing_env_file_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mcp.yaml"
    path.write_text("servers:\n  files:\n    command: npx\n    envFile: secrets.env\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ENVIRON)
    assert str(caught.value) == (
        f"{path}:4: servers.files.envFile: {tmp_path}/secrets.env: cannot be read: "
        "no such file or directory; check the path"
    )


def test_a_bad_line_of_an_env_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text(f"A=1\n{SECRET}\n")
    path = tmp_path / "mcp.yaml"
    path.write_text("servers: {files: {command: npx, envFile: secrets.env}}")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ENVIRON)
    assert "secrets.env:2: not NAME=VALUE; mend or comment out the line" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_parse_alone_reads_no_files() -> None:
    text = "servers: {files: {command: '${file:/etc/hostname}'}}"
    assert "/etc/hostname: no files can be read here; write the values out" in problem(text)


# Files of clients


def test_every_client_file_loads() -> None:
    paths = [path for path in CLIENTS.rglob("*.json") if path.is_file()]
    assert len(paths) == 10
    for path in paths:
        environ = {**ENVIRON, "TOKEN": SECRET, "MCP_EXPORTER_INPUT_PERPLEXITY_KEY": SECRET}
        assert load_config(path, environ).servers


def test_claude_desktop() -> None:
    servers = client("claude_desktop_config.json").servers
    assert list(servers) == ["filesystem", "github"]
    assert servers["filesystem"] == Server(
        name="filesystem",
        transport="stdio",
        command="npx",
        args=("-y", "@modelcontextprotocol/server-filesystem", "/home/user/Documents"),
    )
    assert servers["github"].env == {"GITHUB_PERSONAL_ACCESS_TOKEN": SECRET}


def test_claude_code() -> None:
    servers = client("claude_code.mcp.json", ZONE="Asia/Tokyo").servers
    assert servers["time"].command == "uvx"
    assert servers["time"].args == ("mcp-server-time", "--local-timezone=Asia/Tokyo")
    assert servers["sentry"].transport == "http"
    assert servers["sentry"].url == "https://mcp.sentry.dev/mcp"
    assert servers["sentry"].headers == {"Authorization": f"Bearer {SECRET}"}
    assert servers["sentry"].timeout == Timeout(600.0)
    assert servers["legacy"].transport == "sse"


def test_cursor() -> None:
    servers = client(".cursor/mcp.json").servers
    assert servers["postgres"].env == {
        "PGUSER": "app",
        "PGPASSWORD": SECRET,
        "PGOPTIONS": "-c statement_timeout=5s",
    }
    assert servers["docs"].command == "/home/user/bin/docs-server"
    assert servers["docs"].args == ("--root", f"{CLIENTS}/docs", "--name", "clients")
    assert servers["figma"].headers == {"X-Figma-Token": SECRET}


def test_vs_code() -> None:
    servers = client(".vscode/mcp.json", MCP_EXPORTER_INPUT_PERPLEXITY_KEY=SECRET).servers
    assert servers["perplexity"].env == {"PERPLEXITY_API_KEY": SECRET}
    assert servers["perplexity"].cwd == f"{CLIENTS}/tools"
    assert servers["github"].url == "https://api.githubcopilot.com/mcp/"


def test_windsurf() -> None:
    remote = client("windsurf_mcp_config.json").servers["remote"]
    assert remote.transport == "http"
    assert remote.url == "https://mcp.example.com/mcp"
    assert remote.headers == {"API_KEY": f"Bearer {SECRET}"}


def test_cline_counts_seconds_and_a_disabled_server_is_left_out() -> None:
    servers = client("cline_mcp_settings.json").servers
    assert list(servers) == ["weather", "remote"]
    assert servers["weather"].timeout == Timeout(60.0)
    assert servers["remote"].timeout == Timeout(3600.0)
    assert servers["remote"].transport == "http"


def test_roo_code() -> None:
    servers = client("roo_mcp_settings.json").servers
    assert servers["build"].cwd == f"{CLIENTS}/server"
    assert servers["build"].timeout == Timeout(300.0)
    assert servers["remote"].transport == "http"


def test_gemini_cli_counts_milliseconds() -> None:
    servers = client("gemini_settings.json").servers
    assert servers["python"].timeout == Timeout(15.0)
    assert servers["remote"].url == "https://mcp.example.com/mcp"


def test_copilot_cli() -> None:
    servers = client("copilot_mcp-config.json").servers
    assert servers["playwright"].transport == "stdio"
    assert servers["context7"].transport == "http"


def test_kiro() -> None:
    assert client("kiro_mcp.json").servers["aws-docs"].timeout == Timeout(120.0)


@pytest.mark.parametrize("key", sorted(client_keys.FILE_KEYS))
def test_a_clients_key_at_the_top_has_no_effect(key: str) -> None:
    bare = {"servers": {"files": {"command": "npx"}}}
    told = parse_config(json.dumps({**bare, key: {"any": ["thing"]}}), "mcp.json", {})
    assert told == parse_config(json.dumps(bare), "mcp.json", {})


@pytest.mark.parametrize("key", sorted(client_keys.SERVER_KEYS))
def test_a_clients_key_in_a_server_has_no_effect(key: str) -> None:
    bare = {"command": "npx"}
    told = json.dumps({"servers": {"files": {**bare, key: {"any": ["thing"]}}}})
    assert parse_config(told, "mcp.json", {}).servers["files"] == one("command: npx")


# Where other clients keep the same


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "streamable", "url": "https://h/mcp", "headers": {"A": "b"}},
        {"url": "https://h/mcp", "requestInit": {"headers": {"A": "b"}, "credentials": "omit"}},
        {"transport": {"type": "streamable-http", "url": "https://h/mcp", "headers": {"A": "b"}}},
        {"transport": {"url": "https://h/mcp", "requestInit": {"headers": {"A": "b"}}}},
        {"headers": {"A": "b"}, "transport": {"type": "http", "url": "https://h/mcp"}},
    ],
)
def test_a_remote_server_may_be_written_in_many_ways(entry: dict[str, object]) -> None:
    found = parse_config(json.dumps({"servers": {"a": entry}}), "mcp.json", {}).servers["a"]
    assert (found.transport, found.url, found.headers) == ("http", "https://h/mcp", {"A": "b"})


def test_a_stdio_server_may_be_in_its_transport() -> None:
    entry = {"transport": {"type": "stdio", "command": "npx", "args": ["x"], "env": {"A": "b"}}}
    found = parse_config(json.dumps({"servers": {"a": entry}}), "mcp.json", {}).servers["a"]
    assert (found.transport, found.command, found.args, found.env) == (
        "stdio",
        "npx",
        ("x",),
        {"A": "b"},
    )


def test_what_is_inside_and_outside_of_the_transport_is_rejected() -> None:
    text = "servers:\n  a:\n    url: http://h/a\n    transport:\n      url: http://h/b\n"
    place = "mcp.yaml:5: servers.a.transport.url"
    assert problem(text) == f"{place}: written twice, first on line 3; keep one"


@pytest.mark.parametrize(
    "listed",
    [
        {"mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}},
        {"mcp.servers": {"a": {"command": "x"}}},
        {"mcpServers": {"a": {"command": "x"}}, "mcp": {"autostart": True}},
    ],
)
@pytest.mark.parametrize("source", ["settings.json", ".claude.json"])
def test_a_file_that_holds_much_else_is_read(source: str, listed: dict[str, object]) -> None:
    text = json.dumps({"editor.fontSize": 12, "projects": {}, **listed})
    assert list(parse_config(text, f"/home/user/{source}", {}).servers) == ["a"]
    assert "unknown key" in problem(text, "mcp.json")


def test_gemini_writes_variables_without_braces() -> None:
    text = json.dumps(
        {"mcpServers": {"a": {"command": "$HOME/x", "env": {"A": "$TOKEN", "B": "5$", "C": "$NO"}}}}
    )
    environ = {**ENVIRON, "TOKEN": SECRET}
    found = parse_config(text, "/home/user/.gemini/settings.json", environ).servers["a"]
    assert found.command == "/home/user/x"
    assert found.env == {"A": SECRET, "B": "5$", "C": "$NO"}
    assert found.secrets == {SECRET}
    assert parse_config(text, "mcp.json", environ).servers["a"].command == "$HOME/x"


TOML = '# Codex\n\n[mcp_servers.time]\ncommand = "uvx"\nargs = ["mcp-server-time"]\n'


@pytest.mark.parametrize("source", ["config.toml", "config"])
def test_toml_is_known_by_its_suffix_or_by_its_beginning(source: str) -> None:
    wrong = TOML.replace("mcp_servers", "server")
    assert problem(wrong, source).startswith(f"{source}:3: server: unknown key")
    assert list(parse_config(TOML, source, {}).servers) == ["time"]


def test_codex_keeps_more_than_servers_in_its_file() -> None:
    text = (TESTDATA / "clients" / "codex.toml").read_text()
    servers = parse_config(text, "config.toml", {}).servers
    assert list(servers) == ["time", "bare", "inline", "dotted", "python", "docs"]
    assert servers["docs"].headers == {"X-Region": "eu"}
    assert servers["inline"].env == {"A B": "x"}


def test_a_yaml_list_is_not_taken_for_toml() -> None:
    assert problem("[a]\n", "config") == (
        "config:1: must be a mapping, not a list; write names with their values"
    )


# Settings


def test_left_out_settings_have_their_defaults() -> None:
    config = parse_config("servers: {files: {command: npx}}", "mcp.yaml", {})
    assert config.limits == Limits()
    assert config.servers["files"].probe == ProbeSettings()
    assert config.servers["files"].timeout == Timeout(300.0)
    assert config.servers["files"].idle_timeout == 1800.0


def test_a_server_overrides_single_settings_of_the_file() -> None:
    config = parse_config(
        "probe: {interval: 1m, timeout: 10s, passive: off}\n"
        "timeout: 2m\n"
        "idle_timeout: 0\n"
        "servers:\n"
        "  files: {command: npx, probe: {timeout: 20s}, timeout: 0}\n"
        "  echo: {command: npx, idle_timeout: 1h, probe: {enabled: no}}\n",
        "mcp.yaml",
        {},
    )
    files, echo = config.servers["files"], config.servers["echo"]
    assert files.probe == ProbeSettings(interval=60.0, timeout=20.0, passive=False)
    assert (files.timeout, files.idle_timeout) == (Timeout(0.0), 0.0)
    assert echo.probe == ProbeSettings(enabled=False, interval=60.0, timeout=10.0, passive=False)
    assert (echo.timeout, echo.idle_timeout) == (Timeout(120.0), 3600.0)


def test_limits_are_sizes_and_counts() -> None:
    text = (
        "limits: {request_bytes: 512KiB, observed_bytes: 1024, clients: 7, tools_total: '${N:-9}'}"
        "\nservers: {files: {command: npx}}"
    )
    assert parse_config(text, "mcp.yaml", {}).limits == Limits(
        request_bytes=512 * 1024, observed_bytes=1024, clients=7, tools_total=9
    )


def test_a_key_with_nothing_after_it_counts_as_left_out() -> None:
    text = "probe:\nlimits:\ntimeout:\nservers:\n  files:\n    command: npx\n    args:\n    env:\n"
    assert parse_config(text, "mcp.yaml", {}) == parse_config(
        "servers: {files: {command: npx}}", "mcp.yaml", {}
    )


def test_x_keys_are_a_place_for_anchors() -> None:
    text = (
        "x-env: &env {A: '1'}\n"
        "probe: {x-note: 1}\n"
        "limits: {x-note: 1}\n"
        "servers: {files: {command: npx, env: *env, x-note: 1}}\n"
    )
    assert parse_config(text, "mcp.yaml", {}).servers["files"].env == {"A": "1"}


def test_servers_keep_the_order_of_the_file() -> None:
    text = json.dumps({"servers": {name: {"command": "npx"} for name in ["zebra", "ape", "cat"]}})
    assert list(parse_config(text, "mcp.json", {}).servers) == ["zebra", "ape", "cat"]


@pytest.mark.parametrize(
    "name", ["@scope/pkg", "a b", "größe", "a.b", "n" * 128, "123", "on", "mcp"]
)
def test_a_name_may_hold(name: str) -> None:
    text = json.dumps({"servers": {name: {"command": "npx"}}}, ensure_ascii=False)
    assert parse_config(text, "mcp.json", {}).servers[name].name == name


def test_yaml_names_stay_as_written() -> None:
    text = "servers:\n  on: {command: npx}\n  0x10: {command: npx, env: {NO: x}}\n"
    config = parse_config(text, "mcp.yaml", {})
    assert list(config.servers) == ["on", "0x10"]
    assert config.servers["0x10"].env == {"NO": "x"}


@pytest.mark.parametrize(
    ("settings", "transport"),
    [
        ("command: npx", "stdio"),
        ("command: npx, transportType: STDIO", "stdio"),
        ("url: 'http://localhost/mcp'", "http"),
        ("url: 'http://localhost/mcp', type: streamableHttp", "http"),
        ("url: 'http://localhost/mcp', type: streamable-http", "http"),
        ("url: 'http://localhost/sse', transport: sse", "sse"),
        ("url: 'http://localhost/mcp', env: {A: b}, args: []", "http"),
    ],
)
def test_the_transport_follows_type_or_address(settings: str, transport: str) -> None:
    assert one(settings).transport == transport


def test_a_header_value_loses_the_blanks_around_it() -> None:
    server = one("url: 'http://localhost/mcp', headers: {Authorization: ' Bearer x\\t '}")
    assert server.headers == {"Authorization": "Bearer x\\t"}


# Comparing and showing


def test_equal_settings_make_equal_servers() -> None:
    text = "command: npx, env: {A: '1', B: '2'}"
    assert one(text) == one("env: {B: '2', A: '1'}, command: npx")
    assert hash(one(text)) == hash(one("env: {B: '2', A: '1'}, command: npx"))


@pytest.mark.parametrize(
    "changed",
    ["command: uvx", "command: npx, env: {A: '1'}", "command: npx, probe: {timeout: 1s}"],
)
def test_a_changed_setting_makes_another_server(changed: str) -> None:
    assert one(changed) != one("command: npx")


def test_a_configuration_cannot_be_changed() -> None:
    server = one("command: npx, env: {A: '1'}")
    with pytest.raises(dataclasses.FrozenInstanceError):
        server.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        server.env["A"] = "2"  # type: ignore[index]


def test_a_server_is_shown_without_its_secrets() -> None:
    config = parse_config(
        json.dumps(
            {
                "servers": {
                    "a": {"command": "npx", "args": [f"--key={SECRET}"], "env": {"KEY": SECRET}},
                    "b": {
                        "url": f"https://user:{SECRET}@host:8000/mcp?key={SECRET}",
                        "headers": {"Authorization": SECRET},
                    },
                }
            }
        ),
        "mcp.json",
        {},
    )
    assert SECRET not in repr(config)
    assert SECRET not in str(config)
    assert "'KEY'" in repr(config)
    assert "https://<secret>@host:8000/mcp?<secret>" in repr(config)


@pytest.mark.parametrize(
    "text",
    [
        f"servers: {{a: {{url: '{SECRET}'}}}}",
        f"servers: {{a: {{url: '{SECRET}-{SECRET}://host'}}}}",
        f"servers: {{a: {{url: 'https://{SECRET}:{SECRET}@'}}}}",
        f"servers: {{a: {{command: c, env: {{A: '{SECRET}${{', B: c}}}}}}",
        f"servers: {{a: {{command: c, env: {{A: '{SECRET}${{B C}}'}}}}}}",
        f"servers: {{a: {{command: c, env: {{A: '${{B:-{SECRET}${{C}}}}'}}}}}}",
        f"servers: {{a: {{url: 'http://h/', headers: {{A: \"{SECRET}\\n\"}}}}}}",
        f"servers: {{a: {{url: 'http://h/', headers: {{A: '{SECRET}é'}}}}}}",
    ],
)
def test_no_complaint_shows_a_secret_value(text: str) -> None:
    assert SECRET not in problem(text)


# Documentation


def documented_example() -> str:
    found = re.search(r"## A complete example.*?```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.S)
    assert found is not None
    return found[1]


def test_the_documented_example_loads() -> None:
    config = parse_config(documented_example(), "mcp.yaml", {**ENVIRON, "SEARCH_TOKEN": SECRET})
    assert list(config.servers) == ["files", "@example/search"]
    assert config.servers["files"].args[-1] == "/home/user"
    assert config.servers["@example/search"].probe.interval == 60.0


def test_the_documented_example_has_every_setting_with_its_default() -> None:
    config = parse_config(documented_example(), "mcp.yaml", {**ENVIRON, "SEARCH_TOKEN": SECRET})
    files = config.servers["files"]
    assert (files.probe, config.limits) == (ProbeSettings(), Limits())
    assert (files.timeout, files.idle_timeout) == (Timeout(300.0), 1800.0)
    written = yaml.safe_load(documented_example())
    assert written["probe"].keys() == {field.name for field in dataclasses.fields(ProbeSettings)}
    assert written["limits"].keys() == {field.name for field in dataclasses.fields(Limits)}


@pytest.mark.parametrize("settings", [ProbeSettings(), Limits()], ids=["probe", "limits"])
def test_the_grammar_names_every_setting_with_its_default(
    settings: ProbeSettings | Limits,
) -> None:
    heading = {ProbeSettings: "### `<probe>`", Limits: "### `<limits>`"}[type(settings)]
    section = DOCS.read_text("utf-8").partition(heading)[2].partition("\n#")[0]
    for name, default in dataclasses.asdict(settings).items():
        shown = re.search(rf"^\[ {name}: <\w+> \| default = (\w+) \]$", section, re.M)
        assert shown is not None, name
        assert value_of(shown[1]) == default, name


def value_of(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    for unit, size in (("KiB", 1024), ("MiB", 1024**2)):
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * size
    return int(text) if text.isdigit() else parse_duration(text)


def test_the_documentation_lists_the_keys_of_every_client() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) (\| .*\|)$", DOCS.read_text("utf-8"), re.M))
    every = {*client_keys.FILE_KEYS_BY_CLIENT, *client_keys.SERVER_KEYS_BY_CLIENT}
    for name in every:
        top, inside = rows[name].strip("|").split("|")
        assert tuple(re.findall(r"`(.+?)`", top)) == client_keys.FILE_KEYS_BY_CLIENT.get(name, ())
        assert tuple(re.findall(r"`(.+?)`", inside)) == client_keys.SERVER_KEYS_BY_CLIENT.get(
            name, ()
        )


# Any input at all

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["30s", "4MiB", "http://h/mcp", "stdio", "sse", "${A}", "${A:-b}", "${", "1ms"]
    ),
)
VALUES = (
    SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(SCALARS.map(str), SCALARS, max_size=2)
)
SERVER_KEYS = ["command", "args", "env", "cwd", "envFile", "url", "serverUrl", "headers", "type"]
OWN_KEYS = ["probe", "timeout", "idle_timeout", "disabled", "interval", "list_interval", "x-note"]


def mappings(keys: list[str], values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.dictionaries(st.sampled_from(keys) | st.text(max_size=3), values | VALUES, max_size=4)


SERVERS = mappings([*SERVER_KEYS, *OWN_KEYS], mappings(OWN_KEYS, VALUES))
FILES = mappings(
    ["servers", "mcpServers", "limits", *OWN_KEYS],
    st.dictionaries(st.text(max_size=5), SERVERS, max_size=2) | mappings(OWN_KEYS, VALUES),
)


def outcome(text: str, source: str) -> Config | str:
    try:
        return parse_config(text, source, {"A": "b\nc"})
    except ConfigError as error:
        return str(error)


@settings(deadline=None)
@given(FILES, st.sampled_from(["mcp.json", "mcp.yaml", "mcp"]))
def test_any_structure_loads_or_is_rejected_in_one_line(value: object, source: str) -> None:
    found = outcome(json.dumps(value), source)
    assert isinstance(found, Config) or len(found.splitlines()) == 1


@settings(deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from("{}[]\",:/*\\ \n\t#-&!|>'$aé\x85\u2028\x00servers"), max_size=60
    )
    | st.text(max_size=60),
    st.sampled_from(["mcp.json", "mcp.yaml", "mcp\n.yaml"]),
)
def test_any_text_loads_or_is_rejected_in_one_line(text: str, source: str) -> None:
    found = outcome(text, source)
    assert isinstance(found, Config) or len(found.splitlines()) == 1


def test_deep_nesting_is_rejected() -> None:
    for source, kind in (("mcp.json", "JSON"), ("mcp.yaml", "YAML")):
        expected = f"{source}:1: not valid {kind}: nested too deeply; flatten it"
        assert problem("[" * 5000, source) == expected


def test_a_loaded_file_is_the_same_text_from_anywhere(tmp_path: Path) -> None:
    shutil.copytree(CLIENTS, tmp_path / "clients")
    for path in ("roo_mcp_settings.json", "kiro_mcp.json"):
        here, there = client(path), load_config(tmp_path / "clients" / path, {"TOKEN": SECRET})
        assert list(here.servers) == list(there.servers)


@pytest.mark.parametrize(
    ("text", "timeout"),
    [
        ("{idle: 60s, total: 30m}", Timeout(60.0, 1800.0)),
        ("{idle: 60s, total: 0}", Timeout(60.0, 0.0)),
        ("60s", Timeout(60.0)),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        "timeout: {}\nservers: {{a: {{command: x}}}}",
        "servers: {{a: {{command: x, timeout: {}}}}}",
    ],
)
def test_progress_may_keep_a_request_alive(place: str, text: str, timeout: Timeout) -> None:
    config = parse_config(place.format(text), "c.yaml", {})
    assert config.servers["a"].timeout == timeout


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{idle: 60s}", '"total" is missing; write it like "{idle: 60s, total: 30m}"'),
        ("{total: 60s}", '"idle" is missing'),
        ("{idle: 0, total: 60s}", "must be more than 0"),
        ("{idle: 60s, total: 60s}", "the total (1m) must be above idle (1m)"),
        ("{idle: 60s, total: 5m, longest: 1}", "longest"),
    ],
)
def test_a_timeout_that_makes_no_sense_is_rejected(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        parse_config(f"timeout: {text}\nservers: {{a: {{command: x}}}}", "c.yaml", {})
