"""Levels looked for with the model in the loop, each row's weights found as it is reached.

For given levels a table is grown row by row: the model is asked where the rows so far have led, and
the weights of the next row are those that lead nearest to the recorded flow, by linear least
squares. So levels are all that has to be searched. One after another is moved along the fine run,
alone and with all after it, and stays where the last sample comes nearer to the flow's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nsmallest
from itertools import cycle, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers.engine import arrays
from schedulers.fitting.passes import Model, Pass, next_sample
from schedulers.fitting.rows import Free, Grid, added_scale, entry_scale, reweighed
from schedulers.fitting.trajectories import distances, flat, trust
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.engine.tableau import Stage
    from schedulers.scheduler import Scheduler

    Floats = NDArray[np.float64]

# Least squares are made this much stiffer than they are, relatively.
_RIDGE = 1e-4
# Moves of a level that are tried, as parts of the fine run: from all beginnings, then the best.
_COARSE, _FINE = (0.16, 0.08, 0.04), (0.02,)
# Of such a part that moves a level, by how much log_told is moved.
_TOLD = 0.5
# A move that gains less than this part of the error is not made.
_LEAST_GAIN = 1e-3


class Grown(NamedTuple):
    """A table grown on levels, what the model said, and how far the last samples are off."""

    grid: Grid
    stages: tuple[Stage, ...]
    free: Free
    estimates: list[tuple[Any, Any]]
    error: float


class Tried(NamedTuple):
    """A table grown on levels of the fine run."""

    places: tuple[int, ...]
    log_told: float
    grown: Grown


class Search:
    """Tables grown towards the flow of a batch.

    Parameters
    ----------
    base : Scheduler
        Whose rows are corrected.
    model : Model
    flow : Pass
        The run of the model in fine steps.
    fitted : ndarray of bool
        The samples that are fitted on.
    reach : int
        How many evaluations a row weighs, at most.
    """

    def __init__(
        self, base: Scheduler, model: Model, flow: Pass, fitted: NDArray[np.bool_], reach: int
    ) -> None:
        self.base, self.model, self.flow = base, model, flow
        self.fitted, self.reach = fitted, reach
        self.levels = flow.tableau.levels[:-1]

    def grown(
        self, levels: Sequence[Level], log_told: float = 0.0, known: Grown | None = None
    ) -> Grown:
        """Return the table that follows the flow on these levels.

        The model is told of this part of the noise, at each of them. What it has said on the first
        levels of a known table, where they are the same, is taken from there.
        """
        told = np.full(len(levels), log_told)
        grid = Grid.of(self.base, levels, told, self.flow.tableau)
        begun, ends = grid.stages(self.base), grid.samples[1:]
        same = 0 if known is None else _shared(known.stages, begun)
        estimates = [] if known is None else known.estimates[:same]
        kept = max(same - 1, 0)
        weights = list(() if known is None else known.free.weights[:kept])
        x = arrays.weighted_sum([(entry_scale(grid.samples[0], self.levels[0]), self.model.x_T)])
        for i in range(kept, len(begun)):
            if i >= same:
                estimates.append(self.model.estimates(x, begun[i]))
            target = self._flow_at(ends[i])
            weights.append(self._weights(begun[i], estimates[: i + 1], ends[i], target))
            x = next_sample(reweighed(begun[i], weights[-1], ends[i]), estimates[: i + 1])
        error = float(np.mean(distances(x, self.flow.x, self.fitted)))
        logs = np.log([level.karras for level in levels])
        return Grown(grid, begun, Free(logs, told, tuple(weights)), estimates, error)

    def best(self, steps: int, own: Sequence[Level], count: int) -> Grown:
        """Return the best table of this number of steps that was found.

        The search begins from the scheduler's own levels and from evenly bent ones. It goes on from
        the best few by long moves, and from the best of what these lead to by short ones.
        """
        begun = {self._nearest(own), *_bent(len(self.levels), steps)}
        tried = (self._tried(places, 0.0) for places in sorted(begun))
        few, seen = nsmallest(count, tried, key=_error), {(places, 0.0) for places in begun}
        best = min((self._descended(each, _COARSE, seen) for each in few), key=_error)
        return self._descended(best, _FINE, seen).grown

    def _descended(
        self, best: Tried, parts: Sequence[float], seen: set[tuple[tuple[int, ...], float]]
    ) -> Tried:
        """Move levels, and what the model is told, by less and less, until no move helps.

        A level moves alone, and with all after it, as its neighbours may hold it. Tables that were
        seen, from here or from another beginning, are not tried again.
        """
        n = len(best.places)
        levels, told = [(i, i + 1) for i in range(n)] + [(i, n) for i in range(n - 1)], (n, n)
        moves = [*product([*levels, told], (1, -1))]
        for part in parts:
            length, idle = max(round(part * len(self.levels)), 1), 0
            for (i, end), way in cycle(moves):
                at = best.places
                moved = *at[:i], *(k + way * length for k in at[i:end]), *at[end:]
                log_told = round(best.log_told + (way * part * _TOLD if i == n else 0.0), 6)
                idle += 1
                if _falls(moved, len(self.levels)) and (moved, log_told) not in seen:
                    seen.add((moved, log_told))
                    tried = self._tried(moved, log_told, best.grown)
                    if _error(tried) < _error(best) * (1.0 - _LEAST_GAIN):
                        best, idle = tried, 0
                if idle == len(moves):
                    break
        return best

    def _tried(self, places: tuple[int, ...], log_told: float, known: Grown | None = None) -> Tried:
        levels = [self.levels[place] for place in places]
        return Tried(places, log_told, self.grown(levels, log_told, known))

    def _weights(
        self, stage: Stage, estimates: Sequence[tuple[Any, Any]], end: Level, target: Any
    ) -> Floats:
        """Return the weights with which a row ends nearest to the target."""
        past = estimates[max(len(estimates) - self.reach, 0) : -1][::-1]
        if not past:
            return np.zeros(0)
        now = flat(estimates[-1][1], self.fitted)
        plain = next_sample(stage, estimates)
        scale = added_scale(stage.level, end)
        columns = np.stack([scale * (flat(e, self.fitted) - now) for _, e in past])
        left = flat(target, self.fitted) - flat(plain, self.fitted)
        far = distances(plain, target, self.fitted)
        weighed = columns * np.repeat(trust(far), left.size // far.size)
        normal = weighed @ columns.T
        normal[np.diag_indices(len(past))] += _RIDGE * np.trace(normal) / len(past)
        weights = np.linalg.lstsq(normal, weighed @ left)[0]
        return np.asarray(weights, np.float64)

    def _flow_at(self, level: Level) -> Any:
        """Return the recorded flow at a level. D and e change little between two fine steps."""
        if not level.karras:
            return self.flow.x
        d, e = self.flow.estimates[round(self._place(level.karras))]
        return arrays.weighted_sum([(level.alpha, d), (level.sigma, e)])

    def _place(self, karras: float) -> float:
        """Return where a Karras sigma is on the fine run, between its noisy levels."""
        if not np.isfinite(karras):
            return 0.0
        finite = [i for i, known in enumerate(self.levels) if np.isfinite(known.karras)]
        logs = [-np.log(self.levels[i].karras) for i in finite]
        return float(np.interp(-np.log(karras), logs, finite))

    def _nearest(self, own: Sequence[Level]) -> tuple[int, ...]:
        """Return different places near these levels."""
        found: list[int] = []
        for i, level in enumerate(own):
            least, most = found[-1] + 1 if found else 0, len(self.levels) - len(own) + i
            found.append(min(max(round(self._place(level.karras)), least), most))
        return tuple(found)


def _shared(known: Sequence[Stage], stages: Sequence[Stage]) -> int:
    """Return how many of the first evaluations of a known table are those of this one."""
    shared = 0
    for i, (old, new) in enumerate(zip(known, stages, strict=True)):
        if old.level != new.level or (i and known[i - 1] != stages[i - 1]):
            break
        shared += 1
    return shared


def _error(tried: Tried) -> float:
    return tried.grown.error


def _falls(places: tuple[int, ...], size: int) -> bool:
    return places[0] >= 0 and places[-1] < size and bool(np.all(np.diff(places) > 0))


def _bent(size: int, steps: int) -> Iterator[tuple[int, ...]]:
    """Yield places to begin a search from, with several first levels, ends and densities."""
    for first, end in product((0.0, 0.1, 0.2), (0.8, 1.0)):
        for bend in (0.4, 0.6, 0.8, 1.0, 1.3):
            parts = first + (end - first) * (np.arange(steps) / steps) ** bend
            places = tuple((parts * (size - 1)).round().astype(int).tolist())
            if _falls(places, size):
                yield places
