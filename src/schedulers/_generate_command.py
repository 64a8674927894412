"""The commands ``python -m schedulers generate`` and ``verify``: many samples of an ONNX file."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers._sample_command import add_model, model_of, scheduler_of, shape_of
from schedulers.generation.generate import made_by
from schedulers.generation.stores import asked_for
from schedulers.generation.verify import compared
from schedulers.generation.work import Work
from schedulers.scheduler import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

_GENERATE = """\
Draw many samples of a model in an ONNX file into one array, batch by batch.

Called again, the command makes what is missing: after an error, a power cut, or with more workers.
A .zarr folder has one chunk for each batch, and needs zarr. With --classes a seed has the class of
its place in turn.

  python -m schedulers generate digits.onnx --seeds 0:50000 --classes 0-9 --out samples.zarr
  python -m schedulers generate digits.onnx --seeds 0:50000 --classes 0-9 --out samples.zarr \\
      --dask tcp://scheduler:8786
"""
_VERIFY = """\
Draw some batches of samples again that ``generate`` made, and compare them to the bit.

  python -m schedulers verify samples.zarr
"""
# What of the options makes the samples.
_ASKED = (
    *("model", "steps", "batch", "config", "scheduler", "schedule", "prediction", "spacing"),
    *("classes", "guidance", "no_class", "input", "time_scale", "shape", "seeds"),
)


def add(commands: Any) -> None:
    """Add the commands to the parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("generate", description=_GENERATE, formatter_class=raw)
    parser.set_defaults(run=_generate)
    parser.add_argument(
        "--seeds", required=True, metavar="FIRST:END", help="seeds of the samples, such as 0:50000"
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="a .npy file or a .zarr folder"
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler whose workers do it")
    add_model(parser)
    parser = commands.add_parser("verify", description=_VERIFY, formatter_class=raw)
    parser.set_defaults(run=_verify)
    parser.add_argument("out", metavar="OUT", help="the .npy file or the .zarr folder")
    parser.add_argument(
        "--batches", type=int, default=4, help="how many are made again (default: 4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: 0)")


def _generate(options: argparse.Namespace) -> str:
    work = _work(options)
    with _executor(options.dask) as executor:
        made_by(work, options.out, executor, progress=_has_bar())
    return f"{len(work.seeds)} samples of shape {work.shape}, written to {options.out}"


def _verify(options: argparse.Namespace) -> str:
    work = _work(argparse.Namespace(**asked_for(options.out)))
    found = compared(work, options.out, options.batches, options.seed)
    return f"{len(found)} of {work.batches} batches are the same to the bit: {found}"


def _work(options: argparse.Namespace) -> Work:
    denoiser, conditions = model_of(options)
    work = Work.checked(
        scheduler_of(options),
        denoiser,
        shape_of(options),
        _seeds(options.seeds),
        options.steps,
        options.batch,
        np.float32,
        conditions,
    )
    return replace(work, asked={name: getattr(options, name) for name in _ASKED})


def _seeds(text: str) -> range:
    try:
        first, end = map(int, text.split(":"))
        seeds = range(first, end)
    except ValueError:
        seeds = range(0)
    if not seeds or seeds[0] < 0:
        raise ValueError(f"--seeds must be FIRST:END, such as 0:50000, got {text!r}")
    return seeds


@contextmanager
def _executor(address: str | None) -> Iterator[Any]:
    """Give the executor of a Dask cluster, or none."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("--dask needs the package distributed") from None
    with Client(address) as client:  # type: ignore[no-untyped-call]
        yield client.get_executor()


def _has_bar() -> bool:
    try:
        progress_bar()
    except ImportError:
        return False
    return True
