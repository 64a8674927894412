"""Run the checks of `schedulers.testing` over the samplers of other packages.

    python benchmarks/conformance.py [--out docs/conformance.md] [--only WORD]

Needs torch, and as many of the packages in `PEERS` as there are; those that are missing are left
out. Each sampler is adapted to ``sampler(denoiser, x, sigmas, noise)``: its random numbers
are replaced by `noise`, its model by the kit's denoiser, and it is run in float64. What it fails is
listed with the figure measured, and with the line or the formula that causes it where that is
known (`EXPLANATIONS`); what is not in there is called unexplained.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schedulers import karras_sigmas
from schedulers.testing import CheckFailed, SamplerCase, checks_for


@dataclass(frozen=True)
class Peer:
    """A sampler of another package, and what its documentation claims of it."""

    package: str
    name: str
    case: SamplerCase


@contextlib.contextmanager
def noise_from(noise: Callable, *homes: tuple[Any, str]) -> Iterator[None]:
    """Make functions that draw random tensors return the kit's noise."""
    import torch

    def randn(like: Any, *args: Any, **kwargs: Any) -> Any:
        shape = tuple(like.shape) if hasattr(like, "shape") else tuple(like)
        dtype = like.dtype if hasattr(like, "dtype") else kwargs.get("dtype", torch.float64)
        return torch.from_numpy(noise(np.empty(shape))).to(dtype)

    kept = [(home, name, getattr(home, name)) for home, name in homes]
    for home, name, _ in kept:
        setattr(home, name, randn)
    try:
        yield
    finally:
        for home, name, function in kept:
            setattr(home, name, function)


# ---------------------------------------------------------------- k-diffusion


def k_diffusion() -> Iterator[Peer]:
    """Every sampler that takes a grid of sigmas, and DPM-fast."""
    # Its __init__ loads evaluation tools that need a part of setuptools that is gone.
    stub = types.ModuleType("pkg_resources")
    stub.packaging = importlib.import_module("packaging")  # type: ignore[attr-defined]
    importlib.import_module("packaging.version")
    sys.modules.setdefault("pkg_resources", stub)
    from k_diffusion import sampling

    plain = {
        "sample_euler": (1, False, {}),
        "sample_euler, s_churn=4": (1, True, {"s_churn": 4.0}),
        "sample_euler_ancestral": (1, True, {}),
        "sample_heun": (2, False, {}),
        "sample_heun, s_churn=4": (2, True, {"s_churn": 4.0}),
        "sample_dpm_2": (2, False, {}),
        "sample_dpm_2, s_churn=4": (2, True, {"s_churn": 4.0}),
        "sample_dpm_2_ancestral": (1, True, {}),
        "sample_lms, order=1": (1, False, {"order": 1}),
        "sample_lms, order=2": (2, False, {"order": 2}),
        "sample_lms": (2, False, {}),
        "sample_dpmpp_2s_ancestral": (1, True, {}),
        "sample_dpmpp_2s_ancestral, eta=0": (2, False, {"eta": 0.0}),
        "sample_dpmpp_sde": (1, True, {}),
        "sample_dpmpp_sde, eta=0": (2, False, {"eta": 0.0}),
        "sample_dpmpp_2m": (2, False, {}),
        "sample_dpmpp_2m_sde": (1, True, {}),
        "sample_dpmpp_2m_sde, solver_type='heun'": (1, True, {"solver_type": "heun"}),
        "sample_dpmpp_2m_sde, eta=0": (2, False, {"eta": 0.0}),
        "sample_dpmpp_3m_sde": (1, True, {}),
        "sample_dpmpp_3m_sde, eta=0": (2, False, {"eta": 0.0}),
    }
    for name, (order, stochastic, options) in plain.items():
        function = getattr(sampling, name.partition(",")[0])
        sampler = _k_sampler(function, options)
        case = SamplerCase(sampler, order=order, stochastic=stochastic, name=name)
        yield Peer("k-diffusion", name, case)

    def fast(model: Callable, x: Any, sigmas: Any, disable: bool) -> Any:
        ends = float(sigmas[-1]), float(sigmas[0])
        evaluations = 3 * (len(sigmas) - 1)  # orders 3, ..., 3, 2, 1
        return sampling.sample_dpm_fast(model, x, *ends, evaluations, disable=disable)

    case = SamplerCase(
        _k_sampler(fast, {}),
        order=2,
        grid=lambda steps: np.geomspace(80.0, 0.3, steps + 1),
        any_sigmas=False,  # it has levels of its own between the two ends
        precision="float32",  # of torch.tensor(sigma_max)
        name="sample_dpm_fast",
    )
    yield Peer("k-diffusion", "sample_dpm_fast", case)


