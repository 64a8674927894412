"""What the command line calls the schedulers and the noise schedules."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import schedulers as sc

METHODS: dict[str, Callable[..., sc.Scheduler]] = {
    "ddpm": sc.DDPM,
    "ddim": sc.DDIM,
    "euler": sc.Euler,
    "euler-ancestral": sc.EulerAncestral,
    "heun": sc.Heun,
    "plms": sc.PLMS,
    "deis": sc.DEIS,
    "dpm-solver": sc.DPMSolver,
    "dpmpp-2m": sc.DPMSolverPP,
    "dpmpp-3m": partial(sc.DPMSolverPP, order=3),
    "dpmpp-2s": partial(sc.DPMSolverPP, singlestep=True),
    "dpmpp-2m-sde": partial(sc.DPMSolverPP, eta=1.0),
    "dpmpp-sde": partial(sc.DPMSolverPP, singlestep=True, eta=1.0, sde=True),
    "unipc": sc.UniPC,
    "sa-solver": sc.SASolver,
    "res": sc.RES,
    "dpm2": sc.DPM2,
    "dpm2-ancestral": sc.DPM2Ancestral,
    "seeds": sc.SEEDS,
    "er-sde": sc.ERSDE,
    "gradient-estimation": sc.GradientEstimation,
}
BETAS = {
    "linear": sc.linear_betas,
    "scaled-linear": sc.scaled_linear_betas,
    "cosine": sc.cosine_betas,
}
CONTINUOUS: dict[str, Callable[[], sc.NoiseSchedule]] = {
    "vp": sc.VPSchedule,
    "ve": sc.VESchedule,
    "flow": sc.FlowSchedule,
}
SCHEDULE_HELP = (
    "what the model was trained with: betas, linear (DDPM), scaled-linear (Stable Diffusion) or "
    "cosine (Improved DDPM), 1000 of them or as many as in linear:4000; or continuous time, vp, ve "
    "or flow (default: linear)"
)


def schedule(text: str) -> sc.NoiseSchedule:
    """Make the noise schedule of a name, such as "vp" or "linear:1000"."""
    name, colon, count = text.partition(":")
    try:
        if name in CONTINUOUS and not colon:
            return CONTINUOUS[name]()
        return sc.DiscreteSchedule(BETAS[name](int(count) if colon else 1000))
    except (KeyError, TypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"must be {', '.join(BETAS)}, with the number of betas as in linear:1000, or "
            f"{', '.join(CONTINUOUS)}, got {text!r}"
        ) from None
