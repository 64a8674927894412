"""The law of a scheduler's output for Gaussian data, from its tableau.

For data N(m, C) the estimates at a level (alpha, sigma) are, along an eigenvector of C with the
eigenvalue v,

    D = m + alpha v / S (x - alpha m),   e = sigma / S (x - alpha m),   S = alpha**2 v + sigma**2,

so that a row's weighted sum is linear in the samples at its own and at earlier stages,

    x[i + 1] = sum_k g[i, k] x[i - k] + c[i] z[i] + a constant,
    g[i, k] = (a[i, k] alpha v + b[i, k] sigma) / S        at the level of stage i - k.

With w[i] the derivative of the output by x[i], which is sum_k w[i + k + 1] g[i + k, k] and 1 at the
end, the output is w[0] x[0] + sum_i w[i + 1] c[i] z[i] and a constant: one pass backwards through
the tableau gives every gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.analytic import Gaussian
from schedulers.engine.state import State, advance
from schedulers.methods.ddpm import DDPM
from schedulers.scheduler import Scheduler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.engine.tableau import Tableau

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TransferFunction:
    """Gains along each eigenvector of the data's covariance, from what goes in to what comes out.

    Attributes
    ----------
    variances : ndarray of float64, shape s
        Eigenvalues of the data's covariance.
    start : ndarray of float64, shape s
        Gain of the given sample x_T.
    entry : ndarray of float64, shape s
        Gain of the standard normal noise that raises the first level; 0 without churn there.
    stages : ndarray of float64, shape ``(nfe, *s)``
        Gain of each stage's standard normal noise; 0 where it draws none.
    """

    variances: Floats
    start: Floats
    entry: Floats
    stages: Floats

    @property
    def noise_variance(self) -> Floats:
        """Variance of the output that fresh noise makes, shape s."""
        return np.asarray(self.entry**2 + np.sum(self.stages**2, axis=0))


def transfer_function(
    scheduler: Scheduler,
    variances: ArrayLike,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
) -> TransferFunction:
    """Gains from the starting sample and from every fresh noise to the output.

    Parameters
    ----------
    scheduler : Scheduler
        Without a threshold and without a learned variance, which are not linear.
    variances : array_like, any shape
        Variances of the data along the axes of its covariance, at least 0.
    steps, timesteps, sigmas
        As for `Scheduler.tableau`.

    Returns
    -------
    TransferFunction

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Benita, Elad, Keshet: Spectral Analysis of Diffusion Models with Application to Schedule Design,
    2025, for DDIM; here for any tableau, as the module's docstring derives.

    Examples
    --------
    >>> from schedulers import DDIM, VESchedule
    >>> transfer_function(DDIM(VESchedule()), [9.0], sigmas=[4.0, 0.0]).start  # D: 9 / (9 + 16)
    array([0.36])
    """
    v = _checks.array("variances", variances)
    if v.min(initial=0.0) < 0.0:
        raise ValueError(f"variances must be at least 0, got {_checks.shown(variances)}")
    return _gains(_linear_tableau(scheduler, steps, timesteps, sigmas), v)


def output_law(
    scheduler: Scheduler,
    data: Gaussian,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
    initial: str | Gaussian = "noise",
) -> Gaussian:
    """Exact law of what comes out of a run with the exact denoiser of Gaussian data.

    Parameters
    ----------
    scheduler : Scheduler
        Without a threshold and without a learned variance, which are not linear.
    data : Gaussian
        The data.
    steps, timesteps, sigmas
        As for `Scheduler.tableau`.
    initial : str or Gaussian
        Law of the sample at the first level: "noise" is that of `Scheduler.initial_noise`,
        N(0, sigma**2 I); "marginal" that of noised data, N(alpha mean, alpha**2 cov + sigma**2 I);
        or any other, of the data's event shape.

    Returns
    -------
    Gaussian
        At the last level, whose noise is in it where that is not clean.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Pierret, Galerne: Diffusion models for Gaussian distributions: exact solutions and Wasserstein
    errors, ICML 2025, for Euler's, Heun's and DDPM's; here for any tableau, as the module's
    docstring derives.

    Examples
    --------
    >>> from schedulers import DDPM, DiscreteSchedule, linear_betas
    >>> scheduler = DDPM(DiscreteSchedule(linear_betas(1000)))
    >>> law = output_law(scheduler, Gaussian(mean=[3.0, 0.0], cov=[0.25, 1.0]), steps=100)
    >>> law.mean.round(3), law.cov.round(3)
    (array([3., 0.]), array([0.219, 0.922]))
    """
    if not isinstance(data, Gaussian):
        raise TypeError(f"data must be a Gaussian, got {_checks.shown(data)}")
    tableau = _linear_tableau(scheduler, steps, timesteps, sigmas)
    start = starting_law(tableau, data, initial)
    gains = _gains(tableau, data._variances)
    mean = _pushed_mean(tableau, data, start.mean)
    if (start._basis is None and start._variances.ndim == 0) or start._basis is data._basis:
        variances = gains.start**2 * start._variances + gains.noise_variance
        return data._with(mean, variances)
    size = data.mean.size
    basis = np.eye(size) if data._basis is None else data._basis
    gain, noise = along_axes(data, gains.start), along_axes(data, gains.noise_variance)
    moved = basis * gain @ basis.T
    return Gaussian(mean, moved @ matrix(start) @ moved.T + basis * noise @ basis.T)


def matrix(law: Gaussian) -> Floats:
    """Covariance as a matrix."""
    if law._basis is not None:
        return law.cov
    return np.diag(along_axes(law, law._variances))


def along_axes(law: Gaussian, values: Floats) -> Floats:
    """Values that belong to the axes of a law's covariance, as a vector with one for each."""
    if law._basis is not None:
        return values
    return np.broadcast_to(values, law.event_shape or (1,)).reshape(-1)


