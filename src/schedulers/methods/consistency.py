"""Sampling from consistency models: LCM and TCD."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level


def lcm_rows(
    levels: tuple[Level, ...], timestep_scaling: float | None = 10.0, sigma_data: float = 0.5
) -> Iterator[Stage]:
    """Rows of `LCM`: x' = alpha' (c_skip x + c_out D) + sigma' z, with x = alpha D + sigma e."""
    for now, then in pairwise(levels):
        skip, out = boundary(now.t, timestep_scaling, sigma_data)
        a, b = then.alpha * (skip * now.alpha + out), then.alpha * skip * now.sigma
        yield Stage(now, a=(a,), b=(b,), c=then.sigma)


def boundary(t: float, scaling: float | None, sigma_data: float) -> tuple[float, float]:
    """Return c_skip and c_out: 1 and 0 at t = 0, where the consistency function is x itself."""
    if scaling is None:
        return 0.0, 1.0
    far = math.hypot(scaling * t, sigma_data)
    return (sigma_data / far) ** 2, scaling * t / far


def tcd_rows(
    levels: tuple[Level, ...], level_of: Callable[[float], Level], gamma: float = 0.3
) -> Iterator[Stage]:
    """Rows of `TCD`. `level_of` returns the level at a time of the model."""
    for now, then in pairwise(levels):
        below = level_of((1.0 - gamma) * then.t) if gamma and then.sigma else then
        s, kept = then.karras, min(below.karras, then.karras)
        c = then.alpha * math.sqrt((s - kept) * (s + kept))
        b = then.alpha * kept if c else then.sigma
        yield Stage(now, a=(then.alpha,), b=(b,), c=c)


@dataclass(frozen=True, kw_only=True)
class LCM(Scheduler):
    """Multistep consistency sampling of latent consistency models (Luo et al. 2023, Algorithm 3).

    A consistency model f says at once where the probability flow from x ends. A step noises that to
    the next level, and the last one returns it:

        x' = alpha' f(x, t) + sigma' z,      f(x, t) = c_skip(t) x + c_out(t) D,
        c_skip = sigma_data**2 / ((k t)**2 + sigma_data**2),
        c_out = k t / sqrt((k t)**2 + sigma_data**2),      k = timestep_scaling.

    The scaling makes f(x, 0) = x, as a consistency model is trained; where k t is large, f is D.
    Without it a step is DDIM's with the largest deviation that there can be, sigma', so that
    nothing is kept of e. One evaluation a step; stochastic.

    It is for distilled models. If f is exact, each step has the exact marginals. If D is a
    denoiser's posterior mean, they are wrong, and stay so in small steps.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    timestep_scaling : float or None
        Factor k on the model's time, positive; 10 for models whose times go to 999. None leaves the
        scaling out, and f is D: for flows, and for models that were distilled without it.
    sigma_data : float
        Standard deviation of the data, positive.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Luo, Tan, Huang, Li, Zhao: Latent Consistency Models, 2023. Song, Dhariwal, Chen, Sutskever:
    Consistency Models, ICML 2023, Algorithm 1. The name of `timestep_scaling` is that of diffusers.

    Examples
    --------
    >>> from schedulers import LCM, VESchedule
    >>> print(LCM(VESchedule(), timestep_scaling=None).tableau(sigmas=[4.0, 2.0, 0.0]))
    LCM: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e z
       1   1 4     1     4 1 0 2
       2   2 2     1     2 1 0 0
    ends at  0     1     0
    """

    timestep_scaling: float | None = 10.0
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timestep_scaling is not None:
            _checks.settle(self, "timestep_scaling", above=0.0)
        _checks.settle(self, "sigma_data", above=0.0)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return lcm_rows(levels, self.timestep_scaling, self.sigma_data)


@dataclass(frozen=True, kw_only=True)
class TCD(Scheduler):
    """Strategic stochastic sampling of trajectory consistency models (Zheng et al. 2024).

    A step follows the flow past the next time t' down to t'' = (1 - gamma) t', and noises the
    sample back to t':

        x'' = alpha'' D + sigma'' e,      x' = (alpha' / alpha'') x'' + c z,
        c**2 = sigma'**2 - (alpha' sigma'' / alpha'')**2.

    So gamma goes from DDIM (0, deterministic) to multistep consistency sampling (1): that is
    ``LCM(timestep_scaling=None)`` where the model's time 0 has no noise. Where it has, as the
    training level 0 of a `DiscreteSchedule`, that much is kept of e. A run ends clean with D. One
    evaluation a step.

    It is for distilled models. With a denoiser's posterior mean and gamma > 0 the marginals are
    wrong, and stay so in small steps, each of which replaces as much noise as a long one.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    gamma : float
        How stochastic a step is, in [0, 1] ("eta" in diffusers, which rounds t'' down to a training
        level).

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Zheng, Hu, Fan, Wang, Ding, Tao, Cham: Trajectory Consistency Distillation, 2024.

    Examples
    --------
    >>> from schedulers import TCD, VESchedule
    >>> print(TCD(VESchedule(), gamma=0.5).tableau(sigmas=[4.0, 2.0, 0.0]))
    TCD: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e z
       1   1 4     1     4 1 1 1.7321
       2   2 2     1     2 1 0 0
    ends at  0     1     0
    """

    gamma: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.settle(self, "gamma", at_least=0.0, at_most=1.0)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return tcd_rows(levels, lambda t: self.schedule.levels([t])[0], self.gamma)
