"""Packages with a sampler or a few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np

from peers.base import Peer, Stepped, never_clean, peer


def smalldiffusion() -> Iterator[Peer]:
    """The one sampler, by the settings that its comment names."""
    from smalldiffusion import samples

    def sampler_of(options: dict[str, float]) -> Callable:
        def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
            class Model:
                def eval(self) -> None:
                    pass

                def predict_eps_cfg(self, y: Any, sigma: Any, cond: Any, scale: float) -> Any:
                    return (y - denoiser(y, sigma)) / sigma

                def rand_input(self, n: int) -> Any:
                    return noise(x)

            *_, last = samples(Model(), sigmas, xt=x, **options)
            return last

        return sampler

    for name, stochastic, options in (
        ("samples, gam=1, mu=0", False, {}),
        ("samples, gam=1.6, mu=0", False, {"gam": 1.6}),
        ("samples, gam=2, mu=0", False, {"gam": 2.0}),
        ("samples, gam=1, mu=0.5", True, {"mu": 0.5}),
        ("samples, gam=1, mu=0.9", True, {"mu": 0.9}),
        ("samples, gam=2, mu=0.5", True, {"gam": 2.0, "mu": 0.5}),
    ):
        yield peer("smalldiffusion", name, sampler_of(options), 1, stochastic=stochastic)


def denoising_diffusion_pytorch() -> Iterator[Peer]:
    """EDM's sampler and DPM-Solver++, which give images in [0, 1] for levels of its own.

    It clips what it returns to [-1, 1], and so runs here in a unit in which that is far away.
    """
    import torch
    from denoising_diffusion_pytorch import elucidated_diffusion as home

    unit = 2.0**-40

    def sampler_of(method: str, churn: float, s_noise: float) -> Callable:
        def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
            class Run(home.ElucidatedDiffusion):  # type: ignore[misc]
                def __init__(self) -> None:
                    torch.nn.Module.__init__(self)
                    self.channels = self.image_size = self.num_sample_steps = 1
                    self.S_churn, self.S_noise, self.self_condition = churn, s_noise, False
                    self.S_tmin, self.S_tmax = 0.0, np.inf

                device = torch.device("cpu")

                def sample_schedule(self, steps: Any = None) -> Any:
                    return unit * sigmas

                def preconditioned_network_forward(
                    self, y: Any, s: float, *rest: Any, clamp: bool = False
                ) -> Any:
                    return unit * denoiser(y / unit, s / unit)

            kept = home.torch.randn, home.unnormalize_to_zero_to_one, home.tqdm
            home.torch.randn = beginning(x, sigmas, noise)
            home.unnormalize_to_zero_to_one = lambda images: images
            home.tqdm = lambda found, **options: found
            try:
                return getattr(Run(), method)(1, len(sigmas) - 1) / unit
            finally:
                home.torch.randn, home.unnormalize_to_zero_to_one, home.tqdm = kept

        return sampler

    package = "denoising-diffusion-pytorch"
    for name, churn, s_noise in (
        ("sample", 0.0, 1.0),
        ("sample, S_churn=4", 4.0, 1.0),
        ("sample, S_churn=4, S_noise=1.01", 4.0, 1.01),
    ):
        run = sampler_of("sample", churn, s_noise)
        claims = {"stochastic": churn > 0.0, "s_noise": s_noise}
        yield peer(package, f"ElucidatedDiffusion.{name}", run, 2, **claims)
    run = sampler_of("sample_using_dpmpp", 0.0, 1.0)
    yield peer(package, "ElucidatedDiffusion.sample_using_dpmpp", run, 2)


def beginning(x: Any, sigmas: Any, noise: Callable) -> Callable:
    """Return a `randn` whose first draw, at the scale of the first sigma, is x."""
    drawn: list[Any] = []

    def randn(shape: Any, device: Any) -> Any:
        drawn.append(noise(x) if drawn else x / sigmas[0])
        return drawn[-1]

    return randn


def imagen_pytorch() -> Iterator[Peer]:
    """EDM's sampler of one network of the cascade; it clips to [-1, 1], as the one above does."""
    import torch
    from transformers import T5Config

    kept = T5Config.from_pretrained  # its import asks a hub for the size of a text encoder
    T5Config.from_pretrained = lambda name: T5Config()
    try:
        from imagen_pytorch import elucidated_imagen as home
    finally:
        T5Config.from_pretrained = kept

    unit = 2.0**-40

    def sampler_of(churn: float, s_noise: float) -> Callable:
        def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
            class Run(home.ElucidatedImagen):  # type: ignore[misc]
                device = torch.device("cpu")

                def __init__(self) -> None:
                    torch.nn.Module.__init__(self)
                    given = {"S_churn": churn, "S_noise": s_noise, "S_tmin": 0.0, "S_tmax": np.inf}
                    given["num_sample_steps"] = len(sigmas) - 1
                    self.hparams = [home.Hparams(*map(given.get, home.Hparams_fields))]
                    self.unnormalize_img = lambda images: images

                def sample_schedule(self, *rest: Any) -> Any:
                    return unit * sigmas

                def preconditioned_network_forward(
                    self, net: Any, y: Any, s: float, **rest: Any
                ) -> Any:
                    return unit * denoiser(y / unit, s / unit)

            net = SimpleNamespace(self_cond=False, forward_with_cond_scale=None)
            kept, home.torch.randn = home.torch.randn, beginning(x, sigmas, noise)
            try:
                return Run().one_unet_sample(net, x.shape, unet_number=1, use_tqdm=False) / unit
            finally:
                home.torch.randn = kept

        return sampler

    for name, churn, s_noise in (
        ("one_unet_sample, S_churn=0", 0.0, 1.0),
        ("one_unet_sample, S_churn=4", 4.0, 1.0),
        ("one_unet_sample, S_churn=4, S_noise=1.01", 4.0, 1.01),
    ):
        claims: dict[str, Any] = {"stochastic": churn > 0.0, "s_noise": s_noise}
        claims["precision"] = "float32" if churn else "float64"  # of torch.where, for gamma
        title = f"ElucidatedImagen.{name}"
        yield peer("imagen-pytorch", title, sampler_of(churn, s_noise), 2, **claims)


