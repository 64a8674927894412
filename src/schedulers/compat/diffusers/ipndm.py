"""Improved PNDM in diffusers' interface, for models of v at times of a cosine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import (
    Indexed,
    single,
)
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.multistage import Multistage
from schedulers.engine import arrays
from schedulers.engine.tableau import Tableau
from schedulers.methods.plms import plms_rows
from schedulers.schedules.base import Level

Array = Any


class IPNDMScheduler(Indexed, Multistage):
    """Improved PNDM in diffusers' interface: `schedulers.PLMS` with the paper's constant weights.

    Parameters as in diffusers' `IPNDMScheduler`. The model predicts v. (diffusers takes the
    denoised estimate of the first step, where alpha is 0, as 0; here it is -v, which v says.)
    """

    init_noise_sigma = 1.0

    @configured
    def __init__(self, num_train_timesteps: int = 1000, trained_betas: Any = None) -> None:
        _checks.count("num_train_timesteps", num_train_timesteps)
        self._set_up()
        self.set_timesteps(num_train_timesteps)

    def _set_up(self) -> None:
        self._begin_steps()

    @property
    def _predicts(self) -> str:
        return "v_prediction"

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the times of a run by their number.

        Parameters
        ----------
        num_inference_steps : int
            Number of steps.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        """
        steps = self._check_steps(num_inference_steps)
        if self.config.trained_betas is None:
            betas = np.sin(np.linspace(1.0, 0.0, steps + 1) * math.pi / 2.0) ** 2
        else:
            betas = _checks.vector("trained_betas", self.config.trained_betas)
            if len(betas) != steps + 1:
                raise ValueError(
                    f"trained_betas must have one entry more than there are steps, {steps + 1}, "
                    f"got {len(betas)}"
                )
        self.betas = betas.astype(np.float32)
        self.alphas = np.sqrt(1.0 - self.betas.astype(np.float64) ** 2).astype(np.float32)
        pairs = zip(self.alphas.tolist(), self.betas.tolist(), strict=True)
        levels = tuple(Level(_time(a, b), a, b) for a, b in pairs)
        self._set_levels(levels, device, np.float32)
        self._step_index = None

    def _tableau(self, first: int) -> Tableau:
        levels = self._levels[first:]
        return Tableau(type(self).__name__, levels, tuple(plms_rows(levels)))

    def scale_model_input(self, sample: Array, *args: Any, **kwargs: Any) -> Array:
        """Return the sample, which is at the model's own scale."""
        arrays.check_floats("sample", sample)
        return sample

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output, sample : array
            What the model returned for the sample, and the sample itself, of one shape.
        timestep : float, or an array of one
            The one of `timesteps` that comes next.
        return_dict : bool
            Whether to return an object with names, or a tuple.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample`.
        """
        t = single(timestep)
        result = self._advance(model_output, t, sample, return_dict, denoised=False)
        self._step_index = self._row_taken + 1
        return result


def _time(alpha: float, beta: float) -> float:
    return float(np.float32(math.atan2(beta, alpha) / math.pi * 2.0))
