"""The command line: ``python -m schedulers sample``, ``compare``, ``show`` and ``fit``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import schedulers as sc
from schedulers import _checks, _generate_command, _sample_command
from schedulers._choices import METHODS, SCHEDULE_HELP, schedule
from schedulers.analysis import compare, output_law, power_law, wasserstein2
from schedulers.analytic import Gaussian
from schedulers.engine.text import table
from schedulers.fitting import levels
from schedulers.grids import SPACINGS
from schedulers.scheduler import progress_bar

PICTURES = (".png", ".pdf", ".svg")

_DESCRIPTION = """\
Sample a model, or look at schedulers without one.

  sample    draw images from an ONNX file
  generate  draw many samples from an ONNX file, on many processes or machines, resumed
  verify    draw some of them again, and compare to the bit
  compare   how far each scheduler's output is from the data: exact, for Gaussian data
  show      the table of weights that a scheduler uses: its tableau
  fit       the best levels for the data, for a few steps, in a file that runs
"""

_COMPARE = """\
Show how far each scheduler's output is from the data, for each number of steps.

The data is modelled as a Gaussian with the mean and the covariance of --data. For it the perfect
denoiser is known and a scheduler's output is Gaussian, so the 2-Wasserstein distance between output
and data is computed exactly, without samples, in the units of the data. It is the error of the
scheduler, the grid and the number of steps. The error of a real network comes on top.

  python -m schedulers compare --data digits --steps 5,10,20,50
  python -m schedulers compare --data my_images.npy --spacing karras --plot out.png
  python -m schedulers compare --tables tables.json --steps 4,5,6,8
"""

_SHOW = """\
Show the table of weights that a run uses.

Each row is one model evaluation, at the time t and the level (alpha, sigma). The other columns are
weights: D is the denoised estimate, e the noise estimate, e[-1] the noise estimate of the previous
evaluation, and so on; z is fresh noise. Their weighted sum is the next x.

  python -m schedulers show ddim --steps 10
  python -m schedulers show heun --steps 5 --spacing karras --schedule ve
  python -m schedulers show tables.json --steps 5
"""

_FIT = """\
Find the levels at which a scheduler's output is nearest to the data, and write them into a file.

