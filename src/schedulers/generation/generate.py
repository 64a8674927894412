"""Many samples by one call."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.generation.stores import Store, ZarrArray, opened
from schedulers.generation.work import BatchError, Work, pickled
from schedulers.scheduler import progress_bar

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from schedulers.generation.work import Conditions
    from schedulers.scheduler import Scheduler

    Array = Any

# Batches that are under way for each worker: one runs, and one waits.
_EACH = 2
# Workers that an executor is taken to have if it does not say.
_WORKERS = 32
# Times that a pool of ours is made anew without a batch in between.
_TRIES = 3
# Processes are worth their start for batches of so many seconds.
_LONG = 0.2


def generate(
    scheduler: Scheduler,
    denoiser: Callable[..., Array],
    shape: int | Sequence[int],
    seeds: Sequence[int],
    steps: int,
    *,
    out: Any = None,
    batch_size: int = 64,
    executor: Executor | None = None,
    conditions: Conditions | None = None,
    dtype: DTypeLike = np.float32,
    progress: bool = False,
) -> Array:
    """Make the samples of a sequence of seeds, batch by batch.

    Parameters
    ----------
    scheduler : Scheduler
        How to sample.
    denoiser : callable
        ``denoiser(x, t)`` for a batch. For other processes it has to be pickled: a function of a
        module, an `OnnxDenoiser`, or a `Factory`, which each process calls once.
    shape : int or sequence of int
        Shape of one sample.
    seeds : sequence of int
        One for each sample, such as ``range(50_000)``. They name the noise of the start and of the
        steps.
    steps : int
        Number of steps.
    out : str, path or store, optional
        A file that ends in .npy, a folder or a URL that ends in .zarr, or any store that zarr
        takes. It carries what it was made with. Called again, what is missing is made. By default
        the samples are returned in memory.
    batch_size : int
        Samples in a batch. Other sizes are other samples, to rounding: networks are not the same
        for every batch. A Zarr array has one chunk for each batch.
    executor : concurrent.futures.Executor, optional
        Who works: any executor, such as a ``ProcessPoolExecutor``, a Dask client's
        ``get_executor()`` or mpi4py's ``MPIPoolExecutor``. By default this process, or one process
        for each core where that helps: if the first batch takes 0.2 s or more on one core, and the
        denoiser can be pickled. A script that calls this has to do so under
        ``if __name__ == "__main__":``, as for all processes that Python starts.
    conditions : callable, optional
        ``conditions(seeds)`` returns a dict of arrays for the seeds of a batch, an array of ints;
        the denoiser gets them as keyword arguments. What `out` carries says nothing of them.
    dtype : dtype
        Floating dtype of the samples.
    progress : bool
        Whether to show a progress bar over the samples; needs tqdm.

    Returns
    -------
    array, shape (len(seeds), ...)
        In memory; or read from the .npy file as it is asked for; or the Zarr array.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or if `out` was made with anything else; the message
        says what differs.
    RuntimeError
        If a batch fails; the message names its seeds. What was made is kept.
    ImportError
        If zarr or tqdm is asked for and not installed.
    OSError
        If `out` cannot be written.

    Examples
    --------
    >>> from schedulers import DDIM, FlowSchedule
    >>> from schedulers.analytic import Gaussian
    >>> from schedulers.generation import generate
    >>> scheduler = DDIM(FlowSchedule(), prediction_type="flow")
    >>> denoiser = Gaussian(0.3, 0.04).denoiser(FlowSchedule(), prediction_type="flow")
    >>> samples = generate(scheduler, denoiser, (2,), range(1000), steps=20)
    >>> samples.shape, f"{samples.mean():.1f}"
    ((1000, 2), '0.3')
    """
    arguments = shape, seeds, steps, batch_size, dtype, conditions
    return made_by(Work.checked(scheduler, denoiser, *arguments), out, executor, progress)


def made_by(work: Work, out: Any, executor: Executor | None, progress: bool) -> Array:
    """Make what is missing, and return all samples."""
    # So far Python says nothing in public of a process that imports the script it was started by.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "generate must be called under `if __name__ == '__main__':`, because the processes "
            "that it starts import the script"
        )
    if executor is not None and not hasattr(executor, "submit"):
        raise TypeError(f"executor must be an Executor, got {_checks.shown(executor)}")
    bar = progress_bar() if _checks.boolean("progress", progress) else None
    if executor is not None:
        pickled("scheduler, denoiser and conditions", work)
    store = opened(work, out)
    missing = store.missing()
    with _shown(bar, work, missing) as tell:
        for batch in _made(work, store, missing, executor):
            places = work.places(batch)
            tell(places.stop - places.start)
    return store.result()


def _made(work: Work, store: Store, missing: list[int], executor: Executor | None) -> Iterator[int]:
    """Make batches, and yield each when it is kept."""
    if executor is not None:
        yield from _by(executor, work, store, missing)
        return
    helps = False
    while missing and not helps:
        wall, own = time.perf_counter(), time.process_time()
        batch = missing[0]
        store.write(batch, work.samples(batch))
        missing = missing[1:]
        yield batch
        wall, own = time.perf_counter() - wall, time.process_time() - own
        helps = wall >= _LONG and own < 1.3 * wall and len(missing) > 1 and _may_fork(work)
    tries = 0
    while missing:
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                for batch in _by(pool, work, store, list(missing)):
                    missing.remove(batch)
                    tries = 0
                    yield batch
            except BrokenExecutor as error:  # a worker died
                tries += 1
                if tries == _TRIES:
                    raise RuntimeError(
                        f"processes must stay alive, and died {_TRIES} times in a row: call "
                        f"generate under `if __name__ == '__main__':`, or give executor= ({error})"
                    ) from error


def _may_fork(work: Work) -> bool:
    """Whether other processes can take over work."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if (cores or 1) < 2 or multiprocessing.parent_process() is not None:
        return False
    try:
        pickle.dumps(work)
    except Exception:  # what pickle raises depends on what it met
        return False
    return True


