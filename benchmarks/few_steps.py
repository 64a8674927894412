"""How far a few evaluations end from the exact flow of a model, for every deterministic method.

    python benchmarks/few_steps.py           # prints the tables, and writes docs/few-steps.md

The models are the two networks in `examples/`, of handwritten digits (without a class) and of
patches of photographs (a flow), and the exact denoiser of a mixture in 64 dimensions, as a flow.
Distances are root mean squares over the elements of all samples, from the same noise. A method that
makes several evaluations a step takes as many steps as the evaluations allow. It takes some twenty
minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import schedulers as sc
from schedulers.analytic import GaussianMixture
from schedulers.denoisers import per_sample

ROOT = Path(__file__).parent.parent
EVALUATIONS = (4, 5, 6, 8, 10, 15, 20)
METHODS: dict[str, Callable[..., sc.Scheduler]] = {
    "DDIM = Euler": sc.DDIM,
    "PLMS = LMS": sc.PLMS,
    "PLMS, order 3": partial(sc.PLMS, order=3),
    "PLMS, order 2": partial(sc.PLMS, order=2),
    "PLMS, constant weights": partial(sc.PLMS, weights="constant"),
    "PLMS, constant, order 2": partial(sc.PLMS, weights="constant", order=2),
    "DEIS, order 2": partial(sc.DEIS, order=2),
    "DEIS, order 3": partial(sc.DEIS, order=3),
    "DPM-Solver 2M": sc.DPMSolver,
    "DPM-Solver 3M": partial(sc.DPMSolver, order=3),
    "DPM-Solver-2": partial(sc.DPMSolver, singlestep=True),
    "DPM-Solver-3": partial(sc.DPMSolver, order=3, singlestep=True),
    "DPM++ 2M": sc.DPMSolverPP,
    "DPM++ 2M, heun = RES 2M": partial(sc.DPMSolverPP, solver_type="heun"),
    "DPM++ 3M": partial(sc.DPMSolverPP, order=3),
    "DPM++ 2S": partial(sc.DPMSolverPP, singlestep=True),
    "DPM++ 3S": partial(sc.DPMSolverPP, order=3, singlestep=True),
    "UniPC, order 2": sc.UniPC,
    "UniPC, order 3": partial(sc.UniPC, order=3),
    "UniPC of the noise, order 3": partial(sc.UniPC, order=3, predicts="noise"),
    "SA-Solver, tau 0": partial(sc.SASolver, tau=0.0),
    "RES 2S": partial(sc.RES, singlestep=True),
    "RES 3S": partial(sc.RES, order=3, singlestep=True),
    "Heun": sc.Heun,
    "DPM2": sc.DPM2,
    "GradientEstimation": sc.GradientEstimation,
}


class Model(NamedTuple):
    """A denoiser, what it was trained with, and the noise that samples begin with."""

    name: str
    make: Callable[..., sc.Scheduler]
    grids: tuple[Any, ...]
    denoiser: Callable[[Any, float], Any]
    noise: Any
    reference: tuple[Callable[..., sc.Scheduler], str]  # in 400 steps, of an error below 0.001


def digits() -> Model:
    """Return the network of handwritten digits, of no class."""
    run = _network("digits.onnx")
    schedule = sc.DiscreteSchedule(sc.linear_betas(1000))
    x_T = sc.DDIM(schedule).initial_noise((200, 1, 8, 8), steps=1, rng=0)
    labels = np.full(len(x_T), 10)

    def denoiser(x: Any, t: float) -> Any:
        return run(x, t, label=labels)

    grids = "trailing", "karras", "log_snr"
    make = partial(_made, schedule, {})
    return Model("The network of digits", make, grids, denoiser, x_T, (sc.Heun, "karras"))


def photographs() -> Model:
    """Return the network of patches of photographs, a flow."""
    x_T = np.random.default_rng(0).standard_normal((32, 3, 16, 16))
    name = "The network of photographs, a flow"
    return _flow(name, sc.FlowSchedule(), _network("patches.onnx"), x_T)


def mixture() -> Model:
    """Return the flow of 40 clusters in 64 dimensions, whose spectrum is a power law."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((40, 64)) * np.arange(1, 65) ** -0.5
    schedule = sc.FlowSchedule()
    denoiser = GaussianMixture(means, 0.05).denoiser(schedule, prediction_type="flow")
    name = "A mixture of 40 clusters in 64 dimensions, as a flow"
    return _flow(name, schedule, denoiser, rng.standard_normal((200, 64)))


