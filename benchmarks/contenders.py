"""What is timed: runs of every scheduler here, of the peers that are installed, and of bare NumPy.

A contender is a function (x, output) -> run, on NumPy arrays; `run()` takes a whole run, the
model's output being `output` every time, and returns its seconds and its model evaluations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import schedulers as sc

STEPS = 20
STOCHASTIC = ("DDPM", "EulerAncestral")
SCHEDULE = sc.DiscreteSchedule(sc.scaled_linear_betas(1000))
OURS: dict[str, sc.Scheduler] = {
    "DDIM": sc.DDIM(SCHEDULE),
    "Euler": sc.Euler(SCHEDULE),
    "Heun": sc.Heun(SCHEDULE),
    "PLMS": sc.PLMS(SCHEDULE),
    "DDPM": sc.DDPM(SCHEDULE),
    "EulerAncestral": sc.EulerAncestral(SCHEDULE),
}
Run = Callable[[], tuple[float, int]]
Contenders = dict[tuple[str, str], Callable[[Any, Any], Run]]


def by_update(
    scheduler: sc.Scheduler, make_rng: Callable[[], Any], keep_denoised: bool = False
) -> Callable[[Any, Any], Run]:
    """Time `update`, every step's output the same."""

    def prepare(x: Any, output: Any) -> Run:
        def run() -> tuple[float, int]:
            rng, state = make_rng(), scheduler.init(x, steps=STEPS)
            begun = perf_counter()
            while not state.done:
                state = scheduler.update(output, state, rng, keep_denoised=keep_denoised)
            return perf_counter() - begun, state.tableau.nfe

        return run

    return prepare


def by_sample(scheduler: sc.Scheduler) -> Callable[[Any, Any], Run]:
    """Time `sample`, with a denoiser that costs nothing."""

    def prepare(x: Any, output: Any) -> Run:
        def run() -> tuple[float, int]:
            begun = perf_counter()
            scheduler.sample(lambda x, t: output, x, steps=STEPS, rng=0)
            return perf_counter() - begun, scheduler.tableau(STEPS).nfe

        return run

    return prepare


def floors() -> Contenders:
    """What NumPy itself takes: the bare sum, with and without its result's allocation; a copy."""

    def repeated(once: Callable[[], object]) -> Run:
        def run() -> tuple[float, int]:
            begun = perf_counter()
            for _ in range(STEPS):
                once()
            return perf_counter() - begun, STEPS

        return run

    def bare(x: Any, output: Any) -> Run:
        result, product = np.empty_like(x), np.empty_like(x)

        def once() -> None:
            np.multiply(x, 1.01, out=result)
            np.multiply(output, -0.3, out=product)
            np.add(result, product, out=result)

        return repeated(once)

    def allocated(x: Any, output: Any) -> Run:
        product = np.empty_like(x)

        def once() -> None:
            result = np.multiply(x, 1.01)
            np.multiply(output, -0.3, out=product)
            np.add(result, product, out=result)

        return repeated(once)

    def copy(x: Any, output: Any) -> Run:
        result = np.empty_like(x)
        return repeated(lambda: np.copyto(result, x))

    floors = {"bare": bare, "bare, allocated": allocated, "copy": copy}
    return {("floor", name): make for name, make in floors.items()}


def ours() -> Contenders:
    """Every scheduler by `update`, without D and with it, and by `sample`; by seed or Generator."""
    made: Contenders = {}
    for name, scheduler in OURS.items():
        made["schedulers", name] = by_update(scheduler, lambda: 0)
        made["schedulers, with D", name] = by_update(scheduler, lambda: 0, keep_denoised=True)
        made["schedulers, sample", name] = by_sample(scheduler)
        if name in STOCHASTIC:
            made["schedulers, Generator", name] = by_update(
                scheduler, lambda: np.random.default_rng(0)
            )
    return made


