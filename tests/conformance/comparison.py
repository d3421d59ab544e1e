"""Pure: what scenarios came to, and whether two runs of them are the same."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

# The other status, INFO, is the suite's log of messages, whose number depends on timing.
STATUSES = ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")

Checks = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Result:
    """One scenario's outcome.

    ``checks`` counts pairs of a check's id and its status. ``completed`` is false if the scenario
    left no checks, or if its client timed out or failed where the suite does not expect it.
    """

    completed: bool
    checks: Checks = field(default_factory=Counter)

    def count(self, status: str) -> int:
        """How many checks ended with this status."""
        return sum(times for (_, ended), times in self.checks.items() if ended == status)

    @property
    def passed(self) -> bool:
        """Whether the suite takes the scenario for passed."""
        return self.completed and not self.count("FAILURE")

    def without(self, names: Iterable[str]) -> "Result":
        """The same without the checks of these ids."""
        dropped = frozenset(names)
        kept = {pair: times for pair, times in self.checks.items() if pair[0] not in dropped}
        return replace(self, checks=Counter(kept))


MISSING = Result(completed=False)
Results = dict[str, Result]


@dataclass(frozen=True)
class Run:
    """The results of one set of scenarios, direct and relayed, and what is asked of them."""

    title: str
    direct: Results
    relayed: Results
    # Scenarios which have to pass both ways.
    required: frozenset[str]
    # Those which decide conformance to the revision, as the suite counts.
    scored: frozenset[str]
    # Ids of checks, or names of scenarios, which no relay can leave the same; with the reasons.
    excused: Mapping[str, str] = field(default_factory=dict)
    # Whether the direct results are of the same transport, so that each check must be the same.
    alike: bool = True

    def relayed_result(self, scenario: str) -> Result:
        """A scenario's outcome through the exporter, less the checks that are excused."""
        return self.relayed.get(scenario, MISSING).without(self.excused)

    def direct_result(self, scenario: str) -> Result:
        """A scenario's outcome without the exporter, less the checks that are excused."""
        return self.direct.get(scenario, MISSING).without(self.excused)


def read_checks(checks: Iterable[Mapping[str, object]]) -> Checks:
    """Count the checks of a ``checks.json``."""
    pairs = ((str(check["id"]), str(check["status"])) for check in checks)
    return Counter(pair for pair in pairs if pair[1] in STATUSES)


def _listed(checks: Checks) -> str:
    each = (
        f"{ended} {check}" + (f" x{n}" if n > 1 else "") for (check, ended), n in checks.items()
    )
    return ", ".join(sorted(each))


def difference(direct: Result, relayed: Result) -> str | None:
    """What is not the same, in words; ``None`` if nothing is."""
    parts = []
    if lost := direct.checks - relayed.checks:
        parts.append(f"only directly: {_listed(lost)}")
    if new := relayed.checks - direct.checks:
        parts.append(f"only through the exporter: {_listed(new)}")
    if direct.completed != relayed.completed:
        way = "through the exporter" if direct.completed else "directly"
        parts.append(f"not completed {way}")
    return "; ".join(parts) or None


def _fault(run: Run, scenario: str) -> str | None:
    direct, relayed = run.direct_result(scenario), run.relayed_result(scenario)
    needed = scenario in run.required
    if needed and not direct.passed:
        return f"has to pass directly, and does not: {_listed(direct.checks)}"
    unlike = difference(direct, relayed)
    same = unlike is None if run.alike else relayed.passed or not needed
    if scenario in run.excused:
        return "excused, and needs no excuse" if same else None
    return None if same else unlike


def faults(run: Run) -> dict[str, str]:
    """The scenarios at fault, each with the reason: empty if the run is as it has to be."""
    found = {scenario: _fault(run, scenario) for scenario in run.direct}
    return {scenario: reason for scenario, reason in found.items() if reason}


def _cell(raw: Result, counted: Result) -> str:
    verdict = "pass" if counted.passed else "FAIL"
    mark = "*" if raw != counted else ""
    return f"{verdict} {raw.count('SUCCESS')}/{raw.count('FAILURE')}{mark}"


def _rows(run: Run, wrong: Mapping[str, str]) -> Iterable[str]:
    for scenario, direct in run.direct.items():
        relayed = run.relayed.get(scenario, MISSING)
        left = _cell(direct, run.direct_result(scenario))
        right = _cell(relayed, run.relayed_result(scenario))
        note = "AT FAULT" if scenario in wrong else "*" * (scenario in run.excused)
        yield f"  {scenario:<47}{left:<15}{right:<15}{note}".rstrip()


def report(run: Run) -> str:
    """A table of all scenarios, the faults, what is excused, and a line that sums up."""
    wrong = faults(run)
    head = f"  {'scenario':<47}{'direct':<15}through exporter (checks passed/failed)"
    lines = [run.title, head, *_rows(run, wrong)]
    lines += [f"  AT FAULT {scenario}: {reason}" for scenario, reason in wrong.items()]
    lines += [f"  * not compared: {name}: {reason}" for name, reason in run.excused.items()]
    return "\n".join([*lines, _sum(run, wrong)])


def _sum(run: Run, wrong: Mapping[str, str]) -> str:
    direct = {name for name in run.direct if run.direct_result(name).passed}
    relayed = {name for name in run.direct if run.relayed_result(name).passed}
    all_of, scored = len(run.direct), len(run.scored)
    return (
        f"directly {len(direct)} of {all_of} pass, {len(direct & run.scored)} of {scored} scored; "
        f"through the exporter {len(relayed)} of {all_of}, {len(relayed & run.scored)} of {scored} "
        f"scored; {len(wrong)} at fault"
    )
