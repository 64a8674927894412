"""Which arrays go in, the precision that they are stepped in, and how they are added up.

A NumPy array is stepped in its own dtype, or in float32 where that has less precision. Any other
object with `shape` and `dtype` that can be scaled by a float and added is stepped as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from schedulers import _checks

Array = Any

# Elements that a weighted sum takes at a time, so that what lies between its first product and its
# last stays in the processor's cache: of 2**12 to 2**16 the fastest for arrays above 1e5.
_BLOCK = 2**15


def sample(name: str, x: Array) -> tuple[Array, Any]:
    """Check a sample; return a copy in the precision to step in, and its own dtype."""
    if isinstance(x, np.ndarray):
        check_floating(name, x.dtype)
        carried = np.array(x, dtype=stepping(x.dtype))
    elif hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, np.generic):
        carried = x * 1.0
    else:
        raise TypeError(f"{name} must be an array of floats, got {_checks.shown(x)}")
    if not _finite(carried, total(carried)):
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return carried, x.dtype


def like(name: str, value: Array, x: Array, shape: tuple[int, ...]) -> tuple[Array, float]:
    """Check what is to be added to x; return it in the precision of x, and its `total`."""
    if isinstance(x, np.ndarray):
        if type(value) is not np.ndarray or value.dtype != x.dtype:
            value = _as_floats(name, value, x.dtype)
    elif not hasattr(value, "shape"):
        raise TypeError(f"{name} must be an array, got {_checks.shown(value)}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
    sum_ = total(value)
    if not _finite(value, sum_):
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return value, sum_


def total(array: Array) -> float:
    """Sum of the elements; finite only where they all are, and another for another array.

    Of an array that is not NumPy's, the sum of x - x, which is 0 where x is finite.
    """
    if isinstance(array, np.ndarray):
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.add.reduce(array, axis=None))
    return float((array - array).sum())


def weighted_sum(terms: Iterable[tuple[Any, Array]], into: Array | None = None) -> Array:
    """Sum of weight * array, a new array of the arrays' own kind; terms of weight 0 are left out.

    A weight is a number, or an ndarray where a model has learned it. Numbers go in as Python
    floats, which take on the arrays' precision; an array is only ever scaled and added. A large sum
    is put `into` one of the arrays where that is given: one that nobody else has seen.
    """
    weighed = [
        (weight if isinstance(weight, np.ndarray) else float(weight), array)
        for weight, array in terms
    ]
    weighed = [term for term in weighed if isinstance(term[0], np.ndarray) or term[0]] or weighed[
        :1
    ]
    first_weight, first = weighed[0]
    large = isinstance(first, np.ndarray) and first.size > _BLOCK
    if large and all(array.flags.c_contiguous for _, array in weighed):
        return _sum_by_blocks(weighed, np.empty_like(first) if into is None else into)
    sum_ = first * first_weight
    for weight, array in weighed[1:]:
        sum_ += array * weight
    return np.asarray(sum_) if isinstance(sum_, np.generic) else sum_


def cast(array: Array, dtype: Any) -> Array:
    """Return the array in a dtype, itself where it has that."""
    return array if array.dtype == dtype else array.astype(dtype)


def check_floating(name: str, dtype: Any) -> None:
    """Refuse a NumPy dtype that is no real floating one."""
    if dtype.kind != "f" and dtype.name != "bfloat16":
        raise TypeError(f"{name} must have a floating dtype, such as float32, got {dtype}")


def stepping(dtype: Any) -> Any:
    """Return the precision that a NumPy dtype is stepped in."""
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype.newbyteorder("=")


def _as_floats(name: str, value: object, dtype: Any) -> Any:
    try:
        given = np.asarray(value)
    except ValueError:  # a ragged list
        given = np.asarray(None)
    check_floating(name, given.dtype)
    with np.errstate(over="ignore"):  # what is too large for the run's precision is infinite
        return given.astype(dtype, copy=False)


def _finite(array: Array, total: float) -> bool:
    if math.isfinite(total) or not isinstance(array, np.ndarray):
        return math.isfinite(total)
    return bool(np.isfinite(array).all())  # a sum may overflow where no element does


def _sum_by_blocks(terms: list[tuple[Any, Any]], sum_: Any) -> Any:
    """Sum contiguous arrays, as whole ones are summed and to the same bits, block by block."""
    columns = [
        (weight.reshape(-1) if isinstance(weight, np.ndarray) else weight, array.reshape(-1))
        for weight, array in terms
    ]
    flat = sum_.reshape(-1)
    scratch = np.empty((2, _BLOCK), sum_.dtype)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        partial, product = scratch[:, : block.size]
        for place, (weight, array) in enumerate(columns):
            part = slice(start, start + block.size)
            factor = weight[part] if isinstance(weight, np.ndarray) else weight
            np.multiply(array[part], factor, out=product if place else partial)
            if place:
                partial += product
        block[...] = partial
    return sum_
