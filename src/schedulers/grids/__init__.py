"""Grids: which noise levels a run visits.

Functions of (n, sigma_min, sigma_max) return Karras sigmas for a scheduler's `sigmas=`: n levels
and a last 0. Functions of (schedule, steps) return model times for `timesteps=`, one per step; the
scheduler adds the clean level. A scheduler's `spacing=` takes the names of both kinds.
"""

from schedulers.grids.sigmas import (
    beta_sigmas,
    exponential_sigmas,
    karras_sigmas,
    polyexponential_sigmas,
    vp_sigmas,
)
from schedulers.grids.spacings import SPACINGS, Spacing
from schedulers.grids.times import leading, linspace, quadratic, trailing

__all__ = [
    "SPACINGS",
    "Spacing",
    "beta_sigmas",
    "exponential_sigmas",
    "karras_sigmas",
    "leading",
    "linspace",
    "polyexponential_sigmas",
    "quadratic",
    "trailing",
    "vp_sigmas",
]
