"""Alertmanager: valid with every set of secrets, every alert routed, the right ones hidden."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from prometheus.build.settings import load
from tests.support import alert_rules
from tests.support.alert_rules import PROMETHEUS
from tests.support.running import alertmanager, get, wait_for
from tests.support.tools import run, succeeds

CONFIG = PROMETHEUS / "alertmanager.yml"
SCRIPT = PROMETHEUS / "alertmanager.sh"
RECEIVERS = {"critical": "page", "warning": "ticket", "none": "watchdog"}
SMTP = "smarthost: mail.example.org:587\nfrom: from@example.org\nto: to@example.org\n"
SECRETS = {
    "smtp": SMTP + "username: someone\npassword: secret\n",
    "slack_url": "https://slack.example.org/services/T/B/secret\n",
    "webhook_url": "https://hook.example.org/in?key=secret\n",
    "watchdog_url": "https://switch.example.org/secret\n",
}
SETS = [
    dict(chosen)
    for size in range(len(SECRETS) + 1)
    for chosen in itertools.combinations(SECRETS.items(), size)
]


def _script(secrets: Path, output: Path, shell: tuple[str, ...] = ("sh",)) -> Any:
    return subprocess.run(
        [*shell, str(SCRIPT), "--render", str(output)],
        env={"PATH": "/usr/bin:/bin", "SECRETS": str(secrets)},
        capture_output=True,
        text=True,
        check=False,
    )


def render(folder: Path, given: Mapping[str, str]) -> Path:
    """The configuration that the script makes of these secret files."""
    secrets, output = folder / "secrets", folder / "output"
    secrets.mkdir()
    output.mkdir()
    for name, content in given.items():
        (secrets / name).write_text(content)
    ended = _script(secrets, output)
    assert (ended.returncode, ended.stderr) == (0, "")
    return output / "alertmanager.yml"


def refusal(folder: Path, given: Mapping[str, str]) -> str:
    """What the script says of these secret files, without the folder."""
    folder.mkdir(exist_ok=True)
    for name, content in given.items():
        (folder / name).write_text(content)
    ended = _script(folder, folder)
    assert ended.returncode == 1
    told: str = ended.stderr
    return told.replace(str(folder), "secrets").strip()


@pytest.mark.parametrize("given", SETS, ids=lambda given: "+".join(given) or "none")
def test_alertmanager_accepts_every_set_of_secrets(given: dict[str, str], tmp_path: Path) -> None:
    succeeds("amtool", "check-config", render(tmp_path, given))


def test_without_secrets_the_script_changes_nothing(tmp_path: Path) -> None:
    made = alert_rules.read(render(tmp_path, {}))
    committed = alert_rules.read(CONFIG)
    assert made.pop("templates") == [str(PROMETHEUS / "templates" / "*.tmpl")]
    committed.pop("templates")
    assert made == committed


def test_each_secret_switches_its_receivers_on_and_no_other(tmp_path: Path) -> None:
    ways = {"slack_url": "slack_configs", "webhook_url": "webhook_configs"}
    for name, way in ways.items():
        (tmp_path / name).mkdir()
        made = alert_rules.read(render(tmp_path / name, {name: SECRETS[name]}))
        found = {receiver["name"]: set(receiver) - {"name"} for receiver in made["receivers"]}
        mail = {"email_configs"}
        assert found == {"page": mail | {way}, "ticket": mail | {way}, "watchdog": set()}


def test_a_mail_server_replaces_the_inbox(tmp_path: Path) -> None:
    made = alert_rules.read(render(tmp_path, {"smtp": SECRETS["smtp"]}))
    password = made["global"].pop("smtp_auth_password_file")
    assert made["global"] == {
        "resolve_timeout": "5m",
        "smtp_smarthost": "mail.example.org:587",
        "smtp_from": "from@example.org",
        "smtp_require_tls": True,
        "smtp_auth_username": "someone",
    }
    assert Path(password).read_text() == "secret\n"
    assert Path(password).stat().st_mode & 0o077 == 0
    to = {mail["to"] for way in made["receivers"] for mail in way.get("email_configs", [])}
    assert to == {"to@example.org"}


@pytest.mark.parametrize(
    ("smtp", "required"),
    [
        (SMTP, True),
        (SMTP.replace("587", "465"), False),
        (SMTP.replace("587", "25") + "require_tls: false\n", False),
    ],
)
def test_mail_is_encrypted_unless_told_otherwise(smtp: str, required: bool, tmp_path: Path) -> None:
    made = alert_rules.read(render(tmp_path, {"smtp": smtp}))["global"]
    assert made["smtp_require_tls"] is required
    assert "smtp_auth_username" not in made


NASTY = "https://x.example.org/a?b=1&c='2'|3\\4\\n\"5\"#6: 7"


def test_no_character_of_a_secret_is_lost(tmp_path: Path) -> None:
    smtp = SMTP + f"username: {NASTY}\npassword: {NASTY}\n"
    given = {"webhook_url": f" {NASTY} \r\n", "watchdog_url": NASTY, "smtp": smtp}
    made = alert_rules.read(render(tmp_path, given))
    urls = {way["url"] for r in made["receivers"] for way in r.get("webhook_configs", [])}
    assert urls == {NASTY}
    assert made["global"]["smtp_auth_username"] == NASTY
    assert Path(made["global"]["smtp_auth_password_file"]).read_text() == f"{NASTY}\n"


def test_a_token_goes_to_the_webhook_from_its_file(tmp_path: Path) -> None:
    given = {"webhook_url": SECRETS["webhook_url"], "webhook_token": "secret"}
    config = render(tmp_path, given)
    succeeds("amtool", "check-config", config)
    hooks = [r["webhook_configs"][0] for r in alert_rules.read(config)["receivers"][:2]]
    file = str(tmp_path / "secrets" / "webhook_token")
    assert [h["http_config"]["authorization"] for h in hooks] == [{"credentials_file": file}] * 2


def test_what_is_rendered_is_for_its_user_alone(tmp_path: Path) -> None:
    assert render(tmp_path, SECRETS).stat().st_mode & 0o077 == 0


SMTP_KEYS = "smarthost from to username password require_tls"
BAD_SECRETS = [
    (
        {"slack": "https://x"},
        "secrets/slack: unknown; use slack_url webhook_url webhook_token watchdog_url smtp",
    ),
    (
        {"slack_url": " \n"},
        "secrets/slack_url is empty; write the secret into it, or remove it",
    ),
    (
        {"webhook_token": "x"},
        "secrets/webhook_token needs secrets/webhook_url beside it",
    ),
    (
        {"smtp": "smarthost: mail:25\nfrom: a@b\n"},
        'secrets/smtp: "to" is missing; add "to: ..."',
    ),
    (
        {"smtp": SMTP + "user: me\n"},
        'secrets/smtp: "user" is unknown; use smarthost from to username password require_tls',
    ),
    (
        {"smtp": "mail.example.org\n"},
        f'secrets/smtp: "mail.example.org" is unknown; use {SMTP_KEYS}',
    ),
]


@pytest.mark.parametrize(("given", "told"), BAD_SECRETS)
def test_a_bad_secret_is_one_clear_line(given: dict[str, str], told: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "secrets", given) == f"alertmanager.sh: {told}"


def test_the_script_needs_no_more_than_busybox(tmp_path: Path) -> None:
    """The official image has nothing else; a machine without it can only see that it parses."""
    busybox = shutil.which("busybox")
    if busybox is None:
        subprocess.run(["/bin/sh", "-n", str(SCRIPT)], check=True)
        return
    programs, output = tmp_path / "bin", tmp_path / "output"
    for folder in (programs, output):
        folder.mkdir()
    subprocess.run([busybox, "--install", "-s", str(programs)], check=True)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, content in SECRETS.items():
        (secrets / name).write_text(content)
    ended = subprocess.run(
        [busybox, "sh", str(SCRIPT), "--render", str(output)],
        env={"PATH": str(programs), "SECRETS": str(secrets)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    succeeds("amtool", "check-config", output / "alertmanager.yml")


FIRING = alert_rules.firing()


@pytest.mark.parametrize(("name", "labels"), FIRING, ids=[name for name, _ in FIRING])
def test_every_alert_goes_to_the_receiver_of_its_severity(
    name: str, labels: dict[str, str]
) -> None:
    assert name == labels["alertname"]
    words = [f"{label}={json.dumps(value)}" for label, value in labels.items()]
    receiver = f"--verify.receivers={RECEIVERS[labels['severity']]}"
    succeeds("amtool", "config", "routes", "test", f"--config.file={CONFIG}", receiver, *words)


def test_a_wrong_receiver_would_be_noticed() -> None:
    words = ("alertname=MCPServerDown", "severity=critical", "--verify.receivers=ticket")
    ended = run("amtool", "config", "routes", "test", f"--config.file={CONFIG}", *words)
    assert ended.returncode == 1


def _matches(matchers: list[str], labels: Mapping[str, str]) -> bool:
    return all(_match(matcher, labels) for matcher in matchers)


def _match(matcher: str, labels: Mapping[str, str]) -> bool:
    found = re.fullmatch(r'(\w+)(=~|=)"(.*)"', matcher)
    assert found is not None, matcher
    value = labels.get(found[1], "")
    return value == found[3] if found[2] == "=" else bool(re.fullmatch(found[3], value))


def test_routes_and_inhibition_go_by_deployment_and_server_and_not_by_replica() -> None:
    identity = load(PROMETHEUS / "objectives.yml").identity
    config = alert_rules.read(CONFIG)
    assert config["route"]["group_by"] == [*identity, "server"]
    for rule in config["inhibit_rules"]:
        assert set(identity) <= set(rule["equal"]), rule
        about_a_replica = rule["source_matchers"] == ['alertname="MCPExporterDown"']
        assert ("instance" in rule["equal"]) == about_a_replica, rule


def test_no_inhibition_compares_a_label_that_an_alert_lacks() -> None:
    """Alertmanager takes a label that both lack as equal, so that they would hide each other."""
    for rule in alert_rules.read(CONFIG)["inhibit_rules"]:
        needed = set(rule["equal"])
        # Two rules of one alert: what they both lack cannot tell them apart, and need not.
        sides = ["target_matchers"] if "alertname" in needed else list(SIDES)
        for side in sides:
            found = [labels for _, labels in FIRING if _matches(rule[side], labels)]
            assert found, f"no alert matches {rule[side]}"
            for labels in found:
                lacking = needed - labels.keys()
                assert "alertname" in needed or not lacking, (rule, labels)


SIDES = ("source_matchers", "target_matchers")


@pytest.fixture(scope="module")
def quiet_alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real one with the committed routes and inhibition, that never sends anything."""
    folder = tmp_path_factory.mktemp("alertmanager")
    config = alert_rules.read(CONFIG)
    config["templates"] = []
    config["receivers"] = [{"name": receiver["name"]} for receiver in config["receivers"]]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    with alertmanager(folder / "alertmanager.yml", folder) as url:
        yield url


