"""Gradient estimation: DDIM along a noise estimate that is corrected by the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.slopes import stretch
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level


def gradient_estimation_rows(levels: tuple[Level, ...], gamma: float = 2.0) -> Iterator[Stage]:
    """Rows of `GradientEstimation`: y' = y + h (gamma e + (1 - gamma) e[-1]), y = D + s e."""
    yield Stage(levels[0], a=(levels[1].alpha,), b=(levels[1].sigma,))
    for now, then in pairwise(levels[1:]):
        beyond = (gamma - 1.0) * stretch(now, then)
        yield Stage(now, a=(then.alpha,), b=(then.sigma + beyond, -beyond))


@dataclass(frozen=True, kw_only=True)
class GradientEstimation(Scheduler):
    """Sampling with gradient estimation (Permenter & Yuan 2024, Algorithm 2).

    Denoising is gradient descent on the squared distance to the data, and e is a noisy estimate of
    the gradient. The paper takes a better one from the last two. With s Karras's sigma and
    y = x / alpha,

        e~ = gamma e + (1 - gamma) e[-1],      y' = y + (s' - s) e~.

    The first step has no estimate before it, and takes e~ = e. One evaluation a step;
    deterministic. It is a method of first order, except with gamma = 1.5, where it is of second
    order on grids uniform in s: there it is ``PLMS(order=2)``. With gamma = 1 it is `DDIM`.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    gamma : float
        Weight of the latest noise estimate, at least 1; the paper uses 2.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Permenter, Yuan: Interpreting and Improving Diffusion Models from an Optimization Perspective,
    ICML 2024.

    Examples
    --------
    >>> from schedulers import GradientEstimation, VESchedule
    >>> print(GradientEstimation(VESchedule()).tableau(sigmas=[4.0, 3.0, 2.0]))
    GradientEstimation: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e e[-1] z
       1   1 4     1     4 1 3     0 0
       2   2 3     1     3 1 1     1 0
    ends at  2     1     2
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.settle(self, "gamma", at_least=1.0)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return gradient_estimation_rows(levels, self.gamma)
