"""DDPM's variational bound by its terms, and what a receiver of its bits has decoded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine.arrays import weighted_sum
from schedulers.engine.noise import Noise, Place
from schedulers.engine.row_law import RowLaw
from schedulers.engine.state import State, advance
from schedulers.engine.tableau import Tableau
from schedulers.engine.text import table
from schedulers.likelihood.samples import checked, difference, per_sample
from schedulers.methods.ddpm import DDPM, decoder_deviations

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.engine.noise import RandomSource

    Array = Any
    Denoiser = Callable[[Array, float], Array]
    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VariationalBound:
    """Terms of the bound on the negative log-likelihood, for each of n samples.

    Attributes
    ----------
    timesteps : tuple of float
        Model time at which each step begins, as `Tableau.timesteps`.
    terms : ndarray of float64, shape (k, n)
        In nats. The first is L_T and the last L_0; between them is L_{t-1} of each step, but for a
        step that ends clean, which is L_0's.
    squared_error : ndarray of float64, shape (steps, n)
        Mean square over the elements of x_0 - D, at the start of each step.
    dimensions : int
        Number of elements of a sample.
    """

    timesteps: tuple[float, ...]
    terms: Floats
    squared_error: Floats
    dimensions: int

    @property
    def total(self) -> Floats:
        """The bound: the sum of the terms in nats, shape (n,)."""
        return np.asarray(self.terms.sum(axis=0))

    @property
    def bits(self) -> Floats:
        """The terms in bits per dimension, shape (k, n)."""
        return self.terms / (self.dimensions * math.log(2.0))

    @property
    def bits_per_dimension(self) -> Floats:
        """The bound in bits per dimension, shape (n,)."""
        return np.asarray(self.bits.sum(axis=0))

    @property
    def rate(self) -> Floats:
        """Bits per dimension that tell x_t, at the start of each step: L_T + ... + L_t.

        Shape (steps, n). What is left of the bound at the last is L_0 (Ho et al. 2020, section
        4.3, where it counts as distortion).
        """
        return np.asarray(np.cumsum(self.bits, axis=0)[: len(self.timesteps)])

    @property
    def distortion(self) -> Floats:
        """Root of `squared_error`: the distance of D, which x_t tells, from x_0."""
        return np.asarray(np.sqrt(self.squared_error))

    def __str__(self) -> str:
        inner = self.terms[1:-1].sum(axis=0)
        terms = {"L_T": self.terms[0], "L_t": inner, "L_0": self.terms[-1], "bound": self.total}
        steps, n = self.squared_error.shape
        head = (
            f"{steps} step{'s' * (steps > 1)}, {n} sample{'s' * (n > 1)} in {self.dimensions} "
            f"dimension{'s' * (self.dimensions > 1)}{'; means' * (n > 1)}"
        )
        lines = [["", "nats", "bits/dim"]]
        for name, nats in terms.items():
            bits = nats.mean() / (self.dimensions * math.log(2.0))
            lines.append([name, f"{nats.mean():.4f}", f"{bits:.4f}"])
        return "\n".join([head, *table(lines, names=True)])


def variational_bound(
    scheduler: DDPM,
    denoiser: Denoiser,
    x_0: Array,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
    rng: RandomSource = None,
    draws: int = 1,
    decoder_std: float | None = None,
    bins: int | None = None,
) -> VariationalBound:
    """Bound on the negative log-likelihood of data under the chain that a scheduler samples from.

    With x_T, ..., x_1 the samples at the levels of a run, and p the chain from N(0, sigma_T**2 I),
    which is where `Scheduler.initial_noise` begins, -log p(x_0) is on average over the terms' noise
    at most (Ho et al. 2020, eq. 5)

        L_T       KL of q(x_T | x_0) = N(alpha_T x_0, sigma_T**2 I) from p(x_T),
        L_{t-1}   KL of q(x_{t-1} | x_t, x_0) from p(x_{t-1} | x_t), for every step but the last,
        L_0       -log p(x_0 | x_1),

    each at a fresh x_t = alpha x_0 + sigma eps. Both Gaussians of L_{t-1} have the mean of the
    tableau's row: that of p with the model's D and e, that of q with x_0 and eps (eq. 7 and 8).

    The row that ends clean has no variance, so that p(x_0 | x_1) is a decoder: N(D, std**2 I). Of
    continuous data L_0 is its density. Of data on a grid in [-1, 1] it is the probability of x_0's
    bin, the outermost of which have no end (eq. 13). If the model learned its variance, the
    decoder's is the model's, too: for "learned_range" it lies between beta of the last step and,
    as its own beta~ is 0, beta~ of the step before (Nichol & Dhariwal 2021, section 3.1).

    The bits per dimension of those papers are those of all training levels, ``steps=len(betas)``,
    with ``bins=256`` and ``threshold=StaticThreshold(1.0)``. There the variance of L_0 is beta of
    the last step in the text of Ho et al., which is the default here, and beta~ of the step before
    in their code: give ``decoder_std=DDPM(schedule).tableau(steps).stages[-2].c``. Their prior is
    N(0, I). That changes L_T of data in [-1, 1] by at most alpha_T**4 / 4 nats per dimension.

    A run that ends at a noise level has a last x_n, and all steps have their L_{t-1}. L_0 is then
    the entropy of q(x_n | x_0), and the sum is a bound on -log p(x_n), averaged over x_n as well.

    Parameters
    ----------
    scheduler : DDPM
        Any of its variances, on any schedule.
    denoiser : callable
        As for `Scheduler.step`.
    x_0 : ndarray of floats, shape ``(n, *event_shape)``
        Data.
    steps, timesteps, sigmas
        As for `Scheduler.tableau`.
    rng : source of noise
        As in the notes on `Scheduler`; a seed gives every term and draw its own noise, and a
        Generator draws in the order of the terms.
    draws : int
        Number of x_t that every term is averaged over; as many model evaluations for each step.
    decoder_std : float, optional
        Standard deviation of the decoder. By default the model's if it learned its variance, or
        else sigma / sqrt(alpha**2 + sigma**2) at the last step's start, which is the root of beta
        where variance is preserved, and exact for data ~ N(0, I).
    bins : int, optional
        Number of values that an element may have, evenly spaced from -1 to 1, such as 256. By
        default the data is continuous.

    Returns
    -------
    VariationalBound

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, if a decoder is given for a run that does not end
        clean, or if `x_0` is not on the grid of `bins`; for the model's output, as for
        `Scheduler.update`.

    References
    ----------
    Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, NeurIPS 2020. Nichol, Dhariwal:
    Improved Denoising Diffusion Probabilistic Models, ICML 2021.

    Examples
    --------
    >>> from schedulers import DDPM, DiscreteSchedule, linear_betas
    >>> from schedulers.analytic import Gaussian
    >>> data, schedule = Gaussian(np.zeros(4), cov=0.25), DiscreteSchedule(linear_betas(1000))
    >>> scheduler, x_0 = DDPM(schedule, variance="fixed_large"), data.sample(5000, rng=0)
    >>> bound = variational_bound(scheduler, data.denoiser(schedule), x_0, steps=100, rng=1)
    >>> print(bound)
    100 steps, 5000 samples in 4 dimensions; means
                 nats    bits/dim
    L_T        0.0000      0.0000
    L_t        9.7963      3.5333
    L_0       -6.8769     -2.4803
    bound      2.9194      1.0530
    >>> print(f"-log p(x_0) is {-data.log_prob(x_0).mean():.4f} nats")
    -log p(x_0) is 2.8874 nats
    """
    _check_scheduler(scheduler)
    _checks.function("denoiser", denoiser, "(x, t)")
    carried, dtype = checked("x_0", x_0)
    scheduler._checked_sample("x_0", carried)
    noise = Noise.bind(rng, carried)
    draws = _checks.count("draws", draws)
    tableau = scheduler.tableau(steps, timesteps=timesteps, sigmas=sigmas)
    sender = _sender(scheduler).tableau(steps, timesteps=timesteps, sigmas=sigmas)
    last_term = _last_term(scheduler, tableau, carried, decoder_std, bins)

    first = tableau.levels[0]
    prior = RowLaw(0.0 * carried, first.sigma)
    terms = [RowLaw(first.alpha * carried, first.sigma).kl_divergence(prior)]
    errors = []
    for row, (stage, then) in enumerate(zip(sender.stages, tableau.levels[1:], strict=True)):
        now, nats, squares = stage.level, [], []
        for k in range(draws):
            z = noise.draw(Place("term", row, k))
            x = weighted_sum(((now.alpha, carried), (now.sigma, z)))
            mean, std, denoised = _reverse(scheduler, denoiser, State(tableau, row, x, dtype))
            if then.sigma:
                true = advance(State(sender, row, x, dtype), carried, "sample", keep_denoised=False)
                nats.append(RowLaw(true.carried, stage.c).kl_divergence(RowLaw(mean, std)))
            else:
                nats.append(last_term(mean, std))
            squares.append(per_sample(np.mean, np.square(difference(carried, denoised))))
        terms.append(np.mean(nats, axis=0))
        errors.append(np.mean(squares, axis=0))
    if tableau.levels[-1].sigma:
        terms.append(last_term(carried, 0.0))
    return VariationalBound(
        tuple(tableau.timesteps), np.array(terms), np.array(errors), carried[0].size
    )


def progressive_decoding(
    scheduler: DDPM,
    denoiser: Denoiser,
    x_0: Array,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
    rng: RandomSource = None,
) -> Floats:
    """Estimates of x_0 that a receiver has, who is sent x_T, ..., x_1 (Ho et al. 2020, Alg. 3, 4).

    The sender knows x_0 and draws x_T from q(x_T | x_0), then every x_{t-1} from
    q(x_{t-1} | x_t, x_0), which takes the bits of `VariationalBound.rate`. It is a run of DDPM with
    a model that says x_0. The receiver's estimate is the model's D at x_t (eq. 15).

    Parameters
    ----------
    scheduler, denoiser, x_0, steps, timesteps, sigmas
        As for `variational_bound`.
    rng : source of noise, except a function
        As in the notes on `Scheduler`.

    Returns
    -------
    ndarray of float64, shape ``(steps, *x_0.shape)``
        At the start of each step.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; for the model's output, as for `Scheduler.update`.

    Examples
    --------
    >>> from schedulers import DDPM, VESchedule
    >>> from schedulers.analytic import Empirical
    >>> data, x_0 = Empirical([-1.0, 0.0, 2.0]), np.array([2.0])
    >>> denoiser = data.denoiser(VESchedule())
    >>> sigmas = [80.0, 8.0, 2.0, 0.5, 0.0]
    >>> estimates = progressive_decoding(DDPM(VESchedule()), denoiser, x_0, sigmas=sigmas, rng=0)
    >>> estimates[:, 0].round(2)
    array([0.37, 0.59, 0.76, 1.98])
    """
    _check_scheduler(scheduler)
    _checks.function("denoiser", denoiser, "(x, t)")
    carried, dtype = checked("x_0", x_0)
    scheduler._checked_sample("x_0", carried)
    tableau = scheduler.tableau(steps, timesteps=timesteps, sigmas=sigmas)
    levels: dict[str, Any] = {"steps": steps, "timesteps": timesteps, "sigmas": sigmas}
    sender = _sender(scheduler)
    noise = sender.initial_noise(
        carried.shape, rng=rng, dtype=carried.dtype, data_std=0.0, **levels
    )
    x_T = tableau.levels[0].alpha * carried + noise
    sent = [x_T, *(s.x for s in sender.iterate(lambda x, t: carried, x_T, rng=rng, **levels))]
    received = (
        _reverse(scheduler, denoiser, State(tableau, row, x, dtype))
        for row, x in enumerate(sent[:-1])
    )
    return np.array([denoised for _, _, denoised in received], dtype=np.float64)


def _check_scheduler(scheduler: object) -> None:
    if not isinstance(scheduler, DDPM):
        raise TypeError(f"scheduler must be a DDPM, got {_checks.shown(scheduler)}")


def _sender(scheduler: DDPM) -> DDPM:
    """Chain of q(x_{t-1} | x_t, x_0): DDPM's with the posterior's variance, for a model of x_0."""
    return DDPM(scheduler.schedule, prediction_type="sample", spacing=scheduler.spacing)


def _reverse(scheduler: DDPM, denoiser: Denoiser, state: State) -> tuple[Array, Any, Array]:
    """Mean and standard deviation of p(x_{t-1} | x_t), and D."""
    output, std = scheduler._read(denoiser(state.carried.astype(state.dtype), state.t), state)
    after = advance(state, output, scheduler.prediction_type, scheduler.threshold)
    return after.carried, std, after.carried_denoised


def _last_term(
    scheduler: DDPM, tableau: Tableau, x_0: Array, decoder_std: float | None, bins: int | None
) -> Callable[[Array, Any], Floats]:
    """L_0 as a function of the decoder's mean, and of the deviation that the model says."""
    end = tableau.levels[-1]
    if end.sigma:
        for name, value in (("decoder_std", decoder_std), ("bins", bins)):
            if value is not None:
                raise ValueError(
                    f"{name} must not be given for a run that ends at a noise level, of "
                    f"sigma = {end.sigma:g}: there is no decoder; got {_checks.shown(value)}"
                )
        entropy = RowLaw(x_0, end.sigma).entropy()
        return lambda mean, std: entropy
    if decoder_std is None and not scheduler.learns_variance:
        decoder_std = decoder_deviations(tableau.levels)[1]
    if decoder_std is not None:
        decoder_std = _checks.real("decoder_std", decoder_std, above=0.0)
        if not 1e-150 <= decoder_std <= 1e150:
            raise ValueError(
                f"decoder_std must have a square that float64 holds, got {decoder_std:g}"
            )
    edges = None if bins is None else _edges(x_0, _checks.between("bins", bins, 2, 2**24))

    def last_term(mean: Array, std: Any) -> Floats:
        decoder = RowLaw(mean, std if decoder_std is None else decoder_std)
        if edges is None:
            return np.asarray(-decoder.log_prob(x_0))
        lower, upper = (difference(edge, mean) / decoder.std for edge in edges)
        return -per_sample(np.sum, _log_interval(lower, upper))

    return last_term