def physicsnemo() -> Iterator[Peer]:
    """The solvers of its `sample`, on EDM's path, with every option."""
    from physicsnemo.diffusion.samplers import sample

    options: dict[str, tuple[str, float, dict[str, float]]] = {
        "euler": ("euler", 1, {}),
        "heun": ("heun", 2, {}),
        "heun, alpha=0.5": ("heun", 2, {"alpha": 0.5}),
        "edm_stochastic_euler": ("edm_stochastic_euler", 1, {"S_churn": 4.0}),
        "edm_stochastic_euler, S_churn=0": ("edm_stochastic_euler", 1, {}),
        "edm_stochastic_heun": ("edm_stochastic_heun", 2, {"S_churn": 4.0}),
        "edm_stochastic_heun, alpha=0.5": (
            *("edm_stochastic_heun", 2),
            {"S_churn": 4.0, "alpha": 0.5},
        ),
        "edm_stochastic_heun, S_noise=1.01": (
            *("edm_stochastic_heun", 2),
            {"S_churn": 4.0, "S_noise": 1.01},
        ),
    }

    def sampler_of(solver: str, chosen: dict[str, float]) -> Callable:
        def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
            def slope(y: Any, t: Any) -> Any:
                return (y - denoiser(y, t)) / t.reshape(-1, *[1] * (y.ndim - 1))

            steps = len(sigmas) - 1
            full = {**chosen, "num_steps": steps} if "stochastic" in solver else chosen
            return sample(
                slope, x, None, steps, solver=solver, time_steps=sigmas, solver_options=full
            )

        return sampler

    for name, (solver, order, chosen) in options.items():
        yield peer(
            *("nvidia-physicsnemo", f"sample, {name}", sampler_of(solver, chosen), order),
            stochastic="S_churn" in chosen,
            s_noise=chosen.get("S_noise", 1.0),
        )


