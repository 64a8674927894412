"""Heun's second-order method on the probability-flow ODE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schedulers.engine.tableau import Stage
from schedulers.methods.churn import ChurnedScheduler
from schedulers.schedules.base import Level


@dataclass(frozen=True, kw_only=True)
class Heun(ChurnedScheduler):
    """Heun's method (Karras et al. 2022, Algorithm 1 with sigma(t) = t; with churn, Algorithm 2).

    With s Karras's sigma, y = x / alpha and dy/ds = e (eq. 4), a step is Euler's, and then the
    trapezoidal rule with the noise estimate e' at its end:

        y* = y + (s' - s) e,      y' = y + (s' - s) (e + e') / 2.

    The step that ends clean is Euler's alone, for want of an e' at s' = 0. Second order, two
    evaluations a step (2 steps - 1 in a run that ends clean); deterministic unless `s_churn` is
    set. It cannot begin at alpha = 0, where s is infinite, and where a step falls from a very large
    s to a much smaller one it multiplies the model's errors by s / s': a schedule that ends near
    alpha = 0, as `cosine_betas` do, wants a spacing by sigma ("karras").

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    s_churn, s_tmin, s_tmax, s_noise : float
        As for `ChurnedScheduler`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is none such.

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
        if levels[0].alpha == 0.0:
            raise ValueError(
                "Heun's first step is infinite from alpha = 0: begin at a level with alpha > 0, "
                "such as by sigmas= or timesteps=, or use Euler, DDIM, EulerAncestral, DDPM or "
                "PLMS(startup='lower_order')"
            )
        begins = self.raised(levels)
        for now, then, raised in zip(begins, levels[1:], begins[1:], strict=False):
            if then.sigma == 0.0:
                yield Stage(now, a=(then.alpha,), b=(then.sigma,))
            else:
                yield from heun_step(now, then, raised, self.raise_noise(then, raised))


def heun_step(now: Level, then: Level, raised: Level, c: float) -> Iterator[Stage]:
    """Rows of one step from `now` to `then`, the second one on to `raised` with noise c z.

    By the first row y = D' + s' e' - h e in terms of the second one's estimates, h = s' - s.
    """
    h = then.karras - now.karras
    yield Stage(now, a=(then.alpha,), b=(then.sigma,), ends_step=False)
    yield Stage(
        then,
        a=(raised.alpha,),
        b=(raised.alpha * (then.karras + 0.5 * h), -raised.alpha * 0.5 * h),
        c=c,
    )
