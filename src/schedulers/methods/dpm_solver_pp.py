"""DPM-Solver++: exponential integrators for the denoised estimate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.methods.dpm_sde import sde_rows
from schedulers.methods.multistep import (
    checked_orders,
    exponential_adams,
    from_start,
    log_snr_step,
    slope_integral,
    step_orders,
)
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt

SOLVER_TYPES = ("midpoint", "heun")


def multistep_rows(
    levels: tuple[Level, ...],
    order: int,
    solver_type: str = "midpoint",
    eta: float = 0.0,
    final_orders: Sequence[int] = (),
) -> Iterator[Stage]:
    """Rows of multistep `DPMSolverPP`, from Lu et al. 2022b, eq. 13 and 14, with k = 1 + eta.

        x' = (sigma' / sigma) exp(-eta h) x + alpha' int_0^h k exp(k (u - h)) P(u) du
             + sigma' sqrt(1 - exp(-2 eta h)) z,

    P the polynomial in u = lambda - lambda(now) through the last denoised estimates. The step that
    ends clean is of first order: its h is infinite.
    """
    midpoint = order == 2 and solver_type == "midpoint"
    orders = step_orders(len(levels) - 1, order, final_orders)
    return exponential_adams(
        levels, orders, eta=lambda now: eta, slope="bh2" if midpoint else "exact"
    )


def singlestep_rows(
    levels: tuple[Level, ...],
    order: int,
    level_at: LevelAt,
    eta: float = 0.0,
    final_orders: Sequence[int] = (),
) -> Iterator[Stage]:
    """Rows of singlestep `DPMSolverPP`: a step down, and with `eta` fresh noise back up.

    The step that ends clean is of first order.
    """
    orders = step_orders(len(levels) - 1, order, final_orders)
    for (now, then), its in zip(pairwise(levels), orders, strict=True):
        kept, fresh = ancestral_split(now, then, eta)
        down = Level(then.t, then.alpha, kept * then.sigma)  # no level of the model's: it only ends
        *rows, last = _step(now, down, then.karras, its, level_at)
        yield from rows
        yield Stage(last.level, last.a, last.b, c=then.sigma * fresh)


def _step(now: Level, then: Level, lowest: float, order: int, level_at: LevelAt) -> Iterator[Stage]:
    """DPM-Solver++(2S) and (3S) (Lu et al. 2022b, Algorithm 1; 3S with r1 = 1/3 and r2 = 2/3).

    2S has its middle at r = 1/2, or at the sigma `lowest` where that is above.
    """
    h = log_snr_step(now, then)
    if order == 1 or math.isinf(h) or h == 0.0:
        yield Stage(now, a=(then.alpha,), b=(then.sigma,))
        return

    def between(r: float) -> Level:
        return level_at(now.karras * math.exp(-h * r))

    if order == 2:
        r = min(0.5, math.log(now.karras / lowest) / h)
        middle = between(r)
        yield Stage(now, a=(middle.alpha,), b=(middle.sigma,), ends_step=False)
        yield Stage(middle, *from_start(then, -math.expm1(-h) / (2.0 * r)))
        return
    first, second = between(1 / 3), between(2 / 3)
    yield Stage(now, a=(first.alpha,), b=(first.sigma,), ends_step=False)
    w = 2.0 * slope_integral(2.0 * h / 3.0)
    yield Stage(first, *from_start(second, w), ends_step=False)
    yield Stage(second, *from_start(then, 1.5 * slope_integral(h), 0.0))


@dataclass(frozen=True, kw_only=True)
class DPMSolverPP(Scheduler):
    """DPM-Solver++ (Lu et al. 2022b): the denoised estimate as a polynomial in lambda.

    With lambda = log(alpha / sigma), a step is exact for a denoised estimate that is such a
    polynomial. Multistep (the default), one evaluation a step: order 2 is "DPM++ 2M", order 3 is
    "DPM++ 3M". With `eta` 1 they solve the reverse stochastic equation: "DPM++ 2M SDE", "DPM++ 3M
    SDE". Singlestep, each step makes `order` evaluations: "DPM++ 2S", "DPM++ 3S"; with `eta` it
    goes to a lower level and adds fresh noise: "DPM++ 2S ancestral"; with `sde` as well it adds
    noise before the second evaluation, too: "DPM++ SDE", DPMSolverSDEScheduler. The step that ends
    clean is of first order. Runs can begin at alpha = 0.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        1 to 3; 1 is DDIM. In a multistep run the first steps have lower orders.
    solver_type : str
        For multistep order 2: "midpoint" takes the polynomial at the step's middle (Algorithm 2);
        "heun" integrates it exactly.
    singlestep : bool
        Whether each step stands alone.
    eta : float
        In [0, 1]; amount of fresh noise, as in k-diffusion. 0 is deterministic. With order 1, 1 is
        DDPM. Singlestep of order 3 takes none.
    sde : bool
        For singlestep order 2: whether both evaluations' rows draw noise, as one Brownian path has
        it: the second noise contains the first. With eta = 1 that solves the reverse SDE and is
        `SEEDS` of order 2. On a `BrownianPath` the samples converge in order 1, and the law of
        Gaussian data in order 2.
    final_orders : tuple of int
        As for `DPMSolver`: orders of the last steps. The step that ends clean has order 1 in any
        case; a run by ``sigmas=`` can end above 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Lu, Zhou, Bao, Chen, Li, Zhu: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion
    Probabilistic Models, 2022 (2022b).

    Examples
    --------
    >>> from schedulers import DPMSolverPP, VESchedule
    >>> print(DPMSolverPP(VESchedule()).tableau(sigmas=[4.0, 2.0, 1.0, 0.0]))
    DPMSolverPP: 3 steps, 3 model evaluations
    step NFE t alpha sigma D    D[-1] e z
       1   1 4     1     4 1    0     2 0
       2   2 2     1     2 1.25 -0.25 1 0
       3   3 1     1     1 1    0     0 0
    ends at  0     1     0
    """

    order: int = 2
    solver_type: str = "midpoint"
    singlestep: bool = False
    eta: float = 0.0
    sde: bool = False
    final_orders: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, 3)
        _checks.choice("solver_type", self.solver_type, SOLVER_TYPES)
        _checks.boolean("singlestep", self.singlestep)
        _checks.settle(self, "eta", at_least=0.0, at_most=1.0)
        if self.singlestep and self.order == 3 and self.eta:
            raise ValueError(f"eta must be 0 for singlestep of order 3, got {self.eta!r}")
        object.__setattr__(self, "final_orders", checked_orders(self.final_orders, self.order))
        if _checks.boolean("sde", self.sde) and not (self.singlestep and self.order == 2):
            raise ValueError(
                f"sde must be False except for singlestep=True and order=2, got "
                f"singlestep={self.singlestep} and order={self.order}"
            )

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        if self.sde:
            return sde_rows(levels, self.schedule.level, self.eta, self.final_orders)
        if self.singlestep:
            level_at = self.schedule.level
            return singlestep_rows(levels, self.order, level_at, self.eta, self.final_orders)
        return multistep_rows(levels, self.order, self.solver_type, self.eta, self.final_orders)
