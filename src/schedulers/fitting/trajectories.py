"""The exact flow of a model, in fine steps, and how far samples are from where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.engine import arrays
from schedulers.engine.tableau import Tableau
from schedulers.grids.sigmas import karras_sigmas
from schedulers.methods.dpm_solver_pp import DPMSolverPP
from schedulers.schedules.base import NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Karras's sigma from which fine steps are laid where the schedule begins at infinity.
_HIGH = 100.0
# Distances below this part of the mean one weigh no more than it.
_NEAR = 1e-3


def fine_tableau(schedule: NoiseSchedule, prediction_type: str, steps: int) -> Tableau:
    """Return the rows of the flow in fine steps: DPM-Solver++(3M) on Karras's grid."""
    low = schedule.karras_sigma(schedule.t_min)
    top = schedule.karras_sigma(schedule.t_max)
    if np.isfinite(top):
        sigmas = karras_sigmas(steps, low, top)
    else:
        high = min(_HIGH, schedule.max_karras_sigma)
        sigmas = np.concatenate([[np.inf], karras_sigmas(steps - 1, low, high)])
    return DPMSolverPP(schedule, order=3, prediction_type=prediction_type).tableau(sigmas=sigmas)


def flat(array: Any, rows: Any) -> Floats:
    """Return these samples of an array as one vector of NumPy's."""
    values: Floats = arrays.as_numpy(array)[rows].astype(np.float64).reshape(-1)
    return values


def distances(x: Any, x_0: Any, rows: Any) -> Floats:
    """Return how far these samples are from where the flow ends: a root mean square for each."""
    n = int(np.sum(rows))
    found: Floats = np.sqrt(np.mean((flat(x, rows) - flat(x_0, rows)).reshape(n, -1) ** 2, axis=1))
    return found


def trust(far: Floats) -> Floats:
    """Return the weight of each sample's squares whose slope is that of the sum of distances.

    That is the inverse of its distance: a few samples that end elsewhere do not lead.
    """
    weights: Floats = 1.0 / np.maximum(far, _NEAR * far.mean() + 1e-150)
    return weights
