"""The command ``python -m schedulers sample``: images from an ONNX file."""

from __future__ import annotations

import argparse
import io
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import schedulers as sc
from schedulers import _checks, _files
from schedulers._choices import METHODS, SCHEDULE_HELP, schedule
from schedulers.denoisers import Guided
from schedulers.engine.parameterization import PREDICTION_TYPES
from schedulers.grids import SPACINGS
from schedulers.onnx import OnnxDenoiser, inputs_of
from schedulers.scheduler import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = Any

_DESCRIPTION = """\
Draw samples of a model in an ONNX file, with onnxruntime, and write them as one image or an array.

The names and dtypes of the model's inputs are found in the file. Sample i has the seed --seed + i:
it is the same in every batch. A picture shows values from -1 to 1.

  python -m schedulers sample digits.onnx --steps 20 --n 64 --classes 0-9 --out images.png
  python -m schedulers sample unet.onnx --config scheduler_config.json --out images.npy
"""


def add(commands: Any) -> None:
    """Add the command to the parser of the command line."""
    parser = commands.add_parser(
        "sample", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=_sample)
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="an image, .png; or an array, .npy"
    )
    parser.add_argument("--n", type=int, default=64, help="number of samples (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first one (default: 0)")
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add what says which model it is, and how it is sampled."""
    parser.add_argument("model", metavar="MODEL.onnx", help="the model")
    parser.add_argument("--steps", type=int, default=20, help="number of steps (default: 20)")
    parser.add_argument("--batch", type=int, default=64, help="samples at a time (default: 64)")
    parser.add_argument(
        "--config",
        metavar="FILE.json",
        help="a scheduler_config.json of diffusers, which names all that follows down to --spacing",
    )
    parser.add_argument(
        "--scheduler", choices=METHODS, help="the scheduler (default: dpmpp-2m)", metavar="NAME"
    )
    parser.add_argument("--schedule", metavar="SCHEDULE", help=SCHEDULE_HELP)
    parser.add_argument(
        "--prediction",
        choices=PREDICTION_TYPES,
        help="what the model returns (default: epsilon; of a flow: flow)",
    )
    parser.add_argument(
        "--spacing", choices=SPACINGS, metavar="SPACING", help="the grid (default: trailing)"
    )
    parser.add_argument(
        "--classes", help="classes of the samples, in turn, such as 3, 0,1,7 or 0-9"
    )
    parser.add_argument(
        "--guidance", type=float, help="scale of classifier-free guidance; needs --no-class"
    )
    parser.add_argument("--no-class", type=int, help="the class that stands for none, such as 10")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another input of the model: a number, or an array in a file, NAME=FILE.npy",
    )
    parser.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        help="what the model is told of the scheduler's time (default: 1; most flows: 1000)",
    )
    parser.add_argument(
        "--shape", help="shape of one sample, such as 4x64x64, where the file does not say it"
    )


def _sample(options: argparse.Namespace) -> str:
    out = Path(options.out)
    if out.suffix.lower() not in (".png", ".npy") or not out.parent.is_dir():
        raise ValueError(
            f"--out must be a .png or .npy file in a folder that exists, got {options.out!r}"
        )
    scheduler, (denoiser, conditions) = scheduler_of(options), model_of(options)
    n, batch = _checks.count("--n", options.n), _checks.count("--batch", options.batch)
    seeds = [_checks.integer("--seed", options.seed, at_least=0) + i for i in range(n)]
    shape = shape_of(options)
    if out.suffix.lower() == ".png":
        _check_image(shape)
    bar = _bar(scheduler.tableau(options.steps).steps * math.ceil(n / batch))
    made = []
    for first in range(0, n, batch):
        rng = seeds[first : first + batch]
        x_T = scheduler.initial_noise((len(rng), *shape), options.steps, rng=rng, dtype=np.float32)
        given = {} if conditions is None else conditions(np.array(rng) - options.seed)
        made.append(
            scheduler.sample(
                partial(denoiser, **given), x_T, options.steps, rng=rng, callback=lambda s: bar()
            )
        )
    images = np.concatenate(made)
    _write(out, images)
    return f"{n} samples of shape {shape} by {type(scheduler).__name__}, written to {options.out}"


def scheduler_of(options: argparse.Namespace) -> sc.Scheduler:
    """Return the scheduler that a configuration names, or that the options do."""
    names = ("scheduler", "schedule", "prediction", "spacing")
    if options.config is not None:
        given = [name for name in names if getattr(options, name) is not None]
        if given:
            raise ValueError(f"--{given[0]} must not be given with --config, which says it")
        return sc.from_config(options.config)
    path = schedule(options.schedule or "linear")
    flows = isinstance(path, sc.FlowSchedule)
    return METHODS[options.scheduler or "dpmpp-2m"](
        path,
        prediction_type=options.prediction or ("flow" if flows else "epsilon"),
        spacing=options.spacing or "trailing",
    )


def model_of(options: argparse.Namespace) -> tuple[Any, ClassesInTurn | None]:
    """Return the denoiser, and the classes of samples; both can be pickled."""
    others = dict(map(_input, options.input))
    if options.classes is None:
        if options.guidance is not None or options.no_class is not None:
            raise ValueError("--guidance and --no-class need --classes, got none")
        return OnnxDenoiser(options.model, time_scale=options.time_scale, **others), None
    classes = _numbers(options.classes)
    name = _class_input(options.model, others)
    if (options.guidance is None) != (options.no_class is None):
        raise ValueError("--guidance and --no-class must be given together")
    given = {name: classes[0], **others}
    plain = OnnxDenoiser(options.model, time_scale=options.time_scale, **given)
    if options.guidance is None:
        return plain, ClassesInTurn(name, tuple(classes))
    guided = GuidedByClass(plain, name, options.no_class, options.guidance)
    return guided, ClassesInTurn(name, tuple(classes))


@dataclass(frozen=True)
class ClassesInTurn:
    """The classes of samples, by their numbers."""

    name: str
    classes: tuple[int, ...]

    def __call__(self, numbers: Any) -> dict[str, Any]:
        """Return the model's input that takes them."""
        return {self.name: np.array(self.classes)[numbers % len(self.classes)]}


