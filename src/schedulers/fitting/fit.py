"""Fit the weights and the levels of a table to a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine.tableau import Tableau
from schedulers.fitting.descent import Batch, Descent
from schedulers.fitting.fitted import FittedScheduler
from schedulers.fitting.passes import Model, Pass, run
from schedulers.fitting.report import Fit, Report
from schedulers.fitting.rows import sizes
from schedulers.fitting.search import Search
from schedulers.fitting.trajectories import fine_tableau, flat
from schedulers.scheduler import Scheduler, progress_bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = Any
    Floats = NDArray[np.float64]
    Denoiser = Callable[[Array, float], Array]
    Batches = Sequence[tuple[Denoiser, Array]]

# Beginnings that the search goes on from, and rounds of the descent after it.
_BEGINNINGS, _ROUNDS = 4, 60
# By how much, relatively, two calls of a denoiser may differ.
_SAME = 1e-3
# How far the largest number of x_T may be from the first level's sigma, as a factor.
_FAR = 1e6


def fit(
    scheduler: Scheduler,
    denoiser: Denoiser | Batches,
    x_T: Array | None = None,
    steps: int | Sequence[int] = (),
    *,
    levels: bool = True,
    reach: int = 4,
    held_out: float = 0.25,
    fine_steps: int = 100,
    progress: bool = False,
) -> FittedScheduler:
    """Fit tables of weights to a model, so that a few evaluations end where fine steps end.

    The model is only called. First it is run in fine steps from `x_T`. Then levels are searched,
    and how much less noise the model is told of than there is. For each choice a table is built row
    by row: the weights of a row are those that lead nearest to the fine run, by linear least
    squares. Last, all of these move together until a run ends as near to the fine one as it can, in
    the mean distance over the samples: Levenberg's and Marquardt's method, with derivatives from
    differences of runs. What a row weighs besides the scheduler's own weights are differences of
    noise estimates, so that point masses stay exact.

    Parameters
    ----------
    scheduler : Scheduler
        What the fit begins with: its rows, and what it says of the model. Deterministic, with one
        evaluation a step, such as `DDIM` or `PLMS`.
    denoiser : callable, or sequence of (callable, array)
        The model, as for `Scheduler.step`. It always gets a whole batch in its order. For many
        batches, with other conditions each, give pairs of a denoiser and its `x_T`; levels are
        searched on the first, and then moved on all.
    x_T : array of floats, shape (n, ...)
        Samples at the schedule's noisiest level, from `Scheduler.initial_noise`. 64 are enough
        for images. Left out where pairs are given.
    steps : int or sequence of int
        Numbers of steps, each of which gets its table.
    levels : bool
        Whether the levels are fitted, too, and those that the model is told. If not, both are the
        scheduler's own.
    reach : int
        How many evaluations a row weighs, at most.
    held_out : float
        Part of the samples of a batch that is not fitted on, in (0, 1). The report is of those.
    fine_steps : int
        Number of steps of the run that stands for the exact flow.
    progress : bool
        Whether to show a progress bar over the tables; needs tqdm.

    Returns
    -------
    FittedScheduler
        Its `report` says how far runs ended from the flow, before and after. Where the fit has
        gained nothing on the samples held out, the table is the scheduler's own.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, if the model's output is not finite, if two calls of
        the model differ, or if there are too few samples for the number of weights.
    ImportError
        If `progress` is True and tqdm is not installed.

    References
    ----------
    Frankel, Chen, Li, Koh, Ratliff, Oh: S4S: Solving for a Diffusion Model Solver, 2025, which
    fits by gradients through the network. Li, Qu, Yao, Sun, Moens: Alleviating Exposure Bias in
    Diffusion Models through Sampling with Shifted Time Steps, 2023, which tells the model another
    time than the sample's. So does a table here: see `Stage`.

    Examples
    --------
    >>> from schedulers import DDIM, FlowSchedule
    >>> from schedulers.analytic import GaussianMixture
    >>> schedule = FlowSchedule()
    >>> data = GaussianMixture([[-2.0, 0.0], [1.0, 1.0]], 0.1)
    >>> denoiser = data.denoiser(schedule, prediction_type="flow")
    >>> scheduler = DDIM(schedule, prediction_type="flow")
    >>> x_T = scheduler.initial_noise((256, 2), steps=3, rng=0)
    >>> fitted = fit(scheduler, denoiser, x_T, steps=3)
    >>> (table,) = fitted.report.fits
    >>> table.after < 0.1 * table.before
    True
    >>> fitted.sample(denoiser, x_T, steps=3).shape
    (256, 2)
    """
    counts = _checked_counts(scheduler, steps, fine_steps)
    _checks.boolean("levels", levels)
    _checks.integer("reach", reach, at_least=1)
    part = _checks.real("held_out", held_out, above=0.0, at_most=1.0)
    bar = progress_bar() if _checks.boolean("progress", progress) else iter
    models = [Model(scheduler, *pair) for pair in _pairs(denoiser, x_T)]
    masks = [_fitted_rows(model.x_T, part) for model in models]
    _check_enough(models, masks, max(counts), reach)
    fine = fine_tableau(scheduler.schedule, scheduler.prediction_type, fine_steps)
    flows = (_flow(model, fine) for model in models)
    first = next(flows)
    batches = [
        Batch(model, flow.x, mask)
        for model, flow, mask in zip(models, chain([first], flows), masks, strict=True)
    ]
    search = Search(scheduler, models[0], first, masks[0], reach)
    found = [_better(search, batches, scheduler.tableau(count), levels) for count in bar(counts)]
    inside = sum(int(mask.sum()) for mask in masks)
    report = Report(
        repr(scheduler),
        inside,
        sum(len(mask) for mask in masks) - inside,
        sum(model.calls for model in models),
        tuple(gain for _, gain in found),
    )
    return FittedScheduler(
        scheduler.schedule,
        prediction_type=scheduler.prediction_type,
        threshold=scheduler.threshold,
        tables=[table for table, _ in found],
        report=report,
    )


def _better(
    search: Search, batches: Sequence[Batch], own: Tableau, levels: bool
) -> tuple[Tableau, Fit]:
    """Return the fitted table, or the scheduler's own where that is better, and what it gains."""
    table = _fitted(search, batches, own, levels)
    errors = [_errors(batches, each) for each in (own, table)]
    kept = errors[1][1] < errors[0][1]
    fitted, after = errors[kept]
    gain = Fit(own.steps, own.nfe, errors[0][1], after, fitted, kept)
    return (table if kept else own), gain


