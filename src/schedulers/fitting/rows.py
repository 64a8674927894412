"""Tables with free numbers in them: the levels, and what a row adds to the one that it began with.

A scheduler's row is x' = sum_k a_k D_k + b_k e_k, with k = 0 for its own evaluation and k = 1 for
the one before. A fitted row adds weights w_k of differences of noise estimates,

    x' = sum_k a_k D_k + b_k e_k + alpha' (s' - s) sum_{k >= 1} w_k (e_k - e_0),

with Karras's sigmas s of its level and s' of the next. The sum of what is added is 0: so D is still
weighed by alpha' in all and e by sigma', and a point mass is sampled exactly. Differences of D
would add nothing but the given sample: each x is a sum of the estimates before it.

The first evaluation may be below the level of the given noise. There the marginal is noise but for
little of the data, so that noise of scale sigma stands for noise of the first level's scale.

The model may be told of another level than that of the sample, by its time: of less noise, mostly.
A model that is told of less noise blurs less, and runs of few evaluations are too blurred. D is
what it says there, and e is the noise in the sample, so that rows stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schedulers.engine.tableau import Stage, Tableau
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Free(NamedTuple):
    """The free numbers of a table.

    Attributes
    ----------
    log_sigmas : ndarray of float64, shape (steps,)
        Logarithm of Karras's sigma where each step begins, falling.
    log_told : ndarray of float64, shape (steps,)
        Logarithm of the part of that sigma that the model is told of.
    weights : tuple of ndarray of float64
        w_1, w_2, ... of each row.
    """

    log_sigmas: Floats
    log_told: Floats
    weights: tuple[Floats, ...]

    @classmethod
    def of(cls, vector: Floats, steps: int, reach: int) -> Free:
        """Return the numbers of a vector: the logarithms, then the weights row by row."""
        ends = np.cumsum([steps, steps, *sizes(steps, reach)])
        sigmas, told, *rows = np.split(vector, ends[:-1])
        return cls(sigmas, told, tuple(rows))

    @property
    def vector(self) -> Floats:
        """All of the numbers, in the order that `of` takes."""
        return np.concatenate([self.log_sigmas, self.log_told, *self.weights])


class Grid(NamedTuple):
    """Where a table evaluates a model: the levels of the samples, and those that it is told.

    Both end with the clean level. A sample has the scale alpha of the level that is told.
    """

    samples: tuple[Level, ...]
    told: tuple[Level, ...]

    @classmethod
    def of(cls, base: Scheduler, levels: Iterable[Level], log_told: Floats, fine: Tableau) -> Grid:
        """Return these levels with what is told at each, between the levels of the fine run."""
        finite = [level.karras for level in fine.levels[:-1] if level.alpha]
        pairs = []
        for level, log_part in zip(levels, log_told.tolist(), strict=True):
            told = sample = level
            if log_part and level.alpha:
                karras = level.karras * math.exp(log_part)
                told = base.schedule.level(min(max(karras, finite[-1]), finite[0]))
                sample = told._replace(sigma=told.alpha * level.karras)
            pairs.append((sample, told))
        samples, told_levels = zip(*pairs, strict=True)
        clean = base.schedule.clean
        return cls((*samples, clean), (*told_levels, clean))

    def stages(self, base: Scheduler) -> tuple[Stage, ...]:
        """Return the rows of a scheduler here."""
        return tuple(
            stage if told == stage.level else replace(stage, told_sigma=told.sigma)
            for stage, told in zip(base.stages(self.samples), self.told, strict=False)
        )


def sizes(steps: int, reach: int) -> list[int]:
    """Return the number of weights of each row, which weighs `reach` evaluations at most."""
    return [min(row, reach - 1) for row in range(steps)]


def corrected(base: Scheduler, top: Level, grid: Grid, free: Free) -> Tableau:
    """Return the table of `base` on these levels, each row with what its weights add.

    The given sample is at the level `top`.
    """
    rows = zip(grid.stages(base), free.weights, grid.samples[1:], strict=True)
    stages = tuple(reweighed(stage, added, then) for stage, added, then in rows)
    entry = entry_scale(grid.samples[0], top), 0.0
    return Tableau("FittedScheduler", (top, *grid.told[1:]), stages, entry)


def entry_scale(first: Level, top: Level) -> float:
    """Return by what noise at the level `top` is scaled for an evaluation at the level `first`."""
    return 1.0 if first == top else first.sigma / top.sigma


def added_scale(level: Level, then: Level) -> float:
    """Return alpha' (s' - s), which a weight of 1 adds the difference of two estimates by."""
    return then.alpha * (then.karras - level.karras)


def reweighed(stage: Stage, weights: Floats, then: Level) -> Stage:
    """Return a row that ends at the level `then` with what these weights add."""
    if not weights.size:
        return stage
    added = added_scale(stage.level, then) * np.array([-weights.sum(), *weights])
    b = [sum(pair) for pair in zip_longest(stage.b, added.tolist(), fillvalue=0.0)]
    return replace(stage, b=tuple(b))
