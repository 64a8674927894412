"""SA-Solver: the paper's algorithm written out, its laws, its orders, and its shared noise."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad

import schedulers as sc
from kit import (
    SCHEDULES,
    bounded_denoiser,
    flow_order,
    law_error,
    law_order,
    path_gaps,
    relative_error,
    seeds,
    sigma_grids,
)
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian

VE = sc.VESchedule()
orders = st.sampled_from([(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (2, 3), (3, 0), (3, 3), (3, 4)])


def stop(level):
    """Return a tau that is constant between two levels of sigma, as the paper's."""
    return 0.8 if 0.3 < level.karras < 4.0 else 0.0


def written_out(denoise, x, sigmas, predictor, corrector, tau, normal):
    """Algorithm 1 on a VE path, with the corrected sample kept and numerical integrals."""
    ds, lambdas, taken = [], [], None

    def step(x, at, then, used, ds, tau, xi):
        h = then - at
        nodes = lambdas[:used]

        def basis(i, u):
            return math.prod((u - n) / (nodes[i] - n) for j, n in enumerate(nodes) if j != i)

        def weight(i):
            return quad(
                lambda u: (1 + tau**2) * math.exp((1 + tau**2) * (u - then)) * basis(i, u), at, then
            )[0]

        total = sum(weight(i) * ds[i] for i in range(used))
        noise = math.exp(-then) * math.sqrt(1.0 - math.exp(-2.0 * tau**2 * h)) * xi
        return math.exp(-h - tau**2 * h) * x + total + noise

    for s, end in pairwise(sigmas):
        ds, lambdas = [denoise(x, s), *ds], [-math.log(s), *lambdas]
        if taken and corrector:
            begun, at, by, xi = taken
            x = step(begun, at, -math.log(s), min(corrector, len(ds)), ds, by, xi)
        if end == 0.0:
            return ds[0]
        by = tau(sc.Level(s, 1.0, s))
        taken = x, -math.log(s), by, normal() if by else 0.0
        x = step(x, -math.log(s), -math.log(end), min(predictor, len(ds)), ds, by, taken[3])
    return x


@settings(max_examples=20)
@given(orders=orders, sigmas=sigma_grids(max_steps=5), seed=seeds, by=st.sampled_from([0, 1, stop]))
def test_rows_are_the_papers_algorithm(orders, sigmas, seed, by):
    predictor, corrector = orders
    tau = by if callable(by) else lambda level: float(by)
    generator = np.random.default_rng(seed)
    x = sigmas[0] * generator.standard_normal((3, 2))
    expected = written_out(
        bounded_denoiser,
        x,
        sigmas.tolist(),
        predictor,
        corrector,
        tau,
        lambda: generator.standard_normal(x.shape),
    )
    generator = np.random.default_rng(seed)
    generator.standard_normal((3, 2))
    scheduler = sc.SASolver(
        VE,
        prediction_type="sample",
        predictor_order=predictor,
        corrector_order=corrector,
        tau=by,
        lower_order_final=False,
    )
    got = scheduler.sample(bounded_denoiser, x, sigmas=sigmas, rng=generator)
    assert relative_error(got, expected) < 1e-8


@given(
    order=st.integers(1, 3),
    tau=st.floats(0.0, 1.0),
    sigmas=sigma_grids(),
    seed=seeds,
    name=st.sampled_from(sorted(SCHEDULES)),
)
def test_without_a_corrector_it_is_multistep_dpm_solver_pp(order, tau, sigmas, seed, name):
    options = {"predictor_order": order, "corrector_order": 0, "lower_order_final": False}
    one, other = (
        make.sample(bounded_denoiser, np.ones((2, 3)), sigmas=sigmas, rng=seed)
        for make in (
            sc.SASolver(SCHEDULES[name], tau=tau, **options),
            sc.DPMSolverPP(SCHEDULES[name], order=order, solver_type="heun", eta=tau**2),
        )
    )
    assert relative_error(one, other) < 1e-12


@given(sigmas=sigma_grids(), seed=seeds, name=st.sampled_from(sorted(SCHEDULES)))
def test_its_first_predictor_with_tau_1_is_ddpm(sigmas, seed, name):
    one, other = (
        make.sample(bounded_denoiser, np.ones((2, 3)), sigmas=sigmas, rng=seed)
        for make in (
            sc.SASolver(SCHEDULES[name], predictor_order=1, corrector_order=0),
            sc.DDPM(SCHEDULES[name]),
        )
    )
    assert relative_error(one, other) < 1e-12


