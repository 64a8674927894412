"""DPM++ SDE: DPM-Solver++(2S) with noise in both of its stages, from one Brownian path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.methods.multistep import log_snr_step, step_orders
from schedulers.schedules.base import Level, LevelAt


def sde_rows(
    levels: tuple[Level, ...],
    level_at: LevelAt,
    eta: float = 1.0,
    final_orders: Sequence[int] = (),
) -> Iterator[Stage]:
    """Rows of "DPM++ SDE": noise on the way to a step's middle, and in the step itself.

    With s Karras's sigma and y = x / alpha, s_1 = sqrt(s s'), and s_down and s_up as for
    `EulerAncestral`, both from s:

        y_1 = D + s_1,down e + n_1,        n_1 of deviation s_1,up,
        y' = r D + (1 - r) D_1 + s'_down e + n,    r = s'_down / s, n of deviation s'_up.

    n and n_1 are of one Brownian path: n = (s' / s_1)**2 n_1 + fresh noise, as in the exact
    solution, where they are eta s'**2 (W(1 / s'**2) - W(1 / s**2)). The rows have n_1 from the
    estimates, y_1 - D - s_1,down e with y_1 = D_1 + s_1 e_1.
    """
    orders = step_orders(len(levels) - 1, 2, final_orders)
    for (now, then), order in zip(pairwise(levels), orders, strict=True):
        kept, fresh = ancestral_split(now, then, eta)
        if order == 1 or math.isinf(log_snr_step(now, then)):
            yield Stage(now, a=(then.alpha,), b=(then.sigma * kept,), c=then.sigma * fresh)
            continue
        middle = level_at(math.sqrt(now.karras * then.karras))
        kept_1, fresh_1 = ancestral_split(now, middle, eta)
        c = middle.sigma * fresh_1
        yield Stage(now, a=(middle.alpha,), b=(middle.sigma * kept_1,), c=c, ends_step=False)
        r = then.karras * kept / now.karras
        shared = (then.karras / middle.karras) ** 2 if eta else 0.0
        old = shared * middle.karras
        a = then.alpha * (1.0 - r + shared), then.alpha * (r - shared)
        b = then.alpha * old, then.sigma * kept - then.alpha * old * kept_1
        yield Stage(middle, a, b, c=then.sigma * eta * math.sqrt(1.0 - shared))
