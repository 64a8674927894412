"""Tables with free numbers in them: the levels, and what a row adds to the one that it began with.

A scheduler's row is x' = sum_k a_k D_k + b_k e_k, with k = 0 for its own evaluation and k = 1 for
the one before. A fitted row adds weights w_k of differences of noise estimates,

    x' = sum_k a_k D_k + b_k e_k + alpha' (s' - s) sum_{k >= 1} w_k (e_k - e_0),

with Karras's sigmas s of its level and s' of the next. The sum of what is added is 0: so D is still
weighed by alpha' in all and e by sigma', and a point mass is sampled exactly. Differences of D
would add nothing but the given sample: each x is a sum of the estimates before it.

The first evaluation may be below the level of the given noise. There the marginal is noise but for
little of the data, so that noise of scale sigma stands for noise of the first level's scale.

And the run may begin with more noise, or less, than the model is told, by a factor. So the start
moves a little, as in the relaxed objective of Frankel et al. (2025). A model that is told of less
noise than there is blurs less, and few evaluations blur too much. Under a factor f a point mass has
x = alpha x_0 + f sigma eps in the whole run. The last row weighs e by 0 in all, and so ends at x_0.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schedulers.engine.tableau import Stage, Tableau
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Free(NamedTuple):
    """The free numbers of a table.

    Attributes
    ----------
    log_sigmas : ndarray of float64, shape (steps,)
        Logarithm of Karras's sigma where each step begins, falling.
    log_factor : float
        Logarithm of the factor of the noise that the run begins with.
    weights : tuple of ndarray of float64
        w_1, w_2, ... of each row.
    """

    log_sigmas: Floats
    log_factor: float
    weights: tuple[Floats, ...]

    @classmethod
    def of(cls, vector: Floats, steps: int, reach: int) -> Free:
        """Return the numbers of a vector: the logarithms, then the weights row by row."""
        ends = np.cumsum([steps, 1, *sizes(steps, reach)])
        first, factor, *rows = np.split(vector, ends[:-1])
        return cls(first, factor.item(), tuple(rows))

    @property
    def vector(self) -> Floats:
        """All of the numbers, in the order that `of` takes."""
        return np.concatenate([self.log_sigmas, [self.log_factor], *self.weights])


def sizes(steps: int, reach: int) -> list[int]:
    """Return the number of weights of each row, which weighs `reach` evaluations at most."""
    return [min(row, reach - 1) for row in range(steps)]


def levels_of(base: Scheduler, free: Free) -> tuple[Level, ...]:
    """Return the levels of these numbers, and the clean one after them."""
    sigmas = np.exp(free.log_sigmas)
    return (*map(base.schedule.level, sigmas.tolist()), base.schedule.clean)


def corrected(base: Scheduler, top: Level, levels: tuple[Level, ...], free: Free) -> Tableau:
    """Return the table of `base` on these levels, each row with what its weights add.

    The given sample is at the level `top`.
    """
    rows = zip(base.stages(levels), free.weights, levels[1:], strict=True)
    stages = tuple(reweighed(stage, added, then) for stage, added, then in rows)
    scale = entry_scale(levels[0], top, free.log_factor)
    return Tableau("FittedScheduler", (top, *levels[1:]), stages, (scale, 0.0))


def entry_scale(first: Level, top: Level, log_factor: float) -> float:
    """Return by what noise at the level `top` is scaled for an evaluation at the level `first`."""
    scale = 1.0 if first == top else first.sigma / top.sigma
    return scale * math.exp(log_factor)


def added_scale(level: Level, then: Level) -> float:
    """Return alpha' (s' - s), which a weight of 1 adds the difference of two estimates by."""
    return then.alpha * (then.karras - level.karras)


def reweighed(stage: Stage, weights: Floats, then: Level) -> Stage:
    """Return a row that ends at the level `then` with what these weights add."""
    if not weights.size:
        return stage
    added = added_scale(stage.level, then) * np.array([-weights.sum(), *weights])
    b = [sum(pair) for pair in zip_longest(stage.b, added.tolist(), fillvalue=0.0)]
    return Stage(stage.level, stage.a, b, ends_step=stage.ends_step)
