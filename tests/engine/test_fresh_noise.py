"""What `rng` names: the noise of a stage, or a position in a stream."""

import math

import numpy as np

import schedulers as sc
from kit import DISCRETE

VE = sc.VESchedule()


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
