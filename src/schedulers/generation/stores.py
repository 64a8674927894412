"""Where samples go: an array in memory, a .npy file or a Zarr array. A batch is whole or absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from schedulers import _checks, _files

if TYPE_CHECKING:
    from schedulers.generation.work import Work

    Array = Any

# Under this name a Zarr array's attributes hold what it was made with.
KEY = "schedulers"


class Store(Protocol):
    """Where the samples of batches go."""

    # Whether a worker may write a batch by itself.
    shared: bool

    def missing(self) -> list[int]:
        """Return the batches that are not there."""

    def write(self, batch: int, samples: Array) -> None:
        """Keep a batch's samples, whole or not at all."""

    def read(self, batch: int) -> Array:
        """Return a batch's samples."""

    def result(self) -> Array:
        """Return all samples."""


def opened(work: Work, out: Any, create: bool = True) -> Store:
    """Return the store of an argument `out`; one of other samples is refused."""
    if out is None:
        return InMemory(work)
    if isinstance(out, (str, os.PathLike)):
        suffix = Path(out).suffix
        if suffix == ".npy":
            return NpyFile(work, Path(out), create)
        if suffix != ".zarr" and "://" not in str(out):
            raise ValueError(f"out must end in .npy or .zarr, got {_checks.shown(str(out))}")
    if isinstance(out, dict):
        raise TypeError("out must be a path or a store of zarr's, such as MemoryStore, got a dict")
    return ZarrArray(work, out, create)


class InMemory:
    """An array in memory."""

    shared = False

    def __init__(self, work: Work) -> None:
        self.work = work
        try:
            self.array = np.empty((len(work.seeds), *work.shape), work.dtype)
        except MemoryError as error:
            raise ValueError(
                f"out must be a file where memory does not hold all samples: {error}"
            ) from None

    def missing(self) -> list[int]:
        """Return the batches that are not there: at the beginning all of them."""
        return list(range(self.work.batches))

    def write(self, batch: int, samples: Array) -> None:
        """Keep a batch's samples."""
        self.array[self.work.places(batch)] = samples

    def read(self, batch: int) -> Array:
        """Return a batch's samples."""
        return self.array[self.work.places(batch)]

    def result(self) -> Array:
        """Return all samples."""
        return self.array


