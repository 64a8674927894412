"""One Brownian path, whatever the number of steps."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, SCHEDULES, STOCHASTIC, bounded_denoiser, seeds
from schedulers import Level, Stage, Tableau
from schedulers.analytic import Gaussian
from schedulers.engine.noise import stage_place

VE = SCHEDULES["ve"]
points = st.floats(0.0, 1.0)


def increment(path, low, high, shape=(4,)):
    """W(high) - W(low)."""
    return np.sqrt(high - low) * path.normal(stage_place(0, (low, high)), shape, np.float64)


@given(seed=seeds, ends=st.lists(points, min_size=3, max_size=3, unique=True))
def test_the_noise_of_a_step_is_the_sum_of_its_parts(seed, ends):
    low, middle, high = sorted(ends)
    if min(middle - low, high - middle) < 1e-7:
        return
    path = sc.BrownianPath(seed)
    parts = increment(path, low, middle) + increment(path, middle, high)
    np.testing.assert_allclose(parts, increment(path, low, high), atol=1e-12)


def test_increments_are_independent_and_of_unit_variance():
    path, n = sc.BrownianPath(3), 20_000
    ends = [0.0, 1e-6, 0.01, 0.2500001, 0.25 + 2e-7, 1 / 3, 0.5, 0.75, 1.0 - 1e-5, 1.0]
    z = [path.normal(stage_place(0, span), (n,), np.float64) for span in pairwise(ends)]
    # Each entry's standard error is at most sqrt(2 / n).
    assert np.abs(np.cov(z, bias=True) - np.eye(len(z))).max() < 5.0 * np.sqrt(2.0 / n)
    assert np.abs(np.mean(z, axis=1)).max() < 5.0 / np.sqrt(n)


def test_steps_of_a_few_of_the_last_intervals_have_unit_variance():
    # Their ends lie inside intervals that are halved no more: what is drawn there is a part of it.
    n, path, last = 40_000, sc.BrownianPath(5), 2.0**-30
    for low, length in ((0.3, 1.3), (0.3 + 0.2 * last, 2.0), (0.7, 3.4)):
        z = path.normal(stage_place(0, (low, low + length * last)), (n,), np.float64)
        assert abs(np.mean(z**2) - 1.0) < 5.0 * np.sqrt(2.0 / n)


def test_the_path_is_a_function_of_the_seed_and_each_sample_has_its_own():
    one, same, other = (sc.BrownianPath(seed) for seed in (1, np.random.SeedSequence(1), 2))
    np.testing.assert_array_equal(increment(one, 0.2, 0.7), increment(same, 0.2, 0.7))
    assert np.all(increment(one, 0.2, 0.7) != increment(other, 0.2, 0.7))
    both = increment(sc.BrownianPath([1, 2]), 0.2, 0.7, shape=(2, 4))
    np.testing.assert_array_equal(both[0], increment(one, 0.2, 0.7))
    np.testing.assert_array_equal(both[1], increment(other, 0.2, 0.7))


def test_the_rows_of_a_step_share_its_part_of_the_path():
    levels = tuple(Level(s, 1.0, s) for s in (3.0, 1.0, 0.0))
    rows = [(1.0, False), (0.0, False), (1.0, True), (0.0, True)]
    stages = tuple(Stage(levels[0], (1.0,), (1.0,), c, ends_step=ends) for c, ends in rows)
    spans = Tableau("Mine", levels, stages).spans
    assert [spans[0], spans[2]] == [(0.625, 0.75), (0.5, 0.625)]
    assert Tableau("Mine", (Level(1.0, 0.0, 1.0), levels[2]), stages[3:]).spans == [(0.0, 1.0)]


@pytest.mark.parametrize("name", STOCHASTIC)
def test_every_loop_takes_a_path(name):
    scheduler, path = ALL[name](VE, spacing="karras"), sc.BrownianPath([4, 5])
    x = scheduler.initial_noise((2, 3), steps=6, rng=path)
    expected = scheduler.sample(bounded_denoiser, x, steps=6, rng=path)
    state = scheduler.init(x, steps=6, rng=path)
    while not state.done:
        state = scheduler.update(bounded_denoiser(state.x, state.t), state, rng=path)
    np.testing.assert_array_equal(state.x, expected)
    alone = scheduler.sample(bounded_denoiser, x[1:], steps=6, rng=sc.BrownianPath(5))
    np.testing.assert_array_equal(alone, expected[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [sc.EulerAncestral, sc.DDPM, lambda ve, **kw: sc.DDIM(ve, eta=1.0, **kw)]
)
def test_on_one_path_the_samples_converge_at_first_order(make):
    # Reverse diffusion has additive noise, for which Euler's and Maruyama's method is of strong
    # order 1; with fresh noise for every number of steps the samples would not converge at all.
    ve = sc.VESchedule(sigma_min=0.1, sigma_max=10.0)
    scheduler = make(ve, prediction_type="sample", spacing="karras")
    denoiser = Gaussian(0.0, 1.0).denoiser(ve, prediction_type="sample")
    x, path = 10.0 * np.random.default_rng(0).standard_normal(500), sc.BrownianPath(1)
    runs = [
        scheduler.sample(denoiser, x, sigmas=sc.karras_sigmas(n, 0.1, 10.0)[:-1], rng=path)
        for n in (17, 33, 65, 129, 257)
    ]
    gaps = [np.sqrt(np.mean((a - b) ** 2)) for a, b in pairwise(runs)]
    orders = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert np.all(np.abs(orders - 1.0) < 0.2), orders
    assert gaps[-1] < 0.02


@pytest.mark.parametrize("seeds", [1.5, "1", None, [1, 0.5], np.random.default_rng(0), abs])
def test_the_seeds_of_a_path_are_checked(seeds):
    with pytest.raises(TypeError, match=r"^(seeds|seeds\[1\]) must be"):
        sc.BrownianPath(seeds)


def test_levels_that_a_path_cannot_tell_apart_are_refused():
    with pytest.raises(ValueError, match="levels must be further apart for a BrownianPath"):
        increment(sc.BrownianPath(0), 0.3, 0.3 + 1e-12)
