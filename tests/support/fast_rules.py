"""The committed rules and routes, as they are, but in a world where a minute lasts three seconds.

Every duration is divided by the same number: windows and offsets, ``for``, ``keep_firing_for`` and
intervals, and the seconds that expressions multiply or compare with. Names, labels, texts, ratios
and counts stay. What fires here after fifteen seconds fires in production after five minutes.
"""

from __future__ import annotations

import re

FACTOR = 20
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = r"\d+[smhd]"
TIMES = (
    rf"(?<=[\[:]){DURATION}(?=[\]:])",  # a range, and the step of a subquery
    rf"(?<= offset ){DURATION}",
    rf"(?<= for: ){DURATION}$",
    rf"(?<= keep_firing_for: ){DURATION}$",
    rf"(?<= interval: ){DURATION}$",
)
COUNTED_SECONDS = (
    r"(?<=round\()\d+(?= \* server_)",  # a rate made a number of failures
    r"(?<=\* )\d+(?= \* server_)",
)


def speed_up(rules: str, factor: int = FACTOR) -> str:
    """The text of a rule file, faster."""
    for pattern in TIMES:
        rules = re.sub(pattern, lambda found: shorter(found[0], factor), rules, flags=re.MULTILINE)
    for pattern in COUNTED_SECONDS:
        rules = re.sub(pattern, lambda found: str(int(found[0]) // factor), rules, flags=re.M)
    return rules


def shorter(duration: str, factor: int = FACTOR) -> str:
    """A duration, faster: ``1m`` is ``3s``."""
    milliseconds = int(duration[:-1]) * SECONDS[duration[-1]] * 1000 // factor
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def speed_up_routes(config: str, factor: int = FACTOR) -> str:
    """The text of Alertmanager's configuration, faster; its comments stay."""
    pattern = rf"(?<=(?:wait|rval): ){DURATION}$"
    return re.sub(pattern, lambda found: shorter(found[0], factor), config, flags=re.MULTILINE)