The data is modelled as a Gaussian, as for compare. The file holds a table of weights for each
number of steps: FittedScheduler.load reads it, show prints it, and compare --tables measures it.
To fit a table to a network itself, which is better still, use schedulers.fitting.fit.

  python -m schedulers fit --data digits --scheduler plms --steps 4,5,6,8 --out tables.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        print(options.run(options))
    except (ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"{parser.prog} {options.command}: {error or 'out of memory'}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m schedulers", description=_DESCRIPTION, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _sample_command.add(commands)
    _generate_command.add(commands)
    comparison = commands.add_parser("compare", description=_COMPARE, formatter_class=raw)
    comparison.set_defaults(run=_compare)
    comparison.add_argument(
        "--steps", default="5,10,20,50", help="numbers of steps, with commas (default: 5,10,20,50)"
    )
    comparison.add_argument(
        "--tables", metavar="FILE.json", help="a fitted scheduler, to be compared with the others"
    )
    comparison.add_argument(
        "--plot", metavar="FILE.png", help="also draw a plot, as PNG, PDF or SVG; needs matplotlib"
    )
    show = commands.add_parser("show", description=_SHOW, formatter_class=raw)
    show.set_defaults(run=_show)
    show.add_argument(
        "method", metavar="METHOD|FILE.json", help=f"the scheduler: {', '.join(METHODS)}; or a file"
    )
    show.add_argument("--steps", type=int, help="number of steps (default: 10; of a file: all)")
    fit = commands.add_parser("fit", description=_FIT, formatter_class=raw)
    fit.set_defaults(run=_fit)
    fit.add_argument(
        "--scheduler", choices=METHODS, default="plms", help="whose levels (default: plms)"
    )
    fit.add_argument("--steps", default="4,5,6,8", help="numbers of steps (default: 4,5,6,8)")
    fit.add_argument("--out", metavar="FILE.json", required=True, help="the file to write")
    for command in (comparison, fit):
        command.add_argument(
            "--data",
            default="power-law",
            metavar="digits|power-law|FILE.npy",
            help="digits: scikit-learn's 8x8 images; power-law: the spectrum of natural images, "
            "1/f^2 over 32x32 frequencies; FILE.npy: an array whose axis 0 counts the samples; "
            "uint8 is scaled from 0..255 to -1..1 (default: power-law)",
        )
    for command in (comparison, show, fit):
        command.add_argument(
            "--schedule", type=schedule, default="linear", metavar="SCHEDULE", help=SCHEDULE_HELP
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
    data = _data(options.data)
    makes = {
        name: make(options.schedule, spacing=options.spacing) for name, make in METHODS.items()
    }
    if options.tables is not None:
        makes[Path(options.tables).name] = sc.FittedScheduler.load(options.tables)
    found = compare(makes, data, steps)
    if options.plot is not None:
        axes = found.plot()
        axes.set_title(f"{options.data}, {options.schedule!r}, {options.spacing}")
        axes.figure.savefig(options.plot, dpi=150)
    root = float(np.sqrt(np.trace(data.cov) if data.cov.ndim == 2 else data.cov.sum()))
    return f"2-Wasserstein distance to data of total standard deviation {root:.4g}:\n\n{found}"


def _check_picture(path: Path) -> None:
    """Check that a plot can be saved there, before any work is done."""
    if not path.parent.is_dir():
        raise ValueError(f"--plot must be in a folder that exists, got {str(path)!r}")
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"--plot must end in {', '.join(PICTURES)}, got {str(path)!r}")


def _show(options: argparse.Namespace) -> str:
    if options.method.endswith(".json"):
        fitted = sc.FittedScheduler.load(options.method)
        steps = options.steps
        tables = fitted.tables if steps is None else [fitted.tableau(steps)]
        report = [] if fitted.report is None else [str(fitted.report)]
        return "\n\n".join([*report, *map(str, tables)])
    method = _checks.choice("METHOD", options.method, METHODS)
    scheduler = METHODS[method](options.schedule, spacing=options.spacing)
    return str(scheduler.tableau(10 if options.steps is None else options.steps))


def _fit(options: argparse.Namespace) -> str:
    counts, data = _numbers(options.steps), _data(options.data)
    if not Path(options.out).parent.is_dir():
        raise ValueError(f"--out must be in a folder that exists, got {options.out!r}")
    scheduler = METHODS[options.scheduler](options.schedule, spacing=options.spacing)
    rows, tables = [["steps", "before", "after", "sigmas"]], []
    for steps in _with_progress(counts):
        sigmas = levels(scheduler, data, steps)
        tables.append(scheduler.tableau(sigmas=sigmas))
        errors = (
            wasserstein2(output_law(scheduler, data, **run), data)
            for run in ({"steps": steps}, {"sigmas": sigmas})
        )
        shown = " ".join(f"{sigma:.4g}" for sigma in sigmas)
        rows.append([str(steps), *(f"{error:.4g}" for error in errors), shown])
    fitted = sc.FittedScheduler(
        scheduler.schedule, prediction_type=scheduler.prediction_type, tables=tables
    )
    fitted.save(options.out)
    head = f"2-Wasserstein distance to the data of {options.scheduler}, on {options.spacing}"
    return f"{head}, and on fitted levels:\n\n" + "\n".join(table(rows))


def _with_progress(counts: list[int]) -> Iterable[int]:
    """Return the numbers, with a progress bar where tqdm is installed."""
    try:
        bar: Iterable[int] = progress_bar()(counts)
    except ImportError:
        return counts
    return bar


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"--steps must be integers separated by commas, got {text!r}") from None


def _data(name: str) -> Gaussian:
    """Return the Gaussian for a value of --data."""
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