def _k_sampler(function: Callable, options: dict[str, Any]) -> Callable:
    import torch

    takes_noise = "noise_sampler" in inspect.signature(function).parameters

    def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        def model(y: Any, sigma: Any) -> Any:
            s = float(sigma.reshape(-1)[0]) if sigma.numel() else float(sigmas[0])
            return torch.from_numpy(np.asarray(denoiser(y.numpy(), s)))

        extra = dict(options)
        if takes_noise:
            extra["noise_sampler"] = Increments(noise, x)
        start = torch.from_numpy(x.copy())
        levels = torch.from_numpy(sigmas.astype(x.dtype))
        with noise_from(noise, (torch, "randn_like")):
            return function(model, start, levels, disable=True, **extra).numpy()

    return sampler


class Increments:
    """Increments of one Brownian path, asked for forwards: k-diffusion's `noise_sampler`."""

    def __init__(self, noise: Callable, x: Any) -> None:
        self.noise, self.like = noise, x
        self.known: dict[float, Any] = {}

    def __call__(self, sigma: Any, sigma_next: Any) -> Any:
        """Return W(sigma_next) - W(sigma), of variance 1."""
        import torch

        a, b = float(sigma), float(sigma_next)
        if a not in self.known:
            self.known = {a: np.zeros(self.like.shape)}
        if b not in self.known:
            last = min(self.known)
            assert b < last, "a Brownian path is gone along in one direction"
            step = np.sqrt(last - b) * self.noise(self.like)
            self.known[b] = self.known[last] + step
        w = (self.known[b] - self.known[a]) / np.sqrt(a - b)
        return torch.from_numpy(np.asarray(w, self.like.dtype))


# ---------------------------------------------------------------- azula


def azula() -> Iterator[Peer]:
    """Every sampler, on a path with alpha = 1 and sigma = t, so that times are the kit's sigmas."""
    from azula import sample

    options: dict[str, tuple[float, bool, dict[str, Any]]] = {
        "DDPMSampler": (1, True, {}),
        "DDIMSampler": (1, False, {}),
        "DDIMSampler, eta=1": (1, True, {"eta": 1.0}),
        "EulerSampler": (1, False, {}),
        "HeunSampler": (2, False, {}),
        "ItoSampler": (1, True, {}),
        "ItoSampler, eta=0": (1, False, {"eta": 0.0}),
        "zABSampler": (2, False, {}),
        "zABSampler, order=3": (2, False, {"order": 3}),
        "vABSampler": (2, False, {}),
        "zEABSampler": (2, False, {}),
        "xEABSampler": (2, False, {}),
        "REABSampler": (2, False, {}),
        "PCSampler": (1, True, {}),
    }
    for name, (order, stochastic, extra) in options.items():
        sampler = _azula_sampler(getattr(sample, name.partition(",")[0]), extra)
        case = SamplerCase(sampler, order=order, stochastic=stochastic, grid=never_clean, name=name)
        yield Peer("azula", name, case)


def never_clean(steps: int) -> Any:
    """Karras's grid to a last sigma above 0: azula's schedules never reach 0."""
    return karras_sigmas(steps + 1, 0.3, 80.0)[:-1]