def _edges(x_0: Array, bins: int) -> tuple[Floats, Floats]:
    """Ends of the bin that each element lies in (Ho et al. 2020, eq. 13)."""
    place = (x_0.astype(np.float64) + 1.0) * (0.5 * (bins - 1))
    number = np.rint(place)
    # A twentieth of a step, as float16 rounds by up to 0.03 of one in 256.
    off = ~((np.abs(place - number) <= 0.05) & (number >= 0) & (number < bins))
    if off.any():
        raise ValueError(
            f"x_0 must be on the grid of {bins} values from -1 to 1 that bins={bins} says, got "
            f"{float(x_0[off][0])!r}"
        )
    lower = (2.0 * number - 1.0) / (bins - 1) - 1.0
    upper = (2.0 * number + 1.0) / (bins - 1) - 1.0
    lower[number == 0] = -math.inf
    upper[number == bins - 1] = math.inf
    return lower, upper


def _log_interval(a: Floats, b: Floats) -> Floats:
    """Log of the standard normal probability of [a, b], in whichever tail."""
    from scipy.special import log_ndtr

    mirrored = a > 0.0
    a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
    log_a, log_b = log_ndtr(a), log_ndtr(b)
    return np.asarray(log_b + np.log(-np.expm1(log_a - log_b)))