def _fitted(search: Search, batches: Sequence[Batch], own: Tableau, levels: bool) -> Tableau:
    """Return a table of as many steps as the scheduler's own, searched and then moved."""
    begun, fine = own.levels[:-1], search.flow.tableau
    grown = search.best(own.steps, begun, _BEGINNINGS) if levels else search.grown(begun)
    vector = grown.free.vector
    descent = Descent(search.base, fine, batches, own.steps, search.reach, levels, vector)
    return descent.down(_ROUNDS)


def _flow(model: Model, fine: Tableau) -> Pass:
    """Run a batch in fine steps, after a look at its noise and at what the model says."""
    first = fine.levels[0]
    largest = np.abs(flat(model.x_T, ...)).max()
    if not 1.0 / _FAR <= largest / first.sigma <= _FAR:
        raise ValueError(
            f"x_T must be noise at the scale of the schedule's first level, sigma = "
            f"{first.sigma:g}, got numbers up to {largest:g}"
        )
    said = [flat(model.output(model.x_T, first), ...) for _ in range(2)]
    size, difference = np.abs(said[0]).max(), np.abs(said[1] - said[0]).max()
    if difference > _SAME * size:
        raise ValueError(
            f"denoiser must return the same for the same arguments, got outputs that differ by "
            f"{difference:.3g} at t={first.t:g}"
        )
    return run(model, fine)


def _errors(batches: Sequence[Batch], table: Tableau) -> tuple[float, float]:
    """Return the root-mean-square distances to the flow, on fitted samples and on others."""
    squares, sizes_ = np.zeros(2), np.zeros(2)
    for model, x_0, mask in batches:
        x = run(model, table).x
        for i, rows in enumerate((mask, ~mask)):
            miss = flat(x, rows) - flat(x_0, rows)
            squares[i] += miss @ miss
            sizes_[i] += miss.size
    fitted, others = np.sqrt(squares / sizes_).tolist()
    return fitted, others


def _fitted_rows(x_T: Any, part: float) -> NDArray[np.bool_]:
    """Say of each sample whether it is fitted on; those that are not are spread evenly."""
    if not len(x_T.shape):
        raise ValueError("x_T must have its samples along axis 0, got a single number")
    ends = np.floor(np.arange(x_T.shape[0] + 1) * part)
    return np.equal(ends[1:], ends[:-1])


# Sequences of no numbers of steps.
_TEXT = (str, bytes, bytearray, memoryview)


def _pairs(denoiser: Any, x_T: Any) -> Iterator[tuple[Any, Any]]:
    if callable(denoiser):
        pairs = [(denoiser, x_T)]
    elif isinstance(denoiser, Sequence) and x_T is None and denoiser:
        pairs = list(denoiser)
    else:
        raise TypeError(
            f"denoiser must be a callable (x, t), or pairs of one and its x_T, with x_T left out; "
            f"got {_checks.shown(denoiser)} and x_T of type {type(x_T).__name__}"
        )
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[0]):
            raise TypeError(f"denoiser must be pairs (callable, x_T), got {_checks.shown(pair)}")
        yield pair


def _checked_counts(scheduler: Any, steps: Any, fine_steps: Any) -> list[int]:
    """Check the scheduler and the numbers of steps, and return those."""
    if not isinstance(scheduler, Scheduler):
        raise TypeError(f"scheduler must be a Scheduler, got {_checks.shown(scheduler)}")
    fine = _checks.count("fine_steps", fine_steps, at_least=20)
    given = steps if isinstance(steps, Sequence) and not isinstance(steps, _TEXT) else [steps]
    counts = [_checks.between("steps", count, 1, fine // 4) for count in given]
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(
            f"steps must be different numbers, at least one, got {_checks.shown(steps)}"
        )
    for count in counts:
        own = scheduler.tableau(count)
        if own.draws_noise or own.nfe != own.steps:
            raise ValueError(
                f"scheduler must be deterministic, with one evaluation a step, to be fitted, such "
                f"as DDIM or PLMS; got {_checks.shown(scheduler)}"
            )
    return sorted(counts)


def _check_enough(
    models: Sequence[Model], masks: Sequence[NDArray[np.bool_]], steps: int, reach: int
) -> None:
    """Refuse fewer numbers to fit to than twice the numbers to fit."""
    known = sum(
        int(mask.sum()) * int(np.prod(model.x_T.shape[1:]))
        for model, mask in zip(models, masks, strict=True)
    )
    free = 2 * steps + sum(sizes(steps, reach))
    outside = sum(int((~mask).sum()) for mask in masks)
    if known < 2 * free or not outside:
        raise ValueError(
            f"x_T must have more samples: a table of {steps} steps has {free} free numbers, and "
            f"there are {known} elements to fit them to, with {outside} samples held out"
        )