def _post(url: str, labels: list[dict[str, str]], ends_in: float) -> None:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ends_in))
    alerts = [{"labels": each, "endsAt": ends} for each in labels]
    answer = requests.post(f"{url}/api/v2/alerts", json=alerts, timeout=60)
    answer.raise_for_status()


def hidden(url: str, firing: list[dict[str, str]]) -> set[str]:
    """The names of those alerts that a real Alertmanager inhibits while all of these fire."""
    _post(url, firing, 300)
    seen: list[set[str]] = []

    def settled() -> bool:
        found = get(f"{url}/api/v2/alerts")
        if len(found) < len(firing):
            return False
        seen.append({a["labels"]["alertname"] for a in found if a["status"]["inhibitedBy"]})
        # Inhibition follows the alerts by some milliseconds: the same answer for a second will do.
        return len(seen) >= LOOKS and all(names == seen[-1] for names in seen[-LOOKS:])

    try:
        wait_for(settled, 60, "alerts are settled")
        return seen[-1]
    finally:
        _post(url, firing, -1)
        wait_for(lambda: not get(f"{url}/api/v2/alerts"), 60, "alerts are gone")


LOOKS = 10


def _firing(*names: str, **labels: str) -> list[dict[str, str]]:
    """The tested alerts of these names, moved to other labels where they have them."""
    return [
        found | {label: value for label, value in labels.items() if label in found}
        for found in dict(reversed(FIRING)).values()
        if not names or found["alertname"] in names
    ]


