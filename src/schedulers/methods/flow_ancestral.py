"""Ancestral sampling of flows: Euler's step to a lower time, and fresh noise back up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level


def flow_ancestral_rows(
    levels: tuple[Level, ...], eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Stage]:
    """Rows of `FlowAncestral`: x' = alpha' D + sigma' (kept e + fresh s_noise z)."""
    for now, then in pairwise(levels):
        kept, fresh = flow_split(now, then, eta)
        yield Stage(now, a=(then.alpha,), b=(then.sigma * kept,), c=then.sigma * fresh * s_noise)


def flow_split(now: Level, then: Level, eta: float) -> tuple[float, float]:
    """Return the weights of e and of fresh z in a step to `then`, in units of its sigma.

    The step goes down to u_down = u' (1 - eta (u - u') / u), and x is scaled by
    (1 - u') / (1 - u_down) on the way back up to u'. So kept is (u_down / u') times that.
    """
    r = 1.0 - eta * (1.0 - then.flow_time / now.flow_time)
    if r == 1.0:
        return 1.0, 0.0
    signal = 1.0 - then.flow_time
    kept = r * signal / (signal + (1.0 - r) * then.flow_time)
    return kept, math.sqrt((1.0 - kept) * (1.0 + kept))


@dataclass(frozen=True, kw_only=True)
class FlowAncestral(Scheduler):
    """Euler's method on a flow with fresh noise ("euler_ancestral" for flows, as in ComfyUI).

    With u the time of rectified flow, x = (1 - u) x_0 + u eps, a step goes down along the velocity
    to a time u_down below u', then scales x and adds noise back up to u':

        u_down = u' (1 + eta (u' / u - 1)),      r = (1 - u') / (1 - u_down),
        x_down = x + (u_down - u) (e - D) = (1 - u_down) D + u_down e,
        x' = r x_down + c z,      (r u_down)**2 + c**2 = u'**2.

    The last equation makes the marginals right: r gives x_0 the scale 1 - u' that it has at u', and
    then the variances of the old and of the fresh noise must add up to u'**2. It is
    x' = (1 - u') D + r u_down e + c z: DDIM's step with a c of its own. On any other path it is the
    same step at u = sigma / (alpha + sigma), the flow's time with the same sigma / alpha, and at
    that path's scale. In small steps it solves the same reverse SDE as `EulerAncestral`. First
    order, one evaluation a step; stochastic unless eta is 0.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    eta : float
        In [0, 1]; 0 is Euler. 1 goes down as far as a step of the same ratio u' / u from u' would.
    s_noise : float
        Factor on the standard deviation of the noise that is added, at least 0; the marginals are
        right with 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    The step is that of users of rectified flow; the equation of its marginals is Song et al. 2021
    (DDIM), eq. 12 and lemma 1, on the path of Liu, Gong, Liu: Flow Straight and Fast, ICLR 2023.

    Examples
    --------
    >>> from schedulers import FlowAncestral, FlowSchedule
    >>> scheduler = FlowAncestral(FlowSchedule(), prediction_type="flow")
    >>> print(scheduler.tableau(timesteps=[1.0, 0.5]))
    FlowAncestral: 2 steps, 2 model evaluations
    step NFE   t alpha sigma   D       e       z
       1   1   1     0     1 0.5 0.16667 0.4714
       2   2 0.5   0.5   0.5   1       0      0
    ends  at   0     1     0
    """

    eta: float = 1.0
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.settle(self, "eta", at_least=0.0, at_most=1.0)
        _checks.settle(self, "s_noise", at_least=0.0)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return flow_ancestral_rows(levels, self.eta, self.s_noise)
