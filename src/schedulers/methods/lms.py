"""LMS: Adams and Bashforth's method in Karras's sigma."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.multistep import lagrange_weights, windows
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level


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
