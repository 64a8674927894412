"""Checks of arguments. Each error names the argument, the value received and what is right."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


# The most steps, levels and draws: each takes a row or an evaluation of its own.
MOST = 10**6
# Containers nested deeper than NumPy has axes hold no array.
_DEPTH = 64


def shown(value: object) -> str:
    """Return the repr of `value`, cut to 100 characters."""
    try:
        text = repr(value)
    except Exception:  # an int of more digits than Python prints, lists in lists in lists, ...
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."


def integer(name: str, value: object, *, at_least: int) -> int:
    """Return `value` as an int. A bool or a float is a TypeError."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {shown(value)}") from None
    if number < at_least:
        raise ValueError(f"{name} must be at least {shown(at_least)}, got {shown(number)}")
    return number


def between(name: str, value: object, least: int, most: int) -> int:
    """Return `value` as an int from `least` to `most`."""
    number = integer(name, value, at_least=least)
    if number > most:
        raise ValueError(f"{name} must be at most {shown(most)}, got {shown(number)}")
    return number


def count(name: str, value: object, *, at_least: int = 1) -> int:
    """Return `value` as an int, of things that take memory and time: at most a million."""
    return between(name, value, at_least, MOST)


def real(
    name: str,
    value: object,
    *,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    above: float = -math.inf,
    finite: bool = True,
) -> float:
    """Return `value` as a float inside the bounds. NaN is an error."""
    is_real = type(value) is float or (
        isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    )
    if not is_real:
        raise TypeError(f"{name} must be a real number, got {shown(value)}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:  # an int beyond the largest float
        number = math.nan
    inside = at_least <= number <= at_most and (number > above or above == -math.inf)
    if inside and (math.isfinite(number) or not finite):
        return number
    bounds = [f"at least {at_least:g}"] if at_least > -math.inf else []
    bounds += [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"at most {at_most:g}"] if at_most < math.inf else []
    bounds += ["finite"] if finite and at_most == math.inf else []
    raise ValueError(f"{name} must be {' and '.join(bounds) or 'a number'}, got {shown(value)}")


def choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if isinstance(value, str) and value in choices:
        return value
    error = ValueError if isinstance(value, str) else TypeError
    listed = ", ".join(map(repr, choices))
    if len(listed) > 150:
        listed = f"{listed[:150].rpartition(',')[0]}, ..."
    raise error(f"{name} must be one of {listed}, got {shown(value)}")


def array(name: str, value: object, *, infinite: bool = False) -> NDArray[np.float64]:
    """Return `value` as a float64 array of real numbers, none of them NaN."""
    try:
        given = np.asarray(value if plain(value) else None)
    except (RuntimeError, TypeError, ValueError):  # ragged; a tensor on a device, or of no values
        given = np.asarray(None)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be real numbers, got {shown(value)}")
    with np.errstate(over="ignore"):  # a long double beyond the largest float
        numbers = given.astype(np.float64)
    if np.isnan(numbers).any() or not (infinite or np.isfinite(numbers).all()):
        raise ValueError(
            f"{name} must {'not be NaN' if infinite else 'be finite'}, got {shown(value)}"
        )
    return numbers


def plain(value: object, depth: int = _DEPTH) -> bool:
    """Whether NumPy reads what may be an array as what it is.

    It takes True for 1.0 beside floats, and bytes for their codes; and it loses a mask.
    """
    if isinstance(value, (bool, np.bool_, str, bytes, bytearray, memoryview)):
        return False
    if isinstance(value, np.ndarray):  # np.ma.masked is one
        return value.dtype.kind != "b" and not isinstance(value, np.ma.MaskedArray)
    if isinstance(value, Sequence) and not isinstance(value, range):
        return depth > 0 and all(type(each) is float or plain(each, depth - 1) for each in value)
    return True


def vector(name: str, value: object, *, infinite: bool = False) -> NDArray[np.float64]:
    """Return `value` as a one-dimensional float64 array of at least one number."""
    numbers = array(name, value, infinite=infinite)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ValueError(
            f"{name} must be a one-dimensional sequence of at least one number, "
            f"got shape {numbers.shape}"
        )
    return numbers


def decreasing(name: str, values: NDArray[np.float64]) -> None:
    """Raise ValueError unless `values` are strictly decreasing."""
    rises = np.flatnonzero(~(values[1:] < values[:-1]))
    if rises.size:
        i = int(rises[0])
        raise ValueError(
            f"{name} must be strictly decreasing, got {float(values[i])!r} "
            f"followed by {float(values[i + 1])!r} at position {i + 1}"
        )


def boolean(name: str, value: object) -> bool:
    """Return `value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def function(name: str, value: object, signature: str) -> None:
    """Raise TypeError unless `value` is callable."""
    if not callable(value):
        raise TypeError(f"{name} must be a callable {signature}, got {shown(value)}")


def settle(owner: object, name: str, **bounds: Any) -> None:
    """Check a real-valued field of a frozen dataclass, and store it as a Python float.

    A NumPy scalar would change the dtype of arrays that it multiplies.
    """
    object.__setattr__(owner, name, real(name, getattr(owner, name), **bounds))
