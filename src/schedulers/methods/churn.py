"""Churn: raising the noise level before each evaluation (Karras et al. 2022, Algorithm 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from schedulers import _checks
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt

_ROUNDING = 1e-12


class Raise(NamedTuple):
    """What takes a sample x to a raised level: scale x + c z."""

    level: Level
    scale: float = 1.0
    c: float = 0.0


def raise_to(level: Level, higher: Level, s_noise: float = 1.0) -> Raise:
    """Return what takes a sample to a higher level: y + sqrt(s_hat**2 - s**2) z, y = x / alpha."""
    s, s_hat = level.karras, higher.karras
    c = s_noise * higher.alpha * math.sqrt((s_hat - s) * (s_hat + s))
    return Raise(higher, higher.alpha / level.alpha, c)


def raises(
    levels: tuple[Level, ...],
    level_at: LevelAt,
    s_churn: float,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> tuple[Raise, ...]:
    """Return how each step's level is raised, and the last level as it is.

    Karras's sigma s becomes s (1 + gamma), gamma = min(s_churn / steps, sqrt(2) - 1), where
    s_tmin <= s <= s_tmax. `level_at` returns the level at a sigma, or a lower one where the model
    knows no level there; then the raise ends there.
    """
    gamma = min(s_churn / (len(levels) - 1), math.sqrt(2.0) - 1.0)

    def raised(level: Level) -> Raise:
        s = level.karras
        # Levels went to the model's time and back: a bound that is one of them is met to rounding.
        inside = s_tmin * (1.0 - _ROUNDING) <= s <= s_tmax * (1.0 + _ROUNDING)
        if not (gamma and inside and math.isfinite(s)):
            return Raise(level)
        higher = level_at(s * (1.0 + gamma))
        return raise_to(level, higher, s_noise) if higher.karras > s else Raise(level)

    return (*map(raised, levels[:-1]), Raise(levels[-1]))


@dataclass(frozen=True, kw_only=True)
class ChurnedScheduler(Scheduler):
    """What Euler and Heun share: the stochasticity of EDM.

    Before a step from Karras's sigma s, noise raises it to s (1 + gamma), with
    gamma = min(s_churn / steps, sqrt(2) - 1) where s_tmin <= s <= s_tmax, and 0 elsewhere. In a
    tableau the raise is part of the row before, whose weights lead to the raised level. No level is
    raised above the largest sigma at which the schedule has a level: the model has not seen one
    beyond it.

    Parameters
    ----------
    s_churn : float
        Amount of churn over the whole run, at least 0; 0 is deterministic.
    s_tmin, s_tmax : float
        Karras sigmas between which levels are raised.
    s_noise : float
        Factor on the standard deviation of the noise that is added, at least 0.
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

    def raises(self, levels: tuple[Level, ...]) -> tuple[Raise, ...]:
        """Return how churn raises the level at which each step begins."""

        def level_at(sigma: float) -> Level:
            return self.schedule.level(min(sigma, self.schedule.max_karras_sigma))

        return raises(levels, level_at, self.s_churn, self.s_tmin, self.s_tmax, self.s_noise)

    def entry(self, levels: tuple[Level, ...]) -> tuple[float, float]:
        """Return the weights that raise the given sample from the first level."""
        first = self.raises(levels)[0]
        return first.scale, first.c
