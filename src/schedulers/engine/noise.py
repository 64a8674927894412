"""Fresh noise: what `rng` names.

A `Generator` is a position in a stream and draws in order; so does a function of the caller's. An
int or a `SeedSequence` names the noise itself: each place in a run (the start, the entry, a stage)
has its own, a function of the seed and the place alone, so that it does not matter who draws it, or
when. A sequence of seeds, one for each sample of a batch, gives each sample the noise that it would
have alone. So does a `BrownianPath`, whose noise is that of other numbers of steps, too.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Array = Any
    Seed: TypeAlias = int | np.random.SeedSequence
    Seeds: TypeAlias = Sequence[Seed] | NDArray[np.integer[Any]]
    # What numpy.random.default_rng takes, but for a sequence.
    RNG: TypeAlias = Seed | np.random.Generator | None
    Noise: TypeAlias = "RNG | Seeds | Path | Callable[[Array], Array]"

# A run's places. The first word keeps them apart from a seed sequence's own spawned children.
_PLACES = 0x5C4ED
# Elements that one stream of random bits fills: large arrays are filled by streams side by side.
_CHUNK = 2**17
# Elements from which float32 noise takes less time by Box and Muller's way than by NumPy's own.
_MANY = 2**13
# Elements that it takes at a time: of 2**14 to 2**17 the fastest, on one thread and on two.
_BLOCK = 2**16


class Place(NamedTuple):
    """Where in a run noise is fresh: its key, and the part of a `BrownianPath` that it is."""

    key: tuple[int, ...]
    span: tuple[float, float] | None = None


START = Place((_PLACES, 0))
ADDED = Place((_PLACES, 1))
ENTRY = Place((_PLACES, 2))


def stage_place(index: int, span: tuple[float, float]) -> Place:
    """Return the place of a tableau's stage."""
    return Place((_PLACES, 3, index), span)


def node_place(depth: int, index: int) -> Place:
    """Return the place of a node of a Brownian path's tree."""
    return Place((_PLACES, 4, depth, index))


def term_place(term: int, draw: int) -> Place:
    """Return the place of one draw for a term of the variational bound."""
    return Place((_PLACES, 5, term, draw))


def probe_place(index: int) -> Place:
    """Return the place of a probe of a divergence."""
    return Place((_PLACES, 6, index))


