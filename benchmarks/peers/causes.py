"""Why samplers fail checks: the line or the formula, where it is known."""

from __future__ import annotations

import re
from typing import NamedTuple

FAULTS = "Faults"
HARMLESS = "Without effect on the samples"
CONVENTIONS = "Conventions, and what the check cannot tell"
UNEXPLAINED = "Not explained"


class Cause(NamedTuple):
    """Why a check fails, and under which heading that belongs."""

    heading: str
    text: str


EXPLANATIONS: list[tuple[str, re.Pattern[str], frozenset[str], Cause]] = []
