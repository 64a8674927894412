"""Tables fitted to two networks, beside every method of the books.

    python benchmarks/fitted.py              # prints the tables, and writes docs/fitted-figures.md
    python benchmarks/fitted.py photographs  # prints this part alone; or digits, or carries

The networks are those of examples/: handwritten digits (epsilon, 1000 discrete levels, without a
class) and patches of photographs (a flow). Tables are fitted on 64 samples of noise and measured on
1000 others; which method of the books is the best is found on some of these. Distances are root
mean squares over the elements, to the end of the model's exact flow from the same noise. It takes
about half an hour on two cores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import schedulers as sc
from few_steps import METHODS
from schedulers.analysis import wasserstein2
from schedulers.analytic import Gaussian
from schedulers.denoisers import per_sample
from schedulers.fitting import fit, levels

ROOT = Path(__file__).parent.parent
# Of each batch a quarter is held out: 64 are fitted on.
STARTS = 85
FRESH = 1000
sys.path.insert(0, str(ROOT / "examples"))


class Network(NamedTuple):
    """A network, its schedule, the grids of the books, and how many samples to compare them on."""

    name: str
    denoiser: Callable[..., Any]
    schedule: sc.NoiseSchedule
    prediction_type: str
    shape: tuple[int, ...]
    grids: tuple[Any, ...]
    compared: int
    real: Any
    steps: tuple[int, ...] = (4, 5, 6, 8)

    def begin(self, method: Any = sc.DDIM, spacing: Any = "trailing") -> sc.Scheduler:
        """Return a scheduler for the network."""
        return method(self.schedule, prediction_type=self.prediction_type, spacing=spacing)

    def noise(self, n: int, seed: int) -> Any:
        """Return noise at the noisiest level."""
        top = [float(self.schedule.t_max)]
        return self.begin().initial_noise((n, *self.shape), timesteps=top, rng=seed)

    def exact(self, x_T: Any, denoiser: Any = None) -> Any:
        """Return the end of the flow: an error of about 0.001."""
        fine = fit_reference(self.schedule)
        return self.begin(partial(sc.DPMSolverPP, order=3)).sample(
            denoiser or self.denoiser, x_T, sigmas=fine
        )


def fit_reference(schedule: sc.NoiseSchedule) -> Any:
    """Return fine levels: 150 of Karras's, below infinity where the schedule begins there."""
    low, top = (schedule.karras_sigma(t) for t in (schedule.t_min, schedule.t_max))
    if np.isfinite(top):
        return sc.karras_sigmas(150, low, top)
    return np.append(np.inf, sc.karras_sigmas(149, low, 150.0))


def session(file: str) -> Any:
    """Return the function that runs a network."""
    import onnxruntime

    made = onnxruntime.InferenceSession(ROOT / "examples" / file)
    return lambda **inputs: made.run(None, inputs)[0]


def digits(label: Any = 10, guidance: float = 1.0) -> Network:
    """Return the network of digits: of a class, or of none, which is 10."""
    from sklearn.datasets import load_digits

    run = session("digits.onnx")

    def denoiser(x: Any, t: float) -> Any:
        x = x.astype(np.float32)
        times = per_sample(t, x)
        free = run(x=x, t=times, label=np.full(len(x), 10))
        if guidance == 1.0 and np.ndim(label) == 0:
            return free
        said = run(x=x, t=times, label=np.resize(label, len(x)))
        return free + np.float32(guidance) * (said - free)

    real = load_digits().data / 8.0 - 1.0
    schedule = sc.DiscreteSchedule(sc.linear_betas(1000))
    grids = "trailing", "karras", "log_snr"
    name = "Handwritten digits"
    return Network(name, denoiser, schedule, "epsilon", (1, 8, 8), grids, 300, real)


def photographs() -> Network:
    """Return the network of patches of photographs."""
    from train_patches import patches

    run = session("patches.onnx")

    def denoiser(x: Any, t: float) -> Any:
        x = x.astype(np.float32)
        return run(x=x, t=per_sample(t, x))

    shifted = [partial(sc.grids.shifted, shift=shift) for shift in (3.0, 4.0)]
    real = patches(5000, np.random.default_rng(1)).reshape(5000, -1)
    grids = "trailing", *shifted, "flow_karras"
    name = "Patches of photographs"
    schedule, steps = sc.FlowSchedule(), (4, 5, 6)
    return Network(name, denoiser, schedule, "flow", (3, 16, 16), grids, 150, real, steps)


