"""Churn: raising the noise level before each evaluation (Karras et al. 2022, Algorithm 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schedulers import _checks
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class ChurnedScheduler(Scheduler):
    """What Euler and Heun share: stochasticity as EDM has it.

    Before a step from Karras's sigma s, noise raises it to s (1 + gamma), with
    gamma = min(s_churn / steps, sqrt(2) - 1) where s_tmin <= s <= s_tmax and 0 elsewhere. In a
    tableau the raise is in the row before, whose weights lead to the raised level. No level is
    raised above the largest sigma for which the schedule's path is defined: a trained schedule's
    last one has no model beyond it.

    Parameters
    ----------
    s_churn : float
        Amount of churn over the whole run, at least 0; 0 is deterministic.
    s_tmin, s_tmax : float
        Karras sigmas between which levels are raised.
    s_noise : float
        Standard deviation of the noise that is added, in units of what the raise calls for.
    """

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.settle(self, "s_churn", at_least=0.0)
        _checks.settle(self, "s_tmin", at_least=0.0)
        _checks.settle(self, "s_tmax", at_least=self.s_tmin, finite=False)
        _checks.settle(self, "s_noise", at_least=0.0)

    def raised(self, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        """Levels that the steps begin at when raised, and the last level as it is."""
        gamma = min(self.s_churn / (len(levels) - 1), math.sqrt(2.0) - 1.0)
        top = self.schedule.max_karras_sigma
        s = np.array([level.karras for level in levels[:-1]])
        # Levels went to the model's time and back: a bound that is one of them is met to rounding.
        inside = (self.s_tmin * (1.0 - _ROUNDING) <= s) & (s <= self.s_tmax * (1.0 + _ROUNDING))
        churned = inside & (s < top)
        if gamma == 0.0 or not churned.any():
            return levels
        times = self.schedule.timestep(np.minimum(s[churned] * (1.0 + gamma), top))
        raised = iter(self.schedule.levels(times))
        steps = zip(levels, churned.tolist(), strict=False)
        return (*(next(raised) if churn else level for level, churn in steps), levels[-1])

    def raise_noise(self, level: Level, raised: Level) -> float:
        """Weight of fresh noise that takes a sample from a level to the raised one."""
        if raised is level:
            return 0.0
        s, s_hat = level.karras, raised.karras
        return self.s_noise * raised.alpha * math.sqrt(s_hat + s) * math.sqrt(max(s_hat - s, 0.0))

    def entry(self, levels: tuple[Level, ...]) -> tuple[float, float]:
        """Weights that raise the given sample from the first level."""
        first = self.raised(levels)[0]
        if first is levels[0]:
            return 1.0, 0.0
        return first.alpha / levels[0].alpha, self.raise_noise(levels[0], first)
