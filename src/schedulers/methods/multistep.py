"""What multistep methods share: integrals of the polynomial through past evaluations.

A multistep method replaces the estimate in an exact solution by the polynomial through its last
values. With y = x / alpha, Karras's sigma s and lambda = -log s, the exact solutions are

    y' = y + int e ds                                    (noise; Karras et al. 2022, eq. 4),
    x' = (sigma' / sigma) x + sigma' int exp(lambda) D dlambda   (data; Lu et al. 2022b, eq. 8),

each from the level of x to that of x'. The polynomial is one in s, in lambda or in the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Function = Callable[[Floats], Floats]

_POINTS = 24  # of a panel: exact to rounding for exp and a polynomial over a panel's length
_PANEL = 8.0
# exp(-u) is 1e-26 beyond this, which stands for infinity.
FAR = 60.0


def windows(
    levels: tuple[Level, ...], order: int
) -> Iterator[tuple[Level, Level, list[tuple[int, Level]]]]:
    """Yield both ends of each step, and (age, level) of the latest `order` evaluations.

    The polynomial through a node at infinite sigma is that without it, so such a node is left out,
    if there is another one.
    """
    for step, then in enumerate(levels[1:]):
        past = list(enumerate(levels[step::-1][:order]))
        yield levels[step], then, [past[0], *((k, level) for k, level in past[1:] if level.alpha)]


def lagrange_weights(
    nodes: Sequence[float],
    start: float,
    end: float,
    density: Function,
    variable: Function | None = None,
) -> list[float]:
    """Return int density(u) l_k(u) du from start to end, l_k the Lagrange polynomials of `nodes`.

    With `variable`, the polynomials are in v(u), and the nodes are values of v. The integrals are
    those of Gauss and Legendre on panels, exact to rounding.
    """
    panels = max(1, math.ceil(abs(end - start) / _PANEL))
    ends = np.linspace(start, end, panels + 1)
    points, gauss = _legendre()
    middle, half = 0.5 * (ends[1:] + ends[:-1]), 0.5 * (ends[1:] - ends[:-1])
    u = (middle[:, None] + half[:, None] * points).reshape(-1)
    measure = (half[:, None] * gauss).reshape(-1) * density(u)
    v = u if variable is None else variable(u)
    weights = []
    for k, node in enumerate(nodes):
        polynomial = np.ones_like(v)
        for j, other in enumerate(nodes):
            if j != k:
                polynomial = polynomial * (v - other) / (node - other)
        weights.append(float(np.sum(polynomial * measure)))
    return weights


def log_snr_step(now: Level, then: Level) -> float:
    """Return h = lambda' - lambda, lambda = log(alpha / sigma): infinite at either end's limit."""
    if now.alpha == 0.0 or then.sigma == 0.0:
        return math.inf
    if then.alpha == 0.0 or now.sigma == 0.0:
        return -math.inf
    return math.log(now.karras / then.karras)


def slope_integral(h: float) -> float:
    """Return h phi_2(-h) = 1 - (1 - exp(-h)) / h: the integral of exp(u - h) u / h from 0 to h."""
    return 1.0 + math.expm1(-h) / h


def from_start(then: Level, *w: float) -> tuple[list[float], dict[int, float]]:
    """Return the weights of (sigma' / sigma) x + alpha' ((1 - exp(-h)) D + sum_k w[k] (D[-k] - D)).

    x, D and e are those of the step's first evaluation, len(w) evaluations ago.
    """
    return [then.alpha * weight for weight in (*w, 1.0 - sum(w))], {len(w): then.sigma}


@cache
def _legendre() -> tuple[Floats, Floats]:
    points, gauss = np.polynomial.legendre.leggauss(_POINTS)
    return points, gauss
