"""Which arrays a run takes, and the precision that it steps in.

A NumPy array is stepped in its own dtype, or in float32 where that has less precision. Any other
object with `shape` and `dtype` that can be scaled by a float and added is stepped as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schedulers import _checks

Array = Any


def sample(name: str, x: Array) -> tuple[Array, Any]:
    """Check a sample; return a copy in the precision to step in, and its own dtype."""
    if isinstance(x, np.ndarray):
        check_floating(name, x.dtype)
        carried = np.array(x, dtype=_stepping(x.dtype))
    elif hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, np.generic):
        carried = x * 1.0
    else:
        raise TypeError(f"{name} must be an array of floats, got {_checks.shown(x)}")
    if not _finite(carried):
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return carried, x.dtype


def output(value: Array, x: Array, shape: tuple[int, ...], t: float) -> Array:
    """Check what the model returned at time t for x, and return it in the run's precision."""
    name = f"the model's output at t={t:g}"
    if isinstance(x, np.ndarray):
        try:
            value = np.asarray(value)
        except ValueError:  # a ragged list
            value = np.asarray(None)
        check_floating(name, value.dtype)
    elif not hasattr(value, "shape"):
        raise TypeError(f"{name} must be an array, got {_checks.shown(value)}")
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(value.shape)}")
    if isinstance(x, np.ndarray):
        with np.errstate(over="ignore"):  # what is too large for the run's precision is infinite
            value = value.astype(x.dtype, copy=False)
    if not _finite(value):
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return value


def check_floating(name: str, dtype: Any) -> None:
    """Refuse a NumPy dtype that is no real floating one."""
    if dtype.kind != "f" and dtype.name != "bfloat16":
        raise TypeError(f"{name} must have a floating dtype, such as float32, got {dtype}")


def _stepping(dtype: Any) -> Any:
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype.newbyteorder("=")


def _finite(array: Array) -> bool:
    if isinstance(array, np.ndarray):
        return bool(np.isfinite(array).all())
    # Without a name for it in every library: x - x is 0 where x is finite, and NaN elsewhere.
    return float((array - array).sum()) == 0.0
