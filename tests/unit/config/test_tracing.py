"""Where spans go, by the file and by OpenTelemetry's variables."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import redacted, validators
from exporter.config.document import read
from exporter.config.errors import ConfigError
from exporter.config.load import parse_config
from exporter.config.model import TracingSettings
from exporter.config.redact import shown_endpoint
from exporter.telemetry.spans.otlp import OtlpEncoder

SERVERS = "servers: {a: {command: cat}}\n"
CANARY = "sk-canary-0123456789"


def parsed(text: str, **environ: str) -> TracingSettings | None:
    return parse_config(SERVERS + text, "mcp.yml", environ).tracing


def sure(text: str, **environ: str) -> TracingSettings:
    found = parsed(text, **environ)
    assert found is not None
    return found


def test_without_it_no_spans_are_made() -> None:
    assert parsed("", OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318") is None
    assert parsed("tracing: {endpoint: 'http://c:4318'}", OTEL_SDK_DISABLED="true") is None


def test_three_words_are_enough() -> None:
    assert sure("tracing: {endpoint: 'http://c:4318'}") == TracingSettings(
        "http://c:4318/v1/traces"
    )


def test_everything_can_be_said() -> None:
    found = sure(
        """
tracing:
  endpoint: https://c:4318/otlp/
  headers: {Authorization: "Bearer ${TOKEN}"}
  compression: gzip
  timeout: 3s
  sample: 0.25
  always: [timeout, cancelled]
  slower_than: 500ms
  per_second: 0
  context: parent
  propagate: true
  resource: {deployment.environment.name: production, tier: 1}
