"""How the client authorizes itself in each of the suite's ``auth/`` scenarios."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.auth.utils import build_protected_resource_metadata_discovery_urls
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

Json = dict[str, Any]

# Nothing listens here: the client reads the code from the redirect itself.
REDIRECT = AnyUrl("http://localhost:3000/callback")
# The client id which the suite expects of clients with metadata documents.
CLIENT_METADATA_URL = "https://conformance-test.local/client-metadata.json"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"


# Longer than any pause which the suite's servers make.
TIMEOUT_SECONDS = 20.0


def http_client(auth: httpx2.Auth | None = None) -> httpx2.AsyncClient:
    """A client which takes no proxy from the environment: all servers are on this machine."""
    return httpx2.AsyncClient(auth=auth, timeout=TIMEOUT_SECONDS, trust_env=False)


class Memory(TokenStorage):
    """Tokens and the client's registration, for one run."""

    def __init__(self, client: OAuthClientInformationFull | None = None) -> None:
        self._client = client
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """The tokens last stored."""
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Store tokens."""
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """The registration, the one given at the start or the one last stored."""
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Store a registration."""
        self._client = client_info


class Browser:
    """A user who consents at once."""

    def __init__(self) -> None:
        self._query: dict[str, list[str]] = {}

    async def visit(self, url: str) -> None:
        """Open the authorization page; it redirects right away."""
        async with http_client() as http:
            answer = await http.get(url, follow_redirects=False)
        self._query = parse_qs(urlsplit(answer.headers["location"]).query)

    async def returned(self) -> AuthorizationCodeResult:
        """What the redirect carried."""
        carried = {name: values[0] for name, values in self._query.items()}
        return AuthorizationCodeResult(
            code=carried["code"], state=carried.get("state"), iss=carried.get("iss")
        )


def _registered(context: Json) -> OAuthClientInformationFull | None:
    if "client_id" not in context:
        return None
    secret = context.get("client_secret")
    return OAuthClientInformationFull(
        client_id=context["client_id"],
        client_secret=secret,
        redirect_uris=[REDIRECT],
        token_endpoint_auth_method="client_secret_basic" if secret else "none",
    )


def authorization_code(url: str, context: Json) -> httpx2.Auth:
    """The flow with a user; with a registration if the suite's context has one."""
    browser = Browser()
    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="conformance client",
            redirect_uris=[REDIRECT],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=Memory(_registered(context)),
        redirect_handler=browser.visit,
        callback_handler=browser.returned,
        client_metadata_url=CLIENT_METADATA_URL,
    )


def client_secret(url: str, context: Json) -> httpx2.Auth:
    """Client credentials: an id and a secret."""
    return ClientCredentialsOAuthProvider(
        server_url=url,
        storage=Memory(),
        client_id=context["client_id"],
        client_secret=context["client_secret"],
    )


def private_key(url: str, context: Json) -> httpx2.Auth:
    """Client credentials: an id and an assertion signed with a private key."""
    parameters = SignedJWTParameters(
        issuer=context["client_id"],
        subject=context["client_id"],
        signing_algorithm=context.get("signing_algorithm", "ES256"),
        signing_key=context["private_key_pem"],
    )
    return PrivateKeyJWTOAuthProvider(
        server_url=url,
        storage=Memory(),
        client_id=context["client_id"],
        assertion_provider=parameters.create_assertion_provider(),
    )


async def _authorization_server(url: str) -> str:
    async with http_client() as http:
        answer = await http.get(build_protected_resource_metadata_discovery_urls(None, url)[0])
    return str(answer.raise_for_status().json()["authorization_servers"][0])


async def identity_assertion(url: str, context: Json) -> httpx2.Auth:
    """An employer's identity provider vouches for the user (SEP-990)."""

    async def vouch(audience: str, resource: str) -> str:
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "requested_token_type": ID_JAG,
            "subject_token": context["idp_id_token"],
            "subject_token_type": ID_TOKEN,
            "audience": audience,
            "resource": resource,
            "client_id": context["idp_client_id"],
        }
        async with http_client() as http:
            answer = await http.post(context["idp_token_endpoint"], data=form)
        return str(answer.raise_for_status().json()["access_token"])

    return IdentityAssertionOAuthProvider(
        server_url=url,
        storage=Memory(),
        client_id=context["client_id"],
        client_secret=context["client_secret"],
        # Users configure this; the suite names it nowhere but in the server's metadata.
        issuer=await _authorization_server(url),
        assertion_provider=vouch,
        token_endpoint_auth_method="client_secret_basic",
    )


async def provider(scenario: str, url: str, context: Json) -> httpx2.Auth | None:
    """The authorization for a scenario; ``None`` where the suite's server asks for none."""
    if not scenario.startswith("auth/"):
        return None
    if scenario == "auth/enterprise-managed-authorization":
        return await identity_assertion(url, context)
    flows = {
        "auth/client-credentials-basic": client_secret,
        "auth/client-credentials-jwt": private_key,
    }
    return flows.get(scenario, authorization_code)(url, context)