ABOUT_A_SERVER = {name for name, labels in FIRING if labels["scope"] in {"server", "tool"}}
JOB = "mcp-exporter"
"""The exporters'; what finds servers is another process, whose trouble is its own."""
HIDDEN_BY_A_DOWN_SERVER = ABOUT_A_SERVER - {
    "MCPServerDown",
    "MCPProcessMemoryGrowing",
    "MCPToolDefinitionsChanged",
}


@pytest.mark.e2e
def test_with_every_exporter_lost_nothing_is_told_of_servers_and_of_each(
    quiet_alertmanager: str,
) -> None:
    firing = [a for a in _firing() if a["alertname"] != "MCPExporterAbsent"]
    others = {
        a["alertname"]
        for a in firing
        if a["scope"] == "exporter" and a["severity"] == "warning" and a["job"] == JOB
    }
    assert hidden(quiet_alertmanager, firing) == ABOUT_A_SERVER | others | {"MCPExporterDown"}


@pytest.mark.e2e
def test_one_lost_exporter_hides_its_own_troubles_and_nothing_of_the_servers(
    quiet_alertmanager: str,
) -> None:
    without = {"MCPExporterAbsent", "MCPExporterAllDown"}
    firing = [a for a in _firing() if a["alertname"] not in without]
    its_own = {
        a["alertname"]
        for a in firing
        if a["severity"] == "warning" and "instance" in a and a["job"] == JOB
    }
    assert its_own >= {"MCPExporterReloadFailed", "MCPExporterScrapeSlow"}
    assert hidden(quiet_alertmanager, firing) == its_own | HIDDEN_BY_A_DOWN_SERVER


