"""Heun's second-order method on the probability-flow ODE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schedulers.engine.tableau import Stage
from schedulers.methods.churn import ChurnedScheduler, Raise
from schedulers.methods.slopes import check_finite_slope, stretch
from schedulers.schedules.base import Level


def heun_rows(levels: tuple[Level, ...], raises: Sequence[Raise] | None = None) -> Iterator[Stage]:
    """Rows of `Heun`, each step's last row on to where churn raises the next level."""
    raises = raises or [Raise(level) for level in levels]
    for begin, then, up in zip(raises, levels[1:], raises[1:], strict=False):
        if then.sigma == 0.0:
            yield Stage(begin.level, a=(then.alpha,), b=(then.sigma,))
        else:
            yield from heun_step(begin.level, then, up)


def heun_step(now: Level, then: Level, up: Raise) -> Iterator[Stage]:
    """Rows of one step from `now` to `then`, raised from there.

    In the estimates of the second row y = D' + s' e' - h e, with h = s' - s. So the step is
    y' = D' + s' e' + h (e' - e) / 2.
    """
    check_finite_slope("Heun", now)
    half = 0.5 * stretch(now, then)
    yield Stage(now, a=(then.alpha,), b=(then.sigma,), ends_step=False)
    a, b = (then.alpha,), (then.sigma + half, -half)
    yield Stage(then, a=tuple(up.scale * w for w in a), b=tuple(up.scale * w for w in b), c=up.c)


@dataclass(frozen=True, kw_only=True)
class Heun(ChurnedScheduler):
    """Heun's method (Karras et al. 2022, Algorithm 1 with sigma(t) = t; with churn, Algorithm 2).

    With s Karras's sigma, y = x / alpha and dy/ds = e (eq. 4), a step is Euler's, and then the
    trapezoidal rule with the noise estimate e' at its end:

        y* = y + (s' - s) e,      y' = y + (s' - s) (e + e') / 2.

    The step that ends clean is Euler's alone, as there is no e' at s' = 0. Second order, two
    evaluations a step (2 steps - 1 in a run that ends clean); deterministic unless `s_churn` is
    set. It cannot begin at alpha = 0, where s is infinite. A step from a very large s to a much
    smaller s' multiplies the model's errors by s / s': with a schedule that ends near alpha = 0,
    such as that of `cosine_betas`, use a spacing by sigma ("karras").

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    s_churn, s_tmin, s_tmax, s_noise : float
        As for `ChurnedScheduler`.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Karras, Aittala, Aila, Laine: Elucidating the Design Space of Diffusion-Based Generative
    Models, NeurIPS 2022. The method is also called the improved Euler or the explicit trapezoidal
    method.

    Examples
    --------
    >>> from schedulers import Heun, VESchedule
    >>> print(Heun(VESchedule()).tableau(sigmas=[4.0, 2.0, 1.0]))
    Heun: 2 steps, 4 model evaluations
    step NFE t alpha sigma D e   e[-1] z
       1   1 4     1     4 1 2   0     0
           2 2     1     2 1 1   1     0
       2   3 2     1     2 1 1   0     0
           4 1     1     1 1 0.5 0.5   0
    ends at  1     1     1
    """

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return heun_rows(levels, self.raises(levels))