class NpyFile:
    """A .npy file, and beside it a .json with what it was made with and the batches that it has.

    A batch's samples are on the disk before its number is. So a number that is there is of whole
    samples, and what was cut off in the middle is made again.
    """

    shared = False

    def __init__(self, work: Work, path: Path, create: bool = True) -> None:
        self.work, self.path = work, path
        self.notes = path.with_name(f"{path.name}.json")
        if path.exists():
            self.done = self._noted()
        elif not create:
            raise FileNotFoundError(f"out must be a file of samples, got {str(path)!r}")
        else:
            self.done = set()
            shape = (len(work.seeds), *work.shape)
            np.lib.format.open_memmap(path, "w+", work.dtype, shape)
            _files.write_text(self.notes, json.dumps(_kept(work)) + "\n")

    def _noted(self) -> set[int]:
        """Return the batches that the file beside it notes, after checking what both are of."""
        if not self.notes.exists():
            raise ValueError(
                f"out must not be a file of other samples, got {str(self.path)!r}, which has no "
                f"{self.notes.name} beside it"
            )
        first, *numbers = self.notes.read_text().split("\n")
        check_same(str(self.path), _read(first), self.work.manifest())
        array, shape = self.result(), (len(self.work.seeds), *self.work.shape)
        if array.shape != shape or array.dtype != self.work.dtype:
            raise ValueError(
                f"out must be a file of {self.work.dtype} samples of shape {shape}, got "
                f"{array.dtype} and {array.shape} in {str(self.path)!r}: remove it"
            )
        # The last line is empty, or was cut off.
        return {int(number) for number in numbers[:-1] if number.isdigit()}

    def missing(self) -> list[int]:
        """Return the batches that are not there."""
        return [batch for batch in range(self.work.batches) if batch not in self.done]

    def write(self, batch: int, samples: Array) -> None:
        """Keep a batch's samples, and then its number."""
        # By the file, not by a map of it: to a map, a full disk is the end of the process.
        start = self.result().offset + self.work.places(batch).start * samples[0].nbytes
        with open(self.path, "r+b") as file:
            file.seek(start)
            file.write(samples.tobytes())
            file.flush()
            os.fsync(file.fileno())
        with open(self.notes, "a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(end - 1)
            cut = file.read(1) != b"\n"
            file.write(b"\n" * cut + f"{batch}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.done.add(batch)

    def read(self, batch: int) -> Array:
        """Return a batch's samples."""
        return np.array(self.result()[self.work.places(batch)])

    def result(self) -> Array:
        """Return all samples, read from the file as they are asked for."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


class ZarrArray:
    """A Zarr array with one chunk for each batch, which holds a checksum.

    What is not there reads as NaN, which no sample is.
    """

    def __init__(self, work: Work, out: Any, create: bool = True) -> None:
        try:
            import zarr
            from zarr.codecs import Crc32cCodec
        except ImportError:
            raise ImportError("a Zarr array needs the package zarr: pip install zarr") from None
        self.work, self.shared = work, isinstance(out, (str, os.PathLike))
        where = str(out) if self.shared else out
        self.folder = Path(where) if self.shared and "://" not in where else None
        try:
            self.array = zarr.open_array(where, mode="r+", zarr_format=3)
        except FileNotFoundError:
            if not create:
                raise
            self.array = zarr.create_array(
                where,
                shape=(len(work.seeds), *work.shape),
                chunks=(work.batch_size, *work.shape),
                dtype=work.dtype,
                fill_value=np.nan,
                compressors=[Crc32cCodec()],
                attributes={KEY: _kept(work)},
            )
            return
        except Exception as error:
            raise ValueError(
                f"out must be a Zarr array of samples, got {_checks.shown(where)}: {error}"
            ) from error
        if KEY not in self.array.attrs:
            raise ValueError(
                f"out must not be an array of other samples, got {_checks.shown(where)}"
            )
        check_same(str(where), self.array.attrs[KEY], work.manifest())

    def missing(self) -> list[int]:
        """Return the batches that are not there, or were cut off."""
        return [batch for batch in range(self.work.batches) if not self._has(batch)]

    def _has(self, batch: int) -> bool:
        try:
            samples = self.read(batch)
        except Exception:  # what a damaged chunk raises depends on where it is damaged
            return False
        return not np.isnan(samples.reshape(-1)[:1]).any()

    def write(self, batch: int, samples: Array) -> None:
        """Keep a batch's samples."""
        self.array[self.work.places(batch)] = samples

    def check_there(self, batch: int) -> None:
        """Refuse the word of a worker that a batch is there if its folder is another one."""
        if self.folder is not None and not (self.folder / "c" / str(batch)).exists():
            raise RuntimeError(
                f"out must be a folder that all workers share, and batch {batch}, which one of "
                f"them wrote, is not in {_checks.shown(str(self.folder))}"
            )

    def read(self, batch: int) -> Array:
        """Return a batch's samples."""
        return self.array[self.work.places(batch)]

    def result(self) -> Array:
        """Return the array."""
        return self.array


def check_same(where: str, found: Any, wanted: dict[str, Any]) -> None:
    """Refuse samples that were made with anything else."""
    theirs = found if isinstance(found, dict) else {}
    for name, value in wanted.items():
        if theirs.get(name) != value:
            raise ValueError(
                f"out must be of the same samples as what is there: {_checks.shown(where)} was "
                f"made with {name} {_checks.shown(theirs.get(name))}, and now it is "
                f"{_checks.shown(value)}"
            )


def asked_for(out: str) -> dict[str, Any]:
    """Return what a command line asked for that made samples."""
    path = Path(out)
    if path.suffix == ".npy":
        kept = _read(path.with_name(f"{path.name}.json").read_text().split("\n")[0])
    else:
        import zarr

        kept = zarr.open_array(out, mode="r").attrs.get(KEY)
    asked = kept.get("asked") if isinstance(kept, dict) else None
    if not isinstance(asked, dict):
        raise ValueError(f"OUT must be what `generate` wrote from a command, got {out!r}")
    return asked


def _kept(work: Work) -> dict[str, Any]:
    """Return what samples carry."""
    return {**work.manifest(), "asked": None if work.asked is None else dict(work.asked)}


def _read(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