def diffusers() -> Contenders:
    """Return the peer's six schedulers, by `step`."""
    import diffusers as peer
    import torch

    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    made = {
        "DDIM": peer.DDIMScheduler(**betas, clip_sample=False),
        "Euler": peer.EulerDiscreteScheduler(**betas),
        "Heun": peer.HeunDiscreteScheduler(**betas),
        "PLMS": peer.PNDMScheduler(**betas, skip_prk_steps=True),
        "DDPM": peer.DDPMScheduler(**betas, clip_sample=False),
        "EulerAncestral": peer.EulerAncestralDiscreteScheduler(**betas),
    }

    def stepping(name: str) -> Callable[[Any, Any], Run]:
        scheduler = made[name]

        def prepare(x: Any, output: Any) -> Run:
            x, output = torch.from_numpy(x.copy()), torch.from_numpy(output.copy())

            def run() -> tuple[float, int]:
                options = {"generator": torch.Generator().manual_seed(0)}
                scheduler.set_timesteps(STEPS)
                now, times = x * scheduler.init_noise_sigma, list(scheduler.timesteps)
                scheduler.scale_model_input(now, times[0])
                begun = perf_counter()
                for t in times:
                    now = scheduler.step(
                        output, t, now, **(options if name in STOCHASTIC else {})
                    ).prev_sample
                return perf_counter() - begun, len(times)

            return run

        return prepare

    return {("diffusers", name): stepping(name) for name in made}


def k_diffusion() -> Contenders:
    """Return the peer's samplers, by whole runs."""
    import torch
    from k_diffusion import sampling

    samplers = {
        "Euler": sampling.sample_euler,
        "Heun": sampling.sample_heun,
        "PLMS": sampling.sample_lms,
        "EulerAncestral": sampling.sample_euler_ancestral,
    }
    sigmas = sampling.get_sigmas_karras(STEPS, 0.03, 14.6)

    def running(name: str) -> Callable[[Any, Any], Run]:
        def prepare(x: Any, output: Any) -> Run:
            x, output = torch.from_numpy(x.copy()), torch.from_numpy(output.copy())
            evaluations = 2 * STEPS - 1 if name == "Heun" else STEPS

            def run() -> tuple[float, int]:
                begun = perf_counter()
                samplers[name](lambda x, sigma: output, x, sigmas, disable=True)
                return perf_counter() - begun, evaluations

            return run

        return prepare

    return {("k-diffusion", name): running(name) for name in samplers}


def azula() -> Contenders:
    """Return the peer's samplers, by whole runs."""
    import torch
    from azula import denoise, noise, sample

    samplers = {
        "DDIM": sample.DDIMSampler,
        "Euler": sample.EulerSampler,
        "Heun": sample.HeunSampler,
        "PLMS": sample.zABSampler,
        "DDPM": sample.DDPMSampler,
    }

    class Constant(denoise.Denoiser):
        def __init__(self, output: Any) -> None:
            super().__init__()
            self.schedule = noise.VPSchedule()
            self.output, self.calls = output, 0

        def forward(self, x_t: Any, t: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return denoise.DiracPosterior(mean=self.output)

    def running(name: str) -> Callable[[Any, Any], Run]:
        def prepare(x: Any, output: Any) -> Run:
            x, denoiser = torch.from_numpy(x.copy()), Constant(torch.from_numpy(output.copy()))
            options = {"order": 4} if name == "PLMS" else {}
            sampler = samplers[name](denoiser, steps=STEPS, silent=True, **options)

            def run() -> tuple[float, int]:
                denoiser.calls = 0
                begun = perf_counter()
                sampler(x)
                return perf_counter() - begun, denoiser.calls

            return run

        return prepare

    return {("azula", name): running(name) for name in samplers}


PEERS = {"diffusers": diffusers, "k-diffusion": k_diffusion, "azula": azula}


def contenders() -> Contenders:
    """Everything that is installed."""
    made = {**floors(), **ours()}
    for name, load in PEERS.items():
        try:
            made |= load()
        except ImportError as error:
            print(f"left out: {name} ({error})", file=sys.stderr)
    return made
