"""Noise schedules: the noise levels that a model was trained with."""

from schedulers.schedules.base import Level, NoiseSchedule
from schedulers.schedules.betas import (
    cosine_betas,
    laplace_betas,
    linear_betas,
    rescale_zero_terminal_snr,
    scaled_linear_betas,
    sigmoid_betas,
)
from schedulers.schedules.continuous import CosineSchedule, FlowSchedule, VESchedule, VPSchedule
from schedulers.schedules.discrete import DiscreteSchedule

__all__ = [
    "CosineSchedule",
    "DiscreteSchedule",
    "FlowSchedule",
    "Level",
    "NoiseSchedule",
    "VESchedule",
    "VPSchedule",
    "cosine_betas",
    "laplace_betas",
    "linear_betas",
    "rescale_zero_terminal_snr",
    "scaled_linear_betas",
    "sigmoid_betas",
]
