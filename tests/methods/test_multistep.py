"""Multistep methods: the integral that they share, and what is one method under several names."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.integrate import quad

import schedulers as sc
from kit import SCHEDULES, bounded_denoiser, relative_error, seeds, sigma_grids
from schedulers.analytic import Gaussian
from schedulers.methods.multistep import lagrange_weights, windows

gaps = st.lists(st.floats(0.05, 3.0), min_size=1, max_size=3)


@given(gaps=gaps, h=st.floats(0.01, 20.0), rate=st.sampled_from([-1.0, 0.0, 1.0, 2.0]))
def test_weights_are_the_integrals_of_lagranges_polynomials(gaps, h, rate):
    nodes = [0.0, *(-np.cumsum(gaps)).tolist()]

    def density(u):
        return np.exp(rate * (u - h) if rate > 0 else rate * u)

    weights = lagrange_weights(nodes, 0.0, h, density)
    for k, node in enumerate(nodes):
        others = [other for other in nodes if other != node]

        def integrand(u, node=node, others=others):
            return density(u) * math.prod((u - other) / (node - other) for other in others)

        expected, error = quad(integrand, 0.0, h, epsabs=0.0, epsrel=1e-12, limit=200)
        scale = quad(lambda u, f=integrand: abs(f(u)), 0.0, h)[0]
        assert abs(weights[k] - expected) < 1e-11 * scale + error


@given(gaps=gaps, h=st.floats(-5.0, 5.0).filter(lambda h: abs(h) > 1e-3))
def test_weights_integrate_every_polynomial_of_their_degree(gaps, h):
    nodes = [0.0, *(-np.cumsum(gaps)).tolist()]
    weights = lagrange_weights(nodes, 0.0, h, np.ones_like)
    for power in range(len(nodes)):
        values = [node**power for node in nodes]
        expected = h ** (power + 1) / (power + 1)
        scale = sum(abs(w * v) for w, v in zip(weights, values, strict=True)) + abs(expected)
        assert abs(np.dot(weights, values) - expected) < 1e-12 * scale


def test_a_node_at_infinite_sigma_is_left_out_unless_it_is_the_only_one():
    schedule = sc.FlowSchedule()
    levels = schedule.levels([1.0, 0.8, 0.5, 0.2])
    ages = [[age for age, _ in past] for _, _, past in windows(levels, 3)]
    assert ages == [[0], [0], [0, 1]]


SAME = {
    "LMS 1 is DDIM": (sc.LMS, {"order": 1}, sc.DDIM, {}),
    "DEIS 1 is DDIM": (sc.DEIS, {"order": 1}, sc.DDIM, {}),
    "DPM-Solver 1 is DDIM": (sc.DPMSolver, {"order": 1}, sc.DDIM, {}),
    "singlestep, too": (sc.DPMSolver, {"order": 1, "singlestep": True}, sc.DDIM, {}),
    "DPM-Solver++ 1 is Euler": (sc.DPMSolverPP, {"order": 1}, sc.Euler, {}),
    "singlestep ++, too": (sc.DPMSolverPP, {"order": 1, "singlestep": True}, sc.Euler, {}),
    "DPM-Solver++ 1 SDE is DDPM": (sc.DPMSolverPP, {"order": 1, "eta": 1.0}, sc.DDPM, {}),
    "1S ancestral is Euler ancestral": (
        sc.DPMSolverPP,
        {"order": 1, "singlestep": True, "eta": 0.6},
        sc.EulerAncestral,
        {"eta": 0.6},
    ),
    "UniP-1 is DDIM": (sc.UniPC, {"order": 1, "corrector": False}, sc.DDIM, {}),
    "UniP-2 is DPM++ 2M": (
        sc.UniPC,
        {"corrector": False, "lower_order_final": False},
        sc.DPMSolverPP,
        {},
    ),
    "DEIS in rho is LMS": (sc.DEIS, {"order": 4, "variable": "rho"}, sc.LMS, {"order": 4}),
    "DEIS in log rho is DPM-Solver": (
        sc.DEIS,
        {"order": 3, "variable": "log_rho"},
        sc.DPMSolver,
        {"order": 3},
    ),
}


@pytest.mark.parametrize("law", SAME)
@given(name=st.sampled_from(sorted(SCHEDULES)), sigmas=sigma_grids(), seed=seeds)
def test_two_names_of_one_method(law, name, sigmas, seed):
    make, options, other, other_options = SAME[law]
    schedule, x = SCHEDULES[name], np.random.default_rng(seed).normal(size=(2, 3))
    runs = [
        cls(schedule, prediction_type="v_prediction", **given_options).sample(
            bounded_denoiser, x, sigmas=sigmas, rng=seed
        )
        for cls, given_options in ((make, options), (other, other_options))
    ]
    assert relative_error(*runs) < 1e-12


@pytest.mark.parametrize("order", [2, 3, 4])
def test_lms_on_a_uniform_grid_has_the_weights_of_plms(order):
    sigmas = np.linspace(9.0, 1.0, 9)
    ve = sc.VESchedule()
    rows, books = (
        [stage.b for stage in make(ve, order=order).tableau(sigmas=sigmas).stages]
        for make in (sc.LMS, sc.PLMS)
    )
    for row, book in zip(rows, books, strict=True):
        np.testing.assert_allclose(row, book, rtol=0, atol=1e-12)


FULL_ORDER = {
    "LMS": (lambda s, order: sc.LMS(s, order=order), (2, 3, 4)),
    "DEIS t": (lambda s, order: sc.DEIS(s, order=order), (2, 3, 4)),
    "DEIS log rho": (lambda s, order: sc.DEIS(s, order=order, variable="log_rho"), (2, 3, 4)),
    "DPM++ M": (lambda s, order: sc.DPMSolverPP(s, order=order, solver_type="heun"), (2, 3)),
    "DPM++ 2M": (lambda s, order: sc.DPMSolverPP(s, order=order), (2,)),
}


@pytest.mark.parametrize("name", FULL_ORDER)
@pytest.mark.parametrize("schedule", ["ve", "vp", "flow", "discrete"])
def test_a_step_with_exact_estimates_before_it_has_an_error_of_its_order(name, schedule):
    make, orders = FULL_ORDER[name]
    path, data = SCHEDULES[schedule], Gaussian([0.3, -1.0, 2.0], [2.0, 0.3, 8.0])
    if name == "DEIS t" and schedule == "discrete":
        return  # whose log sigma is piecewise linear in the time: no polynomial's
    for order in orders:
        errors = []
        for h in (0.04, 0.02):
            uneven = [0.0, 1.0, 0.7, 1.2, 0.9][: order + 1]
            tableau = make(path, order).tableau(sigmas=2.0 * np.exp(-h * np.cumsum(uneven)))
            exact, ds, es = np.array([1.7, 0.4, -3.0]), [], []
            for level, then in zip(tableau.levels, tableau.levels[1:], strict=False):
                d, e = data._posterior(exact, level.alpha, level.sigma)
                ds, es = [d, *ds], [e, *es]
                exact = data.flow(path, exact, level.t, then.t)
            stage = tableau.stages[-1]
            terms = [*zip(stage.a, ds, strict=False), *zip(stage.b, es, strict=False)]
            errors.append(np.abs(sum(weight * array for weight, array in terms) - exact).max())
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.3)


@pytest.mark.parametrize("schedule", ["flow", "cosine", "zero_snr"])
@pytest.mark.parametrize(
    "make",
    [
        sc.LMS,
        lambda s, **k: sc.DEIS(s, variable="log_rho", **k),
        sc.DPMSolver,
        sc.DPMSolverPP,
        lambda s, **k: sc.DPMSolverPP(s, order=3, **k),
        lambda s, **k: sc.DPMSolverPP(s, eta=1.0, **k),
        lambda s, **k: sc.DPMSolverPP(s, singlestep=True, **k),
    ],
)
def test_a_run_from_alpha_0_arrives(make, schedule):
    path, data = SCHEDULES[schedule], Gaussian([1.0, -2.0], 0.0)
    scheduler = make(path, prediction_type="v_prediction")
    x = scheduler.initial_noise((3, 2), steps=6, rng=0)
    x_0 = scheduler.sample(data.denoiser(path, "v_prediction"), x, steps=6, rng=1)
    np.testing.assert_allclose(x_0, np.broadcast_to([1.0, -2.0], (3, 2)), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sc.LMS(sc.VESchedule(), order=5), "order must be at most 4, got 5"),
        (lambda: sc.DEIS(sc.VESchedule(), order=0), "order must be at least 1, got 0"),
        (lambda: sc.DEIS(sc.VESchedule(), variable="s"), "variable must be one of 't', 'rho'"),
        (lambda: sc.DPMSolver(sc.VESchedule(), order=4), "order must be at most 3, got 4"),
        (lambda: sc.DPMSolver(sc.VESchedule(), singlestep=1), "singlestep must be True or False"),
        (lambda: sc.DPMSolverPP(sc.VESchedule(), solver_type="x"), "solver_type must be one of"),
        (lambda: sc.DPMSolverPP(sc.VESchedule(), eta=1.5), "eta must be at least 0 and at most 1"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_singlestep_dpm_solver_cannot_begin_at_alpha_0():
    scheduler = sc.DPMSolver(sc.FlowSchedule(), prediction_type="flow", singlestep=True)
    with pytest.raises(ValueError, match="DPMSolver's step from alpha = 0 is infinite"):
        scheduler.tableau(3)
