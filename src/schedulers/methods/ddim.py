"""DDIM: denoising diffusion implicit models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

Deviations = Sequence[float] | Callable[[Level, Level], float]


def ddim_rows(
    levels: tuple[Level, ...], eta: float = 0.0, sigma: Deviations | None = None
) -> Iterator[Stage]:
    """Rows of `DDIM`: x' = alpha' D + sqrt(sigma'**2 - c**2) e + c z (Song et al. 2021, eq. 12).

    c follows from `eta` by eq. 16, or is given by `sigma`.
    """
    split = _by_eta(levels, eta) if sigma is None else _by_sigma(levels, sigma)
    for (now, then), (kept, c) in zip(pairwise(levels), split, strict=True):
        yield Stage(now, a=(then.alpha,), b=(kept,), c=c)


def _by_eta(levels: tuple[Level, ...], eta: float) -> Iterator[tuple[float, float]]:
    for now, then in pairwise(levels):
        kept, fresh = ancestral_split(now, then, eta)
        yield then.sigma * kept, then.sigma * fresh


def _by_sigma(levels: tuple[Level, ...], given: Deviations) -> Iterator[tuple[float, float]]:
    if callable(given):
        given = [given(now, then) for now, then in pairwise(levels)]
    if len(given) != len(levels) - 1:
        raise ValueError(
            f"sigma must have one entry for each of the run's {len(levels) - 1} steps, "
            f"got {len(given)}"
        )
    for step, (c, then) in enumerate(zip(given, levels[1:], strict=True), start=1):
        # A deviation computed elsewhere may be above its limit by rounding.
        limit = then.sigma * (1.0 + 1e-12)
        c = _checks.real(f"sigma of step {step}", c, at_least=0.0, at_most=limit)
        yield math.sqrt(max((then.sigma - c) * (then.sigma + c), 0.0)), c


@dataclass(frozen=True, kw_only=True)
class DDIM(Scheduler):
    """Denoising diffusion implicit models (Song et al. 2021).

    A step goes straight to the next level along D and e, and replaces a part of the noise by fresh
    noise of standard deviation c, the paper's sigma (eq. 12):

        x' = alpha' D + sqrt(sigma'**2 - c**2) e + c z.

    By `eta`, c = eta sigma' sqrt(1 - (alpha sigma')**2 / (alpha' sigma)**2). Where variance is
    preserved that is eq. 16, eta (sigma' / sigma) sqrt(1 - alpha**2 / alpha'**2); written so it
    holds on any path. First order, one evaluation a step; deterministic where c is 0.

    The paper's sigma-hat (section 5 and appendix D.3), which has a larger c but the weight of e of
    eta = 1, is not a case of eq. 12. It is ``DDPM(schedule, variance="fixed_large")``.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    eta : float
        In [0, 1]; 0 is deterministic, 1 has DDPM's posterior variance.
    sigma : sequence of float, or callable, optional
        The standard deviations c themselves, instead of `eta`: one for each step, or a function
        ``sigma(level, next_level)`` of the two levels of a step. Each is at least 0 and at most the
        next level's sigma, so 0 in the step that ends clean.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range, or if both `eta` and `sigma` are
        given; by a run, if `sigma` has not one entry for each step, or one above the next level's
        sigma.

    References
    ----------
    Song, Meng, Ermon: Denoising Diffusion Implicit Models, ICLR 2021.

    Examples
    --------
    >>> from schedulers import DDIM, VESchedule
    >>> print(DDIM(VESchedule(), sigma=[1.2, 0.0]).tableau(sigmas=[4.0, 2.0, 0.0]))
    DDIM: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e   z
       1   1 4     1     4 1 1.6 1.2
       2   2 2     1     2 1 0   0
    ends at  0     1     0
    """

    eta: float = 0.0
    sigma: Deviations | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.settle(self, "eta", at_least=0.0, at_most=1.0)
        if self.sigma is None:
            return
        if self.eta:
            raise ValueError(f"eta and sigma must not both be given, got eta={self.eta!r}")
        if not callable(self.sigma):
            if isinstance(self.sigma, (int, float, str)):
                raise TypeError(
                    f"sigma must be a sequence of one number for each step, or a function of "
                    f"(level, next_level), got {_checks.shown(self.sigma)}"
                )
            given = tuple(_checks.vector("sigma", self.sigma).tolist())
            object.__setattr__(self, "sigma", given)  # as floats, so that it stays as it was given

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return ddim_rows(levels, self.eta, self.sigma)
