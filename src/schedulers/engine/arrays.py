"""Which arrays go in, the precision that they are stepped in, and how they are added up.

A NumPy array is stepped in its own dtype, or in float32 if that has less precision. Any other
object with `shape` and `dtype` that can be scaled by a float and added is stepped as it is.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

import numpy as np

from schedulers import _checks

Array = Any

# Elements that a weighted sum takes at a time, so that what lies between its first product and its
# last stays in the processor's cache: half the time of whole arrays at 16x3x256x256.
_BLOCK = 2**16
# What overflows under these settings of NumPy is infinite without a warning. Use it as in
# ``SILENT.copy().run(function, *arguments)``: np.errstate takes a tenth of a step at 1x4x64x64.
SILENT = Context()
SILENT.run(np.seterr, over="ignore", invalid="ignore", divide="ignore")


def sample(name: str, x: Array) -> tuple[Array, Any]:
    """Check a sample; return a copy in the precision to step in, and its own dtype."""
    check_floats(name, x)
    if isinstance(x, np.ndarray):
        carried = np.array(x, dtype=stepping(x.dtype))
    else:
        carried = raised(name, x)
        carried = carried * 1.0 if carried is x else carried
    check_finite(name, carried)
    return carried, x.dtype


def raised(name: str, x: Array) -> Array:
    """Check that an array is of floats; return it in the precision to compute in, not copied."""
    check_floats(name, x)
    if isinstance(x, np.ndarray):
        return x.astype(stepping(x.dtype), copy=False)
    if "float16" in str(x.dtype):  # a tensor's precision is never raised by a float
        return x.float() if hasattr(x, "float") else x.astype(np.float32)
    return x


def lowered(name: str, x: Array, dtype: Any) -> Array:
    """Return an array in its own dtype again; an error where that cannot hold it."""
    if x.dtype == dtype:
        return x
    with np.errstate(over="ignore"):
        result = cast(x, dtype)
    if not is_finite(result) and is_finite(x):
        half = str(dtype).removeprefix("torch.") == "float16"
        largest = ", whose largest number is 65504" if half else ""
        raise ValueError(
            f"{name} must fit into {dtype}{largest}, got numbers up to {float(abs(x).max()):g}: "
            f"use float32 or float64"
        )
    return result


def matching(
    name: str, value: Array, x: Array, shape: tuple[int, ...], t: float | None = None
) -> Array:
    """Check an array that goes with the sample x; return it in the precision of x.

    `shape` is what the array must have, and `t` the time at which it was made, for the error.
    """
    if isinstance(x, np.ndarray):
        if type(value) is not np.ndarray or value.dtype != x.dtype:
            value = _as_floats(_at(name, t), value, x.dtype)
    elif not hasattr(value, "shape"):
        raise TypeError(f"{_at(name, t)} must be an array, got {_checks.shown(value)}")
    elif isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(
            f"{_at(name, t)} must be of the sample's library, {type(x).__name__}, got NumPy's array"
        )
    elif value.dtype != x.dtype:
        _check_real(_at(name, t), value.dtype)
        value = cast(value, x.dtype)
    if tuple(value.shape) != shape:
        raise ValueError(f"{_at(name, t)} must have shape {shape}, got {tuple(value.shape)}")
    check_finite(name, value, t)
    return value


def weighted_sum(terms: Sequence[tuple[float, Array]]) -> Array:
    """Sum of weight * array, a new array of the arrays' own kind; terms of weight 0 are left out.

    A weight goes in as a Python float, which takes on the arrays' precision: so an array is only
    scaled and added.
    """
    if _is_long(terms[0][1]):
        weighed = [(float(weight), array) for weight, array in terms if weight]
        if len(weighed) > 1 and all(_is_long(array) for _, array in weighed):
            return _sum_by_blocks(weighed)
    sum_ = None
    for weight, array in terms:
        if not weight:
            continue
        product = array * float(weight)
        if sum_ is None:
            sum_ = product
        else:
            sum_ += product
    if sum_ is None:
        sum_ = terms[0][1] * 0.0
    return np.asarray(sum_) if isinstance(sum_, np.generic) else sum_


def cast(array: Array, dtype: Any) -> Array:
    """Return the array in a dtype, itself if it has that."""
    if array.dtype == dtype:
        return array
    if hasattr(array, "to"):
        return array.to(dtype)
    return SILENT.copy().run(array.astype, dtype)  # what is too large for the dtype is infinite


def wide(array: Array) -> Array:
    """Return an array in float64, or in its own precision where its library has no more.

    Sums over an image's elements need that: what float32 loses of them is as large as what is
    asked for, such as the difference of two log densities.
    """
    if isinstance(array, np.ndarray):
        return array.astype(np.float64, copy=False)
    if hasattr(array, "double") and array.device.type != "mps":  # which has no float64
        return array.double()
    return array


def apply(name: str, value: Any) -> Any:
    """Return NumPy's function of that name, such as "exp", of a number or of any array."""
    if isinstance(value, float):
        return float(getattr(np, name)(value))
    if isinstance(value, np.ndarray):
        return SILENT.copy().run(getattr(np, name), value)
    if hasattr(value, name):  # PyTorch has it as a method
        return getattr(value, name)()
    return getattr(value.__array_namespace__(), name)(value)


def check_floats(name: str, x: Any) -> None:
    """Refuse what is no array of real floating numbers, of any library."""
    if isinstance(x, np.ndarray):
        if type(x) is not np.ndarray:
            _check_plain(name, x)
        check_floating(name, x.dtype)
    elif hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, np.generic):
        _check_real(name, x.dtype)
        if "sparse" in str(getattr(x, "layout", "")):
            raise TypeError(f"{name} must be a dense array, got one of layout {x.layout}")
    else:
        raise TypeError(f"{name} must be an array of floats, got {_checks.shown(x)}")


