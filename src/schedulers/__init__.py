"""Diffusion schedulers in pure NumPy: a scheduler is a table of weights, and one engine runs it."""

from schedulers.betas import (
    cosine_betas,
    laplace_betas,
    linear_betas,
    rescale_zero_terminal_snr,
    scaled_linear_betas,
    sigmoid_betas,
)
from schedulers.ddim import DDIM
from schedulers.ddpm import DDPM
from schedulers.euler import Euler, EulerAncestral
from schedulers.grids import (
    beta_sigmas,
    exponential_sigmas,
    karras_sigmas,
    polyexponential_sigmas,
    vp_sigmas,
)
from schedulers.heun import Heun
from schedulers.noise_schedules import (
    CosineSchedule,
    DiscreteSchedule,
    FlowSchedule,
    Level,
    NoiseSchedule,
    VESchedule,
    VPSchedule,
)
from schedulers.parameterization import DynamicThreshold, StaticThreshold
from schedulers.plms import PLMS
from schedulers.scheduler import Scheduler
from schedulers.tableau import Stage, State, Tableau

__all__ = [
    "DDIM",
    "DDPM",
    "PLMS",
    "CosineSchedule",
    "DiscreteSchedule",
    "DynamicThreshold",
    "Euler",
    "EulerAncestral",
    "FlowSchedule",
    "Heun",
    "Level",
    "NoiseSchedule",
    "Scheduler",
    "Stage",
    "State",
    "StaticThreshold",
    "Tableau",
    "VESchedule",
    "VPSchedule",
    "beta_sigmas",
    "cosine_betas",
    "exponential_sigmas",
    "karras_sigmas",
    "laplace_betas",
    "linear_betas",
    "polyexponential_sigmas",
    "rescale_zero_terminal_snr",
    "scaled_linear_betas",
    "sigmoid_betas",
    "vp_sigmas",
]
