"""DDPM: denoising diffusion probabilistic models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from schedulers.engine.state import Reading, State

    Array = Any

VARIANCES = (
    "fixed_small",
    "fixed_small_log",
    "fixed_large",
    "fixed_large_log",
    "learned",
    "learned_range",
)


def ddpm_rows(levels: tuple[Level, ...], variance: str = "fixed_small") -> Iterator[Stage]:
    """Rows of `DDPM`: x' = alpha' D + (r sigma'**2 / sigma) e + c z (Ho et al. 2020, eq. 7)."""
    for now, then in pairwise(levels):
        kept, _ = ancestral_split(now, then, eta=1.0)
        small, large = deviations(now, then)
        c = large if variance.startswith("fixed_large") else small
        yield Stage(now, a=(then.alpha,), b=(then.sigma * kept,), c=c)


def deviations(now: Level, then: Level) -> tuple[float, float]:
    """Return sqrt(beta~) and the root of the larger variance; both 0 in a step that ends clean."""
    _, fresh = ancestral_split(now, then, eta=1.0)
    if then.sigma == 0.0:
        return 0.0, 0.0
    scale = math.hypot(then.alpha, then.sigma) / math.hypot(now.alpha, now.sigma)
    return then.sigma * fresh, now.sigma * fresh * scale


def decoder_deviations(levels: tuple[Level, ...]) -> tuple[float, float]:
    """Return the least and the largest deviation of x_0 from D, in a run that ends clean.

    The largest is exact if the data is N(0, I): the root of beta where variance is preserved. As
    beta~ is 0, the least is that of the step before (Nichol & Dhariwal 2021, section 3.1).
    """
    last = levels[-2]
    large = last.sigma / math.hypot(last.alpha, last.sigma)
    return (deviations(levels[-3], last)[0] if len(levels) > 2 else large), large


def deviation_in_range(v: Array, small: float, large: float) -> Array:
    """Return the deviation between two that a model's v in [-1, 1] says.

    log variance = f log beta + (1 - f) log beta~ with f = (v + 1) / 2 (Nichol & Dhariwal 2021,
    eq. 15).
    """
    f = 0.5 * (v + 1.0)
    return arrays.apply("exp", f * math.log(large) + (1.0 - f) * math.log(small))


@dataclass(frozen=True, kw_only=True)
class DDPM(Scheduler):
    """Ancestral sampling of the reverse chain, on any subset of steps (Ho et al. 2020, Alg. 2).

    From level (alpha, sigma) to (alpha', sigma') the forward process x = r x' + sqrt(beta) eps has
    r = alpha / alpha' and beta = sigma**2 - r**2 sigma'**2 (1 - alpha**2 / alpha'**2 where variance
    is preserved). Its posterior q(x' | x, x_0) at x_0 = D (eq. 6 and 7) has the

        mean      (alpha' beta D + r sigma'**2 x) / sigma**2 = alpha' D + (r sigma'**2 / sigma) e,
        variance  beta~ = beta sigma'**2 / sigma**2.

    A step draws from it, which is exact if the data is one point. Or it draws with a larger
    variance, which is exact if the data is N(0, I): beta where variance is preserved (section 3.2),
    and beta (alpha'**2 + sigma'**2) / (alpha**2 + sigma**2) on any path. The step that ends clean
    adds no noise. First order, one evaluation a step; stochastic.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    variance : str
        "fixed_small" is beta~ and "fixed_large" is the larger one, beta. "fixed_small_log" and
        "fixed_large_log" are the same two, under the names that configurations use. A model that
        learned the variance (Nichol & Dhariwal 2021) returns twice the channels on axis 1; the
        second half is v. "learned": log variance = v. "learned_range": log variance =
        f log beta + (1 - f) log beta~ (their eq. 15) with f = (v + 1) / 2. For these two a tableau
        shows the smaller deviation.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is none of the choices; by a run with a learned
        variance, if the sample has no channels on axis 1.

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
        return ddpm_rows(levels, self.variance)

    @property
    def learns_variance(self) -> bool:
        """Whether the model returns the variance of the noise, too."""
        return self.variance.startswith("learned")

    @property
    def _method(self) -> str:
        return f"DDPM({self.variance})" if self.learns_variance else "DDPM"

    def _checked_sample(self, name: str, x: Array) -> tuple[Array, Any]:
        carried, dtype = super()._checked_sample(name, x)
        if self.learns_variance and len(carried.shape) < 2:
            raise ValueError(
                f"{name} must have channels on axis 1 for variance {self.variance!r}, "
                f"got shape {tuple(carried.shape)}"
            )
        return carried, dtype

    @cached_property
    def _reading(self) -> Reading:
        variance = self.variance if self.learns_variance else None
        return super()._reading._replace(variance=variance)

    def _read(self, output: Array, state: State) -> tuple[Array, Any]:
        if not self.learns_variance:
            return super()._read(output, state)
        return read_with_variance(output, state, self.variance)


def read_with_variance(output: Array, state: State, variance: str) -> tuple[Array, Any]:
    """Check what a model with a variance returned; return the prediction, and the deviation."""
    x, stage = state.carried, state.tableau.stages[state.index]
    n, channels, *rest = x.shape
    shape = (n, 2 * channels, *rest)
    output = arrays.matching("the model's output", output, x, shape, stage.level.t)
    output, v = output[:, :channels], output[:, channels:]
    if variance == "learned":
        return output, arrays.apply("exp", 0.5 * v)
    levels = state.tableau.levels
    now, then = levels[state.index : state.index + 2]
    ends = deviations(now, then) if then.sigma else decoder_deviations(levels)
    return output, deviation_in_range(v, *ends)
