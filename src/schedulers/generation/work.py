"""What a worker does: one batch of samples."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.noise import checked_seeds
from schedulers.scheduler import LARGEST, Scheduler

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    Array = Any
    Conditions = Callable[[Any], Mapping[str, Any]]

_made: dict[bytes, Any] = {}


class Factory:
    """Denoiser that each process makes once, where it is first called.

    For what cannot be pickled, such as a network on a GPU or a session.

    Parameters
    ----------
    make : callable
        Returns the denoiser. It is pickled by its name: a function of a module.
    *arguments
        What `make` is given; they are pickled.

    Raises
    ------
    TypeError
        If `make` is not callable, or if it or its arguments cannot be pickled.

    Examples
    --------
    >>> from operator import methodcaller
    >>> from schedulers.generation import Factory
    >>> denoiser = Factory(methodcaller, "__mul__", 0.5)  # in their place, a function of yours
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        self._pickled = pickled("make and its arguments", (_callable(make), arguments))

    def __call__(self, x: Array, t: float, **conditions: Any) -> Array:
        """Return the output of the denoiser of this process."""
        if self._pickled not in _made:
            make, arguments = pickle.loads(self._pickled)
            _made[self._pickled] = make(*arguments)
        return _made[self._pickled](x, t, **conditions)


@dataclass(frozen=True)
class Work:
    """What all batches share."""

    scheduler: Scheduler
    denoiser: Callable[..., Any]
    shape: tuple[int, ...]
    seeds: Sequence[Any]
    steps: int
    batch_size: int
    dtype: np.dtype[Any]
    conditions: Conditions | None
    # What a command line asked for, which is kept with the samples.
    asked: Mapping[str, Any] | None = None

    @classmethod
    def checked(
        cls,
        scheduler: Scheduler,
        denoiser: Callable[..., Any],
        shape: int | Sequence[int],
        seeds: Sequence[Any],
        steps: int,
        batch_size: int,
        dtype: DTypeLike,
        conditions: Conditions | None,
    ) -> Work:
        """Check what is to be made."""
        if not isinstance(scheduler, Scheduler):
            raise TypeError(f"scheduler must be a Scheduler, got {_checks.shown(scheduler)}")
        _checks.function("denoiser", denoiser, "(x, t)")
        dimensions = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        dimensions = tuple(_checks.integer("shape", n, at_least=1) for n in dimensions)
        if math.prod(dimensions) > LARGEST:
            raise ValueError(
                f"shape must be of at most {LARGEST} elements, got {_checks.shown(shape)}"
            )
        given = seeds if isinstance(seeds, range) else checked_seeds("seeds", seeds)
        if not isinstance(given, (range, tuple)) or not len(given):
            raise TypeError(
                f"seeds must be a sequence of seeds, such as range(50_000), "
                f"got {_checks.shown(seeds)}"
            )
        if isinstance(given, range) and min(given[0], given[-1]) < 0:
            raise ValueError(f"seeds must be at least 0, got {given!r}")
        if not isinstance(given, range) and not all(isinstance(seed, int) for seed in given):
            raise TypeError(f"seeds must be ints, got {_checks.shown(seeds)}")
        scheduler.tableau(steps)
        if conditions is not None:
            _checks.function("conditions", conditions, "(seeds)")
        size = _checks.count("batch_size", batch_size)
        try:
            kind = np.dtype(dtype)
            arrays.check_floating("dtype", kind)
        except TypeError:
            raise TypeError(
                f"dtype must be a floating dtype, such as float32, got {_checks.shown(dtype)}"
            ) from None
        return cls(scheduler, denoiser, dimensions, given, steps, size, kind, conditions)

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.seeds) // self.batch_size)

    def places(self, batch: int) -> slice:
        """Where a batch's samples are along axis 0."""
        first = batch * self.batch_size
        return slice(first, min(first + self.batch_size, len(self.seeds)))

    def samples(self, batch: int) -> Array:
        """Return the samples of a batch; an error names its seeds."""
        seeds = list(self.seeds[self.places(batch)])
        try:
            shape = (len(seeds), *self.shape)
            x_T = self.scheduler.initial_noise(shape, self.steps, rng=seeds, dtype=self.dtype)
            denoiser = self.denoiser
            if self.conditions is not None:
                denoiser = partial(denoiser, **self.conditions(np.array(seeds)))
            return self.scheduler.sample(denoiser, x_T, self.steps, rng=seeds)
        except Exception as error:
            raise BatchError(
                f"batch {batch}, of the seeds from {seeds[0]} to {seeds[-1]}, failed: "
                f"{type(error).__name__}: {error}"
            ) from error

    def manifest(self) -> dict[str, Any]:
        """Return what the samples are made with, as JSON holds it."""
        import schedulers

        seeds = self.seeds
        named: dict[str, Any] = {"list": list(seeds)}
        if isinstance(seeds, range):
            named = {"range": [seeds.start, seeds.stop, seeds.step]}
        return {
            "version": schedulers.__version__,
            "method": self.scheduler.tableau(self.steps).method,
            "tableau": self.scheduler.tableau(self.steps).fingerprint,
            "prediction_type": self.scheduler.prediction_type,
            "threshold": repr(self.scheduler.threshold),
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "seeds": named,
            "batch_size": self.batch_size,
        }


class BatchError(RuntimeError):
    """A batch that failed, and why."""


def pickled(name: str, value: Any) -> bytes:
    """Return a value pickled; one that cannot be is an error."""
    try:
        return pickle.dumps(value)
    except Exception as error:  # what pickle raises depends on what it met
        raise TypeError(f"{name} must be such that they can be pickled: {error}") from None


def _callable(make: Any) -> Any:
    _checks.function("make", make, "()")
    return make
