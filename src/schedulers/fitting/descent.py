"""Levels and weights moved until the last sample is nearest to the flow's: nonlinear least squares.

What falls is the sum over the samples of their distances, not of the squares: a few samples that
end elsewhere do not lead. In the least squares of a round each sample has the inverse of its
distance as its weight, so that the slope is that of the sum.

The derivatives are differences of runs. A run with one number moved begins where that number is
first used. The sums of squares and products are added up batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers.fitting.least_squares import Space, descend
from schedulers.fitting.passes import Model, run
from schedulers.fitting.rows import Free, Grid, corrected
from schedulers.fitting.trajectories import distances, flat, trust

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.engine.tableau import Tableau
    from schedulers.scheduler import Scheduler

    Floats = NDArray[np.float64]

# By how much a number is moved for a derivative: float32 models tell it from rounding.
_MOVE = 3e-3
# Weights are drawn to those that the descent began with, by this part of the error for a move of 1.
_RIDGE = 3e-3
# A round that gains less than this part of the error is the last.
_LEAST_GAIN = 2e-4


class Batch(NamedTuple):
    """A model, where its flow ends, and the samples that are fitted on and that are held out."""

    model: Model
    x_0: Any
    fitted: NDArray[np.bool_]


class Descent:
    """The error of a table as a function of its free numbers, and its descent.

    Parameters
    ----------
    base : Scheduler
        Whose rows are corrected.
    fine : Tableau
        The run in fine steps: it begins at the level of the given samples, and levels lie between
        its first finite sigma and its last noisy one.
    batches : sequence of Batch
    steps, reach : int
        Number of steps, and of the evaluations that a row weighs at most.
    moves_levels : bool
        Whether the levels move, and those that the model is told.
    begun : ndarray of float64
        The free numbers that the descent begins with.
    """

    def __init__(
        self,
        base: Scheduler,
        fine: Tableau,
        batches: Sequence[Batch],
        steps: int,
        reach: int,
        moves_levels: bool,
        begun: Floats,
    ) -> None:
        self.base, self.fine, self.batches = base, fine, batches
        self.steps, self.reach, self.moves_levels = steps, reach, moves_levels
        finite = fine.sigmas[:-1][np.isfinite(fine.sigmas[:-1])]
        self._low, self._high = np.log([finite[-1], finite[0]])
        self._begun, self._ridge = begun, 0.0
        self._ridge = _RIDGE * self._error(begun)

    def table(self, vector: Floats) -> Tableau:
        """Return the table of these free numbers."""
        free = Free.of(vector, self.steps, self.reach)
        levels = self.base.tableau(self.steps).levels[:-1]
        if self.moves_levels:
            levels = tuple(map(self.base.schedule.level, np.exp(free.log_sigmas).tolist()))
        grid = Grid.of(self.base, levels, free.log_told, self.fine)
        return corrected(self.base, self.fine.levels[0], grid, free)

    def down(self, rounds: int) -> Tableau:
        """Return the table after some rounds."""
        space = Space.around(self._begun[: self.steps], self._low, self._high)
        equations = partial(self._normal_equations, space)
        end = descend(space, self._begun, rounds, _LEAST_GAIN, self._error, equations)
        return self.table(end)

    def _error(self, vector: Floats) -> float:
        table = self.table(vector)
        found = sum(
            float(np.sum(distances(run(model, table).x, x_0, rows)))
            for model, x_0, rows in self.batches
        )
        moved = self._weights(vector) - self._weights(self._begun)
        return found + self._ridge * float(moved @ moved)

    def _weights(self, vector: Floats) -> Floats:
        return vector[2 * self.steps :]

    def _normal_equations(self, space: Space, vector: Floats) -> tuple[Floats, Floats]:
        is_weight = np.arange(vector.size) >= 2 * self.steps
        moving = np.flatnonzero(is_weight | (self.moves_levels & np.isfinite(vector))).tolist()
        tried = [space.moved(vector, i, _MOVE) for i in moving]
        tables = [self.table(numbers) for numbers, _ in tried]
        normal = np.diag(2.0 * self._ridge * is_weight)
        slope = np.zeros_like(vector)
        moved = self._weights(vector) - self._weights(self._begun)
        slope[is_weight] = 2.0 * self._ridge * moved
        for model, x_0, rows in self.batches:
            known = run(model, self.table(vector))
            reached, far = flat(known.x, rows), distances(known.x, x_0, rows)
            each = reached.size // far.size
            weight = np.repeat(trust(far) / each, each)
            columns = np.zeros((vector.size, reached.size))
            for i, table, (_, move) in zip(moving, tables, tried, strict=True):
                columns[i] = (flat(run(model, table, known).x, rows) - reached) / move
            normal += (columns * weight) @ columns.T
            slope += columns @ (weight * (reached - flat(x_0, rows)))
        return normal, slope
