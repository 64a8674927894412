"""Batches of samples: one number for each, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = Any
    Floats = NDArray[np.float64]


def checked(name: str, x: Array) -> tuple[Array, Any]:
    """Check a batch; return a copy in the precision to work in, and its own dtype."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be an ndarray of floats, got {_checks.shown(x)}")
    if x.ndim == 0 or x.size == 0:
        raise ValueError(
            f"{name} must have shape (n, *event_shape) and an element, got shape {x.shape}"
        )
    if x.dtype.itemsize > 8:
        raise TypeError(f"{name} must have a dtype of at most float64, got {x.dtype}")
    carried, dtype = arrays.sample(name, x)
    largest = math.sqrt(float(np.finfo(carried.dtype).max) / x.size)
    if not float(np.abs(carried).max()) <= largest:
        raise ValueError(f"{name} must have squares that dtype {carried.dtype} holds")
    return carried, dtype


def difference(x: Array, y: Array) -> Floats:
    """Subtract in float64."""
    return np.asarray(x.astype(np.float64) - y)


def per_sample(reduce: Callable[..., Any], values: Floats) -> Floats:
    """Reduce over all axes but the first."""
    return np.asarray(reduce(values.reshape(len(values), -1), axis=1))
