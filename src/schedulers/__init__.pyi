from schedulers.batch import Batch as Batch
from schedulers.compat.diffusers.core import from_config as from_config
from schedulers.engine.brownian import BrownianPath as BrownianPath
from schedulers.engine.state import State as State
from schedulers.engine.tableau import Stage as Stage, Tableau as Tableau
from schedulers.engine.thresholds import (
    DynamicThreshold as DynamicThreshold,
    StaticThreshold as StaticThreshold,
)
from schedulers.fitting.fitted import FittedScheduler as FittedScheduler
from schedulers.grids.sigmas import (
    beta_sigmas as beta_sigmas,
    exponential_sigmas as exponential_sigmas,
    karras_sigmas as karras_sigmas,
    polyexponential_sigmas as polyexponential_sigmas,
    vp_sigmas as vp_sigmas,
)
from schedulers.methods.consistency import LCM as LCM, TCD as TCD
from schedulers.methods.ddim import DDIM as DDIM
from schedulers.methods.ddpm import DDPM as DDPM
from schedulers.methods.deis import DEIS as DEIS
from schedulers.methods.dpm2 import DPM2 as DPM2, DPM2Ancestral as DPM2Ancestral
from schedulers.methods.dpm_solver import DPMSolver as DPMSolver
from schedulers.methods.dpm_solver_pp import DPMSolverPP as DPMSolverPP
from schedulers.methods.er_sde import ERSDE as ERSDE
from schedulers.methods.euler import Euler as Euler, EulerAncestral as EulerAncestral
from schedulers.methods.flow_ancestral import FlowAncestral as FlowAncestral
from schedulers.methods.gradient_estimation import GradientEstimation as GradientEstimation
from schedulers.methods.heun import Heun as Heun
from schedulers.methods.lms import LMS as LMS
from schedulers.methods.plms import PLMS as PLMS
from schedulers.methods.res import RES as RES
from schedulers.methods.restart import Restart as Restart
from schedulers.methods.sa_solver import SASolver as SASolver
from schedulers.methods.seeds import SEEDS as SEEDS
from schedulers.methods.unipc import UniPC as UniPC
from schedulers.scheduler import Scheduler as Scheduler
from schedulers.schedules.base import Level as Level, NoiseSchedule as NoiseSchedule
from schedulers.schedules.betas import (
    cosine_betas as cosine_betas,
    laplace_betas as laplace_betas,
    linear_betas as linear_betas,
    rescale_zero_terminal_snr as rescale_zero_terminal_snr,
    scaled_linear_betas as scaled_linear_betas,
    sigmoid_betas as sigmoid_betas,
)
from schedulers.schedules.continuous import (
    CosineSchedule as CosineSchedule,
    FlowSchedule as FlowSchedule,
    VESchedule as VESchedule,
    VPSchedule as VPSchedule,
)
from schedulers.schedules.discrete import DiscreteSchedule as DiscreteSchedule

__version__: str
__all__: list[str]