def _flow(name: str, schedule: sc.NoiseSchedule, denoiser: Any, x_T: Any) -> Model:
    make = partial(_made, schedule, {"prediction_type": "flow"})
    grids = "trailing", partial(sc.grids.shifted, shift=3.0), "flow_karras"
    reference = partial(sc.DPMSolverPP, order=3), "flow_karras"
    return Model(name, make, grids, denoiser, x_T, reference)


def _network(file: str) -> Callable[..., Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(ROOT / "examples" / file)

    def run(x: Any, t: float, **conditions: Any) -> Any:
        x = x.astype(np.float32)
        return session.run(None, {"x": x, "t": per_sample(t, x), **conditions})[0]

    return run


def _made(
    schedule: sc.NoiseSchedule, options: dict[str, Any], method: Any, spacing: Any
) -> sc.Scheduler:
    return method(schedule, spacing=spacing, **options)


def errors(model: Model, method: Callable[..., sc.Scheduler], grid: Any, exact: Any) -> list[float]:
    """Distance to the exact flow for each number of evaluations; NaN where the method refuses."""
    return [_error(model, model.make(method, grid), n, exact) for n in EVALUATIONS]


def _error(model: Model, scheduler: sc.Scheduler, evaluations: int, exact: Any) -> float:
    try:
        fitting = [n for n in range(1, evaluations + 1) if _nfe(scheduler, n) <= evaluations]
        x = scheduler.sample(model.denoiser, model.noise, steps=fitting[-1])
    except ValueError:  # the method cannot begin where alpha is 0
        return np.nan
    return float(np.sqrt(np.mean((x - exact) ** 2)))


def _nfe(scheduler: sc.Scheduler, steps: int) -> int:
    return scheduler.tableau(steps).nfe


def page(models: list[Model]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield from (
        "# Few evaluations, method by method",
        "",
        "What `python benchmarks/few_steps.py` prints: the root-mean-square distance to the",
        "samples of the model's exact flow from the same noise, against the number of model",
        "evaluations. In each column the best figure is bold. A method has no figure where it",
        "cannot begin at alpha = 0.",
    )
    for model in models:
        exact = model.make(*model.reference).sample(model.denoiser, model.noise, steps=400)
        for grid in model.grids:
            named = grid if isinstance(grid, str) else f"shifted, shift {grid.keywords['shift']:g}"
            rows = {name: errors(model, make, grid, exact) for name, make in METHODS.items()}
            best = np.nanmin(list(rows.values()), axis=0)
            yield from ("", f"## {model.name}: {named}", "")
            yield "| evaluations | " + " | ".join(map(str, EVALUATIONS)) + " |"
            yield "| --- " * (1 + len(EVALUATIONS)) + "|"
            for name, row in rows.items():
                cells = (_cell(e, least) for e, least in zip(row, best, strict=True))
                yield f"| {name} | " + " | ".join(cells) + " |"


def _cell(error: float, least: float) -> str:
    text = "" if np.isnan(error) else f"{error:.3f}"
    return f"**{text}**" if error == least else text


def main() -> None:
    """Measure, print and write the page."""
    text = "\n".join(page([digits(), photographs(), mixture()])) + "\n"
    (ROOT / "docs" / "few-steps.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
