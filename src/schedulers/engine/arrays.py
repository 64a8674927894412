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
# last stays in the processor's cache. Of 2**12 to 2**16 the fastest for arrays larger than itself,
# and there as fast as the same sum into arrays that are allocated already.
_BLOCK = 2**16


def sample(name: str, x: Array) -> tuple[Array, Any]:
    """Check a sample; return a copy in the precision to step in, and its own dtype."""
    if isinstance(x, np.ndarray):
        check_floating(name, x.dtype)
        carried = np.array(x, dtype=stepping(x.dtype))
    elif hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, np.generic):
        if any(kind in str(x.dtype) for kind in ("int", "bool", "complex")):
            raise TypeError(f"{name} must have a floating dtype, such as float32, got {x.dtype}")
        carried = x * 1.0
        if "float16" in str(x.dtype):  # a tensor's precision is never raised by a float
            carried = carried.float() if hasattr(x, "float") else carried.astype(np.float32)
    else:
        raise TypeError(f"{name} must be an array of floats, got {_checks.shown(x)}")
    if not (math.isfinite(total(carried, carried)) or _finite(carried)):
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return carried, x.dtype


def like(
    name: str, value: Array, x: Array, shape: tuple[int, ...], t: float | None = None
) -> tuple[Array, float]:
    """Check what came at time t for x; return it in the precision of x, and its `total` with x."""
    if isinstance(x, np.ndarray):
        if type(value) is not np.ndarray or value.dtype != x.dtype:
            value = _as_floats(_at(name, t), value, x.dtype)
    elif not hasattr(value, "shape"):
        raise TypeError(f"{_at(name, t)} must be an array, got {_checks.shown(value)}")
    elif isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(
            f"{_at(name, t)} must be of the sample's library, {type(x).__name__}, got NumPy's array"
        )
    if tuple(value.shape) != shape:
        raise ValueError(f"{_at(name, t)} must have shape {shape}, got {tuple(value.shape)}")
    if value.dtype != x.dtype:
        value = cast(value, x.dtype)
    sum_ = total(value, x if value.shape == x.shape else value)
    if not (math.isfinite(sum_) or _finite(value)):
        raise ValueError(f"{_at(name, t)} must be finite, got NaN or infinity in it")
    return value, sum_


def total(array: Array, x: Array) -> float:
    """Return a number that is not finite where some element is not, and tells arrays apart.

    It is the scalar product with x, which is finite. Of an array that is not NumPy's, it is the sum
    of the elements less themselves, which is 0 where they are finite.
    """
    if not isinstance(array, np.ndarray):
        if hasattr(array, "detach"):  # PyTorch: a check is nothing for gradients
            array = array.detach()
        return float((array - array).sum())
    return float(np.vdot(array, x))  # a third of the time of NumPy's sum, and never a warning


def weighted_sum(terms: Iterable[tuple[Any, Array]], into: Array | None = None) -> Array:
    """Sum of weight * array, a new array of the arrays' own kind; terms of weight 0 are left out.

    A weight is an array of the arrays' own dtype: of no dimensions but where it is not the same
    everywhere. Or it is a number, which goes in as a Python float, so as to take on the arrays'
    precision; then an array is only scaled and added. A large sum is put `into` one of the arrays
    where that is given: one that nobody else has seen.
    """
    terms = list(terms)
    first = terms[0][1]
    if type(first) is np.ndarray and first.size > _BLOCK:
        weighed = [(w, array) for w, array in terms if isinstance(w, np.ndarray) or w]
        if len(weighed) > 1 and all(_fits(w, array, first.shape) for w, array in weighed):
            return _sum_by_blocks(weighed, into)
    sum_ = None
    for weight, array in terms:
        if type(weight) is not np.ndarray and isinstance(weight, (float, int, np.generic)):
            weight = float(weight)
            if weight == 0.0:
                continue
        if sum_ is None:
            sum_ = array * weight
        else:
            sum_ += array * weight
    if sum_ is None:
        sum_ = first * 0.0
    return np.asarray(sum_) if isinstance(sum_, np.generic) else sum_


def cast(array: Array, dtype: Any) -> Array:
    """Return the array in a dtype, itself where it has that."""
    if array.dtype == dtype:
        return array
    return array.to(dtype) if hasattr(array, "to") else array.astype(dtype)


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
    except (RuntimeError, TypeError) as error:  # a tensor on a device, or with gradients
        raise TypeError(
            f"{name} must be NumPy's array, as the sample is, got {type(value).__name__}: {error}"
        ) from None
    if given.dtype == object:
        raise TypeError(f"{name} must be an array of floats, got {_checks.shown(value)}")
    check_floating(name, given.dtype)
    with np.errstate(over="ignore"):  # what is too large for the run's precision is infinite
        return given.astype(dtype, copy=False)


def _finite(array: Array) -> bool:
    """Look at each element, where the total is not finite: it may have overflowed."""
    return isinstance(array, np.ndarray) and bool(np.isfinite(array).all())


def _fits(weight: Any, array: Any, shape: tuple[int, ...]) -> bool:
    """Whether an array and its weight can be cut into blocks as they lie."""
    return bool(array.flags.c_contiguous) and np.shape(weight) in ((), shape)


def _at(name: str, t: float | None) -> str:
    return name if t is None else f"{name} at t={t:g}"


def _sum_by_blocks(terms: list[tuple[Any, Any]], into: Any | None) -> Any:
    """Sum contiguous arrays, as whole ones are summed and to the same bits, block by block."""
    columns = [(w.reshape(-1) if np.ndim(w) else w, array.reshape(-1)) for w, array in terms]
    result = np.empty_like(terms[0][1]) if into is None else into
    flat = result.reshape(-1)
    scratch = np.empty((2, _BLOCK), result.dtype)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        part = slice(start, start + block.size)
        sum_, product = scratch[:, : block.size]
        for place, (weight, array) in enumerate(columns, start=1):
            factor = weight[part] if np.ndim(weight) else weight
            np.multiply(array[part], factor, out=sum_ if place == 1 else product)
            if place > 1:
                np.add(sum_, product, out=block if place == len(columns) else sum_)
    return result
