"""Fresh noise: what `rng` names.

A `Generator` is a position in a stream and draws in order. An int or a `SeedSequence` names the
noise itself: each place in a run (the start, the entry, a stage) has its own, a function of the
seed and the place alone, so that it does not matter who draws it, or when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks

if TYPE_CHECKING:
    Source = int | np.random.SeedSequence | np.random.Generator
    RNG = Source | None

# A run's places. The first word keeps them apart from a seed sequence's own spawned children.
_PLACES = 0x5C4ED
START = (_PLACES, 0)
ADDED = (_PLACES, 1)
ENTRY = (_PLACES, 2)


def stage_place(index: int) -> tuple[int, ...]:
    """Return the place of a tableau's stage."""
    return (_PLACES, 3, index)


def checked_rng(rng: RNG) -> Source:
    """Return `rng` if it names noise; None is a new `Generator`, seeded by the system."""
    if rng is None:
        return np.random.default_rng()
    if isinstance(rng, (np.random.Generator, np.random.SeedSequence)):
        return rng
    try:
        return _checks.integer("rng", rng, at_least=0)
    except TypeError:
        raise TypeError(
            f"rng must be None, an int, a numpy.random.SeedSequence or a numpy.random.Generator, "
            f"got {rng!r}"
        ) from None


def check_drawable(dtype: Any) -> None:
    """Refuse samples that noise cannot be drawn for."""
    if not isinstance(dtype, np.dtype):
        raise TypeError(f"fresh noise is drawn for NumPy arrays, got a sample of {dtype!r}")


def draw(rng: Source, place: tuple[int, ...], shape: tuple[int, ...], dtype: Any) -> Any:
    """Draw standard normal noise for a place; in float64 and cast, so alike in every dtype."""
    if not isinstance(rng, np.random.Generator):
        if not isinstance(rng, np.random.SeedSequence):
            rng = np.random.SeedSequence(rng)
        seed = np.random.SeedSequence(
            rng.entropy, spawn_key=(*rng.spawn_key, *place), pool_size=rng.pool_size
        )
        rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_normal(shape)).astype(dtype, copy=False)
