"""Euler's method on the probability-flow ODE, and its ancestral form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.churn import ChurnedScheduler
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level


@dataclass(frozen=True, kw_only=True)
class Euler(ChurnedScheduler):
    """Euler's method (Karras et al. 2022, Algorithm 1 with sigma(t) = t, lines 6 to 8 left out).

    With s Karras's sigma, y = x / alpha and dy/ds = (y - D) / s = e (eq. 4), a step is

        y' = y + (s' - s) e = D + s' e,

    so x' = alpha' D + alpha' s' e. It is DDIM with eta = 0 in other words. First order, one
    evaluation a step; deterministic unless `s_churn` is set (Algorithm 2).

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    s_churn, s_tmin, s_tmax, s_noise : float
        As for `ChurnedScheduler`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is none such.

    References
    ----------
    Karras, Aittala, Aila, Laine: Elucidating the Design Space of Diffusion-Based Generative
    Models, NeurIPS 2022.

    Examples
    --------
    >>> from schedulers import Euler, VESchedule
    >>> print(Euler(VESchedule()).tableau(sigmas=[4.0, 2.0, 0.0]))
    Euler: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e z
       1   1 4     1     4 1 2 0
       2   2 2     1     2 1 0 0
    ends at  0     1     0
    """

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        begins = self.raised(levels)
        for now, then, raised in zip(begins, levels[1:], begins[1:], strict=False):
            yield Stage(
                now,
                a=(raised.alpha,),
                b=(raised.alpha * then.karras,),
                c=self.raise_noise(then, raised),
            )


@dataclass(frozen=True, kw_only=True)
class EulerAncestral(Scheduler):
    """Euler's method to a lower level, and fresh noise back up ("ancestral" in k-diffusion).

    With s Karras's sigma and y = x / alpha, noise of variance s_up**2 is what the reverse of the
    forward process would add, scaled by eta, and Euler's step goes to what is left of s':

        s_up = eta s' sqrt(1 - s'**2 / s**2),      s_down = sqrt(s'**2 - s_up**2),
        y' = D + s_down e + s_up z.

    It is DDIM with the same eta in other words. First order, one evaluation a step; stochastic
    unless eta is 0.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    eta : float
        In [0, 1]; 0 is Euler, 1 is DDPM's posterior variance.
    s_noise : float
        Standard deviation of the noise that is added, in units of s_up; at least 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter is none such.

    References
    ----------
    Karras et al. 2022, as for `Euler`; the split into s_down and s_up is k-diffusion's.

    Examples
    --------
    >>> from schedulers import EulerAncestral, VESchedule
    >>> print(EulerAncestral(VESchedule()).tableau(sigmas=[4.0, 2.0, 0.0]))
    EulerAncestral: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e z
       1   1 4     1     4 1 1 1.7321
       2   2 2     1     2 1 0 0
    ends at  0     1     0
    """

    eta: float = 1.0
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.settle(self, "eta", at_least=0.0, at_most=1.0)
        _checks.settle(self, "s_noise", at_least=0.0)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        for now, then in pairwise(levels):
            s_up, s_down = 0.0, then.karras
            if self.eta:
                ratio = then.karras / now.karras
                s_up = self.eta * then.karras * math.sqrt(1.0 - ratio**2)
                # sqrt(s'**2 - s_up**2) without cancellation where eta is near 1
                s_down *= math.hypot(math.sqrt(1.0 - self.eta**2), self.eta * ratio)
            yield Stage(
                now,
                a=(then.alpha,),
                b=(then.alpha * s_down,),
                c=then.alpha * s_up * self.s_noise,
            )