def numbers_of_steps(steps: Any) -> tuple[int, ...]:
    """Check a sequence of numbers of steps: at least one, rising."""
    if not np.iterable(steps) or isinstance(steps, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"steps must be a sequence of integers, got {_checks.shown(steps)}")
    counts = tuple(_checks.count("steps", n) for n in steps)
    if not counts or list(counts) != sorted(set(counts)):
        raise ValueError(f"steps must be rising numbers, got {_checks.shown(steps)}")
    return counts


def starting_law(tableau: Tableau, data: Gaussian, initial: str | Gaussian) -> Gaussian:
    """Law of the sample at a run's first level."""
    level = tableau.levels[0]
    if isinstance(initial, Gaussian):
        if initial.event_shape != data.event_shape:
            raise ValueError(
                f"initial must have the event shape of data, {data.event_shape}, "
                f"got {initial.event_shape}"
            )
        return initial
    if _checks.choice("initial", initial, ("noise", "marginal")) == "marginal":
        return data._at(level.alpha, level.sigma)
    return Gaussian(np.zeros(data.event_shape), level.sigma**2)


def _linear_tableau(
    scheduler: Scheduler,
    steps: int | None,
    timesteps: ArrayLike | None,
    sigmas: ArrayLike | None,
) -> Tableau:
    if not isinstance(scheduler, Scheduler):
        raise TypeError(f"scheduler must be a Scheduler, got {_checks.shown(scheduler)}")
    if scheduler.threshold is not None:
        raise ValueError(
            f"scheduler must have no threshold, which is not linear, "
            f"got {_checks.shown(scheduler.threshold)}"
        )
    tableau = scheduler.tableau(steps, timesteps=timesteps, sigmas=sigmas)
    first = tableau.levels[0]
    if not first.sigma < 1e150:
        raise ValueError(f"sigmas must have squares that float64 holds, got one of {first.sigma:g}")
    if isinstance(scheduler, DDPM) and scheduler.learns_variance:
        raise ValueError(
            "scheduler must have noise of a known scale, got one with a learned variance"
        )
    return tableau


def _estimates(tableau: Tableau, v: Floats) -> tuple[list[Floats], list[Floats]]:
    """Gains of x - alpha m in D and in e, at each stage."""
    d, e = [], []
    for stage in tableau.stages:
        alpha, told = stage.told.alpha, stage.told.sigma
        total = alpha**2 * v + told**2
        d.append(alpha * v / total)
        louder = 1.0 if stage.told_sigma is None else stage.level.sigma / told
        e.append(told / total / louder)
    return d, e


def _gains(tableau: Tableau, v: Floats) -> TransferFunction:
    d, e = _estimates(tableau, v)
    # w[i], the derivative of the output by the sample at stage i; the last is the output's own.
    w = [np.zeros_like(v) for _ in tableau.stages] + [np.ones_like(v)]
    noise = np.zeros((tableau.nfe, *v.shape))
    for i in reversed(range(tableau.nfe)):
        stage = tableau.stages[i]
        noise[i] = stage.c * w[i + 1]
        for k, weight in enumerate(stage.a[: i + 1]):
            w[i - k] = w[i - k] + weight * (w[i + 1] * d[i - k])
        for k, weight in enumerate(stage.b[: i + 1]):
            w[i - k] = w[i - k] + weight * (w[i + 1] * e[i - k])
    scale, c = tableau.entry
    return TransferFunction(v.copy(), np.asarray(scale * w[0]), np.asarray(c * w[0]), noise)


def _pushed_mean(tableau: Tableau, data: Gaussian, start: Any) -> Floats:
    """Mean of the output: a run from the mean, without noise."""
    state = State.first(tableau, tableau.entry[0] * np.asarray(start), np.float64)
    while not state.done:
        told = tableau.stages[state.index].told
        denoised, _ = data._posterior(state.carried, told.alpha, told.sigma)
        state = advance(state, denoised, "sample", keep_denoised=False)
    return np.asarray(state.carried)
