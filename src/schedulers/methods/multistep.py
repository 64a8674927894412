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

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.schedules.base import Level
from schedulers.schedules.elementary import exp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Function = Callable[[Floats], Floats]
    Estimates = Sequence[tuple[int, Level]]  # (age, level) of evaluations
    Weights = dict[int, float]  # by age

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


def step_orders(steps: int, order: int, final_orders: Sequence[int] = ()) -> list[int]:
    """Return the order of each step, `final_orders` those of the last ones."""
    return [*[order] * (steps - len(final_orders)), *final_orders][-steps:]


def checked_orders(final_orders: object, order: int) -> tuple[int, ...]:
    """Return `final_orders` as a tuple of ints from 1 to `order`."""
    if not isinstance(final_orders, (tuple, list)):
        raise TypeError(
            f"final_orders must be a tuple of orders, such as (2, 1), "
            f"got {_checks.shown(final_orders)}"
        )
    return tuple(_checks.between("each of final_orders", each, 1, order) for each in final_orders)


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


def exponential_adams(
    levels: tuple[Level, ...],
    predicted: Sequence[int],
    corrected: Sequence[int] | None = None,
    eta: Callable[[Level], float] = lambda now: 0.0,
    slope: str = "exact",
    noise: bool = False,
) -> Iterator[Stage]:
    """Rows of Adams's methods for the data, with each step's numbers of estimates.

    Step i predicts with the last predicted[i] estimates. When the next one comes, the step is taken
    again with it and with those before it, corrected[i] in all; 0 is no correction. Both begin at
    the same x and draw the same noise, so the sample is corrected by alpha' sum_k v[k] D[-k], v the
    difference of their weights. With `noise` the noise estimate takes the place of the data's: the
    same equations hold with alpha and sigma exchanged, which changes the sign of lambda.
    """
    corrected = corrected or [0] * len(predicted)
    turn = _exchanged if noise else _kept
    k, w = 1.0, dict[int, float]()
    for step, (now, then, known) in enumerate(windows(levels, max(*predicted, *corrected))):
        past, v = [(age, turn(level)) for age, level in known], dict[int, float]()
        if step and corrected[step - 1] and levels[step - 1].alpha:
            points = past[: corrected[step - 1]]
            again = exponential_weights(turn(levels[step - 1]), turn(now), points, k, slope)
            before = {age + 1: weight for age, weight in w.items()}
            ages = {*again, *before}
            v = {age: again.get(age, 0.0) - before.get(age, 0.0) for age in ages}
        k = 1.0 + eta(now)
        w = exponential_weights(turn(now), turn(then), past[: predicted[step]], k, slope)
        a, b, c = exponential_row(turn(now), turn(then), w, v, k - 1.0)
        yield Stage(now, b, a, c) if noise else Stage(now, a, b, c)


def exponential_weights(
    at: Level, then: Level, points: Estimates, k: float = 1.0, slope: str = "exact"
) -> Weights:
    """Return by age int_0^h k exp(k (u - h)) l(u) du, with u = lambda - lambda(at).

    For two points, `slope` says what the integral of u is: "exact", or h B / 2 with B = k h ("bh1")
    or B = 1 - exp(-k h) ("bh2"). An infinite step has the weight of the latest estimate alone.
    """
    h = log_snr_step(at, then)
    ages = [age for age, _ in points]
    if len(points) == 1 or math.isinf(h):
        return {ages[0]: -math.expm1(-k * h)}
    nodes = [log_snr_step(at, level) for _, level in points]
    if len(points) == 2 and slope != "exact":
        whole = -math.expm1(-k * h)
        first = 0.5 * h * (k * h if slope == "bh1" else whole)
        (one, other), gap = nodes, nodes[0] - nodes[1]
        w = [(first - other * whole) / gap, (one * whole - first) / gap]
    else:
        w = lagrange_weights(nodes, 0.0, h, lambda u: k * exp(k * (u - h)))
    return dict(zip(ages, w, strict=True))


def exponential_row(
    now: Level, then: Level, w: Weights, v: Weights, eta: float
) -> tuple[Weights, list[float], float]:
    """Return the weights of D, e and z in a step of `exponential_adams`.

    x' = (sigma' / sigma) exp(-eta h) (x + alpha sum_k v[k] D[-k])
         + alpha' sum_k w[k] D[-k] + sigma' sqrt(1 - exp(-2 eta h)) z.
    """
    h = log_snr_step(now, then)
    if h == -math.inf:  # up from the clean level or to alpha = 0: Euler's step
        return {0: then.alpha}, [then.sigma], 0.0
    decay = math.exp(-eta * h) if eta else 1.0
    fresh = math.sqrt(-math.expm1(-2.0 * eta * h)) if eta else 0.0
    a = {age: then.alpha * weight for age, weight in w.items()}
    kept = then.sigma / now.sigma * decay
    for age, weight in {**v, 0: v.get(0, 0.0) + 1.0}.items():
        a[age] = a.get(age, 0.0) + kept * now.alpha * weight
    return a, [then.sigma * decay], then.sigma * fresh


def _kept(level: Level) -> Level:
    return level


def _exchanged(level: Level) -> Level:
    return Level(level.t, level.sigma, level.alpha)


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
