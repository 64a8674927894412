"""LMS and DEIS: multistep methods for the noise estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.multistep import (
    FAR,
    lagrange_weights,
    log_snr_step,
    step_orders,
    windows,
)
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level
from schedulers.schedules.elementary import exp

LevelAt = Callable[[float], Level]
VARIABLES = ("t", "rho", "log_rho")


def lms_rows(levels: tuple[Level, ...], order: int = 4) -> Iterator[Stage]:
    """Rows of `LMS`."""
    for now, then, past in windows(levels, order):
        yield adams_step(now, then, past)


def adams_step(now: Level, then: Level, past: Sequence[tuple[int, Level]]) -> Stage:
    """Row of y' = y + int P(s) ds, P the polynomial in s through noise estimates of some ages.

    With y = D + s e in the row, x' = alpha' (D + s e + sum_k w[k] e[-k]).
    """
    if len(past) == 1 or now.alpha == 0.0 or then.alpha == 0.0:
        return Stage(now, a=(then.alpha,), b=(then.sigma,))
    nodes = [level.karras for _, level in past]
    w = lagrange_weights(nodes, now.karras, then.karras, np.ones_like)
    b = {age: then.alpha * weight for (age, _), weight in zip(past, w, strict=True)}
    b[0] += then.alpha * now.karras
    return Stage(now, a=(then.alpha,), b=b)


def deis_rows(
    levels: tuple[Level, ...],
    order: int,
    variable: str,
    level_at: LevelAt,
    final_orders: Sequence[int] = (),
) -> Iterator[Stage]:
    """Rows of `DEIS`: y' = y - s int exp(-u) P du with u = lambda - lambda(now).

    P is the polynomial in the time or in u through the last noise estimates. The step that ends
    clean is of first order for a polynomial in the time, which the model has no more of there.
    """
    orders = step_orders(len(levels) - 1, order, final_orders)
    for (now, then, known), most in zip(windows(levels, order), orders, strict=True):
        past = known[:most]
        ends_clean = variable == "t" and then.sigma == 0.0
        if len(past) == 1 or now.alpha == 0.0 or then.alpha == 0.0 or ends_clean:
            yield Stage(now, a=(then.alpha,), b=(then.sigma,))
            continue
        s, h = now.karras, log_snr_step(now, then)
        if variable == "t":
            nodes = [float(level.t) for _, level in past]
            times = _times(now, level_at)
        else:
            nodes, times = [-log_snr_step(level, now) for _, level in past], None
        w = lagrange_weights(nodes, 0.0, min(h, FAR), lambda u: exp(-u), times)
        b = {age: -then.alpha * s * weight for (age, _), weight in zip(past, w, strict=True)}
        b[0] += then.alpha * s
        yield Stage(now, a=(then.alpha,), b=b)


def _times(now: Level, level_at: LevelAt) -> Callable[..., np.ndarray]:
    return lambda u: np.array([level_at(s).t for s in (now.karras * exp(-u)).tolist()])


@dataclass(frozen=True, kw_only=True)
class LMS(Scheduler):
    """Linear multistep method in Karras's sigma: Adams-Bashforth with steps of any length.

    With s Karras's sigma and y = x / alpha, dy/ds = e (Karras et al. 2022, eq. 4). A step
    integrates the polynomial in s through the last `order` noise estimates exactly. On a grid that
    is uniform in s it has the constant weights of `PLMS`. One evaluation a step; deterministic. The
    first steps have lower orders, as there are no earlier estimates, so the error falls with order
    2 in a run from the first level, and the later steps have order `order`. A last step to 0 that
    is much longer than those before it, as on a Karras grid of hundreds of steps, extrapolates far
    and multiplies rounding errors. Other names: "LMS", LMSDiscreteScheduler, rho-AB-DEIS.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of noise estimates, 1 to 4; 1 is DDIM with eta = 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Adams and Bashforth's method with variable steps: Hairer, Norsett, Wanner: Solving Ordinary
    Differential Equations I, section III.5.

    Examples
    --------
    >>> from schedulers import LMS, VESchedule
    >>> print(LMS(VESchedule(), order=2).tableau(sigmas=[4.0, 2.0, 1.0, 0.0]))
    LMS: 3 steps, 3 model evaluations
    step NFE t alpha sigma D e     e[-1] z
       1   1 4     1     4 1 2     0     0
       2   2 2     1     2 1 0.75  0.25  0
       3   3 1     1     1 1 -0.5  0.5   0
    ends at  0     1     0
    """

    order: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, 4)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return lms_rows(levels, self.order)


@dataclass(frozen=True, kw_only=True)
class DEIS(Scheduler):
    """Diffusion exponential integrator sampler, "tAB-DEIS" (Zhang & Chen 2023, eq. 14 and 15).

    A step integrates the polynomial through the last `order` noise estimates exactly. It is one in
    the model's time ("t", the paper's), in rho = sigma / alpha ("rho": the same method as `LMS`),
    or in log rho ("log_rho": the same as multistep `DPMSolver`). One evaluation a step;
    deterministic. The first steps have lower orders. Other names: DEISMultistepScheduler.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of noise estimates, 1 to 4; 1 is DDIM with eta = 0.
    variable : str
        "t", "rho" or "log_rho".

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Zhang, Chen: Fast Sampling of Diffusion Models with Exponential Integrator, ICLR 2023.

    Examples
    --------
    >>> from schedulers import DEIS, VESchedule
    >>> print(DEIS(VESchedule(), order=2, variable="log_rho").tableau(sigmas=[4.0, 2.0, 1.0]))
    DEIS: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e       e[-1]   z
       1   1 4     1     4 1 2       0       0
       2   2 2     1     2 1 0.5573  0.4427  0
    ends at  1     1     1
    """

    order: int = 3
    variable: str = "t"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, 4)
        _checks.choice("variable", self.variable, VARIABLES)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        if self.variable == "rho":
            return lms_rows(levels, self.order)
        return deis_rows(levels, self.order, self.variable, self.schedule.level)