@dataclass(frozen=True)
class GuidedByClass:
    """A model guided towards the class that a call names."""

    denoiser: OnnxDenoiser
    name: str
    no_class: int
    scale: float

    def __call__(self, x: Array, t: float, **conditions: Any) -> Array:
        """Return the guided output."""
        towards = partial(self.denoiser, **conditions)
        away = partial(self.denoiser, **{**conditions, self.name: self.no_class})
        return Guided(towards, away, self.scale)(x, t)


def _class_input(model: str, others: dict[str, Any]) -> str:
    """Return the name of the input that takes a class."""
    _, _, *inputs = inputs_of(model)
    whole = [each for each in inputs if each.dtype.kind == "i" and each.name not in others]
    if len(whole) != 1:
        raise ValueError(
            f"--classes needs a model with one more input of whole numbers, got one whose inputs "
            f"besides the sample and the time are {'; '.join(map(str, inputs)) or 'none'}"
        )
    return whole[0].name


def _input(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--input must be NAME=VALUE, got {text!r}")
    if value.endswith(".npy"):
        return name, np.load(value, allow_pickle=False)
    try:
        return name, int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise ValueError(f"--input must be a number or a .npy file, got {text!r}") from None


def _numbers(text: str) -> list[int]:
    """Return the classes of "3", "0,1,7" or "0-9"."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        found = [i for first, *last in ends for i in range(first, (last or [first])[0] + 1)]
    except (TypeError, ValueError):
        found = []
    if not found:
        raise ValueError(f"--classes must be such as 3, 0,1,7 or 0-9, got {text!r}")
    return found


def shape_of(options: argparse.Namespace) -> tuple[int, ...]:
    """Return the shape of one sample."""
    sample, *_ = inputs_of(options.model)
    shape = tuple(n for n in sample.shape[1:] if n is not None)
    if options.shape is not None:
        try:
            return tuple(_checks.count("--shape", int(each)) for each in options.shape.split("x"))
        except ValueError:
            raise ValueError(f"--shape must be such as 4x64x64, got {options.shape!r}") from None
    if len(shape) < len(sample.shape) - 1:
        raise ValueError(f"--shape must be given, such as 4x64x64: the model takes {sample}")
    return shape


def _bar(total: int) -> Callable[[], object]:
    """Return what moves a progress bar on, which is there if tqdm is installed."""
    try:
        made = progress_bar()(total=total, unit="step")
    except ImportError:
        return lambda: None
    update: Callable[[], object] = made.update
    return update


def _check_image(shape: tuple[int, ...]) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError("a .png file needs the package matplotlib: or give a .npy") from None
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            f"--out must be a .npy file where samples are no images of 1 or 3 channels, which "
            f"have shape {shape} here"
        )


def _write(out: Path, images: Array) -> None:
    """Write the samples as an array, or as one picture."""
    file = io.BytesIO()
    if out.suffix.lower() == ".npy":
        np.save(file, images)
    else:
        from matplotlib.image import imsave

        imsave(file, sheet(images), format="png")
    _files.write_bytes(out, file.getvalue())


def sheet(images: Array) -> Array:
    """Return images of shape (n, 1 or 3, h, w) from -1 to 1 side by side, as uint8."""
    n, _, height, width = images.shape
    larger = max(1, 64 // height)
    pixels = np.rint(np.clip(127.5 * (images + 1.0), 0.0, 255.0)).astype(np.uint8)
    pixels = pixels.repeat(larger, axis=2).repeat(larger, axis=3)
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    # A white margin around each; one channel is all three.
    framed = np.full((rows * columns, 3, larger * height + 4, larger * width + 4), 255, np.uint8)
    framed[:n, :, 2:-2, 2:-2] = pixels
    grid = framed.reshape(rows, columns, *framed.shape[1:]).transpose(0, 3, 1, 4, 2)
    return grid.reshape(rows * framed.shape[2], columns * framed.shape[3], 3)