@pytest.mark.e2e
def test_with_every_exporter_of_another_job_lost_nothing_is_hidden(
    quiet_alertmanager: str,
) -> None:
    lost = _firing("MCPExporterAllDown", job="other")
    firing = [*lost, *_firing("MCPServerDown", "MCPExporterDown", "MCPExporterReloadFailed")]
    assert hidden(quiet_alertmanager, firing) == {"MCPExporterReloadFailed"}


@pytest.mark.e2e
def test_a_missing_job_hides_everything_about_its_servers(quiet_alertmanager: str) -> None:
    firing = _firing(*ABOUT_A_SERVER, "MCPExporterAbsent")
    assert hidden(quiet_alertmanager, firing) == ABOUT_A_SERVER


@pytest.mark.e2e
def test_a_lost_exporter_hides_nothing_of_another_exporter(quiet_alertmanager: str) -> None:
    lost = _firing("MCPExporterDown", instance="other:6280")
    firing = [*lost, *_firing("MCPServerDown", "MCPExporterReloadFailed")]
    assert hidden(quiet_alertmanager, firing) == set()


@pytest.mark.e2e
def test_a_down_server_hides_its_tools_and_lesser_words_but_no_changed_tools(
    quiet_alertmanager: str,
) -> None:
    firing = _firing(*ABOUT_A_SERVER)
    assert hidden(quiet_alertmanager, firing) == HIDDEN_BY_A_DOWN_SERVER


@pytest.mark.e2e
def test_a_down_server_hides_nothing_of_another_server(quiet_alertmanager: str) -> None:
    down = _firing("MCPServerDown", server="other")
    firing = [*down, *_firing("MCPToolErrorRatio", "MCPToolTimeouts", "MCPLatencyBurning")]
    assert hidden(quiet_alertmanager, firing) == set()


@pytest.mark.e2e
def test_alerts_without_a_server_do_not_hide_each_other(quiet_alertmanager: str) -> None:
    lacking: Callable[[dict[str, str]], bool] = lambda alert: "server" not in alert  # noqa: E731
    loud = {"MCPExporterDown", "MCPExporterAllDown"}
    firing = [a for a in _firing() if lacking(a) and a["alertname"] not in loud]
    assert {a["severity"] for a in firing} == {"critical", "warning", "none"}
    assert hidden(quiet_alertmanager, firing) == set()


@pytest.mark.e2e
def test_the_page_of_an_objective_hides_its_ticket_and_no_other(quiet_alertmanager: str) -> None:
    page = _firing("MCPAvailabilityBurning")
    ticket = {"severity": "warning", "window": "3d"}
    other = _firing("MCPLatencyBurning")
    firing = [*page, *[a | ticket for a in page], *[a | ticket for a in other]]
    assert hidden(quiet_alertmanager, firing) == {"MCPAvailabilityBurning"}


DATA: dict[str, Any] = {
    "receiver": "page",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {
                "alertname": "MCPToolTimeouts",
                "severity": "warning",
                "instance": "exporter:6280",
                "server": "<b>R&D",
                "tool": "a|b",
            },
            "annotations": {
                "summary": "tool of <b>R&D times out",
                "description": "see <http://evil.example|this>",
                "value": "3 timeouts",
                "dashboard_url": "http://grafana.test/d/mcp-tools?var-server=%3Cb%3ER%26D",
                "runbook_url": "http://prometheus.test/consoles/runbook.html#mcptooltimeouts",
            },
            "startsAt": "2026-11-23T08:00:00Z",
            "endsAt": "2026-11-23T09:00:00Z",
            "generatorURL": "http://prometheus.test/graph",
            "fingerprint": "1",
        }
    ],
    "groupLabels": {"server": "<b>R&D"},
    "commonLabels": {"severity": "warning"},
    "commonAnnotations": {"summary": "tool of <b>R&D times out"},
    "externalURL": "http://alertmanager.test",
}


