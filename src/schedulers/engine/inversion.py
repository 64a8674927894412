"""Inversion: the rows of a run that climbs the levels, from a sample to its noise.

The probability-flow ODE runs both ways, and a deterministic scheduler solves it both ways: DDIM's
"encoding" (Song et al. 2021, section 5.4) is Euler's method on the levels in rising order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from schedulers.engine.tableau import Stage, Tableau
from schedulers.schedules.base import Level

Rows = Callable[[tuple[Level, ...]], Iterable[Stage]]


def rising(falling: Tableau, rows: Rows) -> Tableau:
    """Return the tableau of a run backwards, given the method that makes rows of levels.

    At the clean level, s = 0, no model tells the noise. The step from there, y' = y + s' e, takes
    e from its end, at (y, s'): there y = D + s' e, so that y' = D + 2 s' e. It is the step down,
    y = y' - s' e(y', s'), solved for y' by one round of substitution.
    """
    if not _follows_flow(falling):
        raise ValueError(
            f"only a run along the probability flow is inverted, such as that of DDIM or "
            f"EulerAncestral with eta=0, of Euler or Heun with s_churn=0, or of PLMS; "
            f"got one of {falling.method} that adds noise or makes room for it"
        )
    levels = falling.levels[::-1]
    entry, stages, begun = (1.0, 0.0), [], levels
    if levels[0].sigma == 0.0:
        first, begun = levels[1], levels[1:]
        entry = (first.alpha, 0.0)
        if first.alpha == 0.0:
            raise ValueError(
                "steps must be at least 2 where the first level has alpha = 0, so that the way "
                "back from the clean level can ask the model in between; got 1"
            )
        stages.append(Stage(first, a=(first.alpha,), b=(2.0 * first.sigma,)))
    if len(begun) > 1:
        stages += _rising_rows(falling.method, rows, begun)
    return Tableau(falling.method, levels, tuple(stages), entry)


def _rising_rows(method: str, rows: Rows, levels: tuple[Level, ...]) -> tuple[Stage, ...]:
    try:
        stages = tuple(rows(levels))
    except Exception as error:
        raise ValueError(
            f"{method}.stages must take rising levels for invert, which hands it those of the run "
            f"in reverse, here sigmas from {levels[0].karras:g} to {levels[-1].karras:g}; it "
            f"raised {type(error).__name__}: {error}"
        ) from error
    if not all(math.isfinite(w) for stage in stages for w in (*stage.a, *stage.b)):
        raise ValueError(
            f"{method}.stages must give finite weights for the rising levels that invert hands "
            f"it, here sigmas from {levels[0].karras:g} to {levels[-1].karras:g}: end at a lower "
            f"level, such as by sigmas= or timesteps=, or use DDIM"
        )
    return stages


def _follows_flow(tableau: Tableau) -> bool:
    """Whether every row is exact for a constant e: x' = alpha' D + sigma' e, and no noise."""
    ends = [*(stage.level for stage in tableau.stages[1:]), tableau.levels[-1]]
    weights = zip(tableau.stages, ends, strict=True)
    constant = all(math.isclose(sum(stage.b), end.sigma, abs_tol=1e-9) for stage, end in weights)
    raised = tableau.stages[0].level.karras > tableau.levels[0].karras  # to make room for noise
    return constant and not raised and not tableau.draws_noise