def _by(executor: Executor, work: Work, store: Store, missing: list[int]) -> Iterator[int]:
    """Make batches by an executor, so many at a time that it is never idle."""
    most = _EACH * (getattr(executor, "_max_workers", None) or _WORKERS)
    # A Zarr array at a path is written by those who make the samples.
    where = store.array.store_path.store if store.shared and isinstance(store, ZarrArray) else None
    waiting: dict[Future[Any], int] = {}
    left, failed = iter(missing), None
    try:
        while True:
            while failed is None and len(waiting) < most:
                batch = next(left, None)
                if batch is None:
                    break
                waiting[executor.submit(_batch, work, batch, where)] = batch
            if not waiting:
                break
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                batch = waiting.pop(future)
                try:
                    samples = future.result()
                except BatchError as error:
                    failed = failed or error
                    continue
                if samples is not None:
                    store.write(batch, samples)
                elif isinstance(store, ZarrArray):
                    store.check_there(batch)
                yield batch
    finally:
        for future in waiting:
            future.cancel()
    if failed is not None:
        raise failed


def _batch(work: Work, batch: int, where: Any) -> Array | None:
    """Make a batch, and keep it or return it."""
    samples = work.samples(batch)
    if where is None:
        return samples
    ZarrArray(work, where).write(batch, samples)
    return None


@contextmanager
def _shown(bar: Any, work: Work, missing: list[int]) -> Iterator[Callable[[int], object]]:
    """Show how many samples there are."""
    if bar is None:
        yield lambda count: None
        return
    to_come = sum(work.places(batch).stop - work.places(batch).start for batch in missing)
    total = len(work.seeds)
    with bar(total=total, initial=total - to_come, unit="sample") as shown:
        yield shown.update
