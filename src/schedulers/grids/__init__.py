"""Grids: which noise levels a run visits.

Functions of (n, sigma_min, sigma_max) return Karras sigmas for a scheduler's `sigmas=`: n levels
and a last 0; so does `align_your_steps`, whose ends are its own. Functions of (schedule, steps)
return model times for `timesteps=`, one per step; the clean level follows. A scheduler's `spacing=`
takes a function of the second kind, with `functools.partial` for its options, or a name:

- By the model's time: "trailing", "leading", "linspace", "quadratic"; by ComfyUI's names "simple",
  "normal", "sgm_uniform", "ddim_uniform"; and "beta_times", which ComfyUI calls "beta".
- By Karras's sigma: "karras", "exponential" (also "ve", "log_snr"), "polyexponential", "vp" and
  "beta", on a schedule that begins at a finite sigma; "kl_optimal" on any.
- By the time of rectified flow: "flow_karras", "flow_exponential", "flow_beta", which is what the
  users of flows mean by these grids; and "linear_quadratic".

`whole` rounds the times of any of them, for a model that takes an integer.
"""

from schedulers.grids.community import beta_times, ddim_uniform, normal, sgm_uniform, simple
from schedulers.grids.flow_time import by_flow_time, linear_quadratic
from schedulers.grids.flows import dynamic_shift, shifted
from schedulers.grids.published import align_your_steps, kl_optimal
from schedulers.grids.sigmas import (
    beta_sigmas,
    exponential_sigmas,
    karras_sigmas,
    polyexponential_sigmas,
    vp_sigmas,
)
from schedulers.grids.spacings import SPACINGS, Spacing, whole
from schedulers.grids.times import leading, linspace, quadratic, trailing

__all__ = [
    "SPACINGS",
    "Spacing",
    "align_your_steps",
    "beta_sigmas",
    "beta_times",
    "by_flow_time",
    "ddim_uniform",
    "dynamic_shift",
    "exponential_sigmas",
    "karras_sigmas",
    "kl_optimal",
    "leading",
    "linear_quadratic",
    "linspace",
    "normal",
    "polyexponential_sigmas",
    "quadratic",
    "sgm_uniform",
    "shifted",
    "simple",
    "trailing",
    "vp_sigmas",
    "whole",
]
