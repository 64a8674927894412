"""The law of a scheduler's output: against impulses, recursions from papers, and samples."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, NEED_SIGNAL, SCHEDULES, names, predictions, schedules, seeds, sigma_grids
from schedulers.analysis import output_law, transfer_function
from schedulers.analysis.law import matrix
from schedulers.analytic import Gaussian

SPACINGS = st.sampled_from(["trailing", "leading", "linspace"])


def random_gaussian(seed, form):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((3, 3))
    cov = {
        "scalar": rng.uniform(0.0, 3.0),
        "diagonal": rng.uniform(0.0, 3.0, 3) * [1.0, 1.0, rng.integers(2)],
        "full": root @ root.T,
    }[form]
    return Gaussian(rng.standard_normal(3), cov)


forms = st.sampled_from(["scalar", "diagonal", "full"])


class Impulse:
    """Noise of which one entry of one draw is 1, and everything else 0."""

    def __init__(self, draw=None):
        self.draw, self.calls = draw, 0

    def __call__(self, like):
        z = np.zeros_like(like)
        if self.calls == self.draw:
            z[...] = np.eye(like.shape[1])
        self.calls += 1
        return z


def black_box(scheduler, data, start, **levels):
    """Mean and covariance from runs alone: the output is affine in x_T and in every draw."""
    denoiser = data.denoiser(scheduler.schedule, prediction_type=scheduler.prediction_type)
    quiet = Impulse()
    mean = scheduler.sample(denoiser, start.mean[None], rng=quiet, **levels)[0]
    x = np.tile(start.mean, (3, 1))
    maps = [(scheduler.sample(denoiser, x + np.eye(3), rng=Impulse(), **levels) - mean).T]
    cov = maps[0] @ matrix(start) @ maps[0].T
    for draw in range(quiet.calls):
        maps.append((scheduler.sample(denoiser, x, rng=Impulse(draw), **levels) - mean).T)
        cov += maps[-1] @ maps[-1].T
    return mean, cov


@given(
    name=names,
    schedule=schedules,
    spacing=SPACINGS,
    form=forms,
    start_form=forms,
    seed=seeds,
    prediction=predictions,
    steps=st.integers(1, 8),
)
def test_the_law_is_what_impulses_find(
    name, schedule, spacing, form, start_form, seed, prediction, steps
):
    scheduler = ALL[name](SCHEDULES[schedule], spacing=spacing, prediction_type=prediction)
    first = sc.DDIM(SCHEDULES[schedule], spacing=spacing, prediction_type="sample").tableau(steps)
    if first.levels[0].alpha == 0.0 and (
        name in NEED_SIGNAL or "churn" in name or prediction in ("epsilon", "score")
    ):
        return
    data, start = random_gaussian(seed, form), random_gaussian(seed + 1, start_form)
    law = output_law(scheduler, data, steps, initial=start)
    mean, cov = black_box(scheduler, data, start, steps=steps)
    scale = max(1.0, np.abs(cov).max(), np.abs(mean).max())
    np.testing.assert_allclose(law.mean, mean, rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(matrix(law), cov, rtol=0, atol=1e-10 * scale)


@given(name=names, sigmas=sigma_grids(), form=forms, seed=seeds)
def test_the_law_at_any_last_level_is_what_impulses_find(name, sigmas, form, seed):
    scheduler = ALL[name](SCHEDULES["ve"])
    data = random_gaussian(seed, form)
    for initial, start in (
        ("noise", Gaussian(np.zeros(3), sigmas[0] ** 2)),
        ("marginal", data.marginal(SCHEDULES["ve"], sigmas[0])),
    ):
        law = output_law(scheduler, data, sigmas=sigmas, initial=initial)
        mean, cov = black_box(scheduler, data, start, sigmas=sigmas)
        scale = max(1.0, np.abs(cov).max(), np.abs(mean).max())
        np.testing.assert_allclose(law.mean, mean, rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(matrix(law), cov, rtol=0, atol=1e-10 * scale)


@given(name=names, seed=seeds, steps=st.integers(1, 8))
def test_each_gain_is_what_its_own_impulse_finds(name, seed, steps):
    scheduler, variances = ALL[name](SCHEDULES["vp"]), random_gaussian(seed, "diagonal").cov
    denoiser = Gaussian(np.zeros(3), variances).denoiser(SCHEDULES["vp"])
    found = transfer_function(scheduler, variances, steps)
    tableau, zero = scheduler.tableau(steps), np.zeros((3, 3))
    start = scheduler.sample(denoiser, np.eye(3), steps, rng=Impulse())
    np.testing.assert_allclose(np.diag(found.start), start, atol=1e-11)
    entered = tableau.entry[1] != 0.0
    expected = [found.entry] if entered else []
    expected += [gain for gain, row in zip(found.stages, tableau.stages, strict=True) if row.c]
    for draw, gain in enumerate(expected):
        got = scheduler.sample(denoiser, zero, steps, rng=Impulse(draw))
        np.testing.assert_allclose(np.diag(gain), got, atol=1e-11)
    quiet = [gain for gain, row in zip(found.stages, tableau.stages, strict=True) if not row.c]
    assert not np.any(quiet)
    assert entered or not found.entry.any()
    assert found.stages.shape == (tableau.nfe, 3)


@given(eta=st.floats(0.0, 1.0), seed=seeds, steps=st.integers(1, 60))
def test_ddims_law_is_the_recursion_of_its_paper(eta, seed, steps):
    # Song et al. 2021, eq. 12 and 16, with D and eps of N(m, v) put in, abar for alpha**2.
    schedule = SCHEDULES["discrete"]
    rng = np.random.default_rng(seed)
    m, v = rng.standard_normal(5), rng.uniform(0.01, 4.0, 5)
    times = [int(t) for t in sc.DDIM(schedule).tableau(steps).timesteps]
    abars = [schedule.alphas_cumprod[t] for t in times] + [1.0]
    mean, variance = np.zeros(5), np.full(5, 1.0 - abars[0])
    for abar, after in pairwise(abars):
        c = eta * math.sqrt((1 - after) / (1 - abar)) * math.sqrt(1 - abar / after)
        total = abar * v + 1.0 - abar
        gain_d, gain_e = math.sqrt(abar) * v / total, math.sqrt(1.0 - abar) / total
        direct = math.sqrt(max(1.0 - after - c**2, 0.0))
        gain = math.sqrt(after) * gain_d + direct * gain_e
        mean = math.sqrt(after) * m + gain * (mean - math.sqrt(abar) * m)
        variance = gain**2 * variance + c**2
    law = output_law(sc.DDIM(schedule, eta=eta), Gaussian(m, v), steps)
    np.testing.assert_allclose(law.mean, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(law.cov, variance, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["DDPM", "DDIM", "Euler-churn", "EulerAncestral", "Heun", "PLMS4-heun"]
)
def test_the_law_is_that_of_samples(name):
    n, scheduler = 200_000, ALL[name](SCHEDULES["vp"], spacing="karras")
    data = Gaussian([1.0, -2.0], [[2.0, 0.5], [0.5, 0.3]])
    x = scheduler.initial_noise((n, 2), steps=12, rng=1)
    samples = scheduler.sample(data.denoiser(SCHEDULES["vp"]), x, steps=12, rng=1)
    law = output_law(scheduler, data, 12)
    # Five standard errors of a mean, and of a covariance (Isserlis).
    d = np.diag(law.cov)
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - law.mean), 5.0 * np.sqrt(d / n))
    error = np.sqrt((np.outer(d, d) + law.cov**2) / n)
    np.testing.assert_array_less(np.abs(np.cov(samples.T) - law.cov), 5.0 * error)


def test_exact_data_goes_through_an_exact_step():
    # DDPM with the larger variance is exact for N(0, I).
    scheduler = sc.DDPM(SCHEDULES["vp"], variance="fixed_large")
    law = output_law(
        scheduler, Gaussian(np.zeros(2), 1.0), sigmas=[5.0, 3.0, 1.0], initial="marginal"
    )
    assert law.cov == pytest.approx(1.0)


@pytest.mark.parametrize("event", [(), (2, 3)])
def test_events_of_any_shape_keep_it(event):
    size = int(np.prod(event))
    for cov in (2.0, np.full(event, 2.0), 2.0 * np.eye(size)) if event else (2.0,):
        law = output_law(sc.DDPM(SCHEDULES["vp"]), Gaussian(np.ones(event), cov), 4)
        assert law.event_shape == event
        assert np.shape(law.cov) == np.shape(cov)
        start = Gaussian(np.ones(event), np.diag(np.arange(1.0, size + 1)) if event else 3.0)
        assert output_law(sc.DDIM(SCHEDULES["vp"]), Gaussian(np.ones(event), cov), 4, initial=start)


def test_what_is_not_linear_is_refused():
    data, vp = Gaussian([0.0], [1.0]), SCHEDULES["vp"]
    cases = [
        (sc.DDIM(vp, threshold=sc.StaticThreshold()), data, ValueError, "must have no threshold"),
        (sc.DDPM(vp, variance="learned"), data, ValueError, "a learned variance"),
        ("ddim", data, TypeError, "scheduler must be a Scheduler, got 'ddim'"),
        (sc.DDIM(vp), "digits", TypeError, "data must be a Gaussian, got 'digits'"),
    ]
    for scheduler, law, error, message in cases:
        with pytest.raises(error, match=message):
            output_law(scheduler, law, 3)
    with pytest.raises(ValueError, match="initial must be one of 'noise', 'marginal', got 'flat'"):
        output_law(sc.DDIM(vp), data, 3, initial="flat")
    with pytest.raises(ValueError, match=r"initial must have the event shape of data, \(1,\)"):
        output_law(sc.DDIM(vp), data, 3, initial=Gaussian(0.0, 1.0))
    with pytest.raises(ValueError, match="variances must be at least 0"):
        transfer_function(sc.DDIM(vp), [1.0, -1.0], 3)
