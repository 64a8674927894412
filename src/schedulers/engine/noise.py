"""Fresh noise: what `rng` names.

A `numpy.random.Generator` and a function draw in order. An int or a `SeedSequence`
names the noise itself: each *place* in a run (the start, the entry, a stage) has its own stream of
random bits, a function of the seed and the place alone, so it makes no difference who draws it, or
when. A sequence of seeds, one for each sample, gives each sample the noise that it has alone. There
a tuple of ints is one seed.

A stream is that of the Philox generator (Salmon et al. 2011), which is a function of a key and a
counter: the key comes from the seed, the counter from the place. NumPy draws the normal numbers
from it by a method that has the same bits on every processor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread, local
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Array = Any
    Seed: TypeAlias = int | np.random.SeedSequence | tuple[int, ...]
    Seeds: TypeAlias = Sequence[Seed] | NDArray[np.integer[Any]]
    # What numpy.random.default_rng takes, except a sequence.
    RNG: TypeAlias = Seed | np.random.Generator | None
    RandomSource: TypeAlias = "RNG | Seeds | Seeded | Callable[[Array], Array]"

# Sets the keys apart from those of a Philox generator that the caller seeds with the same number.
_KEYS = 0x5C4ED
# Elements that one stream fills. Larger arrays are filled by several streams, on several threads.
_CHUNK = 2**17
SEEDS = "an int, a numpy.random.SeedSequence or a sequence of those, one for each sample"
SOURCES = f"None, {SEEDS}, a numpy.random.Generator, a BrownianPath or a function noise(like)"

_this_thread = local()


class Place(NamedTuple):
    """Where noise belongs: a kind of place, and numbers that tell two of a kind apart.

    `span` is the part of [0, 1] that a `BrownianPath` gives the place.
    """

    kind: str
    first: int = 0
    second: int = 0
    span: tuple[float, float] | None = None

    def counter(self, chunk: int) -> list[int]:
        """Return Philox's counter at which the place's stream for a chunk begins."""
        return [0, chunk, self.second, crc32(self.kind.encode()) << 32 | self.first]


START = Place("start")
ADDED = Place("added")
ENTRY = Place("entry")


def stage_place(index: int, span: tuple[float, float]) -> Place:
    """Return the place of a tableau's stage."""
    return Place("stage", index, span=span)


@dataclass(frozen=True)
class Seeded:
    """Noise by one seed for a batch, or by a tuple of them, one for each sample."""

    seeds: Any

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse a batch that has not one seed for each sample."""
        if isinstance(self.seeds, tuple) and (not shape or len(self.seeds) != shape[0]):
            raise ValueError(
                f"rng must have one seed for each sample along axis 0 of a batch of shape "
                f"{tuple(shape)}, got {len(self.seeds)}"
            )

    def normal(self, place: Place, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return the noise of a place: float32 is drawn as such, all else from float64."""
        z = np.empty(shape, np.float32 if dtype == np.float32 else np.float64)
        seeds = self.seeds if isinstance(self.seeds, tuple) else (self.seeds,)
        if z.size:
            _fill(z.reshape(len(seeds), -1), [_key(seed) for seed in seeds], place)
        return z.astype(dtype, copy=False)


class Noise(NamedTuple):
    """The noise of a run: a source, bound to the sample that the noise is for.

    `like` is the sample. It is None where the shape and the dtype are enough, so that a run need
    not keep its first sample.
    """

    source: Any
    shape: tuple[int, ...]
    dtype: Any
    like: Array | None

    @classmethod
    def bind(cls, rng: RandomSource, x: Array, *, drawn: bool = True) -> Noise:
        """Check what `rng` names against the sample x; `drawn` says whether noise will be drawn."""
        shape = tuple(x.shape)
        source = checked_source(rng) if drawn or rng is not None else None
        if isinstance(source, Seeded):
            source.check_shape(shape)
        if isinstance(x, np.ndarray):
            return cls(source, shape, x.dtype, x if callable(source) else None)
        if drawn and not (callable(source) or arrays.converter(x)):
            raise TypeError(
                f"rng must be a function noise(like) for an array of dtype {x.dtype!r}: fresh "
                f"noise is drawn for NumPy arrays, PyTorch's and those of the array API; "
                f"got rng={_checks.shown(rng)}"
            )
        return cls(source, shape, noise_dtype(x), x)

    def draw(self, place: Place) -> Array:
        """Return standard normal noise for a place, of the sample's shape, precision and kind."""
        if callable(self.source):
            name = "the noise that rng returned"
            return arrays.matching(name, self.source(self.like), self.like, self.shape)
        z = normal(self.source, place, self.shape, self.dtype)
        return z if self.like is None else arrays.of_the_kind(z, self.like)


