"""Checks for samplers that this library has never seen.

The checks compare a sampler with what is known exactly: data that is one point, Gaussian data, and
the symmetries that every sampler has. `check_scheduler` takes your own `Scheduler`, `check_sampler`
any function

    sampler(denoiser, x, sigmas, noise) -> x

on NumPy arrays in Karras's convention: x = x_0 + sigma eps, ``denoiser(x, sigma)`` returns the
denoised estimate of x_0, `sigmas` fall and the last may be 0, and ``noise(x)`` returns fresh
standard normal noise. Each check tests one law. A failure says what was expected, what came out and
where to look. In pytest, `parametrize_with_checks` makes each check a test.

>>> from itertools import pairwise
>>> def euler(denoiser, x, sigmas, noise):
...     for s, s_next in pairwise(sigmas.tolist()):
...         x = x + (s_next - s) * (x - denoiser(x, s)) / s
...     return x
>>> check_sampler(euler, order=1)

This Heun's method averages its two slopes wrongly, so its order is 1 at most:

>>> def heun(denoiser, x, sigmas, noise):
...     for s, s_next in pairwise(sigmas.tolist()):
...         d = (x - denoiser(x, s)) / s
...         y = x + (s_next - s) * d
...         if s_next > 0:
...             d = 0.25 * d + 0.75 * (y - denoiser(y, s_next)) / s_next
...         x = x + (s_next - s) * d
...     return x
>>> try:
...     check_sampler(heun, order=2)
... except ChecksFailed as error:
...     print(*(failure.check for failure in error.failures))
check_order check_order_nonlinear
"""

from schedulers.testing.black_box import black_box_law
from schedulers.testing.cases import SamplerCase
from schedulers.testing.checks import (
    check_sampler,
    check_scheduler,
    checks_for,
    parametrize_with_checks,
)
from schedulers.testing.failures import Check, CheckFailed, ChecksFailed
from schedulers.testing.from_torch import from_torch
from schedulers.testing.scheduler_cases import SchedulerCase, as_sampler, scheduler_case

__all__ = [
    "Check",
    "CheckFailed",
    "ChecksFailed",
    "SamplerCase",
    "SchedulerCase",
    "as_sampler",
    "black_box_law",
    "check_sampler",
    "check_scheduler",
    "checks_for",
    "from_torch",
    "parametrize_with_checks",
    "scheduler_case",
]