class Path(ABC):
    """A source that has noise of its own for each place: a `BrownianPath`."""

    @abstractmethod
    def increment(self, place: Place, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the noise of a place."""


class PerSample(tuple["Seed", ...]):
    """Seeds, one for each sample of a batch."""

    __slots__ = ()


def checked_rng(rng: RNG) -> RNG:
    """Return `rng` if it is what `numpy.random.default_rng` takes, but for a sequence."""
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    try:
        return checked_seed("rng", rng)
    except TypeError:
        raise TypeError(
            f"rng must be None, an int, a numpy.random.SeedSequence or a numpy.random.Generator, "
            f"got {_checks.shown(rng)}"
        ) from None


def checked_noise(rng: Noise) -> Any:
    """Return `rng` if it names noise; a sequence of seeds as `PerSample`."""
    if rng is None or (type(rng) is int and rng >= 0):  # most often
        return rng
    if callable(rng) or isinstance(rng, (np.random.Generator, Path)):
        return rng
    return checked_seeds(
        "rng",
        rng,
        "None, an int, a numpy.random.SeedSequence, a sequence of those, one for each sample, a "
        "numpy.random.Generator, a BrownianPath or a function noise(like)",
    )


def checked_seeds(name: str, seeds: object, right: str) -> Seed | PerSample:
    """Return a seed, or a sequence of them as `PerSample`."""
    if isinstance(seeds, (list, tuple, range)) or (isinstance(seeds, np.ndarray) and seeds.ndim):
        return PerSample(checked_seed(f"{name}[{i}]", seed) for i, seed in enumerate(seeds))
    try:
        return checked_seed(name, seeds)
    except TypeError:
        raise TypeError(f"{name} must be {right}, got {_checks.shown(seeds)}") from None


def checked_seed(name: str, seed: object) -> Seed:
    """Return an int that is at least 0, or a `SeedSequence`."""
    if isinstance(seed, np.random.SeedSequence):
        return seed
    return _checks.integer(name, seed, at_least=0)


def check_seeds(source: Any, shape: tuple[int, ...]) -> None:
    """Refuse seeds that are not one for each sample of a batch."""
    if source is None:
        return
    seeds = getattr(source, "seeds", source)
    if isinstance(seeds, PerSample) and (len(shape) == 0 or len(seeds) != shape[0]):
        raise ValueError(
            f"rng must have one seed for each sample along axis 0 of a batch of shape "
            f"{tuple(shape)}, got {len(seeds)}"
        )


def check_drawable(source: Any, x: Array) -> None:
    """Refuse noise that cannot be had for an array of this kind."""
    if not (callable(source) or isinstance(x, np.ndarray) or converter(x)):
        raise TypeError(
            f"rng must be a function noise(like) for an array of dtype {x.dtype!r}: fresh noise is "
            f"drawn for NumPy arrays, PyTorch's and those of the array API; "
            f"got rng={_checks.shown(source)}"
        )


def draw(source: Any, place: Place, like: Array) -> Array:
    """Draw standard normal noise for a place, of the shape, precision and kind of `like`."""
    if callable(source):
        return _called(source, like)
    check_seeds(source, like.shape)
    check_drawable(source, like)
    if isinstance(like, np.ndarray):
        return normal(source, place, like.shape, like.dtype)
    convert = converter(like)
    assert convert is not None
    dtype = np.float64 if "float64" in str(like.dtype) else np.float32
    return convert(normal(source, place, tuple(like.shape), np.dtype(dtype)))


def normal(source: Any, place: Place, shape: tuple[int, ...], dtype: Any) -> Any:
    """Draw a new NumPy array; float32 is drawn in float32, everything else in float64 and cast."""
    if isinstance(source, Path):
        return source.increment(place, shape).astype(dtype, copy=False)
    if source is None:
        source = np.random.default_rng()
    if isinstance(source, np.random.Generator):
        if dtype == np.float32:
            return np.asarray(source.standard_normal(shape, dtype=np.float32))
        return np.asarray(source.standard_normal(shape)).astype(dtype, copy=False)
    z = np.empty(shape, np.float32 if dtype == np.float32 else np.float64)
    seeds = source if isinstance(source, PerSample) else (source,)
    if z.size:
        _fill(z.reshape(len(seeds), -1), seeds, place.key)
    return z.astype(dtype, copy=False)


def _fill(rows: Any, seeds: Sequence[Seed], key: tuple[int, ...]) -> None:
    """Fill each row from its seed, in chunks that have a stream each."""
    tasks = [
        (seed, (*key, chunk), row[start : start + _CHUNK])
        for row, seed in zip(rows, seeds, strict=True)
        for chunk, start in enumerate(range(0, row.size, _CHUNK))
    ]
    threads = min(len(tasks), rows.size // _CHUNK)
    threads = min(threads, _processors()) if threads > 1 else 1
    # Plain threads, of which this is one: a pool takes as long to start as a megabyte to fill.
    others = [Thread(target=_fill_chunks, args=(tasks[i::threads],)) for i in range(1, threads)]
    for thread in others:
        thread.start()
    _fill_chunks(tasks[::threads])
    for thread in others:
        thread.join()


def _fill_chunks(tasks: Sequence[tuple[Seed, tuple[int, ...], Any]]) -> None:
    for seed, key, chunk in tasks:
        if isinstance(seed, np.random.SeedSequence):
            own = np.random.SeedSequence(
                seed.entropy, spawn_key=(*seed.spawn_key, *key), pool_size=seed.pool_size
            )
        else:
            own = np.random.SeedSequence(seed, spawn_key=key)
        generator = np.random.Generator(np.random.SFC64(own))
        if chunk.dtype == np.float32 and chunk.size >= _MANY:
            for start in range(0, chunk.size, _BLOCK):
                _box_muller(generator, chunk[start : start + _BLOCK])
        else:
            generator.standard_normal(out=chunk, dtype=chunk.dtype)


def _box_muller(generator: np.random.Generator, z: Any) -> None:
    """Fill with sqrt(-2 log u) (cos v, sin v), u uniform in (0, 1) and v in (-pi, pi].

    Box & Muller 1958. Half the time of NumPy's own way, as its functions of float32 arrays are.
    """
    pairs = (z.size + 1) // 2
    bits = generator.integers(0, 2**64, pairs, np.uint64).view(np.uint32)
    radius, angle = np.empty((2, pairs), np.float32)
    np.copyto(radius, bits[:pairs], casting="unsafe")
    np.copyto(angle, bits[pairs:].view(np.int32), casting="unsafe")
    radius *= np.float32(2.0**-32)
    radius += np.float32(2.0**-33)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle *= np.float32(math.pi * 2.0**-31)
    np.cos(angle, out=z[:pairs])
    z[:pairs] *= radius
    rest = z.size - pairs
    np.sin(angle[:rest], out=z[pairs:])
    z[pairs:] *= radius[:rest]


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _called(noise: Callable[[Array], Array], like: Array) -> Array:
    """Noise from the caller's function; a copy, where it would be written to."""
    value, _ = arrays.like("the noise that rng returned", noise(like), like, tuple(like.shape))
    return value.copy() if isinstance(value, np.ndarray) else value


def alike(values: Any, like: Array) -> Array:
    """Return a NumPy array as one of the kind and the precision of `like`."""
    if isinstance(like, np.ndarray):
        return values.astype(like.dtype)
    convert = converter(like)
    if convert is None:
        raise TypeError(
            f"arrays of type {type(like).__name__} take no numbers for each sample: pass NumPy's, "
            f"PyTorch's or one of the array API"
        )
    return convert(values)


def converter(like: Array) -> Callable[[Any], Array] | None:
    """Return what makes a NumPy array one of the kind of `like`, if there is such a thing."""
    if hasattr(like, "new_tensor"):  # PyTorch
        return lambda z: like.new_tensor(z)
    if hasattr(like, "__array_namespace__"):
        return lambda z: like.__array_namespace__().asarray(z, dtype=like.dtype)
    return None
