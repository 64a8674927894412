"""diffusers: the general-purpose schedulers of diffusion and of flow matching."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from peers.base import Peer, Stepped, peer
from peers.k_diffusion import Increments

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SPACINGS = ("leading", "linspace", "trailing")
Kind = tuple[float, bool, str, dict[str, Any]]


def multistep() -> Iterator[tuple[str, Kind]]:
    """DPM-Solver's options, at every spacing the usual ones, and the others at Karras's."""
    above_0 = {"final_sigmas_type": "sigma_min"}  # which noise prediction asks for
    name = "DPMSolverMultistepScheduler"
    yield name, (2, False, "sigmas", {})
    for order, solver, algorithm in product(
        (1, 2, 3),
        ("midpoint", "heun"),
        ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"),
    ):
        sde = algorithm.startswith("sde")
        if (order == 1 and solver == "heun") or (sde and order == 3):
            continue  # the same again; not offered
        options = {"solver_order": order, "solver_type": solver, "algorithm_type": algorithm}
        if "++" not in algorithm:
            options |= above_0
        claimed = 1 if sde else min(order, 2)
        yield (
            f"{name}, {algorithm}, {solver}, order {order}, karras",
            (
                *(claimed, sde, "sigmas"),
                {**options, "use_karras_sigmas": True},
            ),
        )
    lu = {"use_lu_lambdas": True}
    yield f"{name}, lu_lambdas", (2, False, "sigmas", lu)
    for order, solver, algorithm in product(
        (1, 2, 3), ("midpoint", "heun"), ("dpmsolver++", "dpmsolver", "sde-dpmsolver++")
    ):
        sde = algorithm.startswith("sde")
        if (order == 1 and solver == "heun") or (sde and order == 3):
            continue
        options = {"solver_order": order, "solver_type": solver, "algorithm_type": algorithm}
        if "++" not in algorithm:
            options |= above_0
        yield (
            f"DPMSolverSinglestepScheduler, {algorithm}, {solver}, order {order}, karras",
            (
                *(1 if sde else min(order, 2), sde, "sigmas"),
                {**options, "use_karras_sigmas": True},
            ),
        )
    for order, solver, data in product((1, 2, 3), ("bh1", "bh2"), (True, False)):
        options = {"solver_order": order, "solver_type": solver, "predict_x0": data}
        title = f"UniPCMultistepScheduler, {solver}, order {order}, predict_x0={data}, karras"
        yield (
            title,
            (
                *(min(order, 2), False, "sigmas"),
                {**options, "use_karras_sigmas": True},
            ),
        )
    for order in (1, 3):
        options = {"solver_order": order, "use_karras_sigmas": True}
        yield (
            f"DEISMultistepScheduler, order {order}, karras",
            (
                *(min(order, 2), False, "sigmas"),
                options,
            ),
        )
    for predictor, corrector, algorithm in product(
        (1, 2, 3), (1, 2, 3), ("data_prediction", "noise_prediction")
    ):
        options = {
            "predictor_order": predictor,
            "corrector_order": corrector,
            "algorithm_type": algorithm,
            "use_karras_sigmas": True,
        }
        title = f"SASolverScheduler, {algorithm}, orders {predictor} and {corrector}, karras"
        yield title, (1, True, "sigmas", options)


def flows() -> Iterator[tuple[str, Kind]]:
    """The solvers of diffusion, on the levels and with the prediction of a flow."""
    for shift in (1.0, 3.0):
        flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
        for name, order, stochastic, options in (
            ("DPMSolverMultistepScheduler", 2, False, {}),
            ("DPMSolverMultistepScheduler", 2, False, {"solver_order": 3}),
            ("DPMSolverMultistepScheduler", 1, True, {"algorithm_type": "sde-dpmsolver++"}),
            ("DPMSolverSinglestepScheduler", 2, False, {}),
            ("DEISMultistepScheduler", 2, False, {}),
            ("UniPCMultistepScheduler", 2, False, {}),
            ("SASolverScheduler", 1, True, {}),
        ):
            said = "".join(f", {key}={value}" for key, value in options.items())
            title = f"{name}{said}, flow, shift={shift:g}"
            yield title, (order, stochastic, "flow_sigmas", {**options, **flow})


# A consistency model's grid is one of 50 unless it is told: for more steps it must be finer.
CONSISTENCY = {"clip_sample": False, "original_inference_steps": 1000}

KINDS: dict[str, Kind] = {
    "DDPMScheduler": (1, True, "vp", {"clip_sample": False}),
    "DDPMParallelScheduler": (1, True, "vp", {"clip_sample": False}),
    "DDPMScheduler, fixed_small_log": (
        *(1, True, "vp"),
        {"clip_sample": False, "variance_type": "fixed_small_log"},
    ),
    "DDIMScheduler": (1, False, "vp", {"clip_sample": False}),
    "DDIMParallelScheduler": (1, False, "vp", {"clip_sample": False}),
    "DDIMScheduler, eta=1": (1, True, "vp", {"clip_sample": False}),
    "DDIMScheduler, eta=0.5": (1, True, "vp", {"clip_sample": False}),
    "CogVideoXDDIMScheduler": (1, False, "vp", {"clip_sample": False, "snr_shift_scale": 1.0}),
    "PNDMScheduler": (2, False, "vp", {}),
    "PNDMScheduler, skip_prk_steps": (2, False, "vp", {"skip_prk_steps": True}),
    "EulerDiscreteScheduler": (1, False, "ve", {}),
    "EulerDiscreteScheduler, log_linear": (1, False, "ve", {"interpolation_type": "log_linear"}),
    "EulerAncestralDiscreteScheduler": (1, True, "ve", {}),
    "HeunDiscreteScheduler": (2, False, "ve", {}),
    "LMSDiscreteScheduler": (2, False, "ve", {}),
    "KDPM2DiscreteScheduler": (2, False, "ve", {}),
    "KDPM2AncestralDiscreteScheduler": (1, True, "ve", {}),
    "DPMSolverSinglestepScheduler": (2, False, "sigmas", {}),
    "DEISMultistepScheduler": (2, False, "sigmas", {}),
    "UniPCMultistepScheduler": (2, False, "sigmas", {}),
    "SASolverScheduler": (1, True, "sigmas", {}),
    "EDMEulerScheduler": (1, False, "edm", {}),
    **{
        f"EDMDPMSolverMultistepScheduler, {algorithm}, {solver}, order {order}": (
            *(1 if algorithm.startswith("sde") else min(order, 2), algorithm.startswith("sde")),
            *("edm", {"algorithm_type": algorithm, "solver_type": solver, "solver_order": order}),
        )
        for algorithm in ("dpmsolver++", "sde-dpmsolver++")
        for solver in ("midpoint", "heun")
        for order in (1, 2, 3)
        if not (order == 1 and solver == "heun") and not (algorithm[0] == "s" and order == 3)
    },
    "FlowMatchEulerDiscreteScheduler": (1, False, "flow", {}),
    "FlowMatchEulerDiscreteScheduler, shift=3": (1, False, "flow", {"shift": 3.0}),
    "FlowMatchHeunDiscreteScheduler": (2, False, "flow", {}),
    "FlowMatchHeunDiscreteScheduler, shift=3": (2, False, "flow", {"shift": 3.0}),
    "FlowMapEulerDiscreteScheduler": (1, False, "flow", {}),
    "FlowMapEulerDiscreteScheduler, shift=3": (1, False, "flow", {"shift": 3.0}),
    "FlowMatchLCMScheduler": (1, True, "flow", {}),
    "LTXEulerAncestralRFScheduler": (1, True, "flow", {}),
    "LTXEulerAncestralRFScheduler, half the noise": (1, True, "flow", {"eta": 0.5}),
    "LTXEulerAncestralRFScheduler, without noise": (1, False, "flow", {"eta": 0.0}),
    "CosineDPMSolverMultistepScheduler": (1, True, "edm", {"prediction_type": "epsilon"}),
    "CosineDPMSolverMultistepScheduler, heun": (
        *(1, True, "edm"),
        {"prediction_type": "epsilon", "solver_type": "heun"},
    ),
    "CosineDPMSolverMultistepScheduler, order 1": (
        *(1, True, "edm"),
        {"prediction_type": "epsilon", "solver_order": 1},
    ),
    "DPMSolverSDEScheduler": (1, True, "ve", {}),
    "IPNDMScheduler": (2, False, "ipndm", {}),
    "LCMScheduler": (1, True, "vp", CONSISTENCY),
    "LCMScheduler, timestep_scaling=1e9": (
        *(1, True, "vp"),
        {**CONSISTENCY, "timestep_scaling": 1e9},
    ),
    "TCDScheduler, eta=0.3": (1, True, "vp", CONSISTENCY),
    "TCDScheduler, eta=0": (1, False, "vp", CONSISTENCY),
    **dict(multistep()),
    **dict(flows()),
}
# Prediction types other than epsilon, and float64 as PyTorch's default: one spacing of each class.
PREDICTIONS = ("v_prediction", "sample")


def diffusers() -> Iterator[Peer]:
    """Every scheduler with every spacing; then the other prediction types, and dtypes."""
    import diffusers as package

    for title, (order, stochastic, kind, options) in KINDS.items():
        make = getattr(package, title.partition(",")[0], None)
        if make is None:
            continue
        offered = inspect.signature(make).parameters
        spacings = _spacings(offered, options)
        for spacing, chosen in spacings.items():
            full = f"{title}, {spacing}" if spacing else title
            config = {**(BETAS if "beta_schedule" in offered else {}), **options, **chosen}
            yield _peer(make, full, config, kind, order, stochastic)
        if "," in title or kind == "flow":
            continue
        spacing, chosen = list(spacings.items())[-1 if kind == "edm" else 0]
        config = {**(BETAS if "beta_schedule" in offered else {}), **options, **chosen}
        yield _peer(make, f"{title}, float64 by default", config, kind, order, stochastic)
        for prediction in PREDICTIONS:
            full = f"{title}, {prediction}"
            changed = {**config, "prediction_type": prediction}
            refused = prediction == "sample" and (kind == "edm" or title == "PNDMScheduler")
            if "prediction_type" in offered and not refused:
                yield _peer(make, full, changed, kind, order, stochastic)


def _peer(
    make: Any, title: str, config: dict[str, Any], kind: str, order: float, stochastic: bool
) -> Peer:
    eta = {"eta": float(title.split("eta=")[1].split(",")[0])} if "eta=" in title else {}
    run = Diffusers(make, config, kind, "float64" in title, **eta)
    three = title.startswith(("PNDMScheduler, le", "PNDMScheduler, li", "PNDMScheduler, tr"))
    return peer(
        *("diffusers", title, run, order),
        stochastic=stochastic,
        grid=run.grid,
        any_sigmas=False,
        precision="float32",  # its betas and alphas_cumprod are
        min_steps=4 if three or title in PRK else 1,
    )


PRK = {f"PNDMScheduler, {option}" for option in ("float64 by default", "v_prediction", "sample")}


def _spacings(offered: Any, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the arguments for each spacing of timesteps and of sigmas that there is."""
    if any(name.startswith("use_") for name in options) or options is CONSISTENCY:
        return {"": {}}
    found: dict[str, dict[str, Any]] = {}
    if "timestep_spacing" in offered:
        found |= {name: {"timestep_spacing": name} for name in SPACINGS}
    else:
        found[""] = {}
    for name in ("karras", "exponential", "beta"):
        if f"use_{name}_sigmas" in offered:
            found[name] = {f"use_{name}_sigmas": True}
    if "sigma_schedule" in offered:
        found["exponential"] = {"sigma_schedule": "exponential"}
    return found


