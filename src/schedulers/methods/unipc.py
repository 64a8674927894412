"""UniPC: a multistep predictor, and a corrector that needs no evaluation of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.multistep import lagrange_weights, log_snr_step, windows
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level
from schedulers.schedules.elementary import exp

Weights = dict[int, float]
VARIANTS = ("bh1", "bh2")


def unipc_rows(
    levels: tuple[Level, ...],
    order: int = 2,
    variant: str = "bh2",
    corrector: bool = True,
    lower_order_final: bool = True,
) -> Iterator[Stage]:
    """Rows of `UniPC` (Zhao et al. 2023, Algorithms 1 and 2), with the denoised estimate.

    With w the weights of the last step's prediction and v those of its correction, which weigh the
    new estimate too, the sample is corrected by alpha sum_k (v[k] - w[k]) D[-k] before the next
    prediction x' = (sigma' / sigma) x + alpha' sum_k w[k] D[-k].
    """
    steps = len(levels) - 1
    before: list[tuple[int, Level]] = []
    w: Weights = {}
    corrected: Weights = {}
    for step, (now, then, past) in enumerate(windows(levels, order)):
        if corrector and step and levels[step - 1].alpha and then.alpha:
            v = _corrected(levels[step - 1], now, before, variant)
            shifted = {age + 1: weight for age, weight in w.items()}
            corrected = {k: v.get(k, 0.0) - shifted.get(k, 0.0) for k in {*v, *shifted}}
        before = past[: min(order, steps - step) if lower_order_final else order]
        h = log_snr_step(now, then)
        if math.isinf(h):
            before = before[:1]
        w = _predicted(now, h, before, variant)
        decay = then.sigma / now.sigma
        a = {age: then.alpha * weight for age, weight in w.items()}
        for age, weight in {**corrected, 0: corrected.get(0, 0.0) + 1.0}.items():
            a[age] = a.get(age, 0.0) + decay * now.alpha * weight
        yield Stage(now, a=a, b=(then.sigma,)) if h > -math.inf else _euler(now, then)


def _predicted(now: Level, h: float, past: list[tuple[int, Level]], variant: str) -> Weights:
    """Return weights by age: exact integrals (eq. 9), of order 2 with the factor 1/2 (appendix F).

    The variant, h or 1 - exp(-h), is a factor that cancels in all other orders.
    """
    if len(past) == 1:
        return {past[0][0]: -math.expm1(-h)}
    if len(past) == 2:
        (newest, _), (oldest, level) = past
        half = 0.5 * _factor(h, variant) * h / log_snr_step(level, now)
        return {newest: -math.expm1(-h) + half, oldest: -half}
    nodes = [-log_snr_step(level, now) for _, level in past]
    return dict(zip((age for age, _ in past), _integrals(nodes, h), strict=True))


def _corrected(before: Level, now: Level, past: list[tuple[int, Level]], variant: str) -> Weights:
    """Return weights by age of the step that led to `now`, the estimate there included."""
    h = log_snr_step(before, now)
    if len(past) == 1:
        half = 0.5 * _factor(h, variant)
        return {0: half, 1: -math.expm1(-h) - half}
    nodes = [h, *(-log_snr_step(level, before) for _, level in past)]
    return dict(zip((0, *(age + 1 for age, _ in past)), _integrals(nodes, h), strict=True))


def _integrals(nodes: list[float], h: float) -> list[float]:
    return lagrange_weights(nodes, 0.0, h, lambda u: exp(u - h))


def _factor(h: float, variant: str) -> float:
    return h if variant == "bh1" else -math.expm1(-h)


def _euler(now: Level, then: Level) -> Stage:
    """Row of the step up to alpha = 0."""
    return Stage(now, a=(then.alpha,), b=(then.sigma,))


@dataclass(frozen=True, kw_only=True)
class UniPC(Scheduler):
    """UniPC (Zhao et al. 2023): a predictor and a corrector at one evaluation a step.

    With lambda = log(alpha / sigma), the predictor (UniP) integrates the polynomial in lambda
    through the last `order` denoised estimates. When the next estimate comes, the corrector (UniC)
    takes the same step again with that estimate too, which raises the order by one, and the next
    prediction begins from there. Deterministic. It can begin at alpha = 0. Other names: "uni_pc",
    "uni_pc_bh2", UniPCMultistepScheduler.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of denoised estimates of the predictor, 1 to 4. The first steps have lower orders.
    variant : str
        B(h) of the paper: "bh1" is h, "bh2" is 1 - exp(-h). It matters for the predictor of order 2
        and for its first correction.
    corrector : bool
        Whether samples are corrected.
    lower_order_final : bool
        Whether the last steps have lower orders, the last one order 1, which is more stable in few
        steps. The step that ends clean has order 1 in any case.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Zhao, Bai, Rao, Zhou, Lu: UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
    Diffusion Models, NeurIPS 2023.

    Examples
    --------
    >>> from schedulers import UniPC, VESchedule
    >>> print(UniPC(VESchedule()).tableau(sigmas=[4.0, 2.0, 1.0, 0.0]))
    UniPC: 3 steps, 3 model evaluations
    step NFE t alpha sigma D     D[-1]  e z
       1   1 4     1     4 1     0      2 0
       2   2 2     1     2 1.375 -0.375 1 0
       3   3 1     1     1 1     0      0 0
    ends at  0     1     0
    """

    order: int = 2
    variant: str = "bh2"
    corrector: bool = True
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, 4)
        _checks.choice("variant", self.variant, VARIANTS)
        _checks.boolean("corrector", self.corrector)
        _checks.boolean("lower_order_final", self.lower_order_final)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return unipc_rows(levels, self.order, self.variant, self.corrector, self.lower_order_final)
