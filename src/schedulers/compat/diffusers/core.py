"""From a configuration to the core: the schedule, the method, the grid and the threshold."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers import processes
from schedulers.compat.diffusers.consistency import LCMScheduler, TCDScheduler
from schedulers.compat.diffusers.exponential import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from schedulers.compat.diffusers.flow_match import FlowMatchEulerDiscreteScheduler
from schedulers.compat.diffusers.k_samplers import (
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
)
from schedulers.compat.diffusers.multistage import Multistage
from schedulers.compat.diffusers.pndm import PNDMScheduler
from schedulers.compat.diffusers.variance_exploding import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from schedulers.compat.diffusers.variance_preserving import DDIMScheduler, DDPMScheduler
from schedulers.methods.consistency import LCM, TCD
from schedulers.methods.ddim import DDIM
from schedulers.methods.ddpm import DDPM
from schedulers.methods.deis import DEIS
from schedulers.methods.dpm2 import DPM2, DPM2Ancestral
from schedulers.methods.dpm_solver import DPMSolver
from schedulers.methods.dpm_solver_pp import DPMSolverPP
from schedulers.methods.euler import Euler, EulerAncestral
from schedulers.methods.heun import Heun
from schedulers.methods.lms import LMS
from schedulers.methods.plms import PLMS
from schedulers.methods.unipc import UniPC
from schedulers.schedules import tables
from schedulers.schedules.continuous import FlowSchedule
from schedulers.schedules.discrete import DiscreteSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.scheduler import Scheduler
    from schedulers.schedules.base import NoiseSchedule

    Floats = NDArray[np.float64]
    Config = Mapping[str, Any]
    Make = Callable[..., Scheduler]

# A level this near to a training level's is that level: diffusers' sigmas are in float32.
_ROUNDING = 1e-6


def from_config(config: Mapping[str, Any] | str | os.PathLike[str]) -> Scheduler:
    """Make the scheduler of this library that a scheduler_config.json of diffusers names.

    It has the configuration's schedule, prediction type, method, grid and threshold, so that
    `Scheduler.sample`, seeds, `schedulers.editing` and `schedulers.fitting` work with a published
    model. Its samples are those of the class in `schedulers.compat.diffusers`, with these
    differences:

    - A run ends clean, also where the configuration ends at its lowest level instead
      (set_alpha_to_one, final_sigmas_type).
    - Where levels are spaced by sigma the model is told their exact times, which are fractional,
      also where diffusers rounds them. For whole times see `schedulers.grids.whole`.
    - A flow's model is told t in [0, 1]; diffusers' tells it 1000 t. In the denoiser write
      ``network(x, 1000 * t)``.
    - Lower orders in the last steps are those that the method has by itself.

    Parameters
    ----------
    config : mapping, str or path
        A dict, another scheduler's `config`, the file, or the folder that the file is in. Its class
        may be DDPM's, DDIM's, PNDM's, Euler's, Euler ancestral's, Heun's, LMS', KDPM2's (both),
        DPMSolverMultistep's, UniPC's, DEIS', LCM's, TCD's or FlowMatchEuler's.

    Returns
    -------
    Scheduler

    Raises
    ------
    TypeError, ValueError
        If the configuration is not as described, or of a class or an option that has no scheduler
        in the core that is made from it in one line.
    OSError
        If there is no such file.

    Examples
    --------
    >>> from schedulers import from_config
    >>> scheduler = from_config({
    ...     "_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True,
    ...     "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    ... })
    >>> scheduler.schedule, scheduler.order
    (DiscreteSchedule(1000 levels, sigmas from 0.0291675 to 14.6146), 2)
    >>> print(scheduler.tableau(2))
    DPMSolverPP: 2 steps, 2 model evaluations
    step NFE t   alpha    sigma    D       e        z
       1   1 999 0.068265 0.99767  0.99957 0.029155 0
       2   2 0   0.99957  0.029155 1       0        0
    ends at  -1  1        0
    """
    config = tables.configuration(config)
    name = processes.plain(config.get("_class_name"))
    if name not in _METHODS:
        raise ValueError(
            f"config must have a _class_name of {', '.join([*_METHODS][:3])}, ..., got "
            f"{_checks.shown(name)}: make another one by hand, with "
            f"DiscreteSchedule.from_config(config) for betas"
        )
    kind, method = _METHODS[name]
    facade = kind.from_config(config)
    flows = processes.of(name, facade.config) == processes.FLOW
    schedule = FlowSchedule() if flows else DiscreteSchedule.from_config(facade.config)
    own = {key: facade.config[key] for key in signature(kind).parameters}
    grid = Grid(name, json.dumps(own, default=list))
    threshold = facade._threshold(rederive_noise=name != "DDIMScheduler")
    make = method(facade.config)
    return make(schedule, prediction_type=facade._predicts, spacing=grid, threshold=threshold)


@dataclass(frozen=True)
class Grid:
    """A spacing: where a class of diffusers', with its configuration in JSON, begins its steps."""

    class_name: str
    config: str

    def __call__(self, schedule: NoiseSchedule, steps: int) -> Floats:
        """Return the times, in the schedule's."""
        facade = _METHODS[self.class_name][0](**json.loads(self.config))
        facade.set_timesteps(steps)
        if isinstance(schedule, FlowSchedule):
            return np.asarray(facade.sigmas[:-1], np.float64)
        if isinstance(facade, Multistage):
            sigmas = np.array([level.karras for level in facade._levels[:-1]])
        elif hasattr(facade, "sigmas"):
            sigmas = np.asarray(facade.sigmas[:-1], np.float64)
        else:
            return np.asarray(facade.timesteps, np.float64)
        return _times(schedule, sigmas)


def _times(schedule: NoiseSchedule, sigmas: Floats) -> Floats:
    """Return the times of sigmas; whole ones where these are training levels, to rounding."""
    assert isinstance(schedule, DiscreteSchedule)
    finite = schedule.sigmas[np.isfinite(schedule.sigmas)]
    nearest = np.abs(finite - sigmas[:, None]).argmin(axis=1)
    own = np.abs(sigmas / finite[nearest] - 1.0) <= _ROUNDING
    times = np.where(own, nearest, schedule.timestep(np.clip(sigmas, finite[0], finite[-1])))
    # With zero terminal SNR a finite sigma stands for the infinite one.
    beyond = (sigmas > finite[-1]) & ~own
    return np.where(beyond, schedule.t_max, times)


def _dpm_solver(config: Config) -> Make:
    """Return the method of DPMSolverMultistepScheduler's options."""
    algorithm, order = config["algorithm_type"], config["solver_order"]
    final = (1,) if config["euler_at_final"] else ()
    if algorithm in ("dpmsolver++", "sde-dpmsolver++"):
        solver = "heun" if config["solver_type"] == "heun" else "midpoint"
        eta = float(algorithm.startswith("sde"))
        return partial(DPMSolverPP, order=order, solver_type=solver, eta=eta, final_orders=final)
    if algorithm != "dpmsolver":
        raise ValueError(
            f"config must have an algorithm_type of 'dpmsolver++', 'sde-dpmsolver++' or "
            f"'dpmsolver', got {algorithm!r}: make the scheduler by hand, such as SEEDS"
        )
    if config["solver_type"] == "heun" or order != 2:
        return partial(DPMSolver, order=order, final_orders=final)
    return partial(UniPC, predicts="noise", corrector=False)


def _plms(config: Config) -> Make:
    startup = "heun" if config["skip_prk_steps"] else "runge_kutta"
    return partial(PLMS, weights="constant", startup=startup)


def _unipc(config: Config) -> Make:
    return partial(
        UniPC,
        order=config["solver_order"],
        variant="bh1" if config["solver_type"] == "bh1" else "bh2",
        predicts="data" if config["predict_x0"] else "noise",
        lower_order_final=config["lower_order_final"],
    )


def _flow_euler(config: Config) -> Make:
    for option in ("stochastic_sampling", "invert_sigmas"):
        if config[option]:
            raise ValueError(f"config must have {option} false, got {config[option]!r}")
    return DDIM


def _just(make: Make) -> Callable[[Config], Make]:
    return lambda config: make


# Of each class: itself, and what makes a method of its configuration.
_METHODS: dict[str, tuple[Any, Callable[[Config], Make]]] = {
    kind.__name__: (kind, method)
    for kind, method in (
        (DDPMScheduler, lambda config: partial(DDPM, variance=config["variance_type"])),
        (DDIMScheduler, _just(DDIM)),
        (EulerDiscreteScheduler, _just(Euler)),
        (EulerAncestralDiscreteScheduler, _just(EulerAncestral)),
        (HeunDiscreteScheduler, _just(Heun)),
        (LMSDiscreteScheduler, _just(LMS)),
        (KDPM2DiscreteScheduler, _just(DPM2)),
        (KDPM2AncestralDiscreteScheduler, _just(DPM2Ancestral)),
        (PNDMScheduler, _plms),
        (DPMSolverMultistepScheduler, _dpm_solver),
        (UniPCMultistepScheduler, _unipc),
        (
            DEISMultistepScheduler,
            lambda config: partial(DEIS, order=config["solver_order"], variable="log_rho"),
        ),
        (
            LCMScheduler,
            lambda config: partial(LCM, timestep_scaling=config["timestep_scaling"]),
        ),
        (TCDScheduler, _just(TCD)),
        (FlowMatchEulerDiscreteScheduler, _flow_euler),
    )
}