""",
        TOKEN=CANARY,
    )
    assert found == TracingSettings(
        endpoint="https://c:4318/otlp/v1/traces",
        headers=found.headers,
        compression="gzip",
        timeout=3.0,
        sample=0.25,
        always=frozenset({"timeout", "cancelled"}),
        slower_than=0.5,
        per_second=0,
        context="parent",
        propagate=True,
        resource=found.resource,
    )
    assert dict(found.headers) == {"Authorization": f"Bearer {CANARY}"}
    assert dict(found.resource) == {"deployment.environment.name": "production", "tier": "1"}


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({"ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"ENDPOINT": "http://c:4318/base/"}, "http://c:4318/base/v1/traces"),
        (
            {"ENDPOINT": "http://c:4318", "TRACES_ENDPOINT": "http://t:1/as/it/is"},
            "http://t:1/as/it/is",
        ),
    ],
)
def test_variables_say_where_the_file_does_not(environ: dict[str, str], endpoint: str) -> None:
    named = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()}
    assert sure("tracing:", **named).endpoint == endpoint
    assert sure("tracing: {endpoint: 'http://f'}", **named).endpoint == "http://f/v1/traces"


def test_the_other_variables_are_heeded() -> None:
    found = sure(
        "tracing:\n  resource: {team: files}",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318",
        OTEL_EXPORTER_OTLP_HEADERS="x-a=1,x-b=two%20words",
        OTEL_EXPORTER_OTLP_COMPRESSION="none",
        OTEL_EXPORTER_OTLP_TRACES_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_TIMEOUT="2500",
        OTEL_SERVICE_NAME="mine",
        OTEL_RESOURCE_ATTRIBUTES="service.name=other,team=x,zone=eu%2C1",
    )
    assert dict(found.headers) == {"x-a": "1", "x-b": "two words"}
    assert (found.compression, found.timeout) == ("gzip", 2.5)
    assert dict(found.resource) == {"service.name": "mine", "team": "files", "zone": "eu,1"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tracing:", 'mcp.yml:2: tracing: has no "endpoint"; add where spans go'),
        ("tracing: {endpoint: c}", "endpoint: has no scheme"),
        ("tracing: {endpoint: 'ftp://c'}", 'cannot reach a "ftp" URL'),
        ("tracing: {endpoint: 'http://u:p@c'}", "write it into headers as Authorization"),
        (
            "tracing: {endpoint: 'http://c', context: link, propagate: true}",
            'mcp.yml:2: tracing.propagate: needs "context: parent"',
        ),
        ("tracing: {endpoint: 'http://c', sample: 2}", "must be a share from 0 to 1"),
        ("tracing: {endpoint: 'http://c', sample: -1}", "must be a share from 0 to 1"),
        ("tracing: {endpoint: 'http://c', always: [error]}", '"error" is no outcome of a request'),
        ("tracing: {endpoint: 'http://c', always: [rejected]}", "is no outcome of a request"),
        ("tracing: {endpoint: 'http://c', compression: br}", '"br" is unknown; write one of'),
        ("tracing: {endpoint: 'http://c', context: child}", "write one of"),
        ("tracing: {endpoint: 'http://c', timeout: 0}", "must be more than 0"),
        ("tracing: {endpoint: 'http://c', per_second: -1}", "must be a whole number"),
        ("tracing: {endpoint: 'http://c', samples: 1}", 'did you mean "sample"?'),
        ("tracing: {endpoint: 'http://c', headers: {'a b': c}}", "not a header name"),
        ("tracing: {endpoint: 'http://c', headers: {content-type: c}}", "by the exporter itself"),
        ("tracing: {endpoint: 'http://c', resource: {'': c}}", "a name of 1 to 255 printable"),
        ('tracing: {endpoint: "http://c", resource: {a: "b\\nc"}}', "255 printable characters"),
        ("tracing: {endpoint: 'c:4317/'}", 'start it with "http://"'),
        ("tracing: {endpoint: 'http://c:x'}", 'write it like "http://127.0.0.1:4318"'),
    ],
)
def test_a_complaint_says_what_where_and_how_to_mend_it(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed(text)
    assert complaint in str(error.value)
    assert str(error.value).startswith("mcp.yml:2: tracing")


WRONG = [
    ("EXPORTER_OTLP_ENDPOINT", f"c/{CANARY}", 'has no scheme; start it with "http://"'),
    ("EXPORTER_OTLP_ENDPOINT", f"http://u:{CANARY}@c", "OTLP_HEADERS as Authorization"),
    ("EXPORTER_OTLP_ENDPOINT", f"http://c/#{CANARY}", "a fragment is never sent; remove"),
    ("EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:x", 'write it like "http://127.0.0.1:4318"'),
    ("EXPORTER_OTLP_PROTOCOL", "grpc", 'only "http/protobuf" is spoken; write that'),
    ("EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", 'only "http/protobuf" is spoken; write'),
    ("EXPORTER_OTLP_HEADERS", CANARY, "part 1 is not NAME=VALUE; write it like"),
    ("EXPORTER_OTLP_HEADERS", f"a=1,b={CANARY}%0A", "part 2: has a line break; keep"),
    ("EXPORTER_OTLP_HEADERS", f"a b={CANARY}", "part 1: not a header name; use letters"),
    ("EXPORTER_OTLP_HEADERS", f"a%0d%0ab={CANARY}", "part 1: not a header name; use letters"),
    ("EXPORTER_OTLP_HEADERS", f"a=%ff{CANARY}", "part 1: has a %XX that is no UTF-8; mend"),
    ("EXPORTER_OTLP_HEADERS", f"a=%C3%A9{CANARY}", "use printable ASCII"),
    ("EXPORTER_OTLP_HEADERS", f"a=1,A={CANARY}", "part 2: written twice, headers ignore case"),
    ("EXPORTER_OTLP_HEADERS", "Content-Length=9", "is set by the exporter itself; remove it"),
    ("EXPORTER_OTLP_HEADERS", "Content-Type=a/b", "is set by the exporter itself; remove it"),
    ("EXPORTER_OTLP_TRACES_HEADERS", "=", "part 1 is not NAME=VALUE; write it like"),
    ("RESOURCE_ATTRIBUTES", "=1", "part 1 is not NAME=VALUE; write it like"),
    ("RESOURCE_ATTRIBUTES", "a=1,b=%00", "part 2: a name of 1 to 255 printable characters"),
    ("RESOURCE_ATTRIBUTES", f"a={'b' * 256}", "part 1: a name of 1 to 255 printable"),
    ("RESOURCE_ATTRIBUTES", "a=%ff", "part 1: has a %XX that is no UTF-8; mend it"),
    ("RESOURCE_ATTRIBUTES", "a=\udcff", "part 1: a name of 1 to 255 printable characters"),
    ("SERVICE_NAME", "\udcff", "must be 1 to 255 printable characters; mend it"),
    ("SERVICE_NAME", "a" * 256, "must be 1 to 255 printable characters; mend it"),
    ("EXPORTER_OTLP_COMPRESSION", "\x1b[1m", r'"\x1b[1m" is unknown; write "none" or "gzip"'),
    ("EXPORTER_OTLP_TIMEOUT", "10s", "must be milliseconds, a whole number from 1"),
    ("EXPORTER_OTLP_TIMEOUT", "0", "must be milliseconds, a whole number from 1"),
    ("SDK_DISABLED", "1", 'must be true or false, not "1"'),
]


@pytest.mark.parametrize(("name", "value", "complaint"), WRONG)
def test_a_complaint_about_a_variable_names_it_and_shows_no_secret(
    name: str, value: str, complaint: str
) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", f"OTEL_{name}": value}
    with pytest.raises(ConfigError) as error:
        parsed("tracing:", **environ)
    assert str(error.value).startswith(f"OTEL_{name}: ")
    assert complaint in str(error.value)
    assert CANARY not in str(error.value)
    assert str(error.value).isprintable()
    assert parsed("", **environ) is None


def test_of_a_variable_that_does_not_count_nothing_is_said() -> None:
    wrong = {f"OTEL_{name}": value for name, value, _ in WRONG if name.startswith("EXPORTER_OTLP_")}
    everything = "{endpoint: 'http://f', headers: {}, compression: none, timeout: 1s}"
    assert sure(f"tracing: {everything}", **wrong).endpoint == "http://f/v1/traces"
    of_all = {name: value for name, value in wrong.items() if "_TRACES_" not in name}
    right = {"ENDPOINT": "http://t", "HEADERS": "a=1", "COMPRESSION": "gzip", "TIMEOUT": "1"}
    own = {f"OTEL_EXPORTER_OTLP_TRACES_{name}": value for name, value in right.items()}
    spoken = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert sure("tracing:", **of_all, **own, **spoken).endpoint == "http://t"


KINDS = ("ENDPOINT", "HEADERS", "COMPRESSION", "TIMEOUT", "PROTOCOL")
NAMES = [
    *(f"OTEL_EXPORTER_OTLP_{kind}" for kind in KINDS),
    *("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"),
]
ANYTHING = st.text(st.characters(exclude_characters="\0"), max_size=20)
PLAUSIBLE = st.text("ab=,:/@?#%0\udcff \n", max_size=20)


@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(ANYTHING, PLAUSIBLE)))
def test_whatever_variables_say_it_can_be_sent_or_is_complained_about_in_a_line(
    environ: dict[str, str],
) -> None:
    try:
        found = parsed("tracing:", **{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"} | environ)
    except ConfigError as error:
        complaint = str(error)
        assert complaint.isprintable()
        assert complaint.startswith("OTEL_")
        return
    if found is None:
        assert environ["OTEL_SDK_DISABLED"].strip().lower() == "true"
        return
    validators.headers(read(json.dumps(dict(found.headers)), "", str).mapping())
    OtlpEncoder(found.resource, "1")
    urlsplit(found.endpoint)


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://c/p?k=${T}", "https://c/p/v1/traces?<secret>"),
        (f"https://c/{CANARY}/p", "https://c/<secret>/p/v1/traces"),
        ("https://c/${SHORT}/p", "https://c/<secret>/p/v1/traces"),
        ("https://${SHORT}.c/p", "https://<secret>.c/p/v1/traces"),
    ],
)
def test_it_is_shown_without_a_secret(endpoint: str, shown: str) -> None:
    text = (
        f"tracing: {{endpoint: '{endpoint}', headers: {{X: '${{T}}'}},"
        " resource: {r: '${T}'}, sample: 0.5}"
    )
    config = parse_config(SERVERS + text, "mcp.yml", {"T": CANARY, "SHORT": "hush7"})
    assert config.tracing is not None
    assert shown_endpoint(config.tracing) == shown
    rendered = redacted.render(config)
    assert f"endpoint: {shown}\n" in rendered
    assert "sample: 0.5" in rendered
    for secret in (CANARY, "hush7"):
        assert secret not in rendered + repr(config)


def test_an_endpoint_of_a_variable_is_shown_without_a_secret() -> None:
    found = sure("tracing:", OTEL_EXPORTER_OTLP_ENDPOINT=f"https://c/{CANARY}/p?k={CANARY}")
    assert shown_endpoint(found) == "https://c/<secret>/p/v1/traces?<secret>"


@pytest.mark.parametrize("lacking", ["opentelemetry.proto", "urllib3"])
def test_without_the_packages_one_line_says_so(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> object:
        if name == lacking and "." in name:
            raise ModuleNotFoundError(name)
        return None if name == lacking else object()

    monkeypatch.setattr("exporter.config.tracing.find_spec", find)
    assert parsed("") is None
    with pytest.raises(ConfigError) as error:
        parsed("tracing: {endpoint: 'http://c'}")
    assert str(error.value) == (
        f"mcp.yml:2: tracing: needs the package {lacking}, which is not installed; "
        "run: pip install 'mcp-exporter[tracing]', or remove tracing"
    )


def test_a_server_may_propagate_where_others_do_not() -> None:
    text = "servers: {a: {command: cat, propagate: true}, b: {url: 'http://b'}}"
    config = parse_config(text, "mcp.yml", {})
    assert [server.propagate for server in config.servers.values()] == [True, None]
    assert "propagate: true" in redacted.render(config)
    with pytest.raises(ConfigError, match="propagate: must be true or false"):
        parse_config("servers: {a: {command: cat, propagate: perhaps}}", "mcp.yml", {})
