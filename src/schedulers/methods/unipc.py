"""UniPC: a multistep predictor, and a corrector that needs no evaluation of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.multistep import exponential_adams
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

VARIANTS = ("bh1", "bh2")
PREDICTS = ("data", "noise")


def unipc_rows(
    levels: tuple[Level, ...],
    order: int = 2,
    variant: str = "bh2",
    corrector: bool = True,
    lower_order_final: bool = True,
    predicts: str = "data",
) -> Iterator[Stage]:
    """Rows of `UniPC` (Zhao et al. 2023, Algorithms 1 and 2): exact integrals (eq. 9).

    Of two estimates the integral has the factor 1/2 (appendix F). B(h), the variant, cancels in all
    other orders.
    """
    steps = len(levels) - 1
    predicted = [min(order, steps - step) if lower_order_final else order for step in range(steps)]
    corrected = [number + 1 for number in predicted] if corrector else None
    return exponential_adams(levels, predicted, corrected, slope=variant, noise=predicts == "noise")


@dataclass(frozen=True, kw_only=True)
class UniPC(Scheduler):
    """UniPC (Zhao et al. 2023): a predictor and a corrector at one evaluation a step.

    With lambda = log(alpha / sigma), the predictor (UniP) integrates the polynomial in lambda
    through the last `order` estimates. When the next estimate comes, the corrector (UniC) takes the
    same step again with that estimate too, which raises the order by one, and the next prediction
    begins from there. Deterministic. It can begin at alpha = 0. Other names: "uni_pc",
    "uni_pc_bh2", UniPCMultistepScheduler.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of estimates of the predictor, 1 to 4. The first steps have lower orders.
    variant : str
        B(h) of the paper: "bh1" is h, "bh2" is 1 - exp(-h), or exp(h) - 1 for the noise. It matters
        for the predictor of order 2 and for the corrector of order 1.
    corrector : bool
        Whether samples are corrected.
    lower_order_final : bool
        Whether the last steps have lower orders, the last one order 1, which is more stable in few
        steps. The step that ends clean has order 1 in any case.
    predicts : str
        Which estimate is a polynomial: "data", the denoised one (diffusers' predict_x0), or
        "noise", as in most of the paper.

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
    predicts: str = "data"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, 4)
        _checks.choice("variant", self.variant, VARIANTS)
        _checks.boolean("corrector", self.corrector)
        _checks.boolean("lower_order_final", self.lower_order_final)
        _checks.choice("predicts", self.predicts, PREDICTS)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return unipc_rows(
            levels,
            self.order,
            self.variant,
            self.corrector,
            self.lower_order_final,
            self.predicts,
        )
