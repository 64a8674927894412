"""DPM-Solver: exponential integrators for the noise estimate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.deis import deis_rows
from schedulers.methods.multistep import (
    checked_orders,
    log_snr_step,
    slope_integral,
    step_orders,
)
from schedulers.methods.slopes import check_finite_slope, stretch
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt


def dpm_solver_rows(
    levels: tuple[Level, ...], most: int, level_at: LevelAt, final_orders: Sequence[int] = ()
) -> Iterator[Stage]:
    """Rows of singlestep `DPMSolver`; the step that ends clean is of first order."""
    orders = step_orders(len(levels) - 1, most, final_orders)
    for (now, then), order in zip(pairwise(levels), orders, strict=True):
        if then.sigma == 0.0 or then.alpha == 0.0 or order == 1:
            yield Stage(now, a=(then.alpha,), b=(then.sigma,))
            continue
        check_finite_slope("DPMSolver", now)
        h = log_snr_step(now, then)
        between = [level_at(now.karras * math.exp(-h * part / order)) for part in range(1, order)]
        if order == 2:
            yield from second_order_step(now, between[0], then)
        else:
            yield from _third(now, between[0], between[1], then, h)


def second_order_step(now: Level, middle: Level, then: Level, r: float = 0.5) -> Iterator[Stage]:
    """DPM-Solver-2 (Lu et al. 2022): Euler to r of the step in lambda, and the slope there.

    x' = (alpha' / alpha) x - sigma' E (e + (e_1 - e) / (2 r)), E = exp(h) - 1; r = 1/2 is
    Algorithm 1.
    """
    yield Stage(now, a=(middle.alpha,), b=(middle.sigma,), ends_step=False)
    c = stretch(now, then) / (2.0 * r)
    b = {0: c, 1: then.alpha * now.karras + stretch(now, then) - c}
    yield Stage(middle, a={1: then.alpha}, b=b)


def _third(now: Level, first: Level, second: Level, then: Level, h: float) -> Iterator[Stage]:
    """DPM-Solver-3 (Lu et al. 2022, Algorithm 2) with r1 = 1/3 and r2 = 2/3.

    With E(r) = exp(r h) - 1, so that stretch is -sigma E: u_2 and x' each add the difference of two
    estimates, e[1] - e[0] and e[2] - e[0], to Euler's step.
    """
    yield Stage(now, a=(first.alpha,), b=(first.sigma,), ends_step=False)
    c = second.sigma * 2.0 * slope_integral(-2.0 * h / 3.0)
    b = {0: c, 1: second.alpha * now.karras + stretch(now, second) - c}
    yield Stage(first, a={1: second.alpha}, b=b, ends_step=False)
    c = then.sigma * 1.5 * slope_integral(-h)
    b = {0: c, 2: then.alpha * now.karras + stretch(now, then) - c}
    yield Stage(second, a={2: then.alpha}, b=b)


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Scheduler):
    """DPM-Solver (Lu et al. 2022): the noise estimate as a polynomial in lambda.

    With lambda = log(alpha / sigma), a step is exact for a noise estimate that is such a
    polynomial. Multistep, it is the one through the last `order` evaluations, the integral exact,
    one evaluation a step. Singlestep, a step of order 2 or 3 makes that many evaluations between
    its ends (Algorithms 1 and 2), and cannot begin at alpha = 0. Deterministic. Other names:
    "DPM-Solver-2", "DPM-Solver-3"; multistep it is DEIS in log rho.

    "DPM-Solver-fast" in K evaluations is singlestep of order 3 in K // 3 + 1 steps, with
    `final_orders` (2, 1), (1,) or (2,) where K % 3 is 0, 1 or 2. The paper takes steps of equal
    length in lambda, and ends at a sigma above 0; give both by ``sigmas=``, such as
    ``np.geomspace(80.0, 0.01, steps + 1)``. A step that ends clean has order 1 and one evaluation.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        1 to 3; 1 is DDIM with eta = 0. In a multistep run the first steps have lower orders.
    singlestep : bool
        Whether each step stands alone.
    final_orders : tuple of int
        Orders of the last steps, in place of `order`. In few steps lower ones are more stable:
        (2, 1), or (1,) for order 2, is what others call lower_order_final, and (1,)
        euler_at_final.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Lu, Zhou, Bao, Chen, Li, Zhu: DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model
    Sampling in Around 10 Steps, NeurIPS 2022.

    Examples
    --------
    >>> from schedulers import DPMSolver, VESchedule
    >>> scheduler = DPMSolver(VESchedule(), order=2, singlestep=True)
    >>> print(scheduler.tableau(sigmas=[4.0, 1.0, 0.0]))
    DPMSolver: 2 steps, 3 model evaluations
    step NFE t alpha sigma D D[-1] e  e[-1] z
       1   1 4     1     4 1     0 2      0 0
           2 2     1     2 0     1 -3     4 0
       2   3 1     1     1 1     0 0      0 0
    ends at  0     1     0
    """

    order: int = 2
    singlestep: bool = False
    final_orders: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, 3)
        _checks.boolean("singlestep", self.singlestep)
        object.__setattr__(self, "final_orders", checked_orders(self.final_orders, self.order))

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        if self.singlestep:
            return dpm_solver_rows(levels, self.order, self.schedule.level, self.final_orders)
        return deis_rows(levels, self.order, "log_rho", self.schedule.level, self.final_orders)
