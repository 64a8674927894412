"""SA-Solver: a stochastic Adams method whose corrector shares the predictor's noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.multistep import exponential_adams
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

VARIANTS = ("exact", "bh1")


def sa_solver_rows(
    levels: tuple[Level, ...],
    predictor_order: int = 2,
    corrector_order: int = 2,
    tau: float | Callable[[Level], float] = 1.0,
    lower_order_final: bool = True,
    variant: str = "exact",
) -> Iterator[Stage]:
    """Rows of `SASolver` (Xue et al. 2023, Algorithm 1)."""

    def eta(now: Level) -> float:
        return _checks.real("tau", tau(now) if callable(tau) else tau, at_least=0.0) ** 2

    steps = len(levels) - 1
    left = [steps - step if lower_order_final else steps for step in range(steps)]
    predicted = [min(predictor_order, most) for most in left]
    corrected = [min(corrector_order, most) for most in left]
    return exponential_adams(levels, predicted, corrected, eta, variant)


@dataclass(frozen=True, kw_only=True)
class SASolver(Scheduler):
    """SA-Solver (Xue et al. 2023): a stochastic Adams predictor and corrector, on D.

    With lambda = log(alpha / sigma) and h a step's length in it, a function tau >= 0 says how much
    noise a run draws: 0 none, 1 that of the reverse SDE. Constant on a step, the solution is

        x' = (sigma' / sigma) exp(-tau**2 h) x + alpha' int_0^h k exp(k (u - h)) D du
             + sigma' sqrt(1 - exp(-2 tau**2 h)) z,      k = 1 + tau**2.

    The predictor takes D as the polynomial in lambda through the last estimates. When the next
    estimate comes, the corrector takes the step again, with that estimate and with the same z, and
    the next prediction begins from there. One evaluation a step. It can begin at alpha = 0.

    Without a corrector it is multistep `DPMSolverPP` with eta = tau**2 (and solver_type "heun").
    With tau = 0 a run has order `predictor_order`, or with a corrector the smaller one of
    `corrector_order` and `predictor_order` + 1, after the first steps, which have lower orders.
    With noise, the law of the samples of Gaussian data converges in order 2 at most.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    predictor_order : int
        Number of estimates that a prediction weighs, 1 to 4.
    corrector_order : int
        Number of estimates that a correction weighs, the new one included, 1 to 4; or 0 for no
        corrector.
    tau : float or callable
        Amount of noise, at least 0. Or a function of a step's first `Level` that returns it, such
        as ``lambda level: float(0.05 < level.karras <= 1.0)``, which is like the paper's choice.
    lower_order_final : bool
        Whether the last steps have lower orders, the last one order 1.
    variant : str
        How a line through two estimates is integrated: "exact", or "bh1", with h / 2 in place of
        the slope's exact factor, as in `UniPC` and in SASolverScheduler.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range; by a run, if `tau` returns no number
        of at least 0.

    References
    ----------
    Xue, Yi, Luo, Zhang, Sun, Li, Ma: SA-Solver: Stochastic Adams Solver for Fast Sampling of
    Diffusion Models, NeurIPS 2023.

    Examples
    --------
    >>> from schedulers import SASolver, VESchedule
    >>> print(SASolver(VESchedule()).tableau(sigmas=[4.0, 2.0, 1.0, 0.0]))
    SASolver: 3 steps, 3 model evaluations
    step NFE t alpha sigma D      D[-1]    e   z
       1   1 4     1     4 1      0        1   1.7321
       2   2 2     1     2 1.5737 -0.57374 0.5 0.86603
       3   3 1     1     1 1      0        0   0
    ends at  0     1     0
    """

    predictor_order: int = 2
    corrector_order: int = 2
    tau: float | Callable[[Level], float] = 1.0
    lower_order_final: bool = True
    variant: str = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("predictor_order", self.predictor_order, 1, 4)
        _checks.between("corrector_order", self.corrector_order, 0, 4)
        if not callable(self.tau):
            _checks.settle(self, "tau", at_least=0.0)
        _checks.boolean("lower_order_final", self.lower_order_final)
        _checks.choice("variant", self.variant, VARIANTS)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return sa_solver_rows(
            levels,
            self.predictor_order,
            self.corrector_order,
            self.tau,
            self.lower_order_final,
            self.variant,
        )
