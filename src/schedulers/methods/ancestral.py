"""The ancestral split: how much noise a step keeps, and how much it draws anew."""

from __future__ import annotations

import math

from schedulers.schedules.base import Level


def ancestral_split(now: Level, then: Level, eta: float) -> tuple[float, float]:
    """Return the weights of e and of fresh z in a step to `then`, in units of its sigma.

    The fresh part is eta sqrt(1 - r**2) with r = alpha sigma' / (alpha' sigma): what the reverse of
    the forward process adds, scaled by `eta` (Song et al. 2021, DDIM, eq. 16). The kept part is
    sqrt(1 - fresh**2), written as sqrt((1 - eta**2) + (eta r)**2) so that no digits cancel. Above
    eta = 1 the fresh part is at most the whole.
    """
    if not eta:
        return 1.0, 0.0
    r = then.karras / now.karras
    kept = math.sqrt(max((1.0 - eta**2) + (eta * r) ** 2, 0.0))
    return kept, min(eta * math.sqrt(1.0 - r**2), 1.0)
