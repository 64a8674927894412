"""Interpolation between two samples of noise, which a deterministic scheduler turns into data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.arrays import cast, weighted_sum

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Array = Any


def linear(x: Array, y: Array, weight: ArrayLike) -> Array:
    """Interpolate on the straight line: (1 - w) x + w y.

    Use it for data, and for samples that are close together. Between two independent samples of
    noise the variance is too small (half at w = 1/2), and a model makes a blurred sample of it: use
    `spherical` for noise.

    Parameters
    ----------
    x, y : array of floats
        Two samples of one shape, dtype and library.
    weight : float, or array_like of shape (n,)
        Of y: 0 is x and 1 is y; beyond those it extrapolates. One for each interpolation.

    Returns
    -------
    array, shape of `x`, or (n, ``*x.shape``)
        In the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> linear(np.array([0.0, 4.0]), np.array([2.0, 0.0]), [0.0, 0.25, 1.0])
    array([[0. , 4. ],
           [0.5, 3. ],
           [2. , 0. ]])
    """
    x, y, dtype = _pair(x, y)
    w = _weights(weight)
    return _mixed(x, y, 1.0 - w, w, dtype)


def spherical(x: Array, y: Array, weight: ArrayLike) -> Array:
    """Interpolate on the arc: (sin((1 - w) theta) x + sin(w theta) y) / sin(theta).

    With theta the angle between x and y as vectors (Shoemake 1985). Independent samples of noise
    are of nearly one length and at nearly a right angle, and so are those on the arc: they are
    noise again, and what a model makes of them is as sharp as of x and y (Song et al. 2021, section
    5.3 and eq. 67).

    Parameters
    ----------
    x, y : array of floats
        Two samples of one shape, dtype and library; each is one vector, whatever its shape. Neither
        may be 0 everywhere, nor may they point in opposite directions: many arcs join those.
    weight : float, or array_like of shape (n,)
        Of y: 0 is x and 1 is y; beyond those it extrapolates. One for each interpolation.

    Returns
    -------
    array, shape of `x`, or (n, ``*x.shape``)
        In the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Shoemake: Animating rotation with quaternion curves, SIGGRAPH 1985. Song, Meng, Ermon:
    Denoising Diffusion Implicit Models, ICLR 2021.

    Examples
    --------
    >>> spherical(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1 / 3).round(4)
    array([0.866, 0.5  ])
    """
    x, y, dtype = _pair(x, y)
    theta, w = _angle(x, y), _weights(weight)
    if theta < 1e-8:  # sin(theta) is theta to rounding, and the arc its chord
        return _mixed(x, y, 1.0 - w, w, dtype)
    sine = math.sin(theta)
    return _mixed(x, y, np.sin((1.0 - w) * theta) / sine, np.sin(w * theta) / sine, dtype)


def _pair(x: Array, y: Array) -> tuple[Array, Array, Any]:
    first, dtype = arrays.sample("x", x)
    second, other = arrays.sample("y", y)
    if tuple(second.shape) != tuple(first.shape):
        raise ValueError(f"y must have the shape of x, {tuple(x.shape)}, got {tuple(y.shape)}")
    if other != dtype or type(second) is not type(first):
        raise TypeError(
            f"y must be of the kind of x, {type(x).__name__} of {dtype}, "
            f"got {type(y).__name__} of {other}"
        )
    return first, second, dtype


def _weights(weight: ArrayLike) -> Any:
    weights = _checks.array("weight", weight)
    if weights.ndim > 1:
        raise ValueError(
            f"weight must be a number or a sequence of them, got shape {weights.shape}"
        )
    return weights


def _angle(x: Array, y: Array) -> float:
    """Angle between two vectors, to rounding for small ones and for those near pi, too."""
    if isinstance(x, np.ndarray):
        x, y = x.astype(np.float64), y.astype(np.float64)
    elif hasattr(x, "detach"):
        x, y = x.detach(), y.detach()
    lengths = []
    for name, vector in (("x", x), ("y", y)):
        with np.errstate(over="ignore"):
            lengths.append(math.sqrt(float((vector * vector).sum())))
        if lengths[-1] == 0.0:
            raise ValueError(f"{name} must not be 0 everywhere: it has no direction")
        if lengths[-1] == math.inf:
            raise ValueError(f"{name} must have a length that its precision holds")
    x, y = x * (1.0 / lengths[0]), y * (1.0 / lengths[1])
    apart, together = (math.sqrt(float(((x + y * s) * (x + y * s)).sum())) for s in (-1.0, 1.0))
    if together < 1e-6:
        raise ValueError("x and y must not point in opposite directions: no one arc joins them")
    return 2.0 * math.atan2(apart, together)


def _mixed(x: Array, y: Array, a: Any, b: Any, dtype: Any) -> Array:
    """Weighted sum of x and y, or one for each weight along a new axis 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        if a.ndim == 0:
            mixed = weighted_sum([(float(a), x), (float(b), y)])
        else:
            a, b = (arrays.per_sample(weight, x[None]) for weight in (a, b))
            mixed = a * x[None] + b * y[None]
    mixed = cast(mixed, dtype)
    arrays.check_finite(f"x and y mixed by weight, in their dtype, {dtype},", mixed)
    return mixed
