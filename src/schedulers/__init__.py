"""Diffusion schedulers in pure NumPy: a scheduler is a table of weights, and one engine runs it.

A public name is loaded from its module when it is first used, so that the import itself costs next
to nothing (Scientific Python's SPEC 1).
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # the same names, for those who read types
    from schedulers.betas import (
        cosine_betas as cosine_betas,
        laplace_betas as laplace_betas,
        linear_betas as linear_betas,
        rescale_zero_terminal_snr as rescale_zero_terminal_snr,
        scaled_linear_betas as scaled_linear_betas,
        sigmoid_betas as sigmoid_betas,
    )
    from schedulers.brownian import BrownianPath as BrownianPath
    from schedulers.ddim import DDIM as DDIM
    from schedulers.ddpm import DDPM as DDPM
    from schedulers.discrete_schedule import DiscreteSchedule as DiscreteSchedule
    from schedulers.euler import (
        Euler as Euler,
        EulerAncestral as EulerAncestral,
    )
    from schedulers.grids import (
        beta_sigmas as beta_sigmas,
        exponential_sigmas as exponential_sigmas,
        karras_sigmas as karras_sigmas,
        polyexponential_sigmas as polyexponential_sigmas,
        vp_sigmas as vp_sigmas,
    )
    from schedulers.heun import Heun as Heun
    from schedulers.noise_schedules import (
        CosineSchedule as CosineSchedule,
        FlowSchedule as FlowSchedule,
        Level as Level,
        NoiseSchedule as NoiseSchedule,
        VESchedule as VESchedule,
        VPSchedule as VPSchedule,
    )
    from schedulers.parameterization import (
        DynamicThreshold as DynamicThreshold,
        StaticThreshold as StaticThreshold,
    )
    from schedulers.plms import PLMS as PLMS
    from schedulers.scheduler import Scheduler as Scheduler
    from schedulers.tableau import (
        Stage as Stage,
        State as State,
        Tableau as Tableau,
    )

_NAMES = {
    "betas": [
        "cosine_betas",
        "laplace_betas",
        "linear_betas",
        "rescale_zero_terminal_snr",
        "scaled_linear_betas",
        "sigmoid_betas",
    ],
    "brownian": ["BrownianPath"],
    "ddim": ["DDIM"],
    "ddpm": ["DDPM"],
    "discrete_schedule": ["DiscreteSchedule"],
    "euler": ["Euler", "EulerAncestral"],
    "grids": [
        "beta_sigmas",
        "exponential_sigmas",
        "karras_sigmas",
        "polyexponential_sigmas",
        "vp_sigmas",
    ],
    "heun": ["Heun"],
    "noise_schedules": [
        "CosineSchedule",
        "FlowSchedule",
        "Level",
        "NoiseSchedule",
        "VESchedule",
        "VPSchedule",
    ],
    "parameterization": ["DynamicThreshold", "StaticThreshold"],
    "plms": ["PLMS"],
    "scheduler": ["Scheduler"],
    "tableau": ["Stage", "State", "Tableau"],
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = [
    *_NAMES,
    "analysis",
    "analytic",
    "editing",
    "interpolate",
    "likelihood",
    "models",
    "testing",
]

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    value: object
    if name in _HOMES:
        value = getattr(import_module(f"schedulers.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"schedulers.{name}")
    else:
        raise AttributeError(f"module 'schedulers' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