def check_finite(name: str, array: Array, t: float | None = None) -> None:
    """Refuse an array that holds NaN or infinity, or nothing that could be looked at."""
    try:
        finite = is_finite(array)
    except RuntimeError as error:  # a tensor without values, such as PyTorch's on "meta"
        raise TypeError(
            f"{_at(name, t)} must hold numbers, got {type(array).__name__}: {error}"
        ) from None
    if not finite:
        raise ValueError(f"{_at(name, t)} must be finite, got NaN or infinity in it")


def check_floating(name: str, dtype: Any) -> None:
    """Refuse a NumPy dtype that is not a real floating one."""
    if dtype.kind != "f" and dtype.name != "bfloat16":
        raise _not_floating(name, dtype)


def _not_floating(name: str, dtype: Any) -> TypeError:
    hint = ": scale images to floats first, to -1 ... 1 as a rule" if "int" in str(dtype) else ""
    return TypeError(f"{name} must have a floating dtype, such as float32, got {dtype}{hint}")


def stepping(dtype: Any) -> Any:
    """Return the precision that a NumPy dtype is stepped in."""
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype.newbyteorder("=")


def of_the_kind(values: Any, like: Array) -> Array:
    """Return a NumPy array as one of the kind and the precision of `like`."""
    if isinstance(like, np.ndarray):
        return values.astype(like.dtype)
    convert = converter(like)
    if convert is None:
        raise TypeError(
            f"arrays of type {type(like).__name__} take no numbers for each sample: pass NumPy's, "
            f"PyTorch's or one of the array API"
        )
    return convert(values)


def as_numpy(array: Array) -> Any:
    """Return an array of any library, on any device, as NumPy's."""
    if hasattr(array, "detach"):  # PyTorch
        array = array.detach().cpu()
    return np.asarray(array)


def concatenated(parts: Sequence[Array]) -> Array:
    """Return arrays of one library, one after another along axis 0."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if hasattr(parts[0], "new_tensor"):  # PyTorch
        return sys.modules["torch"].cat(tuple(parts))
    if hasattr(parts[0], "__array_namespace__"):
        return parts[0].__array_namespace__().concat(list(parts))
    raise TypeError(
        f"arrays of type {type(parts[0]).__name__} cannot be joined: pass NumPy's, PyTorch's or "
        f"those of the array API"
    )


def as_lists(values: Any) -> Any:
    """Return another library's array, on any device, as lists of numbers; all else as it is."""
    if hasattr(values, "dtype") and not isinstance(values, (np.ndarray, np.generic)):
        with contextlib.suppress(RuntimeError):  # a tensor without values
            return values.tolist()
    return values


def converter(like: Array) -> Callable[[Any], Array] | None:
    """Return the function that makes a NumPy array one of the kind of `like`, if there is one."""
    if hasattr(like, "new_tensor"):  # PyTorch
        return lambda values: like.new_tensor(values)
    if hasattr(like, "__array_namespace__"):
        return lambda values: like.__array_namespace__().asarray(values, dtype=like.dtype)
    return None


def per_sample(values: Any, like: Array) -> Array:
    """Return numbers, one for each sample, that an array can be multiplied by along its axis 0."""
    column = np.asarray(values, np.float64).reshape(-1, *(1,) * (len(like.shape) - 1))
    return of_the_kind(column, like)


def _as_floats(name: str, value: object, dtype: Any) -> Any:
    if isinstance(value, np.ndarray):
        _check_plain(name, value)
    try:
        given = np.asarray(value if _checks.plain(value) else None)
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


def _check_plain(name: str, array: Any) -> None:
    """Refuse arrays whose mask would be lost, or whose rows keep two axes."""
    if isinstance(array, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(
            f"{name} must be a plain array, got {type(array).__name__}: fill what is masked, or "
            f"pass np.asarray of it"
        )


def _check_real(name: str, dtype: Any) -> None:
    """Refuse the dtype of another library's array unless it is a real floating one."""
    if any(kind in str(dtype) for kind in ("int", "bool", "complex", "float8", "float4")):
        raise _not_floating(name, dtype)


def is_finite(array: Array) -> bool:
    """Whether every element is finite."""
    if isinstance(array, np.ndarray):
        # The sum of squares costs half of isfinite, and never warns. It may overflow.
        return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
    if hasattr(array, "detach"):  # PyTorch: a check is nothing for gradients
        array = array.detach()
    try:
        return math.isfinite(float((array - array).sum()))
    except TypeError:
        if "Tracer" in type(array).__name__:  # JAX's: the numbers are not there yet
            return True
        raise


def _at(name: str, t: float | None) -> str:
    return name if t is None else f"{name} at t={t:g}"


def _is_long(array: Array) -> bool:
    """Whether to sum an array block by block."""
    return type(array) is np.ndarray and array.size > _BLOCK and array.flags.c_contiguous


def _sum_by_blocks(terms: Sequence[tuple[float, Any]]) -> Any:
    """Sum contiguous arrays block by block, to the same bits as whole ones."""
    result = np.empty_like(terms[0][1])
    flat, columns = result.reshape(-1), [(weight, array.reshape(-1)) for weight, array in terms]
    product = np.empty(_BLOCK, result.dtype)
    for start in range(0, flat.size, _BLOCK):
        block, part = flat[start : start + _BLOCK], slice(start, start + _BLOCK)
        for term, (weight, array) in enumerate(columns):
            into = product[: block.size] if term else block
            np.multiply(array[part], weight, out=into)
            if term:
                block += into
    return result
