"""ER-SDE: solvers of the extended reverse SDE, whose amount of noise is a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

# phi(s) / s by name: none, that of the reverse SDE, and the paper's choice.
NOISES: dict[str, Callable[[float], float]] = {
    "ode": lambda s: 1.0,
    "sde": lambda s: s,
    "er_sde": lambda s: math.exp(min(s**0.3, 700.0)) + 10.0,
}
# Gauss and Legendre's rule of three nodes on [-1, 1].
RULE = ((-math.sqrt(0.6), 5 / 9), (0.0, 8 / 9), (math.sqrt(0.6), 5 / 9))
PIECES = 32


def er_sde_rows(
    levels: tuple[Level, ...], order: int = 3, noise: Callable[[float], float] = NOISES["er_sde"]
) -> Iterator[Stage]:
    """Rows of `ERSDE`; `noise` is phi(s) / s. A step to s' = 0 or to infinite s' has order 1."""
    past: list[float] = []  # Karras's sigma of this evaluation and of those before it
    for now, then in pairwise(levels):
        s, end = now.karras, then.karras
        past = [s, *past[: order - 1]]
        if end == 0.0 or math.isinf(end):
            yield Stage(now, a=(then.alpha,), b=(then.sigma,))
            continue
        low, high = (_checks.real("what noise returns", noise(at), finite=False) for at in (end, s))
        if not 0.0 < low <= high * (1.0 + 1e-12):
            raise ValueError(
                f"noise must be positive and not fall with sigma, got {low!r} at {end:g} and "
                f"{high!r} at {s:g}"
            )
        kept = low / high  # of the noise: phi(s') / phi(s) * s / s'
        first, second = moments(s, end, noise) if len(past) > 1 else (0.0, 0.0)
        a = newton_weights(past, 1.0 - kept * end / s, first, second)
        a[0] += kept * end / s  # of y = D + s e
        c = then.sigma * math.sqrt(max((1.0 - kept) * (1.0 + kept), 0.0))
        yield Stage(now, a=[then.alpha * w for w in a], b=(then.sigma * kept,), c=c)


def moments(s: float, end: float, noise: Callable[[float], float]) -> tuple[float, float]:
    """Return the integrals of (sigma - s) and (sigma - s)**2 under the weight of D.

    That is phi(s') phi'(sigma) / phi(sigma)**2 d sigma from s' to s. By parts they become
    (s' - s)**k + k phi(s') int (sigma - s)**(k - 1) / phi(sigma) d sigma.
    """
    half = 0.5 * math.log(s / end) / PIECES
    first = second = 0.0
    for piece, (node, weight) in product(range(PIECES), RULE):
        sigma = end * math.exp(half * (2 * piece + 1 + node))
        part = weight * half * end * noise(end) / noise(sigma)
        first, second = first + part, second + part * (sigma - s)
    return end - s + first, (end - s) ** 2 + 2.0 * second


def newton_weights(past: list[float], zeroth: float, first: float, second: float) -> list[float]:
    """Return the weights of each D in an integral of the polynomial through them.

    The polynomial is Newton's, D + D[s, s1] (sigma - s) + D[s, s1, s2] (sigma - s) (sigma - s1),
    and the arguments are the integrals of 1, sigma - s and (sigma - s)**2. A node at infinity has
    weight 0.
    """
    weights = [zeroth, *[0.0] * (len(past) - 1)]
    if len(past) > 1:
        slope = first / (past[0] - past[1])
        weights[0] += slope
        weights[1] -= slope
    if len(past) > 2:
        s, s1, s2 = past
        curve = (second + (s - s1) * first) / (s - s2)
        weights[0] += curve / (s - s1)
        weights[1] -= curve / (s - s1) + curve / (s1 - s2)
        weights[2] += curve / (s1 - s2)
    return weights


@dataclass(frozen=True, kw_only=True)
class ERSDE(Scheduler):
    """Extended reverse-time SDE solvers, ER-SDE-Solver-1 to 3 (Cui et al. 2023).

    With s Karras's sigma and y = x / alpha, a function phi(s) says how much noise a run draws. The
    solution is the same for VE and VP paths:

        y' = r y + phi(s') int_s'^s phi'(sigma) / phi(sigma)**2 D d sigma
             + sqrt(s'**2 - r**2 s**2) z,      r = phi(s') / phi(s).

    Order 1 takes D as constant, so that its integral is (1 - r) D. The higher orders add the slope
    and the curvature of D in sigma from the last two and three evaluations: Newton's polynomial
    through them, integrated numerically in log sigma. The paper multiplies the second difference by
    (sigma - s)**2, where the polynomial has (sigma - s) (sigma - s1); the polynomial is exact where
    D is a parabola in sigma, and so of third order.

    One evaluation a step. The step that ends clean takes D. The run may begin at alpha = 0. With
    "ode" a run is deterministic, of the order of its name; but the first steps have fewer
    evaluations to weigh, so order 3 shows where they are shorter, and is 2 elsewhere. With noise
    the law of the samples of Gaussian data converges in order 1, 2 and 2.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of evaluations that a step weighs, 1 to 3.
    noise : str or callable
        The function phi. "er_sde" (default) is the paper's phi(s) = s (exp(s**0.3) + 10); "sde",
        phi(s) = s**2, is the reverse SDE, so that order 1 is `EulerAncestral`; "ode", phi(s) = s,
        draws none, so that order 1 is `DDIM`. Or a function of s that returns phi(s) / s: positive
        and nowhere falling.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Cui, Zhang, Bao, Liao: Elucidating the Solution Space of Extended Reverse-Time SDE for Diffusion
    Models, 2023 (arXiv:2309.06169).

    Examples
    --------
    >>> from schedulers import ERSDE, VESchedule
    >>> print(ERSDE(VESchedule(), order=2, noise="ode").tableau(sigmas=[4.0, 2.0, 1.0, 0.0]))
    ERSDE: 3 steps, 3 model evaluations
    step NFE t alpha sigma D      D[-1]   e z
       1   1 4     1     4 1      0       2 0
       2   2 2     1     2 1.1534 -0.15343 1 0
       3   3 1     1     1 1      0       0 0
    ends at  0     1     0
    """

    order: int = 3
    noise: str | Callable[[float], float] = "er_sde"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, 3)
        if not callable(self.noise):
            _checks.choice("noise", self.noise, NOISES)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        noise = self.noise if callable(self.noise) else NOISES[self.noise]
        return er_sde_rows(levels, self.order, noise)
