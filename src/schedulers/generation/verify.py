"""Samples that were made, made again and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.generation.stores import opened
from schedulers.generation.work import Work

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from schedulers.generation.work import Conditions
    from schedulers.scheduler import Scheduler

    Array = Any


def verify(
    scheduler: Scheduler,
    denoiser: Callable[..., Array],
    shape: int | Sequence[int],
    seeds: Sequence[int],
    steps: int,
    *,
    out: Any,
    batch_size: int = 64,
    conditions: Conditions | None = None,
    dtype: DTypeLike = np.float32,
    batches: int = 4,
    rng: int = 0,
) -> list[int]:
    """Make some batches again, and compare them with what is in `out`, to the bit.

    Parameters
    ----------
    scheduler, denoiser, shape, seeds, steps, out, batch_size, conditions, dtype
        As they were given to `generate`.
    batches : int
        How many batches to make again; all, if there are not so many.
    rng : int
        Which ones: they are drawn by this seed.

    Returns
    -------
    list of int
        The batches that were compared.

    Raises
    ------
    TypeError, ValueError
        As for `generate`; if batches are missing; or if a batch differs: the message names its
        seeds.
    RuntimeError
        If a batch fails; the message names its seeds.
    FileNotFoundError
        If `out` is not there.

    Examples
    --------
    >>> import tempfile
    >>> from schedulers import DDIM, FlowSchedule
    >>> from schedulers.analytic import Gaussian
    >>> from schedulers.generation import generate, verify
    >>> scheduler = DDIM(FlowSchedule(), prediction_type="flow")
    >>> denoiser = Gaussian(0.3, 0.04).denoiser(FlowSchedule(), prediction_type="flow")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = scheduler, denoiser, (2,), range(200), 20
    ...     _ = generate(*run, out=f"{folder}/samples.npy")
    ...     verify(*run, out=f"{folder}/samples.npy")
    [0, 1, 2, 3]
    """
    arguments = shape, seeds, steps, batch_size, dtype, conditions
    return compared(Work.checked(scheduler, denoiser, *arguments), out, batches, rng)


def compared(work: Work, out: Any, batches: int, rng: int) -> list[int]:
    """Make some batches again; return which ones, all of them the same."""
    count = _checks.count("batches", batches)
    seed = _checks.integer("rng", rng, at_least=0)
    if out is None:
        raise ValueError("out must be what generate wrote, got None")
    store = opened(work, out, create=False)
    missing = store.missing()
    if missing:
        raise ValueError(
            f"out must have all batches, and {len(missing)} of {work.batches} are missing: call "
            f"generate first"
        )
    order = np.random.default_rng(seed).permutation(work.batches)
    chosen: list[int] = sorted(order[:count].tolist())
    for batch in chosen:
        if not np.array_equal(store.read(batch), work.samples(batch)):
            seeds = work.seeds[work.places(batch)]
            raise ValueError(
                f"out must have the samples that are made now, and batch {batch} differs, of the "
                f"seeds from {seeds[0]} to {seeds[-1]}"
            )
    return chosen
