"""Runs that keep every estimate, so that the run of a similar table need not begin anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers.engine import arrays
from schedulers.engine.parameterization import coefficients
from schedulers.engine.tableau import Stage, Tableau, stage_coefficients
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = Any
    Floats = NDArray[np.float64]
    Denoiser = Callable[[Array, float], Array]


class Model:
    """A denoiser that is called with whole batches, and the sample that each run begins with.

    Attributes
    ----------
    calls : int
        How often the denoiser was called.
    """

    def __init__(self, scheduler: Scheduler, denoiser: Denoiser, x_T: Array) -> None:
        self.scheduler, self.denoiser = scheduler, denoiser
        self.x_T, _ = arrays.sample("x_T", x_T)
        self.dtype = x_T.dtype
        self.calls = 0

    def output(self, x: Array, level: Level) -> Array:
        """Return what the denoiser says of a copy of x."""
        self.calls += 1
        lent = arrays.lowered(f"the sample at t={level.t:g}, run from x_T,", x * 1.0, self.dtype)
        said = self.denoiser(lent, level.t)
        return arrays.matching("the model's output", said, x, tuple(x.shape), level.t)

    def estimates(self, x: Array, stage: Stage) -> tuple[Array, Array]:
        """Return D and e."""
        output, threshold = self.output(x, stage.level), self.scheduler.threshold
        k = stage_coefficients(stage, self.scheduler.prediction_type)
        d = arrays.weighted_sum([(k.denoised_x, x), (k.denoised_output, output)])
        if threshold is not None:
            d = threshold(d)
            if threshold.rederive_noise:
                k, output = coefficients("sample", stage.level.alpha, stage.level.sigma), d
        return d, arrays.weighted_sum([(k.noise_x, x), (k.noise_output, output)])


class Pass(NamedTuple):
    """A run: its table, D and e of every evaluation, and the last sample."""

    tableau: Tableau
    estimates: list[tuple[Array, Array]]
    x: Array


def run(model: Model, tableau: Tableau, known: Pass | None = None) -> Pass:
    """Run a table. Estimates that a run of another table has made of the same samples are taken."""
    estimates = [] if known is None else known.estimates[: _shared(known.tableau, tableau)]
    x = arrays.weighted_sum([(tableau.entry[0], model.x_T)])
    if estimates:
        x = next_sample(tableau.stages[len(estimates) - 1], estimates)
    for stage in tableau.stages[len(estimates) :]:
        estimates.append(model.estimates(x, stage))
        x = next_sample(stage, estimates)
    return Pass(tableau, estimates, x)


def _shared(one: Tableau, other: Tableau) -> int:
    """Return for how many of the first evaluations two tables ask the model the same."""
    if one.entry != other.entry:
        return 0
    shared = 0
    for old, new in zip(one.stages, other.stages, strict=True):
        if old.level != new.level:  # whose time and alpha say what is told
            break
        shared += 1
        if old != new:
            break
    return shared


def next_sample(stage: Stage, estimates: Sequence[tuple[Array, Array]]) -> Array:
    """Return what a row makes of the estimates so far, the newest last."""
    terms = []
    for age, (d, e) in enumerate(reversed(estimates)):
        terms += [(stage.a[age], d)] if age < len(stage.a) else []
        terms += [(stage.b[age], e)] if age < len(stage.b) else []
    return arrays.weighted_sum(terms)
