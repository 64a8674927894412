"""On a Gaussian a stochastic scheduler's samples have the mean and variance of its own recursion.

With a Gaussian's denoiser every step is affine, so the law of a chain is a recursion of a mean and
a variance. Here it is made from the papers' steps in `reference`, which share no code with the
schedulers, by giving them a start of 0 or 1 and noise of 0 or 1 in one place at a time.
"""

import math

import numpy as np
import pytest

import reference
import schedulers as sc
from kit import DISCRETE
from schedulers.analytic import Gaussian

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


def law(algorithm, start_variance):
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


def start_variance(scheduler, levels):
    return scheduler.tableau(**levels).levels[0].sigma ** 2


@pytest.mark.parametrize("name", CHAINS)
def test_samples_have_the_mean_and_variance_of_the_recursion(name):
    scheduler, levels, algorithm = CHAINS[name]
    x = scheduler.initial_noise(SAMPLES, rng=7, **levels)
    model = Gaussian(MEAN, VARIANCE).denoiser(scheduler.schedule)
    got = scheduler.sample(model, x, rng=7, **levels)
    mean, variance = law(algorithm, start_variance(scheduler, levels))
    # Four standard errors of each, which one run in 16 000 exceeds; this one has a fixed seed.
    assert abs(got.mean() - mean) < 4.0 * math.sqrt(variance / SAMPLES)
    assert abs(got.var() / variance - 1.0) < 4.0 * math.sqrt(2.0 / SAMPLES)


def recursion(make, steps):
    """Error of the recursion's mean and variance against the data's, at this many steps."""
    scheduler, levels, algorithm = make(steps)
    mean, variance = law(algorithm, start_variance(scheduler, levels))
    return abs(mean - MEAN), abs(variance - VARIANCE)


def ddpm(variance):
    def make(steps):
        scheduler = sc.DDPM(DISCRETE, variance=variance)
        indices = scheduler.tableau(steps).timesteps
        return (
            scheduler,
            {"timesteps": indices},
            lambda x, z: reference.ddpm(eps, x, ABAR, indices, variance, z),
        )

    return make


def ddim_half(steps):
    scheduler = sc.DDIM(DISCRETE, eta=0.5)
    indices = scheduler.tableau(steps).timesteps
    sigmas = reference.ddim_sigmas(ABAR, indices, 0.5)
    return (
        scheduler,
        {"timesteps": indices},
        lambda x, z: reference.ddim(eps, x, ABAR, indices, sigmas, z),
    )


def on_ve(scheduler, algorithm):
    def make(steps):
        sigmas = sc.karras_sigmas(steps, 0.002, 80.0)
        return scheduler, {"sigmas": sigmas}, lambda x, z: algorithm(x, sigmas, z)

    return make


LIMITS = {
    "DDPM fixed_small": ddpm("fixed_small"),
    "DDPM fixed_large": ddpm("fixed_large"),
    "DDIM eta=0.5": ddim_half,
    "EulerAncestral": on_ve(
        sc.EulerAncestral(VE), lambda x, s, z: reference.ancestral(denoise, x, s, z)
    ),
    "Euler churn": on_ve(
        sc.Euler(VE, s_churn=6.0),
        lambda x, s, z: reference.edm(denoise, x, s, z, second_order=False, s_churn=6.0),
    ),
    "Heun churn": on_ve(
        sc.Heun(VE, s_churn=6.0),
        lambda x, s, z: reference.edm(denoise, x, s, z, second_order=True, s_churn=6.0),
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_recursion_tends_to_the_data_as_steps_grow(name):
    errors = np.array([recursion(LIMITS[name], steps) for steps in (80, 160, 320)])
    # First order, Heun second; what is left of the mean is the start, which has the mean 0.
    assert np.all(errors[1:, 1] < errors[:-1, 1] * (0.3 if "Heun" in name else 0.6))
    assert errors[-1, 1] < 0.04 * VARIANCE
    assert errors[-1, 0] < 2e-3


def test_an_int_names_noise_and_each_place_has_its_own():
    scheduler = sc.DDPM(DISCRETE)
    drawn = [scheduler.initial_noise(50_000, steps=3, rng=0)]
    drawn.append(scheduler.add_noise(np.zeros(50_000), 999, rng=0) / DISCRETE.sigma(999))
    state = scheduler.init(np.zeros(50_000), steps=3, rng=0)
    for stage in state.tableau.stages[:-1]:
        before = state.x * (stage.a[0] / stage.level.alpha)  # all that is left of x where e is 0
        state = scheduler.update(np.zeros(50_000), state, rng=0)
        drawn.append((state.x - before) / stage.c)
    churned = sc.Euler(VE, s_churn=1.0).init(np.zeros(50_000), sigmas=[2.0, 0.0], rng=0)
    drawn.append(churned.x / np.std(churned.x))
    correlation = np.corrcoef(drawn)
    np.fill_diagonal(correlation, 0.0)
    assert len(drawn) == 5
    assert np.abs(correlation).max() < 4.5 / math.sqrt(50_000)
    for one in drawn:
        assert abs(np.std(one) - 1.0) < 0.02


def test_the_noise_of_a_stage_is_a_function_of_seed_and_stage_alone():
    scheduler = sc.DDPM(DISCRETE)
    x, zero = np.zeros(4), np.zeros(4)
    whole = list(scheduler.iterate(lambda x, t: zero, x, timesteps=[900, 500, 100], rng=3))
    later = scheduler.init(x, timesteps=[900, 500, 100])
    for state in whole[:2]:
        later = scheduler.update(zero, later, rng=np.random.SeedSequence(3))
        np.testing.assert_array_equal(later.x, state.x)
    other = scheduler.sample(lambda x, t: zero, x, timesteps=[900, 500, 100], rng=4)
    assert not np.allclose(other, whole[-1].x)
    child = scheduler.sample(
        lambda x, t: zero, x, timesteps=[900, 500], rng=np.random.SeedSequence(3, spawn_key=(1,))
    )
    assert not np.allclose(
        child, scheduler.sample(lambda x, t: zero, x, timesteps=[900, 500], rng=3)
    )


def test_no_rng_is_new_noise_each_time():
    scheduler = sc.DDPM(DISCRETE)
    x = scheduler.initial_noise(4, steps=3)
    assert not np.allclose(x, scheduler.initial_noise(4, steps=3))
    state = scheduler.init(x, steps=3)
    one, other = (scheduler.update(np.zeros(4), state) for _ in range(2))
    assert not np.allclose(one.x, other.x)


def test_a_generator_draws_in_order_and_only_where_there_is_noise():
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    x = sc.DDPM(DISCRETE).initial_noise((2, 3), steps=3, rng=rng)
    np.testing.assert_array_equal(x, DISCRETE.sigma(999) * again.standard_normal((2, 3)))
    sc.DDIM(DISCRETE).sample(lambda x, t: x, x, steps=3, rng=rng)
    sc.DDPM(DISCRETE).sample(lambda x, t: x, x, steps=3, rng=rng)
    again.standard_normal((2, 2, 3))
    assert rng.bit_generator.state == again.bit_generator.state
