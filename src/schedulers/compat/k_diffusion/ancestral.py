"""Rows of ancestral samplers: a step to a lower level, and noise back up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from schedulers.compat.k_diffusion.arguments import Levels, level
from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.schedules.base import Level


def ancestral_rows(
    levels: Levels, step: Callable[[Levels], Iterable[Stage]], eta: float
) -> Iterator[Stage]:
    """Rows of a method's single steps, each to a lower level, and noise back up."""
    for now, then in pairwise(levels):
        down, up = lower(now, then, eta)
        yield from noised(step((now, down)), up)


def lower(now: Level, then: Level, eta: float, lowest: float = 0.0) -> tuple[Level, float]:
    """Return the level that a step goes down to, at least `lowest`, and the noise back up."""
    kept, fresh = ancestral_split(now, then, eta)
    down = kept * then.sigma
    if down >= lowest:
        return level(down), fresh * then.sigma
    return level(lowest), math.sqrt((then.sigma - lowest) * (then.sigma + lowest))


def noised(rows: Iterable[Stage], up: float) -> Iterator[Stage]:
    """Add noise of deviation `up` to the last of a step's rows."""
    *before, last = rows
    yield from before
    yield Stage(last.level, last.a, last.b, c=up)
