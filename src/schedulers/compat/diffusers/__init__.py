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

What differs from diffusers, which is 0.42.1 here:

- Arrays are NumPy's, PyTorch's or JAX's; `timesteps` is a NumPy array, or a tensor where PyTorch is
  loaded and `set_timesteps` is given a `device`. PyTorch networks want that one. Times are int64 or
  float32 as there, either way.
- `generator` may also be an int, a numpy.random.Generator, a numpy.random.RandomState or the module
  numpy.random, a list of one for each sample, or whatever a core scheduler's `rng` may be. An int
  names the noise of each step.
- `timesteps`, `sigmas`, `alphas_cumprod` and `final_alpha_cumprod` may be assigned or written into,
  and steps follow them; what they cannot follow is an error.
- A configuration of another process, such as a flow's for a class of betas, is an error.
- A scheduler may be used for several runs at a time. The methods whose steps weigh earlier
  evaluations know a run by the sample that they gave it, and go on by its own grid. A sample that
  is nobody's, such as one that was blended with another, goes on with the thread's latest run that
  expects its time and shape, and else begins a run. A step of the other methods depends on its
  timestep and the grid that is set: runs of the same grid go side by side, and a sample that a step
  returned before set_timesteps set another grid is refused. (A copy of it is a sample like any
  other: it goes on by the new grid.)
- A level beyond the model's, a time that repeats, or an input of the wrong kind is an error.
- Where a step of diffusers' does not lead where the next one begins, or adds noise to a finished
  sample, the one here is right: see `DDIMScheduler` and `DDPMScheduler`, which have the option
  `diffusers_steps`, `PNDMScheduler`, `EulerDiscreteScheduler.get_velocity`, and the variance type
  "fixed_large_log" (NaN in diffusers, beta here). Trailing times are as many as there are steps.
- Where alpha is 0, epsilon tells nothing of x_0 and is refused; so is a rise of the sigmas in
  Euler-ancestral sampling.
- The page "Swap it in" lists where the samples of each class differ, with the reasons.
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
