"""Diffusion schedulers in pure NumPy: a scheduler is a table of weights, and one engine runs it.

A public name is loaded from its module when it is first used, so that the import itself costs next
to nothing (Scientific Python's SPEC 1).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names, for those who read types
    from schedulers.betas import (
        cosine_betas as cosine_betas,
    )
    from schedulers.betas import (
        laplace_betas as laplace_betas,
    )
    from schedulers.betas import (
        linear_betas as linear_betas,
    )
    from schedulers.betas import (
        rescale_zero_terminal_snr as rescale_zero_terminal_snr,
    )
    from schedulers.betas import (
        scaled_linear_betas as scaled_linear_betas,
    )
    from schedulers.betas import (
        sigmoid_betas as sigmoid_betas,
    )
    from schedulers.ddim import (
        DDIM as DDIM,
    )
    from schedulers.ddpm import (
        DDPM as DDPM,
    )
    from schedulers.euler import (
        Euler as Euler,
    )
    from schedulers.euler import (
        EulerAncestral as EulerAncestral,
    )
    from schedulers.grids import (
        beta_sigmas as beta_sigmas,
    )
    from schedulers.grids import (
        exponential_sigmas as exponential_sigmas,
    )
    from schedulers.grids import (
        karras_sigmas as karras_sigmas,
    )
    from schedulers.grids import (
        polyexponential_sigmas as polyexponential_sigmas,
    )
    from schedulers.grids import (
        vp_sigmas as vp_sigmas,
    )
    from schedulers.heun import (
        Heun as Heun,
    )
    from schedulers.noise_schedules import (
        CosineSchedule as CosineSchedule,
    )
    from schedulers.noise_schedules import (
        DiscreteSchedule as DiscreteSchedule,
    )
    from schedulers.noise_schedules import (
        FlowSchedule as FlowSchedule,
    )
    from schedulers.noise_schedules import (
        Level as Level,
    )
    from schedulers.noise_schedules import (
        NoiseSchedule as NoiseSchedule,
    )
    from schedulers.noise_schedules import (
        VESchedule as VESchedule,
    )
    from schedulers.noise_schedules import (
        VPSchedule as VPSchedule,
    )
    from schedulers.parameterization import (
        DynamicThreshold as DynamicThreshold,
    )
    from schedulers.parameterization import (
        StaticThreshold as StaticThreshold,
    )
    from schedulers.plms import (
        PLMS as PLMS,
    )
    from schedulers.scheduler import (
        Scheduler as Scheduler,
    )
    from schedulers.tableau import (
        Stage as Stage,
    )
    from schedulers.tableau import (
        State as State,
    )
    from schedulers.tableau import (
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
    "ddim": ["DDIM"],
    "ddpm": ["DDPM"],
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
        "DiscreteSchedule",
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
_MODULES = [*_NAMES, "analytic"]

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
