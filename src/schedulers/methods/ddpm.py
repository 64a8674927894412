"""DDPM: denoising diffusion probabilistic models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

VARIANCES = (
    "fixed_small",
    "fixed_small_log",
    "fixed_large",
    "fixed_large_log",
    "learned",
    "learned_range",
)


@dataclass(frozen=True, kw_only=True)
class DDPM(Scheduler):
    """Ancestral sampling of the reverse chain, on any subset of steps (Ho et al. 2020, Alg. 2).

    From level (alpha, sigma) to (alpha', sigma') the forward process x = r x' + sqrt(beta) eps has
    r = alpha / alpha' and beta = sigma**2 - r**2 sigma'**2 (1 - alpha**2 / alpha'**2 where variance
    is preserved). Its posterior q(x' | x, x_0) at x_0 = D (eq. 6 and 7) has the

        mean      (alpha' beta D + r sigma'**2 x) / sigma**2 = alpha' D + (r sigma'**2 / sigma) e,
        variance  beta~ = beta sigma'**2 / sigma**2.

    A step draws from it, which is exact for data that is a point, or with the larger variance that
    is exact for data ~ N(0, I): beta where variance is preserved (section 3.2), and on any path
    beta (alpha'**2 + sigma'**2) / (alpha**2 + sigma**2). The step that ends clean adds no noise.
    First order, one evaluation a step; stochastic.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    variance : str
        "fixed_small" is beta~ and "fixed_large" the larger one, beta; "fixed_small_log" and
        "fixed_large_log" are the same two, under the names that configurations have for their
        logarithms. For a model that learned it (Nichol & Dhariwal 2021) and returns twice the
        channels on axis 1, the second half v says: "learned", log variance = v; "learned_range",
        log variance = f log beta + (1 - f) log beta~ (their eq. 15) with f = (v + 1) / 2, as models
        put it out.

    Raises
    ------
    TypeError, ValueError
        If a parameter is none such; for a learned variance, if a sample has no axis 1.

    References
    ----------
    Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, NeurIPS 2020. Nichol, Dhariwal:
    Improved Denoising Diffusion Probabilistic Models, ICML 2021.

    Examples
    --------
    >>> from schedulers import DDPM, VESchedule
    >>> print(DDPM(VESchedule()).tableau(sigmas=[4.0, 2.0, 0.0]))
    DDPM: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e z
       1   1 4     1     4 1 1 1.7321
       2   2 2     1     2 1 0 0
    ends at  0     1     0
    """

    variance: str = "fixed_small"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.choice("variance", self.variance, VARIANCES)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        for now, then in pairwise(levels):
            ratio = then.karras / now.karras  # r sigma' / sigma
            root_beta = now.sigma * math.sqrt(1.0 - ratio**2)
            small = root_beta * then.sigma / now.sigma
            large = (
                root_beta * math.hypot(then.alpha, then.sigma) / math.hypot(now.alpha, now.sigma)
            )
            large = large if then.sigma else 0.0
            yield Stage(
                now,
                a=(then.alpha,),
                b=(ratio * then.sigma,),
                c=large if self.variance.startswith("fixed_large") else small,
                c_range=self._range(small, large),
            )

    def _range(self, small: float, large: float) -> tuple[float, float] | None:
        match self.variance:
            case "learned_range":
                return small, large
            case "learned":
                return 0.0, math.inf if small else 0.0
        return None

    @property
    def _method(self) -> str:
        learned = self.variance.startswith("learned")
        return f"DDPM({self.variance})" if learned else "DDPM"

    def _output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not self.variance.startswith("learned"):
            return shape
        if len(shape) < 2:
            raise ValueError(
                f"variance {self.variance!r} needs samples with channels on axis 1, "
                f"got shape {shape}"
            )
        return shape[0], 2 * shape[1], *shape[2:]

    def _read(self, output: Any, stage: Stage) -> tuple[Any, Any]:
        if stage.c_range is None:
            return output, stage.c
        channels = output.shape[1] // 2
        output, v = output[:, :channels], output[:, channels:]
        if not stage.c:
            return output, 0.0
        if self.variance == "learned":
            return output, _exp(0.5 * v)
        small, large = stage.c_range
        f = 0.5 * (v + 1.0)
        return output, _exp(f * math.log(large) + (1.0 - f) * math.log(small))


def _exp(array: Any) -> Any:
    return array.exp() if hasattr(array, "exp") else np.exp(array)  # PyTorch has it as a method
