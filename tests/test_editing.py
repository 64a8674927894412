"""Images made of parts of others."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

import schedulers as sc
from kit import (
    ALL,
    DETERMINISTIC,
    NEED_SIGNAL,
    PREDICTIONS,
    SCHEDULES,
    deterministic,
    names,
    predictions,
    relative_error,
    schedules,
    seeds,
    sigma_grids,
)
from schedulers.analytic import Gaussian, GaussianMixture
from schedulers.editing import image_to_image, inpaint

PAIRS = GaussianMixture([[-1.0, -1.0], [1.0, 1.0]], std=0.3)
CORRELATED = Gaussian([0.0, 1.0, -0.5], [[1.0, 0.6, 0.3], [0.6, 1.0, 0.6], [0.3, 0.6, 1.0]])
MASK = np.array([1.0, 0.0, 1.0])
KNOWN = np.array([[0.7, 9.0, -1.2]])


def start(scheduler, seed=0, shape=(4, 3), **levels):
    return scheduler.initial_noise(shape, rng=seed, **levels)


@given(deterministic, schedules, predictions, sigma_grids())
def test_inpainting_is_replacement_at_every_level_with_the_noise_of_the_start(
    method, name, prediction, sigmas
):
    """Another route: after each step the known part is put in place by hand."""
    schedule = SCHEDULES[name]
    scheduler = DETERMINISTIC[method](schedule, prediction_type=prediction)
    model = CORRELATED.denoiser(schedule, prediction)
    x_T = start(scheduler, sigmas=sigmas)
    first, *levels = schedule.levels(schedule.timestep(sigmas[sigmas > 0.0]))
    if sigmas[-1] == 0.0:
        levels.append(schedule.clean)
    seen = []
    got = inpaint(
        scheduler, model, x_T, KNOWN, MASK, sigmas=sigmas, callback=lambda s: seen.append(s.x)
    )
    np.testing.assert_array_equal(got, seen[-1])
    for level, x in zip(levels, seen, strict=True):
        put = level.alpha * KNOWN + level.sigma * (x_T / first.sigma)
        assert relative_error(MASK * x, MASK * put) < 1e-9
    if method in ("DDIM", "Euler"):  # which have no memory of what was not replaced
        x = x_T + MASK * first.alpha * KNOWN
        for before, level in zip([first, *levels], levels, strict=False):
            x = scheduler.sample(model, x, sigmas=[before.karras, level.karras])
            put = level.alpha * KNOWN + level.sigma * (x_T / first.sigma)
            x = MASK * put + (1.0 - MASK) * x
        assert relative_error(got, x) < 1e-9


@given(names, schedules, predictions, seeds)
def test_the_known_part_ends_as_it_is_and_the_rest_is_that_of_a_model_of_it(
    method, name, prediction, seed
):
    # Of independent pixels the rest is what it is without the known part.
    schedule = SCHEDULES[name]
    scheduler = ALL[method](schedule, prediction_type=prediction)
    model = Gaussian([1.0, 2.0, 0.5], [0.5, 1.0, 2.0]).denoiser(schedule, prediction)
    sigmas = [8.0, 3.0, 1.0, 0.2, 0.0]
    x_T = start(scheduler, seed, sigmas=sigmas)
    got = inpaint(scheduler, model, x_T, KNOWN, MASK, sigmas=sigmas, rng=seed)
    np.testing.assert_allclose(got[:, [0, 2]], np.broadcast_to(KNOWN[:, [0, 2]], (4, 2)), rtol=1e-9)
    alone = scheduler.sample(model, x_T, sigmas=sigmas, rng=seed)
    np.testing.assert_allclose(got[:, 1], alone[:, 1], rtol=1e-10)


@pytest.mark.parametrize("method", ["DDPM", "DDIM1", "EulerAncestral", "Heun-churn"])
def test_with_fresh_noise_the_known_part_has_its_own_marginal_at_every_level(method):
    schedule = SCHEDULES["vp"]
    scheduler = ALL[method](schedule)
    model = CORRELATED.denoiser(schedule)
    x_T = start(scheduler, shape=(40_000, 3), sigmas=[6.0, 2.0, 0.7, 0.2])
    states = []
    inpaint(
        scheduler,
        model,
        x_T,
        KNOWN,
        MASK,
        sigmas=[6.0, 2.0, 0.7, 0.2],
        rng=1,
        callback=states.append,
    )
    for state in states:
        noise = (state.x - state.level.alpha * KNOWN)[:, 0] / state.level.sigma
        assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
        assert abs(noise.var() - 1.0) < 4 * np.sqrt(2 / noise.size)


def test_the_missing_part_goes_with_the_known_one():
    schedule = SCHEDULES["cosine"]
    scheduler = sc.DDPM(schedule, prediction_type="v_prediction")
    x_T = scheduler.initial_noise((2000, 2), steps=100, rng=0)
    for value in (-1.0, 1.0):
        model = PAIRS.denoiser(schedule, "v_prediction")
        known, mask = np.array([value, 0.0]), np.array([True, False])
        made = inpaint(scheduler, model, x_T, known, mask, steps=100, rng=1)
        assert np.mean(np.sign(made[:, 1]) == value) > 0.9


@given(names, schedules)
def test_a_mask_of_zeros_is_sample_and_one_of_ones_gives_the_known(method, name):
    schedule = SCHEDULES[name]
    scheduler = ALL[method](schedule)
    model, sigmas = CORRELATED.denoiser(schedule), [5.0, 2.0, 0.5, 0.0]
    x_T = start(scheduler, sigmas=sigmas)
    none = inpaint(scheduler, model, x_T, KNOWN, np.zeros(3), sigmas=sigmas, rng=3)
    alone = scheduler.sample(model, x_T, sigmas=sigmas, rng=3)
    assert relative_error(none, alone) < 1e-13
    every = inpaint(scheduler, model, x_T, KNOWN, np.ones(3, bool), sigmas=sigmas, rng=3)
    assert relative_error(every, np.broadcast_to(KNOWN, (4, 3))) < 1e-10


@given(st.sampled_from([np.float16, np.float32]))
def test_inpainting_keeps_the_dtype(dtype):
    scheduler = sc.DDIM(SCHEDULES["vp"])
    model = CORRELATED.denoiser(SCHEDULES["vp"])
    x_T = start(scheduler, steps=5).astype(dtype)
    seen = []

    def lower(x, t):
        seen.append(x.dtype)
        return model(x, t).astype(x.dtype)

    made = inpaint(scheduler, lower, x_T, KNOWN, MASK, steps=5)
    assert made.dtype == dtype
    assert set(seen) == {np.dtype(dtype)}
    exact = inpaint(scheduler, model, x_T.astype(float), KNOWN, MASK, steps=5)
    assert relative_error(made.astype(float), exact) < 100 * np.finfo(dtype).eps


def test_a_model_that_writes_to_its_argument_changes_nothing():
    scheduler = sc.DDIM(SCHEDULES["vp"])
    model, x_T = CORRELATED.denoiser(SCHEDULES["vp"]), start(scheduler, steps=5)

    def careless(x, t):
        output = model(x, t)
        x[:] = np.nan
        return output

    made = [inpaint(scheduler, m, x_T, KNOWN, MASK, steps=5) for m in (model, careless)]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (lambda x: x[0], ValueError, "the model's output at t=1 must have shape (4, 3), got (3,)"),
        (lambda x: np.append(x, x, 1), ValueError, "must have shape (4, 3), got (4, 6)"),
        (lambda x: np.zeros(x.shape, int), TypeError, "the model's output at t=1 must have a"),
        (
            lambda x: None,
            TypeError,
            "the model's output at t=1 must be an array of floats, got None",
        ),
        (lambda x: np.nan * x, ValueError, "the model's output at t=1 must be finite"),
    ],
)
def test_what_the_model_returns_is_checked_before_it_is_mixed(output, error, message):
    scheduler = sc.DDIM(SCHEDULES["vp"])
    x_T = start(scheduler, steps=5)
    with pytest.raises(error, match=re.escape(message)):
        inpaint(scheduler, lambda x, t: output(x), x_T, KNOWN, MASK, steps=5)


def test_a_single_number_is_inpainted():
    made = inpaint(
        sc.DDIM(SCHEDULES["vp"]), lambda x, t: x, np.array(1.0), np.array(0.5), np.array(1.0), 5
    )
    assert made == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scheduler": sc.DDIM}, TypeError, "scheduler must be a Scheduler"),
        ({"denoiser": 1}, TypeError, "denoiser must be a callable"),
        ({"x_T": np.ones((4, 3), int)}, TypeError, "x_T must have a floating dtype"),
        ({"known": np.full(3, np.nan)}, ValueError, "known must be finite"),
        ({"known": np.ones(4)}, ValueError, "known must have a shape that broadcasts"),
        ({"mask": np.ones((5, 4, 3))}, ValueError, "mask must have a shape that broadcasts"),
        (
            {"mask": np.array([0.0, 2.0, 1.0])},
            ValueError,
            "mask must be between 0 and 1 everywhere, got 0 to 2",
        ),
        ({"mask": "left"}, TypeError, "mask must be real numbers"),
    ],
)
def test_bad_arguments_of_inpaint_are_named(change, error, message):
    def never(x, t):
        raise AssertionError

    scheduler = sc.DDIM(SCHEDULES["vp"])
    arguments = {
        "scheduler": scheduler,
        "denoiser": never,
        "x_T": np.ones((4, 3)),
        "known": KNOWN,
        "mask": MASK,
        "steps": 5,
    }
    with pytest.raises(error, match=re.escape(message)):
        inpaint(**arguments | change)


def test_a_model_that_learned_its_variance_is_refused():
    scheduler = sc.DDPM(SCHEDULES["vp"], variance="learned")
    x = np.ones((1, 2, 3, 3))
    with pytest.raises(ValueError, match="whose model has not learned its variance"):
        inpaint(scheduler, lambda x, t: x, x, x, np.ones(3), steps=5)


@given(names, schedules, predictions, st.integers(1, 12), st.floats(0.01, 1.0), seeds)
def test_image_to_image_is_the_end_of_the_run_from_noised_data(
    method, name, prediction, steps, strength, seed
):
    schedule = SCHEDULES[name]
    scheduler = ALL[method](schedule, prediction_type=prediction)
    no_signal = schedule.alpha(schedule.t_max) == 0.0
    assume(not (no_signal and (method in NEED_SIGNAL or prediction in ("epsilon", "score"))))
    model = CORRELATED.denoiser(schedule, prediction)
    x_0 = np.random.default_rng(seed).normal(size=(4, 3))
    times = scheduler.tableau(steps).timesteps[steps - max(1, round(strength * steps)) :]
    got = image_to_image(scheduler, model, x_0, steps, strength=strength, rng=seed)
    x_T = scheduler.add_noise(x_0, times[0], rng=seed)
    np.testing.assert_array_equal(got, scheduler.sample(model, x_T, timesteps=times, rng=seed))


def test_image_to_image_of_levels_that_end_above_the_clean_one_goes_by_sigmas():
    schedule = SCHEDULES["ve"]
    scheduler, x_0 = sc.DDIM(schedule), np.ones((2, 3))
    model, seen = CORRELATED.denoiser(schedule), []
    image_to_image(
        scheduler,
        model,
        x_0,
        sigmas=[4.0, 2.0, 1.0, 0.5],
        strength=0.6,
        rng=0,
        callback=lambda s: seen.append(s.t),
    )
    assert seen == [1.0, 0.5]


def test_strength_says_how_much_of_the_data_is_kept():
    schedule = SCHEDULES["flow"]
    scheduler = sc.DDIM(schedule, prediction_type="flow")
    model = PAIRS.denoiser(schedule, "flow")
    x_0 = np.tile([0.9, 1.1], (4000, 1))
    kept = [
        np.mean(image_to_image(scheduler, model, x_0, 20, strength=s, rng=0)[:, 0] > 0.0)
        for s in (0.2, 0.6, 1.0)
    ]
    assert kept[0] > 0.99
    assert kept[1] > kept[2]
    assert kept[2] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("strength", "error"), [(0.0, ValueError), (1.1, ValueError), ("much", TypeError)]
)
def test_bad_strength_is_named(strength, error):
    with pytest.raises(error, match="strength must be"):
        image_to_image(
            sc.DDIM(SCHEDULES["vp"]), lambda x, t: x, np.ones(2), 5, strength=strength, rng=0
        )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_tensors_are_inpainted_and_noised_as_tensors(prediction):
    torch = pytest.importorskip("torch")
    schedule = SCHEDULES["discrete"]
    scheduler = sc.DDIM(schedule, prediction_type=prediction)
    exact = CORRELATED.denoiser(schedule, prediction)
    x_T = start(scheduler, steps=5)

    def model(x, t):
        return torch.from_numpy(exact(x.numpy(), t))

    tensors = (torch.from_numpy(a) for a in (x_T, KNOWN, MASK > 0.5))
    made = inpaint(scheduler, model, *tensors, steps=5)
    assert relative_error(made.numpy(), inpaint(scheduler, exact, x_T, KNOWN, MASK, steps=5)) < 1e-9
    changed = image_to_image(scheduler, model, torch.ones(2, 3).double(), 5, strength=0.5, rng=0)
    plain = image_to_image(scheduler, exact, np.ones((2, 3)), 5, strength=0.5, rng=0)
    assert relative_error(changed.numpy(), plain) < 1e-9
