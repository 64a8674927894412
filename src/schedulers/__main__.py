"""The command line: ``python -m schedulers compare`` and ``python -m schedulers show``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import schedulers as sc
from schedulers.analysis import compare, power_law
from schedulers.analytic import Gaussian
from schedulers.grids import SPACINGS

METHODS: dict[str, type[sc.Scheduler]] = {
    "ddpm": sc.DDPM,
    "ddim": sc.DDIM,
    "euler": sc.Euler,
    "euler-ancestral": sc.EulerAncestral,
    "heun": sc.Heun,
    "plms": sc.PLMS,
}
SCHEDULES: dict[str, Callable[[], sc.NoiseSchedule]] = {
    "linear": lambda: sc.DiscreteSchedule(sc.linear_betas(1000)),
    "scaled-linear": lambda: sc.DiscreteSchedule(sc.scaled_linear_betas(1000)),
    "cosine": lambda: sc.DiscreteSchedule(sc.cosine_betas(1000)),
    "vp": sc.VPSchedule,
    "ve": sc.VESchedule,
}

PICTURES = (".png", ".pdf", ".svg")

_DESCRIPTION = """\
Diffusion schedulers, looked at without sampling.

  compare   how far each scheduler's output is from the data, exactly, for Gaussian data
  show      the rows of weights that a scheduler takes: its tableau
"""

_COMPARE = """\
How far is each scheduler's output from the data, at a number of steps?

The data is taken to be Gaussian, with the mean and the covariance of what --data names. Then the
best possible denoiser is known, a scheduler's output is Gaussian, too, and its distance from the
data needs no samples: it is the exact 2-Wasserstein distance, in the units of the data. What a real
network gets wrong comes on top of that; what the scheduler, the grid and the number of steps do to
the data's spectrum is all here.

  python -m schedulers compare --data digits --steps 5,10,20,50
  python -m schedulers compare --data my_images.npy --spacing karras --plot out.png
"""

_SHOW = """\
Show the rows that a run takes.

Each row is one model evaluation, at the time t and the level (alpha, sigma). The columns are
weights: of D, the denoised estimate; of e, the noise estimate; of e[-1], that of one evaluation
ago, and so on; and of z, fresh noise. Their weighted sum is the next x.

  python -m schedulers show ddim --steps 10
  python -m schedulers show heun --steps 5 --spacing karras --schedule ve
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        print(options.run(options))
    except (ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        print(f"{parser.prog} {options.command}: {error or 'out of memory'}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m schedulers", description=_DESCRIPTION, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{compare,show}")
    comparison = commands.add_parser("compare", description=_COMPARE, formatter_class=raw)
    comparison.set_defaults(run=_compare)
    comparison.add_argument(
        "--data",
        default="power-law",
        metavar="digits|power-law|FILE.npy",
        help="digits: scikit-learn's 8x8 images; power-law: the spectrum of natural images, 1/f^2 "
        "over 32x32 frequencies; or an array of samples, counted by axis 0, which is taken from "
        "0..255 to -1..1 where it is of uint8 (default: power-law)",
    )
    comparison.add_argument(
        "--steps", default="5,10,20,50", help="numbers of steps, with commas (default: 5,10,20,50)"
    )
    comparison.add_argument(
        "--plot", metavar="FILE.png", help="draw it, too, as PNG, PDF or SVG; needs matplotlib"
    )
    show = commands.add_parser("show", description=_SHOW, formatter_class=raw)
    show.set_defaults(run=_show)
    show.add_argument("method", choices=METHODS, help="the scheduler")
    show.add_argument("--steps", type=int, default=10, help="number of steps (default: 10)")
    for command in (comparison, show):
        command.add_argument(
            "--schedule",
            choices=SCHEDULES,
            default="linear",
            help="what the model was trained with: 1000 betas, linear (DDPM's), scaled-linear "
            "(Stable Diffusion's) or cosine (Improved DDPM's); or vp or ve, continuous "
            "(default: linear)",
        )
        command.add_argument(
            "--spacing",
            choices=SPACINGS,
            default="trailing",
            metavar="SPACING",
            help=f"which levels the steps visit: {', '.join(SPACINGS)} (default: trailing)",
        )
    return parser


def _compare(options: argparse.Namespace) -> str:
    steps = _numbers(options.steps)
    if options.plot is not None:
        _check_picture(Path(options.plot))
    data, schedule = _data(options.data), SCHEDULES[options.schedule]()
    makes = {name: make(schedule, spacing=options.spacing) for name, make in METHODS.items()}
    found = compare(makes, data, steps)
    if options.plot is not None:
        axes = found.plot()
        axes.set_title(f"{options.data}, {options.schedule}, {options.spacing}")
        axes.figure.savefig(options.plot, dpi=150)
    root = float(np.sqrt(np.trace(data.cov) if data.cov.ndim == 2 else data.cov.sum()))
    return f"2-Wasserstein distance to data of standard deviation {root:.4g} in all:\n\n{found}"


def _check_picture(path: Path) -> None:
    """Refuse what cannot be drawn to, before any work is done."""
    if not path.parent.is_dir():
        raise ValueError(f"--plot must be in a folder that exists, got {str(path)!r}")
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"--plot must end in {', '.join(PICTURES)}, got {str(path)!r}")


def _show(options: argparse.Namespace) -> str:
    scheduler = METHODS[options.method](SCHEDULES[options.schedule](), spacing=options.spacing)
    return str(scheduler.tableau(options.steps))


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"--steps must be integers with commas between, got {text!r}") from None


def _data(name: str) -> Gaussian:
    """Gaussian of the data that a name stands for."""
    if name == "power-law":
        return power_law(32)
    if name == "digits":
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise ImportError("--data digits needs the package scikit-learn") from None
        return Gaussian.fit(load_digits().data / 8.0 - 1.0)
    if not name.endswith(".npy"):
        raise ValueError(
            f"--data must be digits, power-law or a file that ends in .npy, got {name!r}"
        )
    try:
        samples = np.load(name, allow_pickle=False)
    except (EOFError, ValueError):
        samples = None
    if not isinstance(samples, np.ndarray) or samples.dtype.kind not in "iuf":
        raise ValueError(f"--data must be a file with one array of real numbers, got {name!r}")
    if not np.isfinite(samples).all():
        raise ValueError(f"--data must be finite, got NaN or infinity in {name!r}")
    if samples.dtype == np.uint8:
        samples = samples / 127.5 - 1.0
    return Gaussian.fit(samples)


if __name__ == "__main__":
    sys.exit(main())
