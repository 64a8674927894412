"""Run the checks of `schedulers.testing` over the samplers of other packages.

    python benchmarks/conformance.py [--out docs/conformance.md] [--only WORD]

Needs torch, and as many of k-diffusion, azula and diffusers as there are; those that are missing
are left out. Each sampler is adapted to ``sampler(denoiser, x, sigmas, noise)``: its random numbers
are replaced by `noise`, its model by the kit's denoiser, and it is run in float64. What it fails is
listed with the figure measured, and with the line or the formula that causes it where that is
known (`EXPLANATIONS`); what is not in there is called unexplained.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def _k_sampler(function: Callable, options: dict[str, Any]) -> Callable:
    import inspect

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


def diffusers() -> Iterator[Peer]:
    """The six schedulers and their nearest relatives, with every spacing."""
    import diffusers as package

    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    kinds = {
        "DDPMScheduler": (1, True, "vp", {"clip_sample": False}),
        "DDIMScheduler": (1, False, "vp", {"clip_sample": False}),
        "DDIMScheduler, eta=1": (1, True, "vp", {"clip_sample": False}),
        "EulerDiscreteScheduler": (1, False, "ve", {}),
        "EulerAncestralDiscreteScheduler": (1, True, "ve", {}),
        "HeunDiscreteScheduler": (2, False, "ve", {}),
        "PNDMScheduler, skip_prk_steps": (2, False, "vp", {"skip_prk_steps": True}),
        "LMSDiscreteScheduler": (2, False, "ve", {}),
        "DPMSolverMultistepScheduler": (2, False, "sigmas", {}),
    }
    for name, (order, stochastic, kind, options) in kinds.items():
        make = getattr(package, name.partition(",")[0])
        for spacing in ("leading", "linspace", "trailing"):
            run = _Diffusers(
                make, {**betas, **options, "timestep_spacing": spacing}, kind, "eta=1" in name
            )
            title = f"{name}, {spacing}"
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


class _Diffusers:
    """The steps of a run down to sigma = 0.4, so that it ends where there is noise."""

    def __init__(self, make: Callable, config: dict[str, Any], kind: str, eta: bool) -> None:
        self.make, self.config, self.kind, self.eta = make, config, kind, eta
        self.steps: dict[bytes, int] = {}

    def scheduler(self, steps: int) -> Any:
        scheduler = self.make(**self.config)
        scheduler.set_timesteps(steps + 1)
        return scheduler

    def grid(self, steps: int) -> Any:
        scheduler = self.scheduler(steps)
        if self.kind == "vp":
            sigmas = [self._sigma(scheduler, t) for t in scheduler.timesteps]
        else:
            sigmas = scheduler.sigmas.double().numpy()[:-1].tolist()
        levels = np.array(list(dict.fromkeys(sigmas)))  # Heun and PNDM visit levels twice
        levels = levels[: max(2, np.count_nonzero(levels >= 0.4))]
        self.steps[levels.tobytes()] = steps
        return levels

    @staticmethod
    def _sigma(scheduler: Any, t: Any) -> float:
        abar = float(scheduler.alphas_cumprod[int(t)])
        return float(np.sqrt((1.0 - abar) / abar))

    def __call__(self, denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        import torch

        scheduler = self.scheduler(self.steps[sigmas.tobytes()])
        home = sys.modules[type(scheduler).__module__]
        homes = [(home, "randn_tensor")] if hasattr(home, "randn_tensor") else []
        vp = self.kind != "ve"
        scale = 1.0 / np.sqrt(1.0 + sigmas**2) if vp else np.ones(len(sigmas))
        sample = torch.from_numpy(x * scale[0])
        last = float(sigmas[-1])
        with noise_from(noise, *homes):
            for t in scheduler.timesteps:
                if self.kind == "vp":
                    s = self._sigma(scheduler, t)
                else:
                    scheduler.scale_model_input(sample, t)
                    if scheduler.step_index is None:
                        scheduler._init_step_index(t)
                    s = float(scheduler.sigmas[scheduler.step_index])
                if s <= last * (1.0 + 1e-9) and getattr(scheduler, "state_in_first_order", True):
                    break
                a = 1.0 / np.sqrt(1.0 + s * s) if vp else 1.0
                y = sample.numpy() / a
                eps = torch.from_numpy((y - np.asarray(denoiser(y.astype(x.dtype), s))) / s)
                extra = {"eta": 1.0} if self.eta else {}
                sample = scheduler.step(eps.to(sample.dtype), t, sample, **extra).prev_sample
        return (sample.numpy() / scale[-1]).astype(x.dtype)


# ---------------------------------------------------------------- the table

UNUSED = (
    "`eps = torch.randn_like(x) * s_noise` (sampling.py, lines 124, 165 and 194) is drawn before "
    "`if gamma > 0`, so that a run without churn draws noise that it does not use: the samples are "
    "right, the global random stream is consumed"
)
WEIGHT_0 = (
    "the noise is drawn for any eta and multiplied by sigma_up = 0: the samples are right, the "
    "random stream is consumed"
)
ONE_CLEAN_STEP = (
    "a schedule of one step, from sigma to 0, takes the branch `if sigmas[i + 1] == 0`, which sets "
    "no `h`, and then runs into `h_last = h` (sampling.py, line 651; in the 3M "
    "`h_1, h_2 = h, h_1`, line 701)"
)
PREVIOUS = (
    "a step ends at `timestep - num_train_timesteps // num_inference_steps` (scheduling_ddim.py, "
    "line 445; scheduling_pndm.py, line 363), while the next evaluation is at the spacing's next "
    "timestep, which for this spacing is another one: the sample is at one level, and taken for "
    "one of another"
)
MOVING = (
    "not a fault of the sampler: the first and last levels of this spacing are rounded to training "
    "timesteps and so move with the number of steps, which disturbs the estimate; on a grid that "
    "does not move the same method has its order"
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
REAB = (
    "`torch.sqrt(alpha_s**2 + sigma_t**2) * integral` (sample.py, in REABSampler.__call__) has "
    "sigma_t where its docstring's formula, sqrt(1 + e^{2s}), has sigma_s; with sigma_s there the "
    "order of both checks is 2.00"
)
UNIT_DATA = (
    "by construction, with the line of its order corrected too: the linear part that it solves "
    "exactly is that of data N(0, I), a_t = sigma**2 / (alpha**2 + sigma**2), and other data, a "
    "point among them, is only approached as steps grow. A convention that its docstring states"
)
# (package, how the sampler's name begins, how it ends, check): the cause.
EXPLANATIONS: dict[tuple[str, str, str, str], str] = {
    ("k-diffusion", "sample_euler", "", "check_noise"): UNUSED,
    ("k-diffusion", "sample_heun", "", "check_noise"): UNUSED,
    ("k-diffusion", "sample_dpm_2", "", "check_noise"): UNUSED,
    ("k-diffusion", "sample_dpmpp_2s_ancestral", "eta=0", "check_noise"): WEIGHT_0,
    ("k-diffusion", "sample_dpmpp_sde", "eta=0", "check_noise"): WEIGHT_0,
    ("k-diffusion", "sample_dpmpp_2m_sde", "", "check_point_mass"): ONE_CLEAN_STEP,
    ("k-diffusion", "sample_dpmpp_2m_sde", "", "check_rigid_motion"): ONE_CLEAN_STEP,
    ("k-diffusion", "sample_dpmpp_3m_sde", "", "check_point_mass"): ONE_CLEAN_STEP,
    ("k-diffusion", "sample_dpmpp_3m_sde", "", "check_rigid_motion"): ONE_CLEAN_STEP,
    ("azula", "DDIMSampler", "", "check_noise"): (
        "`torch.sqrt(tau) * torch.randn_like(x_t)` is drawn for eta = 0 too, with weight 0"
    ),
    ("azula", "ItoSampler", "eta=0", "check_noise"): (
        "`self.eta * ... * torch.randn_like(x_s)` is drawn for eta = 0 too, with weight 0"
    ),
    ("azula", "ItoSampler", "", "check_point_mass_variance"): (
        "by its formula, which the docstring marks as an approximation (the denoised estimate's "
        "weight is frozen over the step, and the noise is not damped): at a point the sample is "
        "multiplied by 2 s'/s - 1 and s**2 - s'**2 is added, a variance of "
        "s'**2 + 2 (s - s')**2. First order, as documented; a convention, not a fault"
    ),
    ("azula", "vABSampler", "", "check_scale"): (
        "by construction: it extrapolates in sigma / (alpha + sigma), the time of a straight path "
        "from data of unit scale. A convention that it documents"
    ),
    ("azula", "REABSampler", "", "check_order"): REAB,
    ("azula", "REABSampler", "", "check_order_nonlinear"): REAB,
    ("azula", "REABSampler", "", "check_point_mass"): UNIT_DATA,
    ("azula", "REABSampler", "", "check_rigid_motion"): UNIT_DATA,
    ("azula", "REABSampler", "", "check_scale"): UNIT_DATA,
    ("diffusers", "DDPMScheduler", "", "check_shapes"): (
        "`model_output.shape[1] == sample.shape[1] * 2` asks for an axis 1, which samples of one "
        "dimension have not: it takes batches of images, a convention"
    ),
    **{
        ("diffusers", start, spacing, check): PREVIOUS
        for start in ("DDIMScheduler", "PNDMScheduler")
        for spacing in ("linspace", "trailing")
        for check in CAUSES
    },
    ("diffusers", "DPMSolverMultistepScheduler", "", "check_order_nonlinear"): MOVING,
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


def explained(peer: Peer, failure: CheckFailed) -> str:
    """Return the cause of a failure, or that it is not known."""
    for (package, start, end, check), cause in EXPLANATIONS.items():
        named = peer.name.startswith(start) and peer.name.endswith(end)
        if package == peer.package and named and check == failure.check:
            return cause
    return "unexplained"


PEERS = {"k-diffusion": k_diffusion, "azula": azula, "diffusers": diffusers}


def page(rows: list[Row], versions: dict[str, str]) -> str:
    """Return the page of docs."""
    held = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "# What the samplers of other packages pass",
        "",
        "The checks of `schedulers.testing`, run by `benchmarks/conformance.py` over samplers of",
        f"{held}. *Order* is that",
        "which was asked for; *float32* means that a sampler keeps its levels or weights in that",
        "precision, and was held to its rounding. Any sampler can be put to the same checks:",
        "",
        "```python",
        ">>> from schedulers.testing import check_sampler",
        ">>> def euler(denoiser, x, sigmas, noise):",
        "...     for s, s_next in zip(sigmas.tolist(), sigmas.tolist()[1:]):",
        "...         x = x + (s_next - s) * (x - denoiser(x, s)) / s",
        "...     return x",
        ">>> check_sampler(euler, order=1)",
        "",
        "```",
        "",
        "| package | sampler | order | precision | passed | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        failed = ", ".join(f"`{failure.check}`" for failure in row.failures) or "none"
        lines.append(
            f"| {row.peer.package} | `{row.peer.name}` | {row.peer.case.order:g} "
            f"| {row.peer.case.precision} | {row.checks - len(row.failures)} of {row.checks} "
            f"| {failed} |"
        )
    lines += ["", "## What failed, and why", ""]
    causes: dict[str, list[str]] = {}
    for row in rows:
        for failure in row.failures:
            causes.setdefault(explained(row.peer, failure), []).append(
                f"  - {row.peer.package} `{row.peer.name}`, `{failure.check}`: "
                f"expected {failure.expected}; got {failure.got}"
            )
    for cause, found in causes.items():
        lines += [f"- {cause[0].upper()}{cause[1:]}.", *found]
    return "\n".join(lines) + "\n"


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