class Diffusers(Stepped):
    """A run of one of diffusers' schedulers.

    `kind` is the scale of samples and the source of levels: "vp" has alphas_cumprod at its
    timesteps, and "ipndm" alphas and betas; the others have `sigmas`, of Karras's scale ("ve"),
    with preconditioned outputs ("edm"), for samples on the VP path ("sigmas"), or times of a flow,
    from pure noise ("flow") or from a level below ("flow_sigmas").
    """

    def __init__(
        self, make: Any, config: dict[str, Any], kind: str, double: bool, **options: Any
    ) -> None:
        super().__init__(lambda: make(**config), **options)
        self.kind, self.double = kind, double
        self.of_flow = kind in ("flow", "flow_sigmas")
        default = "v_prediction" if kind == "ipndm" else "epsilon"
        self.prediction = config.get("prediction_type", default)
        if kind == "edm" or any(name.startswith("use_") for name in config):
            self.low = 0.0

    def scheduler(self, steps: int) -> Any:
        """Return a scheduler that has been told the number of steps."""
        with self._dtype():
            return super().scheduler(steps)

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        with self._dtype():
            return super().__call__(*args)

    @contextlib.contextmanager
    def _dtype(self) -> Iterator[None]:
        import torch

        kept = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64 if self.double else kept)
        try:
            yield
        finally:
            torch.set_default_dtype(kept)

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps."""
        scheduler.set_timesteps(steps + 1 + (self.kind in ("flow", "ipndm")))
        scheduler.asked = 0

    def levels(self, scheduler: Any) -> list[float]:
        """Karras sigmas at which its steps begin."""
        if self.kind == "vp":
            ends = range(0, len(_prk(scheduler)), 4)
            first = [scheduler.timesteps[i] for i in ends]
            rest = scheduler.timesteps[len(_prk(scheduler)) :]
            return [self.at(scheduler, t) for t in (*first, *rest)]
        if self.kind == "ipndm":
            pairs = zip(scheduler.alphas[1:-1], scheduler.betas[1:-1], strict=True)
            return [float(sigma / alpha) for alpha, sigma in pairs]
        return [self._karras(float(s)) for s in scheduler.sigmas[:-1]]

    def _karras(self, s: float) -> float:
        if self.of_flow:
            return s / (1.0 - s) if s < 1.0 else np.inf
        return s

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of the next evaluation."""
        if self.kind == "vp":
            return super().at(scheduler, t)
        if scheduler.step_index is None:
            scheduler._init_step_index(t)
        if self.kind == "ipndm":
            return float(
                scheduler.betas[scheduler.step_index] / scheduler.alphas[scheduler.step_index]
            )
        if getattr(scheduler, "mid_point_sigma", None) is not None:  # DPMSolverSDE
            return float(scheduler.mid_point_sigma)
        at, levels = scheduler.step_index, scheduler.sigmas
        if not self.begins(scheduler) and hasattr(scheduler, "sigmas_up"):
            at, levels = at - 1, scheduler.sigmas_interpol  # KDPM2, ancestral
        elif not self.begins(scheduler):
            levels = getattr(scheduler, "sigmas_interpol", levels)  # KDPM2; or Heun
        return self._karras(float(levels[at]))

    def begins(self, scheduler: Any) -> bool:
        """Whether a step begins."""
        if scheduler.asked < len(_prk(scheduler)):
            return bool(scheduler.asked % 4 == 0)
        return bool(getattr(scheduler, "state_in_first_order", True))

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        if self.kind in ("vp", "sigmas", "ipndm"):
            return super().alpha(s)
        return 1.0 / (1.0 + s) if self.of_flow else 1.0

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return what a model that says `denoised` would return."""
        if self.of_flow:  # eps - x_0
            return (y - denoised) / s - denoised
        if self.kind == "edm":  # Karras et al. 2022, eq. 7
            of_data = scheduler.config.sigma_data
            norm = float(np.hypot(s, of_data))
            out = norm / (s * of_data)
            out = -out if self.prediction == "v_prediction" else out
            return (denoised - (of_data / norm) ** 2 * y) * out
        if self.kind == "ve":
            alpha = 1.0 / float(np.sqrt(1.0 + s * s))
            v = alpha * (y - denoised) / s - s * alpha * denoised
            noise = (y - denoised) / s
            return {"epsilon": noise, "sample": denoised, "v_prediction": v}[self.prediction]
        return super().output(scheduler, y, denoised, s)

    def scale(self, scheduler: Any, sample: Any, t: Any) -> None:
        """Tell it that its input was scaled."""
        if self.kind in ("ve", "edm"):
            scheduler.scale_model_input(sample, t)

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        scheduler.asked += 1
        if getattr(scheduler, "noise_sampler", 0) is None:  # of torchsde, which has its own noise
            import torch

            scheduler.noise_sampler = Increments(torch.randn_like, sample)
        return super().step(scheduler, output, t, sample)

    def timesteps(self, scheduler: Any) -> Any:
        """Timesteps of the steps; of a flow, those after pure noise."""
        if self.kind not in ("flow", "ipndm"):
            return scheduler.timesteps
        twice = len(scheduler.timesteps) > 2 and scheduler.timesteps[1] == scheduler.timesteps[2]
        begin = 2 if twice else 1
        if scheduler.step_index is None:
            scheduler.set_begin_index(begin)
        return scheduler.timesteps[begin:]


def _prk(scheduler: Any) -> Any:
    return getattr(scheduler, "prk_timesteps", ())