def flow_matching() -> Iterator[Peer]:
    """Its `ODESolver` by torchdiffeq's methods of fixed steps, on a straight path."""
    from flow_matching.solver import ODESolver

    methods = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}

    def sampler_of(method: str) -> Callable:
        def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
            def velocity(x: Any, t: Any) -> Any:  # of x_t = t x_0 + (1 - t) eps
                s = (1.0 - t) / t
                denoised = denoiser(x / t, s)
                return denoised - (x / t - denoised) / s

            times = 1.0 / (1.0 + sigmas)
            out = ODESolver(velocity).sample(
                x * times[0], step_size=None, method=method, time_grid=times
            )
            return out / times[-1]

        return sampler

    for method, order in methods.items():
        name = f"ODESolver, {method}"
        yield peer("flow-matching", name, sampler_of(method), order, grid=never_clean, **STRAIGHT)


# Methods of order above 1 in the time of a straight path know the unit of the data.
STRAIGHT = {"uses_time": True}


def audio_diffusion_pytorch() -> Iterator[Peer]:
    """Its `VSampler`, DDIM on the path alpha = cos, sigma = sin."""
    import torch
    from audio_diffusion_pytorch.diffusion import VSampler

    def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        angles = torch.atan(sigmas)

        def net(y: Any, t: Any) -> Any:
            angle = float(t.reshape(-1)[0]) * np.pi / 2 if t.numel() else float(angles[0])
            alpha, sigma = float(np.cos(angle)), float(np.sin(angle))
            denoised = denoiser(y / alpha, sigma / alpha)
            return (alpha * y - denoised) / sigma

        class Schedule(torch.nn.Module):
            def forward(self, steps: int, device: Any) -> Any:
                return angles * 2.0 / np.pi

        run = VSampler(net, Schedule())
        out = run(x * torch.cos(angles[0]), num_steps=len(sigmas) - 1)
        return out / torch.cos(angles[-1])

    yield peer("audio-diffusion-pytorch", "VSampler", sampler, 1)


class Monai(Stepped):
    """A run of one of MONAI's schedulers along its timesteps."""

    def __init__(self, make: Callable, prediction: str = "epsilon", **options: Any) -> None:
        super().__init__(make, **options)
        self.prediction = prediction

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps."""
        super().set_timesteps(scheduler, steps)
        scheduler.asked = 0

    def levels(self, scheduler: Any) -> list[float]:
        """Karras sigmas at which its steps begin."""
        prk = getattr(scheduler, "prk_timesteps", ())
        times = [*prk[::4], *scheduler.timesteps[len(prk) :]]
        return [self.at(scheduler, t) for t in times]

    def begins(self, scheduler: Any) -> bool:
        """Whether a step begins."""
        prk = getattr(scheduler, "prk_timesteps", ())
        return scheduler.asked >= len(prk) or scheduler.asked % 4 == 0

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        scheduler.asked += 1
        return super().step(scheduler, output, t, sample)


def monai() -> Iterator[Peer]:
    """Its schedulers of noise prediction, and the rectified flow."""
    from monai.networks import schedulers as home

    plain = {"schedule": "scaled_linear_beta", "beta_start": 0.00085, "beta_end": 0.012}
    for title, make, order, stochastic, options in (
        ("DDPMScheduler", home.DDPMScheduler, 1, True, {"clip_sample": False}),
        ("DDIMScheduler", home.DDIMScheduler, 1, False, {"clip_sample": False}),
        ("DDIMScheduler, eta=1", home.DDIMScheduler, 1, True, {"clip_sample": False}),
        ("PNDMScheduler", home.PNDMScheduler, 2, False, {}),
        ("PNDMScheduler, skip_prk_steps", home.PNDMScheduler, 2, False, {"skip_prk_steps": True}),
    ):
        for prediction in ("epsilon", "v_prediction"):
            config = {**plain, **options, "prediction_type": prediction}
            eta = {"eta": 1.0} if "eta=1" in title else {}
            run = Monai(lambda make=make, config=config: make(**config), prediction, **eta)
            yield peer(
                *("monai", f"{title}, {prediction}", run, order),
                stochastic=stochastic,
                grid=run.grid,
                any_sigmas=False,
                precision="float32",
                min_steps=4 if title == "PNDMScheduler" else 1,
            )
    for discrete in (True, False):
        flow = RectifiedFlow(lambda discrete=discrete: home.RFlowScheduler(1000, discrete))
        name = f"RFlowScheduler, use_discrete_timesteps={discrete}"
        claims = {"grid": flow.grid, "any_sigmas": False, "precision": "float32"}
        yield peer("monai", name, flow, 1, **claims)


class RectifiedFlow(Monai):
    """MONAI's rectified flow, stepped as its docstring does, with `next_timestep`."""

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps, with the one from pure noise."""
        super().set_timesteps(scheduler, steps + 1)

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma at a timestep, t / 1000 along the straight path."""
        time = float(t) / 1000.0
        return time / (1.0 - time) if time < 1.0 else np.inf

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        return 1.0 / (1.0 + s)

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return x_0 - eps."""
        return denoised - (y - denoised) / s

    def timesteps(self, scheduler: Any) -> Any:
        """Timesteps after pure noise."""
        return scheduler.timesteps[1:]

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step to the next timestep."""
        times = scheduler.timesteps
        later = int((times == t).nonzero()[0]) + 1
        following = times[later] if later < len(times) else 0
        return scheduler.step(output, t, sample, following)[0]

    def levels(self, scheduler: Any) -> list[float]:
        """Karras sigmas of its timesteps."""
        return [self.at(scheduler, t) for t in scheduler.timesteps]