def _azula_sampler(make: Callable, extra: dict[str, Any]) -> Callable:
    import torch
    from azula.denoise import Denoiser, DiracPosterior

    def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        class Model(Denoiser):
            def schedule(self, t: Any) -> Any:
                return torch.ones_like(t), t

            def forward(self, y: Any, t: Any, **kwargs: Any) -> Any:
                return DiracPosterior(torch.from_numpy(np.asarray(denoiser(y.numpy(), float(t)))))

        class Run(make):  # type: ignore[misc, valid-type]
            timesteps = torch.from_numpy(sigmas.astype(x.dtype))

        run = Run(Model(), silent=True, **extra)
        with noise_from(noise, (torch, "randn_like")):
            return run(torch.from_numpy(x.copy())).numpy()

    return sampler


# ---------------------------------------------------------------- diffusers


BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def diffusers() -> Iterator[Peer]:
    """The general-purpose schedulers of diffusion and of flow matching, with every spacing."""
    import diffusers as package

    kinds: dict[str, tuple[float, bool, str, dict[str, Any]]] = {
        "DDPMScheduler": (1, True, "vp", {"clip_sample": False}),
        "DDIMScheduler": (1, False, "vp", {"clip_sample": False}),
        "DDIMScheduler, eta=1": (1, True, "vp", {"clip_sample": False}),
        "PNDMScheduler, skip_prk_steps": (2, False, "vp", {"skip_prk_steps": True}),
        "EulerDiscreteScheduler": (1, False, "ve", {}),
        "EulerAncestralDiscreteScheduler": (1, True, "ve", {}),
        "HeunDiscreteScheduler": (2, False, "ve", {}),
        "LMSDiscreteScheduler": (2, False, "ve", {}),
        "KDPM2DiscreteScheduler": (2, False, "ve", {}),
        "KDPM2AncestralDiscreteScheduler": (1, True, "ve", {}),
        "DPMSolverSinglestepScheduler": (2, False, "sigmas", {}),
        "DPMSolverMultistepScheduler": (2, False, "sigmas", {}),
        "DPMSolverMultistepScheduler, heun": (2, False, "sigmas", {"solver_type": "heun"}),
        "DPMSolverMultistepScheduler, order 1": (1, False, "sigmas", {"solver_order": 1}),
        "DPMSolverMultistepScheduler, order 3": (2, False, "sigmas", {"solver_order": 3}),
        "DPMSolverMultistepScheduler, sde": (
            *(1, True, "sigmas"),
            {"algorithm_type": "sde-dpmsolver++"},
        ),
        "DEISMultistepScheduler": (2, False, "sigmas", {}),
        "UniPCMultistepScheduler": (2, False, "sigmas", {}),
        "SASolverScheduler": (1, True, "sigmas", {}),
        "EDMEulerScheduler": (1, False, "edm", {}),
        "EDMDPMSolverMultistepScheduler": (2, False, "edm", {}),
        "EDMDPMSolverMultistepScheduler, sde": (
            *(1, True, "edm"),
            {"algorithm_type": "sde-dpmsolver++"},
        ),
        "FlowMatchEulerDiscreteScheduler": (1, False, "flow", {}),
        "FlowMatchHeunDiscreteScheduler": (2, False, "flow", {}),
    }
    for name, (order, stochastic, kind, options) in kinds.items():
        make = getattr(package, name.partition(",")[0])
        offered = inspect.signature(make).parameters
        betas = BETAS if "beta_schedule" in offered else {}
        for spacing, chosen in _spacings(offered).items():
            run = _Diffusers(make, {**betas, **options, **chosen}, kind, "eta=1" in name)
            title = f"{name}, {spacing}" if spacing else name
            case = SamplerCase(
                run,
                order=order,
                stochastic=stochastic,
                grid=run.grid,
                any_sigmas=False,
                precision="float32",  # its betas and alphas_cumprod are
                name=title,
            )
            yield Peer("diffusers", title, case)


def _spacings(offered: Any) -> dict[str, dict[str, Any]]:
    """Return the arguments for each spacing of timesteps and of sigmas that there is."""
    found: dict[str, dict[str, Any]] = {}
    if "timestep_spacing" in offered:
        found |= {name: {"timestep_spacing": name} for name in ("leading", "linspace", "trailing")}
    else:
        found[""] = {}
    for name in ("karras", "exponential", "beta"):
        if f"use_{name}_sigmas" in offered:
            found[name] = {f"use_{name}_sigmas": True}
    if "sigma_schedule" in offered:
        found["exponential"] = {"sigma_schedule": "exponential"}
    return found


