"""k-diffusion's samplers as methods: whose rows they take, and how many evaluations."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from compat.k_diffusion.cases import correlated, in_order, inputs, model, unit_gaussian
from kit import bounded_denoiser, relative_error, seeds, sigma_grids
from schedulers.compat import k_diffusion as kd

VE = sc.VESchedule()
PP = partial(sc.DPMSolverPP, VE)
# A sampler with some options, and the scheduler that it is; "eta": both are given one.
SAME = {
    "euler": (kd.sample_euler, {}, partial(sc.Euler, VE)),
    "euler_ancestral": (kd.sample_euler_ancestral, "eta", partial(sc.EulerAncestral, VE)),
    "heun": (kd.sample_heun, {}, partial(sc.Heun, VE)),
    "dpm_2": (kd.sample_dpm_2, {}, partial(sc.DPM2, VE)),
    "dpm_2_ancestral": (kd.sample_dpm_2_ancestral, "eta", partial(sc.DPM2Ancestral, VE)),
    "lms": (kd.sample_lms, {}, partial(sc.LMS, VE)),
    "lms_1": (kd.sample_lms, {"order": 1}, partial(sc.Euler, VE)),
    "2s_ancestral": (kd.sample_dpmpp_2s_ancestral, "eta", partial(PP, singlestep=True)),
    "sde_0": (kd.sample_dpmpp_sde, {"eta": 0.0}, partial(PP, singlestep=True)),
    "2m": (kd.sample_dpmpp_2m, {}, PP),
    "2m_sde": (kd.sample_dpmpp_2m_sde, "eta", PP),
    "2m_sde_0": (kd.sample_dpmpp_2m_sde, {"eta": 0.0}, PP),
    "2m_sde_heun": (
        partial(kd.sample_dpmpp_2m_sde, solver_type="heun"),
        "eta",
        partial(PP, solver_type="heun"),
    ),
    "3m_sde": (kd.sample_dpmpp_3m_sde, "eta", partial(PP, order=3)),
}
etas = st.floats(0.01, 1.0)


def of_sigma(x, sigma):
    return bounded_denoiser(x, float(sigma[0]))


@given(sigmas=sigma_grids(), seed=seeds, eta=etas)
@pytest.mark.parametrize("name", SAME)
def test_a_sampler_is_a_scheduler(name, sigmas, seed, eta):
    sampler, options, scheduler = SAME[name]
    x, noise = inputs(seed)
    x, kept = sigmas[0] * x, {}
    if options == "eta":
        options, kept = {"eta": eta, "noise_sampler": in_order(noise)}, {"eta": eta}
    ours = sampler(of_sigma, x, sigmas, disable=True, **options)
    scheduler = scheduler(prediction_type="sample", **kept)
    expected = scheduler.sample(bounded_denoiser, x, sigmas=sigmas, rng=in_order(noise))
    assert relative_error(ours, expected) < 1e-12


@given(sigmas=sigma_grids(), seed=seeds, eta=etas)
def test_dpmpp_sde_on_one_path_is_the_scheduler(sigmas, seed, eta):
    x, noise = inputs(seed)
    path = correlated(lambda sigma: sigma**-2.0, iter(noise))
    x = sigmas[0] * x
    ours = kd.sample_dpmpp_sde(of_sigma, x, sigmas, disable=True, eta=eta, noise_sampler=path)
    scheduler = PP(prediction_type="sample", singlestep=True, sde=True, eta=eta)
    expected = scheduler.sample(bounded_denoiser, x, sigmas=sigmas, rng=in_order(noise))
    assert relative_error(ours, expected) < 1e-9  # it has the first noise from the estimates


def counted(calls):
    """Return a model that notes its calls."""

    def watched(x, sigma):
        calls.append(float(sigma[0]))
        return of_sigma(x, sigma)

    return watched


@pytest.mark.parametrize("n", range(1, 12))
def test_dpm_fast_is_the_scheduler_in_n_evaluations(n):
    x, calls = 10.0 * inputs()[0], []
    ours = kd.sample_dpm_fast(counted(calls), x, 0.1, 10.0, n, disable=True)
    scheduler = sc.DPMSolver(
        VE,
        prediction_type="sample",
        order=3,
        singlestep=True,
        final_orders=(n % 3,) if n % 3 else (2, 1),
    )
    sigmas = np.geomspace(10.0, 0.1, n // 3 + 2)
    assert relative_error(ours, scheduler.sample(bounded_denoiser, x, sigmas=sigmas)) < 1e-12
    assert len(calls) == n


@pytest.mark.parametrize("order", [2, 3])
def test_an_adaptive_run_says_what_it_took(order):
    x, calls, told = 10.0 * inputs()[0], [], []
    options = {"order": order, "h_init": 3.0, "callback": told.append, "disable": True}
    x_0, info = kd.sample_dpm_adaptive(counted(calls), x, 0.1, 10.0, return_info=True, **options)
    assert info["nfe"] == len(calls) == order * info["steps"]
    assert info["steps"] == info["n_accept"] + info["n_reject"] == len(told)
    assert info["n_reject"] > 0
    assert {name: told[-1][name] for name in info} == info
    assert told[-1]["sigma"] == 0.1
    np.testing.assert_array_equal(told[-1]["x"], x_0)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("ends", [(0.3, 10.0), (10.0, 0.3)], ids=["falling", "rising"])
def test_an_adaptive_run_is_as_exact_as_it_is_told_to_be(order, ends):
    x = ends[1] * inputs()[0]
    flow = x * math.sqrt((1.0 + ends[0] ** 2) / (1.0 + ends[1] ** 2))
    taken = []
    for tolerance in (1e-2, 1e-3, 1e-4):
        options = {"order": order, "rtol": tolerance, "atol": tolerance, "return_info": True}
        x_0, info = kd.sample_dpm_adaptive(unit_gaussian, x, *ends, disable=True, **options)
        assert relative_error(x_0, flow) < 10.0 * tolerance
        taken.append(info["steps"])
    assert taken == sorted(taken)


def test_an_adaptive_run_with_noise_has_the_law_of_the_data():
    x = 10.05 * np.random.default_rng(0).standard_normal((40_000, 1, 1))
    x_0 = kd.sample_dpm_adaptive(
        unit_gaussian, x, 0.1, 10.0, disable=True, eta=1.0, rtol=1e-3, atol=1e-3
    )
    assert x_0.std() == pytest.approx(math.hypot(1.0, 0.1), abs=0.02)


def test_an_adaptive_run_gives_up_where_no_step_is_short_enough():
    rng = np.random.default_rng(0)
    x = 3.0 * inputs()[0]
    with pytest.raises(RuntimeError, match="too small for float64 at sigma=3"):
        kd.sample_dpm_adaptive(
            lambda x, sigma: 1e30 * rng.standard_normal(x.shape), x, 0.1, 3.0, disable=True
        )


def test_what_the_callback_does_to_an_adaptive_runs_sample_is_not_the_runs():
    def callback(info):
        info["x"][...] = 0.0

    runs = [
        kd.sample_dpm_adaptive(model, 3.0 * inputs()[0], 0.1, 3.0, callback=each, disable=True)
        for each in (None, callback)
    ]
    np.testing.assert_array_equal(*runs)


def test_the_log_likelihood_is_the_gaussians():
    x, noised = inputs()[0], 1.0 + 0.1**2
    calls = []

    def watched(x, sigma):
        calls.append(sigma)
        return unit_gaussian(x, sigma)

    log_p, info = kd.log_likelihood(watched, x, 0.1, 400.0, atol=1e-6, rtol=1e-6)
    # One probe is exact for a derivative that is a multiple of the identity.
    exact = -0.5 * (x**2 / noised + math.log(2.0 * math.pi * noised)).sum((1, 2))
    np.testing.assert_allclose(log_p, exact, atol=1e-3)  # 1 / 400**2 of the end's variance is left
    assert info == {"fevals": len(calls)}
