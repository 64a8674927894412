"""Each scheduler against its paper's algorithm, written out in `reference`, and its options."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import reference
import schedulers as sc
from kit import (
    DISCRETE,
    SCHEDULES,
    STABLE_DIFFUSION,
    as_prediction,
    bounded_denoiser,
    relative_error,
    seeds,
    sigma_grids,
)

SHAPE = (3, 2)
VE = sc.VESchedule()
churns = st.fixed_dictionaries(
    {
        "s_churn": st.sampled_from([0.0, 0.5, 3.0, 100.0]),
        "s_tmin": st.sampled_from([0.0, 0.5]),
        "s_tmax": st.sampled_from([2.0, math.inf]),
        "s_noise": st.sampled_from([0.0, 1.0, 1.007]),
    }
)


@st.composite
def index_subsets(draw, largest=999):
    return sorted(draw(st.sets(st.integers(0, largest), min_size=1, max_size=9)), reverse=True)


def start(seed):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal(SHAPE)
    return x, generator, lambda: generator.standard_normal(SHAPE)


def eps(x, t):
    return bounded_denoiser(x, t)


@given(indices=index_subsets(), seed=seeds, log=st.sampled_from(["", "_log"]))
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm_is_algorithm_2_of_its_paper(variance, indices, seed, log):
    x, _, normal = start(seed)
    expected = reference.ddpm(eps, x, DISCRETE.alphas_cumprod, indices, variance, normal)
    x, generator, _ = start(seed)
    got = sc.DDPM(DISCRETE, variance=variance + log).sample(
        eps, x, timesteps=indices, rng=generator
    )
    assert relative_error(got, expected) < 1e-10


@given(indices=index_subsets(), seed=seeds, eta=st.sampled_from([0.0, 0.2, 1.0]))
def test_ddim_is_equations_12_and_16_of_its_paper(indices, seed, eta):
    x, _, normal = start(seed)
    abar = STABLE_DIFFUSION.alphas_cumprod
    sigmas = reference.ddim_sigmas(abar, indices, eta)
    expected = reference.ddim(eps, x, abar, indices, sigmas, normal)
    for options in ({"eta": eta}, {"sigma": sigmas}, {"sigma": sigmas.tolist()}):
        x, generator, _ = start(seed)
        scheduler = sc.DDIM(STABLE_DIFFUSION, **options)
        got = scheduler.sample(eps, x, timesteps=indices, rng=generator)
        assert relative_error(got, expected) < 1e-11


@given(indices=index_subsets(), seed=seeds)
def test_ddims_sigma_hat_is_ddpm_with_fixed_large_variance(indices, seed):
    x, _, normal = start(seed)
    expected = reference.ddpm_sigma_hat(eps, x, DISCRETE.alphas_cumprod, indices, normal)
    x, generator, _ = start(seed)
    got = sc.DDPM(DISCRETE, variance="fixed_large").sample(eps, x, timesteps=indices, rng=generator)
    assert relative_error(got, expected) < 1e-11


def test_ddim_takes_its_deviations_as_a_function_of_the_levels():
    def sigma(level, next_level):
        return 0.3 * next_level.sigma * level.alpha / next_level.alpha

    levels = DISCRETE.levels([800, 300])
    values = [sigma(levels[0], levels[1]), sigma(levels[1], DISCRETE.clean)]
    assert values[1] == 0.0
    by_function = sc.DDIM(DISCRETE, sigma=sigma).tableau(timesteps=[800, 300])
    assert by_function == sc.DDIM(DISCRETE, sigma=values).tableau(timesteps=[800, 300])
    assert [stage.c for stage in by_function.stages] == values


@pytest.mark.parametrize("second_order", [False, True])
@given(sigmas=sigma_grids(), churn=churns, seed=seeds)
def test_euler_and_heun_are_algorithms_1_and_2_of_edm(second_order, sigmas, churn, seed):
    x, _, normal = start(seed)
    expected = reference.edm(eps, sigmas[0] * x, sigmas, normal, second_order=second_order, **churn)
    x, generator, _ = start(seed)
    method = sc.Heun if second_order else sc.Euler
    got = method(VE, prediction_type="sample", **churn).sample(
        eps, sigmas[0] * x, sigmas=sigmas, rng=generator
    )
    if not churn["s_noise"]:  # no noise is drawn where it weighs nothing
        expected = reference.edm(
            eps, sigmas[0] * x, sigmas, lambda: 0.0, second_order=second_order, **churn
        )
    assert relative_error(got, expected) < 1e-12


@given(sigmas=sigma_grids(), seed=seeds, eta=st.sampled_from([0.0, 0.4, 1.0]))
def test_euler_ancestral_is_k_diffusions(sigmas, seed, eta):
    x, _, normal = start(seed)
    expected = reference.ancestral(eps, sigmas[0] * x, sigmas, normal, eta=eta, s_noise=1.01)
    x, generator, _ = start(seed)
    scheduler = sc.EulerAncestral(VE, prediction_type="sample", eta=eta, s_noise=1.01)
    got = scheduler.sample(eps, sigmas[0] * x, sigmas=sigmas, rng=generator)
    assert relative_error(got, expected) < 1e-11


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("startup", ["lower_order", "heun", "runge_kutta"])
@given(indices=index_subsets(), seed=seeds)
def test_plms_is_equations_11_to_13_of_pndm(order, startup, indices, seed):
    x, _, _ = start(seed)
    abars = [*DISCRETE.alphas_cumprod[indices], 1.0]

    def time(abar):
        return DISCRETE.timestep(math.sqrt((1.0 - abar) / abar))

    def middle(abar, abar_next):
        s, s_next = (math.sqrt((1.0 - a) / a) for a in (abar, abar_next))
        return 1.0 / (1.0 + (0.5 * (s + s_next)) ** 2)

    def model(x, t):
        return np.tanh(x) * (1.0 + 1e-3 * t)

    expected = reference.pndm(
        lambda x, abar: model(x, time(abar)), x, abars, order, startup, middle
    )
    scheduler = sc.PLMS(DISCRETE, order=order, startup=startup, weights="constant")
    got = scheduler.sample(model, x, timesteps=indices)
    assert relative_error(got, expected) < 1e-9


@pytest.mark.parametrize(
    ("startup", "steps", "nfe"),
    [
        ("lower_order", 10, 10),
        ("heun", 10, 11),
        ("runge_kutta", 10, 19),
        ("lower_order", 1, 1),
        ("heun", 1, 1),
        ("runge_kutta", 1, 1),
        ("runge_kutta", 3, 9),
    ],
)
def test_plms_evaluates_the_model_as_often_as_its_startup_says(startup, steps, nfe):
    assert sc.PLMS(DISCRETE, startup=startup).tableau(steps).nfe == nfe


def test_heun_evaluates_twice_a_step_but_once_where_it_ends_clean():
    assert sc.Heun(DISCRETE).tableau(10).nfe == 19
    assert sc.Heun(VE).tableau(sigmas=[3.0, 2.0, 1.0]).nfe == 4
    assert sc.Heun(VE).tableau(sigmas=[3.0, 0.0]).nfe == 1


def test_churn_stays_inside_the_schedule():
    top = DISCRETE.sigmas[-1]
    scheduler = sc.Heun(DISCRETE, s_churn=1000.0)
    tableau = scheduler.tableau(sigmas=[top, 0.8 * top, 1.0, 0.0])
    factor = math.sqrt(2.0)
    raised = [stage.level.karras for stage in tableau.stages if not stage.ends_step]
    np.testing.assert_allclose(raised, [top, top], rtol=1e-14)
    assert tableau.stages[-1].level.karras == pytest.approx(factor, rel=1e-13)
    assert tableau.entry == (1.0, 0.0)
    assert tableau.stages[1].c == pytest.approx(
        DISCRETE.alpha(999) * math.sqrt(top**2 - (0.8 * top) ** 2), rel=1e-12
    )
    np.testing.assert_allclose(tableau.sigmas, [top, 0.8 * top, 1.0, 0.0], rtol=1e-12)


@given(sigmas=sigma_grids(clean=True, max_steps=6), name=st.sampled_from(sorted(SCHEDULES)))
def test_churn_includes_its_bounds_on_every_schedule(sigmas, name):
    scheduler = sc.Euler(
        SCHEDULES[name], prediction_type="sample", s_churn=1.0, s_tmin=sigmas[-2], s_tmax=sigmas[0]
    )
    tableau = scheduler.tableau(sigmas=sigmas)
    assert tableau.entry[1] > 0.0
    assert all(stage.c > 0.0 for stage in tableau.stages[:-1])


def test_churn_leaves_levels_outside_its_bounds_alone():
    levels = {"sigmas": [2.0002, 2.0, 1.0, 0.9999, 0.0]}
    tableau = sc.Euler(VE, s_churn=1.0, s_tmin=1.0, s_tmax=2.0).tableau(**levels)
    assert [stage.level.sigma for stage in tableau.stages] == [2.0002, 2.5, 1.25, 0.9999]
    assert tableau.entry == (1.0, 0.0)


def test_the_noise_of_a_raise_is_right_at_small_levels():
    tableau = sc.Euler(VE, s_churn=100.0).tableau(sigmas=[2e-5, 1e-5, 0.0])
    assert tableau.entry[1] == pytest.approx(2e-5, rel=1e-12)
    assert tableau.stages[0].c == pytest.approx(1e-5, rel=1e-12)


@pytest.mark.parametrize("ratio", [1e-3, 1e-7, 1e-11])
def test_a_long_step_keeps_its_digits_at_eta_1(ratio):
    sigmas = [10.0, 10.0 * ratio]
    rows = [
        scheduler.tableau(sigmas=sigmas).stages[0]
        for scheduler in (sc.DDIM(VE, eta=1.0), sc.EulerAncestral(VE), sc.DDPM(VE))
    ]
    for row in rows:
        assert row.b[0] == pytest.approx(10.0 * ratio**2, rel=1e-12)


def test_levels_that_a_schedules_time_cannot_tell_apart_are_refused():
    for name in ("flow", "cosine"):
        for method in (sc.DDPM, sc.DDIM, sc.Euler, sc.EulerAncestral, sc.PLMS):
            scheduler = method(SCHEDULES[name], prediction_type="flow")
            with pytest.raises(ValueError, match="sigmas must give levels far enough apart"):
                scheduler.tableau(sigmas=[1e18, 1e17, 0.0])


def test_churn_raises_no_level_from_alpha_0():
    tableau = sc.Euler(sc.FlowSchedule(), prediction_type="flow", s_churn=9.0).tableau(4)
    assert tableau.entry == (1.0, 0.0)
    assert [stage.c > 0.0 for stage in tableau.stages] == [True, True, True, False]
    assert tableau.stages[1].level.karras == pytest.approx(3.0 * math.sqrt(2.0))


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@pytest.mark.parametrize("schedule", [DISCRETE, sc.FlowSchedule()], ids=["discrete", "flow"])
def test_a_learned_variance_is_the_models_second_half_of_channels(variance, schedule):
    times = [700, 400, 100] if schedule is DISCRETE else [0.7, 0.4, 0.1]
    x = np.random.default_rng(0).standard_normal((2, 3, 4))

    def model(x, t):
        return np.concatenate([np.tanh(x), np.sin(3.0 * x) - 1.0], axis=1)

    scheduler = sc.DDPM(schedule, variance=variance)
    got = scheduler.sample(model, x, timesteps=times, rng=np.random.default_rng(1))
    normal = np.random.default_rng(1).standard_normal
    for t, t_next in zip(times, [*times[1:], None], strict=True):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        alpha_next, sigma_next = (
            (1.0, 0.0) if t_next is None else (schedule.alpha(t_next), schedule.sigma(t_next))
        )
        e, v = np.split(model(x, t), 2, axis=1)
        beta = sigma**2 - (alpha / alpha_next) ** 2 * sigma_next**2
        small = beta * sigma_next**2 / sigma**2
        denoised = (x - sigma * e) / alpha
        x = (alpha_next * beta * denoised + alpha / alpha_next * sigma_next**2 * x) / sigma**2
        if t_next is not None:
            f = (v + 1.0) / 2.0
            large = beta * (alpha_next**2 + sigma_next**2) / (alpha**2 + sigma**2)
            log_variance = (
                v if variance == "learned" else f * np.log(large) + (1 - f) * np.log(small)
            )
            x = x + np.exp(0.5 * log_variance) * normal(x.shape)
    np.testing.assert_allclose(got, x, rtol=1e-11, atol=1e-13)


def test_a_learned_variance_needs_channels():
    scheduler = sc.DDPM(DISCRETE, variance="learned_range")
    with pytest.raises(
        ValueError, match=r"channels on axis 1 for variance 'learned_range', got shape \(3"
    ):
        scheduler.sample(eps, np.ones(3), steps=2)
    with pytest.raises(ValueError, match=r"output at t=999 must have shape \(3, 4\), got \(3, 2\)"):
        scheduler.sample(eps, np.ones((3, 2)), steps=2)


@given(name=st.sampled_from(sorted(SCHEDULES)), seed=seeds)
def test_ddpms_mean_and_variance_are_those_of_the_posterior_of_the_path(name, seed):
    # Bayes' rule for two jointly Gaussian levels: precision-weighted, not the paper's algebra.
    schedule = SCHEDULES[name]
    draws = np.random.default_rng(seed).uniform(0.05, 5.0, 2)
    s, s_next = max(draws), min(draws)
    now, then = schedule.levels(schedule.timestep([s, s_next]))
    (stage,) = sc.DDPM(schedule).tableau(sigmas=[s, s_next]).stages
    r = now.alpha / then.alpha
    beta = now.sigma**2 - r**2 * then.sigma**2
    precision = 1.0 / then.sigma**2 + r**2 / beta
    assert stage.c**2 == pytest.approx(1.0 / precision, rel=1e-9)
    for d, e in [(1.0, 0.0), (0.0, 1.0)]:
        x = now.alpha * d + now.sigma * e
        mean = (then.alpha * d / then.sigma**2 + r * x / beta) / precision
        assert stage.a[0] * d + stage.b[0] * e == pytest.approx(mean, rel=1e-9, abs=1e-12)


@given(sigmas=sigma_grids(), name=st.sampled_from(sorted(SCHEDULES)))
def test_ddpms_variances_are_exact_for_the_data_they_are_said_to_be(sigmas, name):
    # Section 3.2: beta~ for a point, beta for N(0, I). There every step keeps the marginal's law.
    schedule = SCHEDULES[name]
    for data, which in ((0.0, "fixed_small"), (1.0, "fixed_large")):
        tableau = sc.DDPM(schedule, variance=which).tableau(sigmas=sigmas)
        law = tableau.levels[0].alpha ** 2 * data + tableau.levels[0].sigma ** 2
        for stage, then in zip(tableau.stages, tableau.levels[1:], strict=True):
            alpha, sigma = stage.level.alpha, stage.level.sigma
            total = alpha**2 * data + sigma**2
            gain = (stage.a[0] * alpha * data + stage.b[0] * sigma) / total
            law = gain**2 * law + stage.c**2
            if then.sigma:  # the step that ends clean adds no noise, whatever the data
                assert law == pytest.approx(then.alpha**2 * data + then.sigma**2, rel=1e-10)


def test_schedulers_on_a_vp_model_run_under_karras_sigmas_with_no_wrapper():
    model = as_prediction(DISCRETE, bounded_denoiser, "epsilon")
    x = np.random.default_rng(0).standard_normal(SHAPE)
    sigmas = sc.karras_sigmas(8, 0.02, 150.0)
    scheduler = sc.Heun(DISCRETE)
    alpha = DISCRETE.alpha(DISCRETE.timestep(150.0))
    got = scheduler.sample(model, x * alpha * 150.0, sigmas=sigmas)
    expected = reference.edm(bounded_denoiser, 150.0 * x, sigmas, None, second_order=True)
    assert relative_error(got, expected) < 1e-10