def miss(x: Any, exact: Any) -> float:
    """Return the root-mean-square distance."""
    return float(np.sqrt(np.mean((x - exact) ** 2)))


def typical(x: Any, exact: Any) -> float:
    """Return the median over the samples of the root-mean-square distance."""
    return float(np.median(np.sqrt(np.mean((x - exact).reshape(len(x), -1) ** 2, axis=1))))


def frechet(x: Any, real: Any) -> float:
    """Return the Frechet distance of pixels: W2 between the two fitted Gaussians."""
    return wasserstein2(Gaussian.fit(x.reshape(len(x), -1)), Gaussian.fit(real))


def books(network: Network, x_T: Any, exact: Any) -> dict[int, tuple[float, str, Any]]:
    """Return the error, the name and a run of the best method and grid at each number."""
    best: dict[int, tuple[float, str, Any]] = {}
    for name, method in METHODS.items():
        for grid in network.grids:
            scheduler = network.begin(method, grid)
            for count in network.steps:
                try:
                    able = [n for n in range(1, count + 1) if scheduler.tableau(n).nfe <= count]
                    run = partial(scheduler.sample, network.denoiser, steps=able[-1])
                    found = miss(run(x_T), exact)
                except (IndexError, ValueError):  # the method cannot begin where alpha is 0
                    continue
                if count not in best or found < best[count][0]:
                    best[count] = found, name, run
    return best


def row(title: str, cells: Iterable[float | str], digits: int = 3) -> str:
    """Return the row of a table."""
    shown = (cell if isinstance(cell, str) else f"{cell:.{digits}f}" for cell in cells)
    return f"| {title} | {' | '.join(shown)} |"


def measured(network: Network) -> Iterator[str]:
    """Yield the lines of a network's table."""
    steps, few = network.steps, network.compared
    x_T = network.noise(FRESH, 1234)
    exact = network.exact(x_T)
    best = books(network, x_T[:few], exact[:few])
    begun = time.perf_counter()
    fitted = fit(network.begin(), network.denoiser, network.noise(STARTS, 1), steps)
    seconds = time.perf_counter() - begun
    drawn = {
        "best of the books": {n: best[n][2](x_T) for n in steps},
        "fitted": {n: fitted.sample(network.denoiser, x_T, steps=n) for n in steps},
    }
    errors = {name: [miss(xs[n], exact) for n in steps] for name, xs in drawn.items()}
    ratios = (mine / theirs for mine, theirs in zip(*reversed(errors.values()), strict=True))
    held = {each.steps: each.after for each in fitted.report.fits}
    yield f"## {network.name}"
    yield ""
    yield (
        f"{FRESH} fresh samples, the books compared on {few}; fitted on 64, in {seconds:.0f} s and "
        f"{fitted.report.evaluations} calls of the network with a batch."
    )
    yield ""
    yield row("evaluations", map(str, steps))
    yield "| --- " * (1 + len(steps)) + "|"
    yield row("best of the books", errors["best of the books"])
    yield row("which", (best[n][1] for n in steps))
    if not isinstance(network.schedule, sc.FlowSchedule):
        alone = (
            on_spectrum(network, n, STARTS).sample(network.denoiser, x_T, steps=n) for n in steps
        )
        yield row("levels of the spectrum, weights fitted", (miss(x, exact) for x in alone))
    yield row("levels and weights fitted", errors["fitted"])
    yield row("part of the best of the books", ratios, 2)
    for name, xs in drawn.items():
        yield row(f"median of samples, {name}", (typical(xs[n], exact) for n in steps))
    yield row("as reported, on 21 held out", (held[n] for n in steps))
    for name, xs in drawn.items():
        yield row(f"Frechet distance, {name}", (frechet(xs[n], network.real) for n in steps), 2)
    yield ""
    yield f"Frechet distance of the exact flow: {frechet(exact, network.real):.2f}."
    yield ""


