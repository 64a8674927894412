"""The law of a sampler's output, found by impulses, against two other routes to it.

One is a recursion of mean and variance, made of the papers' steps in `reference`, which share no
code with the schedulers; the other is sampling.
"""

import math
from itertools import pairwise

import numpy as np
import pytest

import reference
import schedulers as sc
from kit import DISCRETE
from schedulers.analytic import Gaussian
from schedulers.testing import as_sampler, black_box_law

MEAN, VARIANCE = 1.5, 0.49
SAMPLES = 200_000


def denoise(x, s):
    """Posterior mean in VE coordinates."""
    return MEAN + VARIANCE / (VARIANCE + s**2) * (x - MEAN)


def eps(x, i):
    """The same Gaussian's exact epsilon model on the trained schedule."""
    abar = DISCRETE.alphas_cumprod[i]
    off = x - math.sqrt(abar) * MEAN
    return math.sqrt(1.0 - abar) / (abar * VARIANCE + 1.0 - abar) * off


INDICES = sc.DDIM(DISCRETE).tableau(12).timesteps
SIGMAS = sc.karras_sigmas(12, 0.02, 80.0)
ABAR = DISCRETE.alphas_cumprod
CHURN = {"s_churn": 6.0, "s_tmin": 0.05, "s_tmax": 60.0, "s_noise": 1.003}
VE = sc.VESchedule()

# name: (scheduler, levels, the paper's algorithm as (x, normal) -> x_0)
CHAINS = {
    "DDPM fixed_small": (
        sc.DDPM(DISCRETE),
        {"timesteps": INDICES},
        lambda x, z: reference.ddpm(eps, x, ABAR, INDICES, "fixed_small", z),
    ),
    "DDPM fixed_large": (
        sc.DDPM(DISCRETE, variance="fixed_large"),
        {"timesteps": INDICES},
        lambda x, z: reference.ddpm(eps, x, ABAR, INDICES, "fixed_large", z),
    ),
    "DDIM eta=0.5": (
        sc.DDIM(DISCRETE, eta=0.5),
        {"timesteps": INDICES},
        lambda x, z: reference.ddim(
            eps, x, ABAR, INDICES, reference.ddim_sigmas(ABAR, INDICES, 0.5), z
        ),
    ),
    "EulerAncestral": (
        sc.EulerAncestral(VE),
        {"sigmas": SIGMAS},
        lambda x, z: reference.ancestral(denoise, x, SIGMAS, z),
    ),
    "Euler churn": (
        sc.Euler(VE, **CHURN),
        {"sigmas": SIGMAS},
        lambda x, z: reference.edm(denoise, x, SIGMAS, z, second_order=False, **CHURN),
    ),
    "Heun churn": (
        sc.Heun(VE, **CHURN),
        {"sigmas": SIGMAS},
        lambda x, z: reference.edm(denoise, x, SIGMAS, z, second_order=True, **CHURN),
    ),
}


def recursion(algorithm, start_variance):
    """Mean and variance of an affine algorithm's output from a start of N(0, start_variance)."""
    draws = 0

    def impulse(at):
        nonlocal draws
        draws = 0

        def normal():
            nonlocal draws
            draws += 1
            return 1.0 if draws == at else 0.0

        return normal

    mean = algorithm(0.0, impulse(0))
    gains = [algorithm(0.0, impulse(k)) - mean for k in range(1, draws + 1)]
    gain = algorithm(1.0, impulse(0)) - mean
    return mean, gain**2 * start_variance + sum(g**2 for g in gains)


def law_of(name):
    """The law by impulses, from noise at the scale of the first level."""
    scheduler, levels, _ = CHAINS[name]
    tableau = scheduler.tableau(**levels)
    alpha, sigma = tableau.levels[0].alpha, tableau.levels[0].sigma
    start = Gaussian([0.0], [(sigma / alpha) ** 2])
    return black_box_law(
        as_sampler(scheduler), Gaussian([MEAN], [VARIANCE]), tableau.sigmas, initial=start
    )


