"""DEIS: the diffusion exponential integrator sampler, a multistep method for the noise estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.lms import lms_rows
from schedulers.methods.multistep import FAR, lagrange_weights, log_snr_step, step_orders, windows
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt
from schedulers.schedules.elementary import exp

VARIABLES = ("t", "rho", "log_rho")


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