class _Diffusers:
    """The steps of a run but the last, to sigma = 0; of evenly spaced timesteps those down to 0.4.

    Below, such levels are so far apart that no number of steps shows an order.

    `kind` is the scale of samples and the source of levels: "vp" has alphas_cumprod at its
    timesteps; the others have `sigmas`, of Karras's scale ("ve"), with preconditioned outputs
    ("edm"), for samples on the VP path ("sigmas"), or times of a flow ("flow").
    """

    def __init__(self, make: Callable, config: dict[str, Any], kind: str, eta: bool) -> None:
        self.make, self.config, self.kind, self.eta = make, config, kind, eta
        self.steps: dict[bytes, int] = {}
        self.fresh: dict[int, Any] = {}

    def scheduler(self, steps: int) -> Any:
        if steps not in self.fresh:
            self.fresh[steps] = self.make(**self.config)
            self.fresh[steps].set_timesteps(steps + 1 + (self.kind == "flow"))
        return copy.deepcopy(self.fresh[steps])

    def grid(self, steps: int) -> Any:
        scheduler = self.scheduler(steps)
        if self.kind == "vp":
            sigmas = [self._at(scheduler, t) for t in scheduler.timesteps]
        else:
            sigmas = [self._karras(float(s)) for s in scheduler.sigmas[:-1]]
        levels = np.array(list(dict.fromkeys(sigmas)))  # Heun and PNDM visit levels twice
        levels = levels[np.isfinite(levels)]  # a flow's first is pure noise
        if self.kind != "edm" and not any(name.startswith("use_") for name in self.config):
            levels = levels[: max(2, np.count_nonzero(levels >= 0.4))]
        self.steps[levels.tobytes()] = steps
        return levels

    def _karras(self, s: float) -> float:
        if self.kind == "flow":
            return s / (1.0 - s) if s < 1.0 else np.inf
        return s

    def _at(self, scheduler: Any, t: Any) -> float:
        """Return Karras's sigma of the next evaluation."""
        if self.kind == "vp":
            abar = float(scheduler.alphas_cumprod[int(t)])
            return float(np.sqrt((1.0 - abar) / abar))
        if scheduler.step_index is None:
            scheduler._init_step_index(t)
        at, levels = scheduler.step_index, scheduler.sigmas
        if not getattr(scheduler, "state_in_first_order", True) and hasattr(scheduler, "sigmas_up"):
            at, levels = at - 1, scheduler.sigmas_interpol  # KDPM2, ancestral
        elif not getattr(scheduler, "state_in_first_order", True):
            levels = getattr(scheduler, "sigmas_interpol", levels)  # KDPM2; or Heun
        return self._karras(float(levels[at]))

    def _alpha(self, s: Any) -> Any:
        if self.kind in ("vp", "sigmas"):
            return 1.0 / np.sqrt(1.0 + s * s)
        return 1.0 / (1.0 + s) if self.kind == "flow" else 1.0 + 0.0 * s

    def _output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return what a model that says `denoised` at y = x_0 + s eps would return."""
        if self.kind == "flow":  # eps - x_0
            return (y - denoised) / s - denoised
        if self.kind == "edm":  # Karras et al. 2022, eq. 7
            of_data = scheduler.config.sigma_data
            norm = np.hypot(s, of_data)
            return (denoised - (of_data / norm) ** 2 * y) * norm / (s * of_data)
        return (y - denoised) / s

    def __call__(self, denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        import torch

        scheduler = self.scheduler(self.steps[sigmas.tobytes()])
        home = sys.modules[type(scheduler).__module__]
        homes = [(home, "randn_tensor")] if hasattr(home, "randn_tensor") else []
        begin = 0
        if self.kind == "flow":
            begin = 2 if scheduler.timesteps[1] == scheduler.timesteps[2] else 1
            scheduler.set_begin_index(begin)
        sample = torch.from_numpy(x * self._alpha(sigmas[0]))
        last = float(sigmas[-1])
        with noise_from(noise, *homes):
            for t in scheduler.timesteps[begin:]:
                s = self._at(scheduler, t)
                if s <= last * (1.0 + 1e-9) and getattr(scheduler, "state_in_first_order", True):
                    break
                if self.kind in ("ve", "edm"):
                    scheduler.scale_model_input(sample, t)
                y = sample.numpy() / self._alpha(s)
                denoised = np.asarray(denoiser(y.astype(x.dtype), s))
                output = torch.from_numpy(np.asarray(self._output(scheduler, y, denoised, s)))
                extra = {"eta": 1.0} if self.eta else {}
                sample = scheduler.step(output.to(sample.dtype), t, sample, **extra).prev_sample
        return (sample.numpy() / self._alpha(sigmas[-1])).astype(x.dtype)


# ---------------------------------------------------------------- two small packages


def smalldiffusion() -> Iterator[Peer]:
    """The one sampler, by the settings that its comment names."""
    import torch
    from smalldiffusion import samples

    def sampler_of(options: dict[str, float]) -> Callable:
        def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
            class Model:
                def eval(self) -> None:
                    pass

                def predict_eps_cfg(self, y: Any, sigma: Any, cond: Any, scale: float) -> Any:
                    s = float(sigma)
                    return (y - torch.from_numpy(np.asarray(denoiser(y.numpy(), s)))) / s

                def rand_input(self, n: int) -> Any:
                    return torch.from_numpy(noise(x))

            levels = torch.from_numpy(sigmas.copy())
            run = samples(Model(), levels, xt=torch.from_numpy(x.copy()), **options)
            *_, last = run
            return last.numpy()

        return sampler

    for name, stochastic, options in (
        ("samples, gam=1, mu=0", False, {}),
        ("samples, gam=2, mu=0", False, {"gam": 2.0}),
        ("samples, gam=1, mu=0.5", True, {"mu": 0.5}),
    ):
        case = SamplerCase(sampler_of(options), order=1, stochastic=stochastic, name=name)
        yield Peer("smalldiffusion", name, case)


def denoising_diffusion_pytorch() -> Iterator[Peer]:
    """EDM's sampler and DPM-Solver++, which give images in [0, 1] for levels of its own.

    It clips what it returns to [-1, 1], and so runs here in a unit in which that is far away.
    """
    import torch
    from denoising_diffusion_pytorch import elucidated_diffusion as home

    unit = 2.0**-20

    def sampler_of(method: str, churn: float) -> Callable:
        def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
            class Run(home.ElucidatedDiffusion):  # type: ignore[misc]
                def __init__(self) -> None:
                    torch.nn.Module.__init__(self)
                    self.channels = self.image_size = self.num_sample_steps = 1
                    self.S_churn, self.S_noise, self.self_condition = churn, 1.0, False
                    self.S_tmin, self.S_tmax = 0.0, np.inf

                device = torch.device("cpu")

                def sample_schedule(self, steps: Any = None) -> Any:
                    return torch.from_numpy(unit * sigmas)

                def preconditioned_network_forward(
                    self, y: Any, s: float, *rest: Any, clamp: bool = False
                ) -> Any:
                    return unit * torch.from_numpy(np.asarray(denoiser(y.numpy() / unit, s / unit)))

            drawn: list[Any] = []

            def randn(shape: Any, device: Any) -> Any:
                drawn.append(noise(x) if drawn else (x / sigmas[0]).astype(x.dtype))
                return torch.from_numpy(drawn[-1])

            kept = home.torch.randn, home.unnormalize_to_zero_to_one, home.tqdm
            home.torch.randn, home.unnormalize_to_zero_to_one = randn, lambda images: images
            home.tqdm = lambda found, **options: found
            try:
                return (getattr(Run(), method)(1, len(sigmas) - 1) / unit).numpy()
            finally:
                home.torch.randn, home.unnormalize_to_zero_to_one, home.tqdm = kept

        return sampler

    for name, order, churn in (("sample", 2, 0.0), ("sample, S_churn=4", 2, 4.0)):
        sampler = sampler_of("sample", churn)
        case = SamplerCase(sampler, order=order, stochastic=churn > 0.0, name=name)
        yield Peer("denoising-diffusion-pytorch", f"ElucidatedDiffusion.{name}", case)
    case = SamplerCase(sampler_of("sample_using_dpmpp", 0.0), order=2, stochastic=False)
    yield Peer("denoising-diffusion-pytorch", "ElucidatedDiffusion.sample_using_dpmpp", case)


# ---------------------------------------------------------------- the table

FAULTS = "Faults"
HARMLESS = "Without effect on the samples"
CONVENTIONS = "Conventions, and what the check cannot tell"
UNEXPLAINED = "Not explained"


class Cause(NamedTuple):
    """Why a check fails, and under which heading that belongs."""

    heading: str
    text: str


UNUSED = Cause(
    HARMLESS,
    "`eps = torch.randn_like(x) * s_noise` (sampling.py, lines 124, 165 and 194) is drawn before "
    "`if gamma > 0`, so that a run without churn uses up random numbers",
)
WEIGHT_0 = Cause(HARMLESS, "the noise is drawn for any eta and multiplied by sigma_up = 0")
ONE_CLEAN_STEP = Cause(
    FAULTS,
    "a schedule of one step, from sigma to 0, takes the branch `if sigmas[i + 1] == 0`, which sets "
    "no `h`, and then runs into `h_last = h` (sampling.py, line 651; in the 3M "
    "`h_1, h_2 = h, h_1`, line 701)",
)
PREVIOUS = Cause(
    FAULTS,
    "a step ends at `timestep - num_train_timesteps // num_inference_steps` (scheduling_ddim.py, "
    "line 445; scheduling_pndm.py, line 363), while the next evaluation is at the spacing's next "
    "timestep, which for this spacing is another one: the sample is at one level, and taken for "
    "one of another",
)
MOVING = Cause(
    CONVENTIONS,
    "the first and last levels of this spacing are rounded to training timesteps and so move with "
    "the number of steps, which disturbs the estimate; on levels that do not move, such as "
    "Karras's, the same method has its order",
)
CHANNELS = Cause(
    CONVENTIONS,
    '`torch.einsum("k,bkc...->bc...", ...)` (scheduling_unipc_multistep.py, lines 947 to 1091) '
    "asks for an axis 1, which samples of one dimension have not: it takes batches of images",
)
CANCELLED = Cause(
    FAULTS,
    "`ind_fn` (scheduling_deis_multistep.py, lines 763 and 840) subtracts antiderivatives that "
    "agree in all but the last digits of float32, in which `sigmas` are, where steps are short: "
    "the weights, and so the samples, get worse with more steps. With `sigmas` in float64 the "
    "order of all three checks is 2",
)
CAUSES = (
    "check_point_mass",
    "check_rigid_motion",
    "check_no_state",
    "check_order",
    "check_order_nonlinear",
    "check_point_mass_variance",
    "check_marginals",
    "check_float32",
)
REAB = Cause(
    FAULTS,
    "`torch.sqrt(alpha_s**2 + sigma_t**2) * integral` (sample.py, in REABSampler.__call__) has "
    "sigma_t where its docstring's formula, sqrt(1 + e^{2s}), has sigma_s; with sigma_s there the "
    "order of both checks is 2.00",
)
UNIT_DATA = Cause(
    CONVENTIONS,
    "by construction, with the line of its order corrected too: the linear part that it solves "
    "exactly is that of data N(0, I), a_t = sigma**2 / (alpha**2 + sigma**2), and other data, a "
    "point among them, is only approached as steps grow. Its docstring states it",
)
# (package, how the sampler's name begins, how it ends, check): the cause.
EXPLANATIONS: dict[tuple[str, str, str, str], Cause] = {
    ("k-diffusion", "sample_euler", "", "check_noise"): UNUSED,
    ("k-diffusion", "sample_heun", "", "check_noise"): UNUSED,
    ("k-diffusion", "sample_dpm_2", "", "check_noise"): UNUSED,
    ("k-diffusion", "sample_dpm_fast", "", "check_noise"): WEIGHT_0,
    ("k-diffusion", "sample_dpmpp_2s_ancestral", "eta=0", "check_noise"): WEIGHT_0,
    ("k-diffusion", "sample_dpmpp_sde", "eta=0", "check_noise"): WEIGHT_0,
    ("k-diffusion", "sample_dpmpp_2m_sde", "", "check_point_mass"): ONE_CLEAN_STEP,
    ("k-diffusion", "sample_dpmpp_2m_sde", "", "check_rigid_motion"): ONE_CLEAN_STEP,
    ("k-diffusion", "sample_dpmpp_3m_sde", "", "check_point_mass"): ONE_CLEAN_STEP,
    ("k-diffusion", "sample_dpmpp_3m_sde", "", "check_rigid_motion"): ONE_CLEAN_STEP,
    ("azula", "DDIMSampler", "", "check_noise"): Cause(
        HARMLESS, "`torch.sqrt(tau) * torch.randn_like(x_t)` is drawn for eta = 0 too"
    ),
    ("azula", "ItoSampler", "eta=0", "check_noise"): Cause(
        HARMLESS, "`self.eta * ... * torch.randn_like(x_s)` is drawn for eta = 0 too"
    ),
    ("azula", "ItoSampler", "", "check_point_mass_variance"): Cause(
        CONVENTIONS,
        "by its formula, which the docstring marks as an approximation (the denoised estimate's "
        "weight is frozen over the step, and the noise is not damped): at a point the sample is "
        "multiplied by 2 s'/s - 1 and s**2 - s'**2 is added, a variance of "
        "s'**2 + 2 (s - s')**2. First order, as documented",
    ),
    ("azula", "vABSampler", "", "check_scale"): Cause(
        CONVENTIONS,
        "by construction: it extrapolates in sigma / (alpha + sigma), the time of a straight path "
        "from data of unit scale. It documents that",
    ),
    ("azula", "REABSampler", "", "check_order"): REAB,
    ("azula", "REABSampler", "", "check_order_nonlinear"): REAB,
    ("azula", "REABSampler", "", "check_point_mass"): UNIT_DATA,
    ("azula", "REABSampler", "", "check_rigid_motion"): UNIT_DATA,
    ("azula", "REABSampler", "", "check_scale"): UNIT_DATA,
    ("diffusers", "DDPMScheduler", "", "check_shapes"): Cause(
        CONVENTIONS,
        "`model_output.shape[1] == sample.shape[1] * 2` (scheduling_ddpm.py, line 494) asks for an "
        "axis 1, which samples of one dimension have not: it takes batches of images",
    ),
    **{
        ("diffusers", start, spacing, check): PREVIOUS
        for start in ("DDIMScheduler", "PNDMScheduler")
        for spacing in ("linspace", "trailing")
        for check in CAUSES
    },
    **{
        ("diffusers", "DPMSolverMultistepScheduler", spacing, "check_order_nonlinear"): MOVING
        for spacing in ("leading", "linspace", "trailing")
    },
    ("diffusers", "UniPCMultistepScheduler", "", "check_shapes"): CHANNELS,
    ("diffusers", "DEISMultistepScheduler", "exponential", "check_order"): CANCELLED,
    ("diffusers", "DEISMultistepScheduler", "beta", "check_order"): CANCELLED,
    ("diffusers", "DEISMultistepScheduler", "beta", "check_order_nonlinear"): CANCELLED,
    ("diffusers", "SASolverScheduler", "", "check_noise"): Cause(
        HARMLESS,
        "`randn_tensor` is called in every step (scheduling_sasolver.py, line 1322), also where "
        "the default `tau_func` is 0: at timesteps above 800 and below 200",
    ),
    ("smalldiffusion", "samples", "mu=0", "check_noise"): Cause(
        HARMLESS, "`eta * model.rand_input(...)` (diffusion.py, line 159) is drawn for eta = 0 too"
    ),
    ("denoising-diffusion-pytorch", "ElucidatedDiffusion.sample", "", "check_noise"): Cause(
        HARMLESS,
        "`eps = self.S_noise * torch.randn(...)` (elucidated_diffusion.py, line 175) is drawn for "
        "gamma = 0 too",
    ),
}


@dataclass(frozen=True)
class Row:
    """What came of one sampler."""

    peer: Peer
    checks: int
    failures: tuple[CheckFailed, ...]


def outcome(peer: Peer) -> Row:
    """Run every check."""
    failures = []
    checks = checks_for(peer.case)
    for check in checks:
        try:
            check(peer.case)
        except CheckFailed as failure:
            failures.append(failure)
    return Row(peer, len(checks), tuple(failures))


def explained(peer: Peer, failure: CheckFailed) -> Cause:
    """Return the cause of a failure, or that it is not known."""
    for (package, start, end, check), cause in EXPLANATIONS.items():
        named = peer.name.startswith(start) and peer.name.endswith(end)
        if package == peer.package and named and check == failure.check:
            return cause
    return Cause(UNEXPLAINED, "unknown")


PEERS = {
    "k-diffusion": k_diffusion,
    "azula": azula,
    "diffusers": diffusers,
    "smalldiffusion": smalldiffusion,
    "denoising-diffusion-pytorch": denoising_diffusion_pytorch,
}


INTRODUCTION = """\
# What the samplers of other packages pass