@given(order=st.integers(1, 3), sigmas=sigma_grids(), name=st.sampled_from(sorted(SCHEDULES)))
def test_without_noise_it_is_unipc(order, sigmas, name):
    one, other = (
        make.sample(bounded_denoiser, np.ones((2, 3)), sigmas=sigmas)
        for make in (
            sc.SASolver(
                SCHEDULES[name],
                predictor_order=order,
                corrector_order=order + 1,
                tau=0.0,
                lower_order_final=False,
                variant="bh1",
            ),
            sc.UniPC(SCHEDULES[name], order=order, variant="bh1", lower_order_final=False),
        )
    )
    assert relative_error(one, other) < 1e-12


@given(orders=orders, tau=st.floats(0.0, 2.0), sigmas=sigma_grids(clean=False))
def test_a_point_keeps_its_law(orders, tau, sigmas):
    scheduler = sc.SASolver(VE, predictor_order=orders[0], corrector_order=orders[1], tau=tau)
    start = Gaussian(3.0, sigmas[0] ** 2)
    law = output_law(scheduler, Gaussian(3.0, 0.0), sigmas=sigmas, initial=start)
    assert float(law.mean) == pytest.approx(3.0, rel=1e-10)
    assert float(law.cov) == pytest.approx(sigmas[-1] ** 2, rel=1e-10)


@pytest.mark.parametrize(
    ("predictor", "corrector", "measured"),
    [(1, 0, 1), (1, 1, 1), (1, 2, 2), (2, 0, 2), (2, 1, 1), (2, 3, 3), (3, 2, 2), (3, 4, 4)],
)
def test_orders_without_noise(predictor, corrector, measured):
    scheduler = sc.SASolver(
        VE,
        predictor_order=predictor,
        corrector_order=corrector,
        tau=0.0,
        lower_order_final=False,
    )
    assert flow_order(scheduler, n=320) == pytest.approx(measured, abs=0.2)


@pytest.mark.parametrize(
    ("predictor", "corrector", "measured"), [(1, 0, 1), (1, 2, 2), (2, 0, 2), (2, 1, 1)]
)
def test_with_noise_the_law_of_gaussian_data_converges(predictor, corrector, measured):
    scheduler = sc.SASolver(
        SCHEDULES["vp"],
        predictor_order=predictor,
        corrector_order=corrector,
        lower_order_final=False,
    )
    assert law_order(scheduler) == pytest.approx(measured, abs=0.1)


def test_a_little_noise_adds_a_little_error():
    # The paper's theorem: an error of O(tau**2 h) beside that of the deterministic method.
    def error(tau):
        scheduler = sc.SASolver(VE, predictor_order=3, corrector_order=4, tau=tau)
        return law_error(scheduler, np.geomspace(10.0, 0.3, 81))

    grown = [error(tau) - error(0.0) for tau in (0.1, 0.2)]
    assert grown[1] / grown[0] == pytest.approx(4.0, abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("corrector", [0, 2])
def test_on_one_path_the_samples_converge(corrector):
    falling = path_gaps(partial(sc.SASolver, corrector_order=corrector))
    assert np.all(falling[1:] < 0.7 * falling[:-1])
    assert falling[-1] < 0.03


@given(steps=st.integers(1, 7), orders=orders)
def test_the_last_steps_have_lower_orders(steps, orders):
    scheduler = sc.SASolver(VE, predictor_order=orders[0], corrector_order=0)
    reach = [
        max(age for age, w in enumerate(row.a) if w) for row in scheduler.tableau(steps).stages
    ]
    assert reach == [min(orders[0], i + 1, steps - i) - 1 for i in range(steps)]


@pytest.mark.parametrize("schedule", ["flow", "cosine", "zero_snr"])
@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_a_run_from_alpha_0_arrives(tau, schedule):
    path, data = SCHEDULES[schedule], Gaussian([1.0, -2.0], 0.0)
    scheduler = sc.SASolver(path, prediction_type="flow", tau=tau)
    x = scheduler.initial_noise((3, 2), steps=6, rng=0)
    x_0 = scheduler.sample(data.denoiser(path, "flow"), x, steps=6, rng=1)
    np.testing.assert_allclose(x_0, np.broadcast_to([1.0, -2.0], (3, 2)), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictor_order": 0}, "predictor_order must be at least 1, got 0"),
        ({"corrector_order": 5}, "corrector_order must be at most 4, got 5"),
        ({"tau": -0.5}, "tau must be at least 0 and finite, got -0.5"),
        ({"variant": "bh2"}, "variant must be one of 'exact', 'bh1'"),
        ({"lower_order_final": 1}, "lower_order_final must be True or False"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sc.SASolver(VE, **options)


def test_what_tau_returns_is_checked():
    with pytest.raises(ValueError, match="tau must be at least 0 and finite, got -1.0"):
        sc.SASolver(VE, tau=lambda level: -1.0).tableau(3)