def noise_dtype(x: Array) -> Any:
    """Return NumPy's dtype in which noise is drawn for an array of another library."""
    return np.dtype(np.float64 if "float64" in str(x.dtype) else np.float32)


def checked_source(rng: RandomSource) -> Any:
    """Return the source that `rng` names: a Seeded, a Generator or a function."""
    if type(rng) is int and rng >= 0:  # first, as runs ask this at every row
        return Seeded(rng)
    if rng is None:
        return np.random.default_rng()
    if callable(rng) or isinstance(rng, (np.random.Generator, Seeded)):
        return rng
    return Seeded(checked_seeds("rng", rng, SOURCES))


def checked_seeds(name: str, seeds: object, right: str = SEEDS) -> Seed | tuple[Seed, ...]:
    """Return a seed, or a sequence of them as a tuple; `right` says what the argument may be."""
    if isinstance(seeds, (list, tuple, range)) or (isinstance(seeds, np.ndarray) and seeds.ndim):
        return tuple(_seed(f"{name}[{i}]", seed) for i, seed in enumerate(seeds))
    try:
        return _seed(name, seeds)
    except TypeError:
        raise TypeError(f"{name} must be {right}, got {_checks.shown(seeds)}") from None


def normal(
    source: Seeded | np.random.Generator, place: Place, shape: tuple[int, ...], dtype: Any
) -> NDArray[Any]:
    """Return standard normal noise of a NumPy dtype."""
    if isinstance(source, Seeded):
        return source.normal(place, shape, dtype)
    if dtype == np.float32:
        return np.asarray(source.standard_normal(shape, dtype=np.float32))
    return np.asarray(source.standard_normal(shape)).astype(dtype, copy=False)


def _seed(name: str, seed: object) -> Seed:
    """Return a seed of one sample; several ints, such as (7, tick), are one as well."""
    if isinstance(seed, np.random.SeedSequence):
        return seed
    several = isinstance(seed, (list, tuple)) or (isinstance(seed, np.ndarray) and seed.ndim == 1)
    if several and len(seed):  # type: ignore[arg-type]
        return tuple(_checks.integer(name, part, at_least=0) for part in seed)  # type: ignore[attr-defined]
    return _checks.integer(name, seed, at_least=0)


@lru_cache(maxsize=4096)  # a key takes as long to make as half a step of a small sample
def _key(seed: Seed) -> NDArray[np.uint64]:
    """Return Philox's key for a seed."""
    own = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    apart = np.random.SeedSequence(
        own.entropy, spawn_key=(*own.spawn_key, _KEYS), pool_size=own.pool_size
    )
    key: NDArray[np.uint64] = apart.generate_state(2, np.uint64).astype(np.uint64)
    key.flags.writeable = False
    return key


def _fill(rows: Any, keys: Sequence[Any], place: Place) -> None:
    """Fill each row with the noise of its key, in chunks that have a stream each."""
    tasks = [
        (key, place.counter(chunk), row[start : start + _CHUNK])
        for row, key in zip(rows, keys, strict=True)
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


def _fill_chunks(tasks: Sequence[tuple[Any, list[int], Any]]) -> None:
    for key, counter, chunk in tasks:
        _stream(key, counter).standard_normal(out=chunk, dtype=chunk.dtype)


def _stream(key: Any, counter: list[int]) -> np.random.Generator:
    """Return this thread's generator, set to the beginning of a stream."""
    if not hasattr(_this_thread, "generator"):  # a new one takes ten times as long as a new state
        _this_thread.generator = np.random.Generator(np.random.Philox(key=0))
        _this_thread.state = _this_thread.generator.bit_generator.state
    state = _this_thread.state  # that of a generator that has drawn nothing
    state["state"] = {"key": key, "counter": np.array(counter, np.uint64)}
    generator: np.random.Generator = _this_thread.generator
    generator.bit_generator.state = state
    return generator


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