The checks of `schedulers.testing`, run by `benchmarks/conformance.py` over the samplers of
{versions}.
*Order* is the order that was claimed. *float32* means that a sampler keeps its levels or weights in
that precision, and was held to its rounding. You can check any sampler in the same way:

```python
>>> from schedulers.testing import check_sampler
>>> def euler(denoiser, x, sigmas, noise):
...     for s, s_next in zip(sigmas.tolist(), sigmas.tolist()[1:]):
...         x = x + (s_next - s) * (x - denoiser(x, s)) / s
...     return x
>>> check_sampler(euler, order=1)

```

A failure counts as a fault if the line or the formula that causes it is known, and it is not a
convention.

| package | sampler | order | precision | passed | faults | fails otherwise |
| --- | --- | --- | --- | --- | --- | --- |
"""


def page(rows: list[Row], versions: dict[str, str]) -> str:
    """Return the page of docs."""
    held = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = []
    found: dict[str, dict[str, list[str]]] = {
        heading: {} for heading in (FAULTS, UNEXPLAINED, HARMLESS, CONVENTIONS)
    }
    for row in rows:
        peer, faults, others = row.peer, [], []
        for failure in row.failures:
            heading, text = explained(peer, failure)
            (faults if heading == FAULTS else others).append(f"`{failure.check}`")
            found[heading].setdefault(text, []).append(
                f"  - {peer.package} `{peer.name}`, `{failure.check}`: "
                f"expected {failure.expected}; got {failure.got}"
            )
        cells = (
            *(peer.package, f"`{peer.name}`", f"{peer.case.order:g}", peer.case.precision),
            f"{row.checks - len(row.failures)}/{row.checks}",
            *(", ".join(faults), ", ".join(others)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    for heading, causes in found.items():
        if causes:
            lines += ["", f"## {heading}", ""]
        for text, failures in causes.items():
            lines += [f"- {text[0].upper()}{text[1:]}.", *failures]
    return INTRODUCTION.format(versions=held) + "\n".join(lines) + "\n"


def main() -> None:
    """Run, print as it goes, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="the page to write")
    parser.add_argument("--only", default="", help="samplers whose title contains this")
    given = parser.parse_args()
    rows, versions = [], {}
    for package, peers in PEERS.items():
        try:
            found = list(peers())
        except ImportError as error:
            print(f"{package} is left out: {error}")
            continue
        versions[package] = importlib.metadata.version(package)
        for peer in found:
            if given.only not in f"{package} {peer.name}":
                continue
            rows.append(outcome(peer))
            failed = "; ".join(f"{f.check}: {f.got}" for f in rows[-1].failures)
            print(package, peer.name, rows[-1].checks, failed or "all passed", flush=True)
    versions["torch"] = importlib.metadata.version("torch")
    if given.out:
        given.out.write_text(page(rows, versions))


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
