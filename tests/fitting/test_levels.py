"""Levels fitted to a spectrum, on the exact law of the output."""

from functools import partial

import numpy as np
import pytest

import schedulers as sc
from schedulers.analysis import output_law, power_law, wasserstein2
from schedulers.analytic import Gaussian
from schedulers.fitting import levels
from schedulers.grids import SPACINGS

EDM = sc.VESchedule(0.002, 80.0)
# Those that take their name from a paper on images, without those made for Gaussian data.
NAMED = (
    "trailing",
    "leading",
    "linspace",
    "quadratic",
    "karras",
    "exponential",
    "vp",
    "ve",
    "beta",
)


def w2(scheduler, data, **run):
    return wasserstein2(output_law(scheduler, data, **run), data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps", [5, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (8, 10))]
)
@pytest.mark.parametrize(
    ("make", "ratio"),
    [
        (partial(sc.PLMS, order=2, weights="constant"), 0.34),
        (partial(sc.LMS, order=2), 0.48),
        (partial(sc.LMS, order=3), 0.48),
    ],
    ids=["PLMS 2", "LMS 2", "LMS 3"],
)
def test_levels_of_natural_images_are_better_than_the_spacings_of_the_books(make, ratio, steps):
    data, scheduler = power_law(16), make(EDM)
    sigmas = levels(scheduler, data, steps)
    found = w2(scheduler, data, sigmas=sigmas)
    assert found < ratio * min(w2(make(EDM, spacing=name), data, steps=steps) for name in NAMED)
    every = min(w2(make(EDM, spacing=name), data, steps=steps) for name in SPACINGS)
    assert found < 0.75 * every


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler",
    [
        sc.DDPM(sc.DiscreteSchedule(sc.linear_betas(1000))),
        sc.Heun(sc.VPSchedule()),
        sc.DDIM(sc.FlowSchedule(), prediction_type="flow"),
        sc.DPMSolverPP(sc.FlowSchedule(), prediction_type="flow", eta=1.0),
        sc.UniPC(sc.CosineSchedule(), prediction_type="v_prediction"),
        sc.PLMS(
            sc.DiscreteSchedule(sc.rescale_zero_terminal_snr(sc.linear_betas(1000))),
            prediction_type="v_prediction",
        ),
    ],
    ids=lambda scheduler: f"{type(scheduler).__name__}-{type(scheduler.schedule).__name__}",
)
@pytest.mark.parametrize("nearest", ["w2", "flow"])
def test_levels_are_never_worse_than_a_spacing_and_the_same_each_time(scheduler, nearest):
    if nearest == "flow" and scheduler.tableau(4).draws_noise:
        pytest.skip("no flow")
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((4, 4))
    data = Gaussian([1.0, -2.0, 0.0, 3.0], factor @ factor.T + 0.01 * np.eye(4))
    sigmas = levels(scheduler, data, 4, nearest=nearest)
    np.testing.assert_array_equal(sigmas, levels(scheduler, data, 4, nearest=nearest))
    assert sigmas.shape == (5,)
    assert sigmas[-1] == 0.0
    assert np.all(np.diff(sigmas) < 0.0)
    if nearest == "w2":
        assert w2(scheduler, data, sigmas=sigmas) <= w2(scheduler, data, steps=4) * (1 + 1e-9)


def test_the_flow_criterion_is_the_distance_to_the_flow_from_the_same_noise():
    schedule = sc.VPSchedule()
    data, scheduler = Gaussian([0.5, 0.0], [1.0, 0.05]), sc.DDIM(schedule)

    def miss(sigmas):
        z = np.random.default_rng(0).standard_normal((4000, 2))
        exact = data.flow(schedule, schedule.sigma(1.0) * z, 1.0, None)
        x_T = schedule.level(float(sigmas[0])).sigma * z
        ran = scheduler.sample(data.denoiser(schedule), x_T, sigmas=sigmas)
        return np.sqrt(np.mean((ran - exact) ** 2))

    best = levels(scheduler, data, 3, nearest="flow")
    rng = np.random.default_rng(1)
    for _ in range(20):
        moved = np.append(best[:-1] * np.exp(rng.uniform(-0.3, 0.3, 3)), 0.0)
        if np.all(np.diff(moved) < 0.0):
            assert miss(best) < 1.02 * miss(moved)


@pytest.mark.slow
def test_a_wide_spectrum_is_as_good_as_it_is_when_its_axes_are_merged():
    """3072 axes, of which 256 groups are told apart while levels move."""
    spectrum = np.geomspace(1e-3, 30.0, 3072)
    data, scheduler = Gaussian(np.zeros(3072), spectrum), sc.PLMS(EDM, order=2)
    thin = Gaussian(np.zeros(96), spectrum[16::32])
    wide = w2(scheduler, data, sigmas=levels(scheduler, data, 5))
    assert wide <= 1.01 * w2(scheduler, data, sigmas=levels(scheduler, thin, 5))


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_any_number_of_steps(steps):
    data, scheduler = Gaussian(np.zeros(3), [1.0, 0.5, 0.0]), sc.DDIM(EDM)
    sigmas = levels(scheduler, data, steps)
    assert w2(scheduler, data, sigmas=sigmas) <= w2(scheduler, data, steps=steps)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, Gaussian(0.0, 1.0), 3), TypeError, "scheduler must be a Scheduler, got None"),
        ((sc.DDIM(EDM), [1.0], 3), TypeError, r"data must be a Gaussian, got \[1.0\]"),
        ((sc.DDIM(EDM), Gaussian(0.0, 1.0), 0), ValueError, "steps must be at least 1, got 0"),
        (
            (sc.DDIM(EDM, threshold=sc.StaticThreshold()), Gaussian(0.0, 1.0), 2),
            ValueError,
            "scheduler must have no threshold",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        levels(*arguments)


def test_a_criterion_is_one_of_two():
    with pytest.raises(ValueError, match="nearest must be one of 'w2', 'flow', got 'kl'"):
        levels(sc.DDIM(EDM), Gaussian(0.0, 1.0), 3, nearest="kl")
    with pytest.raises(ValueError, match="scheduler must draw no noise for nearest='flow'"):
        levels(sc.DDPM(EDM), Gaussian(0.0, 1.0), 3, nearest="flow")
