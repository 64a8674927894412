"""diffusers' schedulers on NumPy alone: the same names, arguments, grids and samples.

A sampling loop that is written for diffusers runs when its import is changed:

>>> import numpy as np
>>> from schedulers.compat.diffusers import DDIMScheduler
>>> def model(x, t):  # your network; here the data is a point at 0
...     return x / np.sqrt(1.0 - scheduler.alphas_cumprod[t])
>>> scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)
>>> scheduler.set_timesteps(20)
>>> x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)) * scheduler.init_noise_sigma
>>> for t in scheduler.timesteps:
...     noise_pred = model(scheduler.scale_model_input(x, t), t)
...     x = scheduler.step(noise_pred, t, x).prev_sample
>>> bool(np.abs(x).max() < 1e-4)
True

The page "Swap it in" has one list of what differs from diffusers, which is 0.42.1 here, with the
reasons. `from_config` makes the core's scheduler of a configuration.
"""

from schedulers.compat.diffusers import processes as _processes
from schedulers.compat.diffusers.base import SchedulerOutput
from schedulers.compat.diffusers.consistency import LCMScheduler, TCDScheduler
from schedulers.compat.diffusers.edm import (
    CosineDPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
)
from schedulers.compat.diffusers.exponential import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)
from schedulers.compat.diffusers.flow_match import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    LTXEulerAncestralRFScheduler,
)
from schedulers.compat.diffusers.inverse import (
    DDIMInverseScheduler,
    DPMSolverMultistepInverseScheduler,
)
from schedulers.compat.diffusers.ipndm import IPNDMScheduler
from schedulers.compat.diffusers.k_samplers import (
    DPMSolverSDEScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
)
from schedulers.compat.diffusers.pndm import PNDMScheduler
from schedulers.compat.diffusers.variance_exploding import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from schedulers.compat.diffusers.variance_preserving import DDIMScheduler, DDPMScheduler

__all__ = [
    "CosineDPMSolverMultistepScheduler",
    "DDIMInverseScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "EDMEulerScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "HeunDiscreteScheduler",
    "IPNDMScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "LTXEulerAncestralRFScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "SchedulerOutput",
    "TCDScheduler",
    "UniPCMultistepScheduler",
]


def __getattr__(name: str) -> object:
    if name.endswith("Scheduler") and not name.startswith("_"):
        raise ImportError(_processes.missing(name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
