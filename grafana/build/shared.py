"""Panels that more than one dashboard has."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, statetimeline, timeseries

from grafana.build import queries as q
from grafana.build.colours import BUDGET, SPENT, STATES
from grafana.build.links import ROW_EXPLAIN, ROW_SERVER, Link
from grafana.build.panels import (
    About,
    Panel,
    Size,
    colour,
    latency,
    now,
    number,
    rows,
    stacked,
    states,
)
from grafana.build.tables import NAME, Column

NO_SERVER = "no server is configured"
NO_RULES = "rules not loaded?"
NOTHING_RECORDED = "nothing recorded: no traffic, or the recording rules are not loaded"

SERVER = Column("server", "Server", least=NAME, link=ROW_SERVER)

STATE_QUERIES = [
    rows(q.SERVER_STATE, "A"),
    rows(q.SERVER_SINCE, "B"),
    rows(q.WITNESS, "C"),
]
"""What a table of servers asks first."""

STATE_COLUMNS = [
    SERVER,
    Column("Value #A", "State", words=STATES, width=95, link=ROW_EXPLAIN),
    Column(
        "Value #B",
        "Since",
        "dateTimeFromNow",
        width=140,
        words={str(q.UNCHANGED): ("all this time", "text")},
    ),
]
WITNESS = Column("instance", "Exporter", is_hidden=True)
"""Whom the link of a server's state asks."""


def attained(objective: str, size: Size) -> stat.Panel:
    """What the worst server attained in 30 days beside what it aims at; red where it misses it."""
    questions = {
        "availability": "What share of the requests that should have been answered in the last 30"
        " days did the worst server answer, and what share is aimed at?",
        "latency": "What share of the tool calls of the last 30 days ended within the threshold at"
        " the slowest server, and what share is aimed at?",
    }
    panel = number(
        About(f"{objective.capitalize()}, 30 days", questions[objective], NO_RULES),
        [
            now(q.kept(objective), "attained"),
            now(q.missed(objective), "attained", "B"),
            now(q.worst("max", q.objective_target(objective)), "aimed at", "C"),
        ],
        "percentunit",
        size,
        mappings={str(q.IDLE): ("no traffic", "text")},
        decimals=2,
    )
    return panel.override_by_query("B", [colour("red")])


def budget_left(about: About, objectives: dict[str, str], size: Size) -> stat.Panel:
    """The budget of the worst server; how far below zero is in the table of objectives."""
    return number(
        about,
        [
            now(q.worst("min", q.budget_left(objective)), name, ref)
            for (objective, name), ref in zip(objectives.items(), "AB", strict=False)
        ],
        "percentunit",
        size,
        steps=BUDGET,
        below=SPENT,
        decimals=1,
    )


def health(size: Size, link: Link) -> statetimeline.Panel:
    """Every server's state over time."""
    about = About("Health", "In which state was each server, and since when?", NO_SERVER)
    return states(about, q.SERVER_STATE, "{{server}}", size, link)


def calls_by_outcome(size: Size, link: Link) -> timeseries.Panel:
    """Tool calls over time."""
    about = About(
        "Tool calls a minute",
        "How many tool calls a minute, and how did they end?",
        NOTHING_RECORDED,
    )
    return stacked(about, q.CALLS_BY_OUTCOME, "outcome", "short", size, link=link)


def requests_by_outcome(size: Size, link: Link | None) -> timeseries.Panel:
    """All requests over time."""
    about = About(
        "Requests a minute",
        "How many requests a minute, tool calls and others, and how did they end? Timeouts and"
        " upstream errors spend the availability budget.",
        NOTHING_RECORDED,
    )
    return stacked(about, q.REQUEST_OUTCOMES, "outcome", "short", size, link=link)


def quantiles(about: About, metric: str, selector: str, size: Size, high: float = 0.99) -> Panel:
    """A high quantile, the median and the average of a histogram in seconds."""
    by_name = {
        f"p{high * 100:g}": q.quantile(high, metric, selector),
        "p50": q.quantile(0.5, metric, selector),
        "average": q.mean(metric, selector),
    }
    return latency(about, by_name, "s", size)
