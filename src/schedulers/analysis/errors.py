"""Where a scheduler's error comes from, and how it falls with the number of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.analysis.distances import wasserstein2
from schedulers.analysis.law import numbers_of_steps, output_law
from schedulers.analytic import Gaussian
from schedulers.grids import karras_sigmas

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from schedulers.scheduler import Scheduler


@dataclass(frozen=True)
class ErrorBudget:
    """2-Wasserstein distances that a run's error is made of; see `error_budget`.

    Attributes
    ----------
    total : float
        Of the output, begun from noise, to the data. At most the sum of the other three.
    initialization : float
        Of the output begun from noise to the output begun from the marginal at the first level:
        what it does that noise is not quite the noisiest marginal.
    discretization : float
        Of the output begun from that marginal to the marginal at the last level: what the steps do.
    truncation : float
        Of the marginal at the last level to the data: what it does that the run ends before the
        clean level; 0 where it does not.
    """

    total: float
    initialization: float
    discretization: float
    truncation: float


def error_budget(
    scheduler: Scheduler,
    data: Gaussian,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
) -> ErrorBudget:
    """Split the error of a run with Gaussian data's exact denoiser into its three causes.

    With P the law of noise at the first level, p(s) the data's marginal at a level, and R the law
    that the run makes of a law at the first level, the parts are W2(R P, R p(first)),
    W2(R p(first), p(last)) and W2(p(last), p(0)). They are Pierret and Galerne's initialization,
    discretization and truncation errors, each with the others taken away, but that the first is
    carried through the run as it is, instead of through the continuous process.

    Parameters
    ----------
    scheduler, data, steps, timesteps, sigmas
        As for `output_law`.

    Returns
    -------
    ErrorBudget

    Raises
    ------
    TypeError, ValueError
        As for `output_law`.

    References
    ----------
    Pierret, Galerne: Diffusion models for Gaussian distributions: exact solutions and Wasserstein
    errors, ICML 2025, section 4.

    Examples
    --------
    >>> from schedulers import Heun, VESchedule, karras_sigmas
    >>> budget = error_budget(
    ...     Heun(VESchedule()), Gaussian(2.0, 1.0), sigmas=karras_sigmas(18, 0.002, 80.0)
    ... )
    >>> print(f"{budget.initialization:.4f} {budget.discretization:.4f} {budget.truncation:.4f}")
    0.0261 0.0448 0.0000
    """
    levels = {"steps": steps, "timesteps": timesteps, "sigmas": sigmas}
    from_noise = output_law(scheduler, data, **levels)  # type: ignore[arg-type]
    from_marginal = output_law(scheduler, data, **levels, initial="marginal")  # type: ignore[arg-type]
    last = scheduler.tableau(**levels).levels[-1]  # type: ignore[arg-type]
    marginal = data._at(last.alpha, last.sigma)
    return ErrorBudget(
        total=wasserstein2(from_noise, data),
        initialization=wasserstein2(from_noise, from_marginal),
        discretization=wasserstein2(from_marginal, marginal),
        truncation=wasserstein2(marginal, data),
    )


@dataclass(frozen=True)
class Convergence:
    """How a scheduler's discretization error falls; see `convergence_order`.

    Attributes
    ----------
    steps : tuple of int
        Numbers of steps.
    errors : tuple of float
        Discretization error of each, in the units of the data.
    orders : tuple of float
        Estimates of the order, one between each two: -log(error ratio) / log(steps ratio).
    order : float
        The last of them.
    """

    steps: tuple[int, ...]
    errors: tuple[float, ...]
    orders: tuple[float, ...]

    @property
    def order(self) -> float:
        """Estimate of the order from the two largest numbers of steps."""
        return self.orders[-1]


def convergence_order(
    scheduler: Scheduler,
    data: Gaussian,
    steps: Sequence[int] = (20, 40, 80, 160, 320),
    *,
    sigma_min: float = 0.4,
    sigma_max: float = 60.0,
    rho: float = 7.0,
) -> Convergence:
    """Estimate the order at which a scheduler's discretization error falls.

    The error is that of `ErrorBudget.discretization`, on grids of `karras_sigmas` that do not end
    clean: the step from the last level to the clean one has a length that does not fall, and is of
    first order whatever the method. Of a deterministic scheduler it is the root mean square error
    of the samples themselves, once steps are short enough for its gains to be positive, as the
    exact flow's are; of a stochastic one, the error of their law (the weak order).

    Parameters
    ----------
    scheduler : Scheduler
        As for `output_law`.
    data : Gaussian
        The data.
    steps : sequence of int
        At least two numbers of steps, rising.
    sigma_min, sigma_max : float
        Karras's sigma at the last level and at the first.
    rho : float
        As for `karras_sigmas`.

    Returns
    -------
    Convergence

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> from schedulers import Heun, VESchedule
    >>> found = convergence_order(Heun(VESchedule()), Gaussian([0.0, 0.0], [1.0, 4.0]))
    >>> print(f"{found.order:.2f}")
    2.01
    """
    counts = numbers_of_steps(steps)
    if len(counts) < 2:
        raise ValueError(f"steps must be at least two numbers, got {_checks.shown(steps)}")
    if isinstance(data, Gaussian) and not np.any(data.cov):
        raise ValueError(
            f"data must have a variance above 0: a point has no order, on which every method is "
            f"exact in any number of steps; got {_checks.shown(data)}"
        )
    errors = [
        error_budget(
            scheduler, data, sigmas=karras_sigmas(n + 1, sigma_min, sigma_max, rho=rho)[:-1]
        ).discretization
        for n in counts
    ]
    pairs = list(zip(counts, errors, strict=True))
    orders = [
        math.log(error / later) / math.log(more / n) if error and later else math.nan
        for (n, error), (more, later) in pairwise(pairs)
    ]
    return Convergence(counts, tuple(errors), tuple(orders))
