"""Restart: noise back up over a long interval, and Heun's method down again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.grids.sigmas import karras_sigmas
from schedulers.methods.churn import Raise, raise_to
from schedulers.methods.heun import heun_rows
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt

Interval = tuple[float, float, int, int]
# A level went to the model's time and back: within this it is the interval's top.
_ROUNDING = 1e-9


def restart_rows(
    levels: tuple[Level, ...], level_at: LevelAt, restarts: Sequence[Interval], s_noise: float = 1.0
) -> Iterator[Stage]:
    """Rows of `Restart`. A step that ends at an interval's foot holds its ways up and down."""
    for now, then in pairwise(levels):
        ways: list[tuple[Level, ...]] = [(now, then)]
        for low, high, steps, times in restarts:
            if then is foot(levels, low) and high > then.karras * (1.0 + _ROUNDING):
                down = map(level_at, karras_sigmas(steps + 1, then.karras, high)[:-2].tolist())
                ways += [(*down, then)] * times
        yield from one_step(ways, s_noise)


def one_step(ways: list[tuple[Level, ...]], s_noise: float) -> Iterator[Stage]:
    """Rows down each way in turn, all ending at one level; between them noise raises it."""
    then = ways[0][-1]
    rows: list[Stage] = []
    for way, following in zip(ways, [*ways[1:], None], strict=True):
        up = Raise(then) if following is None else raise_to(then, following[0], s_noise)
        rows += heun_rows(way, [*map(Raise, way[:-1]), up])
    yield from (replace(row, ends_step=False) for row in rows[:-1])
    yield rows[-1]


def foot(levels: tuple[Level, ...], low: float) -> Level | None:
    """Return the level nearest to Karras's sigma `low` of those where a step ends, not clean."""
    ends = [level for level in levels[1:] if level.sigma > 0.0]
    return min(ends, key=lambda level: abs(level.karras - low), default=None)


@dataclass(frozen=True, kw_only=True)
class Restart(Scheduler):
    """Restart sampling (Xu et al. 2023): Heun's method that goes over intervals again.

    At the level nearest to t_min, noise takes the sample up to t_max, and Heun's method brings it
    down again. With s Karras's sigma and y = x / alpha, `times` times over,

        y_max = y_min + sqrt(t_max**2 - t_min**2) z,      y_min = Heun(y_max, from t_max to t_min).

    The noise contracts the errors of the steps before. In a tableau the levels fall as in any run:
    the ways up and down are part of the step that ends at t_min. They end at the grid's level, and
    are on Karras's grid with rho = 7 (Karras et al. 2022, eq. 5). An interval is left out where no
    step of the run ends near it: where the nearest level is at t_max or above.

    Second order in the law of the samples, where the steps down the intervals get shorter as well.
    As many evaluations as `Heun`, and two more for each step down an interval; stochastic. It
    cannot begin at alpha = 0.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    restarts : sequence of (float, float, int, int)
        The intervals: t_min and t_max, as Karras's sigmas; the number of steps of a way down; and
        the number of times, the paper's K.
    s_noise : float
        Factor on the standard deviation of the noise that is added, at least 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range; by a run, if it begins at alpha = 0.

    References
    ----------
    Xu, Deng, Cheng, Tian, Liu, Jaakkola: Restart Sampling for Improving Generative Processes,
    NeurIPS 2023.

    Examples
    --------
    >>> from schedulers import Restart, VESchedule
    >>> scheduler = Restart(VESchedule(), restarts=[(1.0, 2.0, 1, 1)])
    >>> print(scheduler.tableau(sigmas=[4.0, 1.0, 0.0]))
    Restart: 2 steps, 5 model evaluations
    step NFE t alpha sigma D e    e[-1] z
       1   1 4     1     4 1  1   0     0
           2 1     1     1 1 -0.5 1.5   1.7321
           3 2     1     2 1  1   0     0
           4 1     1     1 1  0.5 0.5   0
       2   5 1     1     1 1  0   0     0
    ends at  0     1     0
    """

    restarts: Sequence[Interval] = ()
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.restarts, (tuple, list)):
            raise TypeError(
                f"restarts must be a sequence of (t_min, t_max, steps, times), "
                f"got {_checks.shown(self.restarts)}"
            )
        object.__setattr__(self, "restarts", tuple(map(self._checked, self.restarts)))
        _checks.settle(self, "s_noise", at_least=0.0)

    def _checked(self, interval: Interval) -> Interval:
        if not isinstance(interval, (tuple, list)) or len(interval) != 4:
            raise TypeError(
                f"restarts must be (t_min, t_max, steps, times) each, got {_checks.shown(interval)}"
            )
        low, high, steps, times = interval
        low = _checks.real("t_min of restarts", low, above=0.0)
        highest = self.schedule.max_karras_sigma
        return (
            low,
            _checks.real("t_max of restarts", high, above=low, at_most=highest),
            _checks.count("steps of restarts", steps),
            _checks.count("times of restarts", times),
        )

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return restart_rows(levels, self.schedule.level, self.restarts, self.s_noise)