class Refiners(Stepped):
    """A run of one of Refiners' solvers, called with the index of a step."""

    def __init__(self, make: Callable, scale: str) -> None:
        super().__init__(make)
        self.scale_of, self.made = scale, make

    def scheduler(self, steps: int) -> Any:
        """Return a solver of that many steps and one, to the clean level."""
        import torch

        return self.made(steps + 1, dtype=torch.float64)

    def timesteps(self, scheduler: Any) -> Any:
        """Indices of its steps."""
        return range(scheduler.num_inference_steps)

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of a step."""
        if self.scale_of == "ve":
            return float(scheduler.sigmas[t])
        at = int(scheduler.timesteps[t])
        return float(scheduler.noise_std[at] / scheduler.cumulative_scale_factors[at])

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        return 1.0 if self.scale_of == "ve" else super().alpha(s)

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        return scheduler(sample, predicted_noise=output, step=t)


def refiners() -> Iterator[Peer]:
    """Its solvers, with every spacing of timesteps."""
    from refiners.foundationals.latent_diffusion import solvers as home
    from refiners.foundationals.latent_diffusion.solvers.solver import SolverParams

    spacings = ("", "linspace_rounded", "leading", "trailing")
    for (title, make, order, scale), spacing in product(
        (
            ("DDIM", home.DDIM, 1, "vp"),
            ("DPMSolver", home.DPMSolver, 2, "vp"),
            ("Euler", home.Euler, 1, "ve"),
        ),
        spacings,
    ):

        def made(steps: int, make: Any = make, spacing: str = spacing, **rest: Any) -> Any:
            params = (
                SolverParams(timesteps_spacing=home.TimestepSpacing(spacing)) if spacing else None
            )
            return make(steps, params=params, **rest)

        run = Refiners(made, scale)
        yield peer(
            *("refiners", f"{title}, {spacing or 'default'} spacing", run, order),
            grid=run.grid,
            any_sigmas=False,
            precision="float32",  # of its betas
        )


class Diffusions(Stepped):
    """A run of one of the schedulers of the package diffusions."""

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps."""
        scheduler.set_timesteps(steps + 1)


def diffusions() -> Iterator[Peer]:
    """Its DDIM and DDPM."""
    from diffusions.schedulers.ddim import DDIM
    from diffusions.schedulers.ddpm import DDPM

    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float32) ** 2
    for title, make, stochastic, options in (
        ("DDIM", DDIM, False, {}),
        ("DDIM, eta=1", DDIM, True, {"eta": 1.0}),
        ("DDPM", DDPM, True, {}),
    ):
        run = Diffusions(lambda make=make: make(betas=betas, clip_sample=False), **options)
        claims = {"grid": run.grid, "any_sigmas": False, "precision": "float32"}
        yield peer("diffusions", title, run, 1, stochastic=stochastic, **claims)
