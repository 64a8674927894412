"""Grids: the timesteps and sigmas that a number of steps visits, in diffusers' conventions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.grids import beta_sigmas, exponential_sigmas, karras_sigmas
from schedulers.schedules.elementary import log

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

SPACINGS = ("linspace", "leading", "trailing")
_REMAPPED = {
    "use_karras_sigmas": karras_sigmas,
    "use_exponential_sigmas": exponential_sigmas,
    "use_beta_sigmas": beta_sigmas,
}


def spaced(spacing: str, n_train: int, steps: int, offset: int) -> Floats:
    """Times of a number of steps, from the noisiest (Lin et al. 2024, Table 2)."""
    times: Any
    match spacing:
        case "linspace":
            times = np.arange(steps)[::-1] * ((n_train - 1) / max(steps - 1, 1))
        case "leading":
            times = np.arange(steps)[::-1] * float(n_train // steps) + offset
        case _:
            # Where a time lies halfway between two, the rounding of this very sum decides. For some
            # numbers of steps it has an entry too many, at a time of -1, which is left out.
            times = np.round(np.arange(n_train, 0, -n_train / steps))[:steps] - 1.0
    return np.asarray(times, np.float64)


def custom(timesteps: ArrayLike, n_train: int) -> Floats:
    """Times that the caller gave."""
    times = _checks.vector("timesteps", timesteps)
    _checks.decreasing("timesteps", times)
    if not (times[0] <= n_train - 1 and times[-1] >= 0.0):
        raise ValueError(
            f"timesteps must lie between 0 and {n_train - 1}, got {times[0]:g} to {times[-1]:g}"
        )
    return times


def shift_of(mu: Any, kind: str) -> float:
    """Return the shift of a flow's levels that mu stands for, its logarithm if `kind` says so."""
    if kind == "exponential":
        return math.exp(_checks.real("mu", mu, at_least=-20.0, at_most=20.0))
    return _checks.real("mu", mu, above=0.0, at_most=1e9)


def remapping(config: Any) -> str | None:
    """Name of the option that spaces by sigma, if there is one."""
    chosen = [name for name in _REMAPPED if config.get(name)]
    if len(chosen) > 1:
        raise ValueError(f"at most one of {', '.join(_REMAPPED)} must be set, got {chosen}")
    return chosen[0] if chosen else None


def remapped(option: str, config: Any, sigmas: Floats, steps: int) -> Floats:
    """Sigmas between the ends of the given ones, or those of the configuration, anew."""
    high, low = config.get("sigma_max"), config.get("sigma_min")
    high = float(sigmas[0]) if high is None else _checks.real("sigma_max", high, above=0.0)
    low = float(sigmas[-1]) if low is None else _checks.real("sigma_min", low, above=0.0)
    return _REMAPPED[option](steps, low, high)[:-1]


def times_of(sigmas: Floats, training: Floats) -> Floats:
    """Times of sigmas, linear in log sigma between training levels and constant beyond them.

    A sigma lies above the last training level that is not above it: with zero terminal SNR, where
    the last sigma is cut to be finite, those before it may be larger.
    """
    logs, levels = log(np.maximum(sigmas, 1e-10)), log(training)
    if len(levels) == 1:
        return np.zeros_like(logs)
    reached = logs[:, None] >= levels
    last = np.where(reached.any(axis=1), len(levels) - 1 - reached[:, ::-1].argmax(axis=1), 0)
    low = np.minimum(last, len(levels) - 2)
    part = (logs - levels[low]) / (levels[low + 1] - levels[low])
    times: Floats = low + np.clip(part, 0.0, 1.0)
    return times