def _template(name: str, data: dict[str, Any], folder: Path, kind: str = "text") -> str:
    path = folder / "data.json"
    path.write_text(json.dumps(data))
    return succeeds(
        "amtool",
        "template",
        "render",
        f"--template.glob={PROMETHEUS / 'templates' / '*.tmpl'}",
        f"--template.data={path}",
        f"--template.type={kind}",
        f'--template.text={{{{ template "{name}" . }}}}',
    )


def test_a_mail_names_server_tool_value_and_links(tmp_path: Path) -> None:
    text = _template("mcp.text", DATA, tmp_path)
    for line in (
        "Alert:     MCPToolTimeouts (warning)",
        "Server:    <b>R&D",
        "Tool:      a|b",
        "Exporter:  exporter:6280",
        "Value:     3 timeouts",
        "Since:     2026-11-23 08:00:00 UTC",
        "Dashboard: http://grafana.test/d/mcp-tools?var-server=%3Cb%3ER%26D",
        "Runbook:   http://prometheus.test/consoles/runbook.html#mcptooltimeouts",
    ):
        assert line in text.splitlines()
    assert "RESOLVED" not in text
    assert _template("mcp.subject", DATA, tmp_path) == "[WARNING] tool of <b>R&D times out"


def test_names_are_no_markup_in_pages_and_slack(tmp_path: Path) -> None:
    page = _template("mcp.html", DATA, tmp_path, "html")
    assert "<b>R" not in page
    assert "&lt;b&gt;R&amp;D" in page
    slack = _template("mcp.slack.text", DATA, tmp_path)
    assert "*Server:* &lt;b&gt;R&amp;D" in slack
    assert "&lt;http://evil.example|this&gt;" in slack
    assert "<http://grafana.test/d/mcp-tools?var-server=%3Cb%3ER%26D|Dashboard>" in slack
    title = _template("mcp.slack.title", DATA, tmp_path)
    assert title == "[WARNING] tool of &lt;b&gt;R&amp;D times out"


def test_a_recovery_is_called_so(tmp_path: Path) -> None:
    alert = DATA["alerts"][0] | {"status": "resolved"}
    data = DATA | {"status": "resolved", "alerts": [alert]}
    assert _template("mcp.subject", data, tmp_path).startswith("[RESOLVED] ")
    text = _template("mcp.text", data, tmp_path)
    assert "RESOLVED tool of" in text
    assert "Until:     2026-11-23 09:00:00 UTC" in text
    assert "Resolved: tool of" in _template("mcp.html", data, tmp_path, "html")
    assert "*Resolved*" in _template("mcp.slack.text", data, tmp_path)
    assert _template("mcp.slack.color", data, tmp_path) == "good"


def test_several_alerts_share_a_headline_and_are_all_told(tmp_path: Path) -> None:
    first = DATA["alerts"][0]
    second = first | {"labels": first["labels"] | {"tool": "other", "alertname": "MCPSecond"}}
    data = DATA | {"alerts": [first, second], "commonAnnotations": {}}
    assert _template("mcp.subject", data, tmp_path) == "[WARNING 2 alerts] MCP server <b>R&D"
    text = _template("mcp.text", data, tmp_path)
    assert "Tool:      a|b" in text
    assert "Tool:      other" in text


def test_the_widest_of_several_alerts_about_no_server_is_the_headline(tmp_path: Path) -> None:
    """Every exporter's end and each one's resolve together, and share no summary."""
    summaries = ("MCP exporter exporter:6280 is down", "Every MCP exporter of <job> is down")
    alerts = [DATA["alerts"][0] | {"annotations": {"summary": text}} for text in summaries]
    groups: dict[str, Any] = {"groupLabels": {"job": "mcp-exporter"}, "commonAnnotations": {}}
    data = DATA | groups | {"alerts": alerts, "status": "resolved"}
    assert _template("mcp.subject", data, tmp_path) == f"[RESOLVED] {summaries[1]}"
    title = _template("mcp.slack.title", data, tmp_path)
    assert title == "[RESOLVED] Every MCP exporter of &lt;job&gt; is down"


def test_what_an_alert_lacks_is_not_mentioned(tmp_path: Path) -> None:
    alert = DATA["alerts"][0] | {"labels": {"alertname": "MCPExporterAbsent"}}
    data = DATA | {"alerts": [alert], "groupLabels": {}, "commonAnnotations": {}}
    for name, kind in (("mcp.text", "text"), ("mcp.html", "html"), ("mcp.slack.text", "text")):
        shown = _template(name, data, tmp_path, kind)
        assert "Server" not in shown
        assert "Tool" not in shown
        assert "no value" not in shown
