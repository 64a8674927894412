"""Euler's method on the probability-flow ODE, and its ancestral form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.methods.churn import ChurnedScheduler, Raise
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level


def euler_rows(levels: tuple[Level, ...], raises: Sequence[Raise] | None = None) -> Iterator[Stage]:
    """Rows of `Euler`: x' = alpha' D + sigma' e, then up to where churn raises the next level."""
    raises = raises or [Raise(level) for level in levels]
    for begin, then, up in zip(raises, levels[1:], raises[1:], strict=False):
        yield Stage(begin.level, a=(up.scale * then.alpha,), b=(up.scale * then.sigma,), c=up.c)


def euler_ancestral_rows(
    levels: tuple[Level, ...], eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Stage]:
    """Rows of `EulerAncestral`: x' = alpha' (D + s_down e + s_up s_noise z)."""
    for now, then in pairwise(levels):
        down, up = ancestral_split(now, then, eta)
        yield Stage(now, a=(then.alpha,), b=(then.sigma * down,), c=then.sigma * up * s_noise)


@dataclass(frozen=True, kw_only=True)
class Euler(ChurnedScheduler):
    """Euler's method (Karras et al. 2022, Algorithm 1 with sigma(t) = t, lines 6 to 8 left out).

    With s Karras's sigma, y = x / alpha and dy/ds = (y - D) / s = e (eq. 4), a step is

        y' = y + (s' - s) e = D + s' e,

    so x' = alpha' D + alpha' s' e. It is the same step as DDIM's with eta = 0. First order, one
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
        If a parameter has the wrong type or is out of range.

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
        return euler_rows(levels, self.raises(levels))


@dataclass(frozen=True, kw_only=True)
class EulerAncestral(Scheduler):
    """Euler's method to a lower level, and fresh noise back up ("ancestral" in k-diffusion).

    With s Karras's sigma and y = x / alpha, noise of variance s_up**2 is what the reverse of the
    forward process would add, scaled by eta, and Euler's step goes to what is left of s':

        s_up = eta s' sqrt(1 - s'**2 / s**2),      s_down = sqrt(s'**2 - s_up**2),
        y' = D + s_down e + s_up z.

    It is the same step as DDIM's with the same eta. First order, one evaluation a step; stochastic
    unless eta is 0.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    eta : float
        In [0, 1]; 0 is Euler, 1 has DDPM's posterior variance.
    s_noise : float
        Factor on the standard deviation of the noise that is added, at least 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

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
        return euler_ancestral_rows(levels, self.eta, self.s_noise)