@pytest.mark.parametrize("name", CHAINS)
def test_impulses_give_the_law_of_the_papers_recursion(name):
    scheduler, levels, algorithm = CHAINS[name]
    sigma = scheduler.tableau(**levels).levels[0].sigma
    mean, variance = recursion(algorithm, sigma**2)
    law = law_of(name)
    np.testing.assert_allclose(law.mean, [mean], rtol=1e-10)
    np.testing.assert_allclose(law.cov, [[variance]], rtol=1e-10)


@pytest.mark.parametrize("name", CHAINS)
def test_samples_have_the_law_that_impulses_give(name):
    scheduler, levels, _ = CHAINS[name]
    x = scheduler.initial_noise(SAMPLES, rng=7, **levels)
    model = Gaussian(MEAN, VARIANCE).denoiser(scheduler.schedule)
    got = scheduler.sample(model, x, rng=7, **levels)
    law = law_of(name)
    (mean,), variance = law.mean, float(law.cov.reshape(()))
    # Four standard errors of each, which one run in 16 000 exceeds; this one has a fixed seed.
    assert abs(got.mean() - mean) < 4.0 * math.sqrt(variance / SAMPLES)
    assert abs(got.var() / variance - 1.0) < 4.0 * math.sqrt(2.0 / SAMPLES)


def euler(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas):
        x = x + (s_next - s) * (x - denoiser(x, s)) / s
    return x


def test_a_full_covariance_is_that_of_its_axes():
    # Along each axis of the data's covariance Euler's step is a product of numbers.
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    variances, mean = np.array([0.1, 1.0, 9.0]), np.array([1.0, -2.0, 3.0])
    sigmas = [10.0, 4.0, 1.0, 0.25]
    gain = np.ones(3)
    for s, s_next in pairwise(sigmas):
        gain *= 1.0 + (s_next - s) * s / (variances + s**2)
    start = Gaussian(mean, (basis * (variances + 100.0)) @ basis.T)
    data = Gaussian(mean, (basis * variances) @ basis.T)
    law = black_box_law(euler, data, sigmas, initial=start)
    np.testing.assert_allclose(law.mean, mean, rtol=1e-12)
    expected = (basis * (gain**2 * (variances + 100.0))) @ basis.T
    np.testing.assert_allclose(law.cov, expected, rtol=1e-10, atol=1e-12)
    # from noise alone, by default
    law = black_box_law(euler, data, sigmas)
    expected = (basis * (gain**2 * 100.0)) @ basis.T
    np.testing.assert_allclose(law.cov, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(law.mean, mean - basis @ (gain * (basis.T @ mean)), rtol=1e-10)


def test_data_of_any_shape_is_taken_in_its_own_order():
    data = Gaussian(np.arange(6.0).reshape(2, 3), np.arange(1.0, 7.0).reshape(2, 3))
    law = black_box_law(euler, data, [2.0, 0.0])
    assert law.mean.shape == (2, 3)
    assert law.cov.shape == (6, 6)
    variances = np.arange(1.0, 7.0)
    np.testing.assert_allclose(np.diag(law.cov), (variances / (variances + 4.0)) ** 2 * 4.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: black_box_law(euler, 3.0, [1.0, 0.0]), TypeError, "data must be a Gaussian"),
        (
            lambda: black_box_law(euler, Gaussian(0.0, 1.0), [1.0, 0.0], initial=2.0),
            TypeError,
            "initial must be a Gaussian",
        ),
        (
            lambda: black_box_law(
                euler, Gaussian([0.0], 1.0), [1.0, 0.0], initial=Gaussian([0.0, 1.0], 1.0)
            ),
            ValueError,
            "initial must have the data's 1 elements",
        ),
        (lambda: black_box_law(euler, Gaussian(0.0, 1.0), "ab"), TypeError, "sigmas must be real"),
        (
            lambda: black_box_law(
                lambda d, x, s, noise: np.tanh(x), Gaussian(0.0, 1.0), [1.0, 0.0]
            ),
            ValueError,
            "sampler must be affine",
        ),
        (
            lambda: black_box_law(
                lambda d, x, s, noise: x - x[::-1], Gaussian(0.0, 1.0), [1.0, 0.0]
            ),
            ValueError,
            "independent of each other",
        ),
    ],
)
def test_what_has_no_such_law_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
