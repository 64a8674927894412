"""Tables fitted to two networks, beside every method of the books.

    python benchmarks/fitted.py              # prints the tables, and writes docs/fitted-figures.md
    python benchmarks/fitted.py photographs  # prints this part alone; or digits, or carries

The networks are those of examples/: handwritten digits (epsilon, 1000 discrete levels, without a
class) and patches of photographs (a flow). Tables are fitted on 64 samples of noise and measured on
others. Distances are root mean squares over the elements, to the end of the model's exact flow from
the same noise. It takes about half an hour on two cores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
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
sys.path.insert(0, str(ROOT / "examples"))


class Network(NamedTuple):
    """A network, its schedule, the grids of the books, and noise to measure on."""

    name: str
    denoiser: Callable[..., Any]
    schedule: sc.NoiseSchedule
    prediction_type: str
    shape: tuple[int, ...]
    grids: tuple[Any, ...]
    fresh: int
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
    return Network(name, denoiser, schedule, "epsilon", (1, 8, 8), grids, 1000, real)


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
    return Network(name, denoiser, schedule, "flow", (3, 16, 16), grids, 300, real, steps)


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
    """Return the best of every method and grid, for each number of evaluations."""
    best: dict[int, tuple[float, str, Any]] = {}
    for name, method in METHODS.items():
        for grid in network.grids:
            scheduler = network.begin(method, grid)
            for count in network.steps:
                try:
                    able = [n for n in range(1, count + 1) if scheduler.tableau(n).nfe <= count]
                    x = scheduler.sample(network.denoiser, x_T, steps=able[-1])
                except (IndexError, ValueError):  # the method cannot begin where alpha is 0
                    continue
                found = miss(x, exact)
                if count not in best or found < best[count][0]:
                    best[count] = found, name, x
    return best


def measured(network: Network) -> Iterator[str]:
    """Yield the lines of a network's table."""
    steps = network.steps
    x_T = network.noise(network.fresh, 1234)
    exact = network.exact(x_T)
    best = books(network, x_T, exact)
    begun = time.perf_counter()
    fitted = fit(network.begin(), network.denoiser, network.noise(STARTS, 1), steps)
    seconds = time.perf_counter() - begun
    spectrum = Gaussian.fit(network.real)
    alone = {}
    for count in steps:
        begin = network.begin(sc.PLMS)
        if not isinstance(network.schedule, sc.FlowSchedule):
            sigmas = levels(begin, spectrum, count)
            times = network.schedule.timestep(sigmas[:-1])
            begin = network.begin(spacing=lambda schedule, steps, times=times: times)
            alone[count] = fit(
                begin, network.denoiser, network.noise(STARTS, 1), count, levels=False
            )
    yield f"## {network.name}"
    yield ""
    yield (
        f"{network.fresh} fresh samples; fitted on 64, in {seconds:.0f} s and "
        f"{fitted.report.evaluations} calls of the network with a batch."
    )
    yield ""
    yield "| evaluations | " + " | ".join(map(str, steps)) + " |"
    yield "| --- " * (1 + len(steps)) + "|"
    yield "| best of the books | " + " | ".join(f"{best[n][0]:.3f}" for n in steps) + " |"
    yield "| which | " + " | ".join(best[n][1] for n in steps) + " |"
    samples = {n: fitted.sample(network.denoiser, x_T, steps=n) for n in steps}
    errors = {n: miss(samples[n], exact) for n in steps}
    if alone:
        found = (miss(alone[n].sample(network.denoiser, x_T, steps=n), exact) for n in steps)
        yield (
            "| levels of the spectrum, weights fitted | "
            + " | ".join(f"{error:.3f}" for error in found)
            + " |"
        )
    yield "| levels and weights fitted | " + " | ".join(f"{errors[n]:.3f}" for n in steps) + " |"
    ratios = (errors[n] / best[n][0] for n in steps)
    yield "| part of the best of the books | " + " | ".join(f"{r:.2f}" for r in ratios) + " |"
    for name, drawn in (("best of the books", {n: best[n][2] for n in steps}), ("fitted", samples)):
        medians = (typical(drawn[n], exact) for n in steps)
        yield f"| median of samples, {name} | " + " | ".join(f"{m:.3f}" for m in medians) + " |"
    held = {row.steps: row.after for row in fitted.report.fits}
    yield "| as reported, on 21 held out | " + " | ".join(f"{held[n]:.3f}" for n in steps) + " |"
    for name, drawn in (("best of the books", {n: best[n][2] for n in steps}), ("fitted", samples)):
        distances = (frechet(drawn[n], network.real) for n in steps)
        yield f"| Frechet distance, {name} | " + " | ".join(f"{d:.2f}" for d in distances) + " |"
    yield ""
    yield f"Frechet distance of the exact flow: {frechet(exact, network.real):.2f}."
    yield ""


def others() -> Iterator[str]:
    """Yield what else was measured on the digits: classes, guidance, and few samples."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    network, steps = digits(), 5
    x_T = network.noise(300, 1234)
    exact = network.exact(x_T)
    yield "## What a table carries over to"
    yield ""
    yield "On the digits, 5 evaluations, 300 fresh samples."
    yield ""
    yield "| fitted on | used on | error |"
    yield "| --- | --- | --- |"
    for starts in (11, STARTS, 340):
        table = fit(network.begin(), network.denoiser, network.noise(starts, 1), steps)
        error = miss(table.sample(network.denoiser, x_T, steps=steps), exact)
        yield f"| no class, {table.report.samples} samples | the same | {error:.3f} |"
    low, high = digits(np.arange(5)), digits(np.arange(5, 10))
    for name, on in (("classes 5 to 9", high), ("classes 0 to 4", low)):
        table = fit(on.begin(), on.denoiser, on.noise(STARTS, 1), steps)
        error = miss(table.sample(high.denoiser, x_T, steps=steps), high.exact(x_T))
        yield f"| {name} | classes 5 to 9 | {error:.3f} |"
    guided = digits(np.arange(10), guidance=2.0)
    end = guided.exact(x_T)
    plain = fit(network.begin(), network.denoiser, network.noise(STARTS, 1), steps)
    own = fit(guided.begin(), guided.denoiser, guided.noise(STARTS, 1), steps)
    for name, table in (("no class", plain), ("guidance 2", own)):
        error = miss(table.sample(guided.denoiser, x_T, steps=steps), end)
        yield f"| {name} | guidance 2 | {error:.3f} |"
    best = books(guided._replace(steps=(steps,), grids=("trailing",)), x_T, end)[steps]
    yield f"| (best of the books, trailing: {best[1]}) | guidance 2 | {best[0]:.3f} |"
    data = load_digits()
    judge = SVC(gamma=0.03).fit(data.data / 8.0 - 1.0, data.target)
    labels = np.resize(np.arange(10), len(x_T))
    right = {
        name: np.mean(judge.predict(x.reshape(len(x_T), -1)) == labels)
        for name, x in (
            ("the exact flow", end),
            ("the fitted table", own.sample(guided.denoiser, x_T, steps=steps)),
            ("the best of the books", best[2]),
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