def on_spectrum(network: Network, steps: int, starts: int) -> sc.FittedScheduler:
    """Return a table whose levels are found from the data's spectrum, and weights fitted."""
    sigmas = levels(network.begin(sc.PLMS), Gaussian.fit(network.real), steps)
    times = network.schedule.timestep(sigmas[:-1])
    begin = network.begin(spacing=lambda schedule, steps: times)
    return fit(begin, network.denoiser, network.noise(starts, 1), steps, levels=False)


def others() -> Iterator[str]:
    """Yield what else was measured on the digits: few samples, classes and guidance."""
    yield "## What a table carries over to"
    yield ""
    yield f"On the digits, 5 evaluations, {FRESH} fresh samples."
    yield ""
    yield "| fitted on | used on | error |"
    yield "| --- | --- | --- |"
    network, steps = digits(), 5
    x_T = network.noise(FRESH, 1234)
    exact = network.exact(x_T)
    for starts in (11, STARTS, 340):
        table = fit(network.begin(), network.denoiser, network.noise(starts, 1), steps)
        error = miss(table.sample(network.denoiser, x_T, steps=steps), exact)
        yield f"| no class, {table.report.samples} samples | the same | {error:.3f} |"
    for starts in (11, STARTS):
        table = on_spectrum(network, steps, starts)
        error = miss(table.sample(network.denoiser, x_T, steps=steps), exact)
        samples = f"{table.report.samples} samples, weights alone"
        yield f"| no class, {samples} | the same | {error:.3f} |"
    low, high = digits(np.arange(5)), digits(np.arange(5, 10))
    end = high.exact(x_T)
    for name, on in (("classes 5 to 9", high), ("classes 0 to 4", low)):
        table = fit(on.begin(), on.denoiser, on.noise(STARTS, 1), steps)
        error = miss(table.sample(high.denoiser, x_T, steps=steps), end)
        yield f"| {name} | classes 5 to 9 | {error:.3f} |"
    yield from with_guidance(network, x_T, steps)
    half = fit(network.begin(), network.denoiser, network.noise(256, 1), steps, held_out=0.75)
    error = miss(half.sample(network.denoiser, x_T, steps=steps), exact)
    yield (
        f"Fitted on 64 samples with 192 held out, the report says {half.report.fits[0].after:.4f}; "
        f"on {FRESH} fresh samples it is {error:.4f}."
    )
    yield ""


def with_guidance(network: Network, x_T: Any, steps: int) -> Iterator[str]:
    """Yield what tables are worth under guidance, and how many samples are of their class."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    guided = digits(np.arange(10), guidance=2.0)
    end = guided.exact(x_T)
    plain = fit(network.begin(), network.denoiser, network.noise(STARTS, 1), steps)
    own = fit(guided.begin(), guided.denoiser, guided.noise(STARTS, 1), steps)
    for name, table in (("no class", plain), ("guidance 2", own)):
        error = miss(table.sample(guided.denoiser, x_T, steps=steps), end)
        yield f"| {name} | guidance 2 | {error:.3f} |"
    best = books(guided._replace(steps=(steps,)), x_T[:200], end[:200])[steps]
    yield f"| (best of the books: {best[1]}) | guidance 2 | {miss(best[2](x_T), end):.3f} |"
    data = load_digits()
    judge = SVC(gamma=0.03).fit(data.data / 8.0 - 1.0, data.target)
    labels = np.resize(np.arange(10), len(x_T))
    right = {
        name: np.mean(judge.predict(x.reshape(len(x_T), -1)) == labels)
        for name, x in (
            ("the exact flow", end),
            ("the fitted table", own.sample(guided.denoiser, x_T, steps=steps)),
            ("the best of the books", best[2](x_T)),
        )
    }
    yield ""
    shown = "; ".join(f"of {name} {share:.3f}" for name, share in right.items())
    yield f"Share of samples of guidance 2 that a classifier takes for their class: {shown}."
    yield ""


def main() -> None:
    """Measure, print and write the page."""
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "digits": lambda: measured(digits()),
        "photographs": lambda: measured(photographs()),
        "carries": others,
    }
    chosen = sys.argv[1:] or list(parts)
    lines = ["# Fitted tables, measured", "", "What `python benchmarks/fitted.py` prints.", ""]
    for name in chosen:
        for line in parts[name]():
            print(line, flush=True)
            lines.append(line)
    if chosen == list(parts):
        (ROOT / "docs" / "fitted-figures.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
