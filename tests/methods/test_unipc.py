"""UniPC is the paper's algorithm, by its linear system and with the corrected sample kept."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import SCHEDULES, flow_order, relative_error, seeds, sigma_grids
from schedulers.analytic import Gaussian


def denoised(x, s):
    return np.tanh(x) / (1.0 + s)


def factor(hh, variant):
    """B(h): hh is h for the noise, and -h for the data."""
    return hh if variant == "bh1" else math.expm1(hh)


def coefficients(ratios, hh, variant):
    """Solve R(h) rho = phi(h) / B(h): the orders of the exact integral."""
    phi, moments, factorial = math.expm1(hh) / hh - 1.0, [], 1.0
    for power in range(1, len(ratios) + 1):
        factorial *= power
        moments.append(phi * factorial / factor(hh, variant))
        phi = phi / hh - 1.0 / (factorial * (power + 1))
    matrix = [[ratio**power for ratio in ratios] for power in range(len(ratios))]
    return np.linalg.solve(matrix, moments)


def step(x, outputs, now, then, others, order, variant, predicts, new=None):
    """Take a step on a VE path from estimates at `now` and `others`, and a new one at `then`."""
    lam, lam_then = -math.log(now), -math.log(then)
    h = lam_then - lam
    hh, kept, scale = (h, 1.0, then) if predicts == "noise" else (-h, then / now, 1.0)
    ratios = [(-math.log(s) - lam) / h for s in others[: order - 1]]
    slopes = [(e - outputs[0]) / r for e, r in zip(outputs[1:], ratios, strict=False)]
    if new is not None:
        ratios, slopes = [*ratios, 1.0], [*slopes, new - outputs[0]]
    rho = [0.5] if len(ratios) == 1 else coefficients(ratios, hh, variant) if ratios else []
    x = kept * x - scale * math.expm1(hh) * outputs[0]
    return x - scale * factor(hh, variant) * sum(
        (weight * slope for weight, slope in zip(rho, slopes, strict=True)), np.zeros_like(x)
    )


def paper(x, sigmas, order, variant, corrector, predicts):
    outputs, seen = [], []
    corrected = x
    options = variant, predicts
    for i, now in enumerate(sigmas[:-1]):
        new = denoised(x, now)
        new = (x - new) / now if predicts == "noise" else new
        if corrector and i:
            used = min(order, i)
            before = corrected, outputs[:used], seen[0], now, seen[1:]
            corrected = step(*before, used, *options, new=new)
        else:
            corrected = x
        outputs, seen = [new, *outputs], [now, *seen]
        used = min(order, i + 1)
        x = step(corrected, outputs[:used], now, sigmas[i + 1], seen[1:], used, *options)
    return x


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("corrector", [True, False])
@pytest.mark.parametrize("predicts", ["data", "noise"])
@given(sigmas=sigma_grids(clean=False), seed=seeds)
def test_rows_are_the_papers_algorithm(predicts, order, variant, corrector, sigmas, seed):
    sigmas = np.maximum(sigmas, 0.01)
    sigmas = sigmas[np.append(True, np.diff(sigmas) < 0)].tolist()
    if len(sigmas) < 2 or max(a / b for a, b in zip(sigmas[1:], sigmas, strict=False)) > 0.97:
        return  # their R is nearly singular then
    x = 5.0 * np.random.default_rng(seed).normal(size=(2, 3))
    scheduler = sc.UniPC(
        sc.VESchedule(),
        prediction_type="sample",
        order=order,
        variant=variant,
        corrector=corrector,
        lower_order_final=False,
        predicts=predicts,
    )
    got = scheduler.sample(denoised, x, sigmas=sigmas)
    expected = paper(x, sigmas, order, variant, corrector, predicts)
    assert relative_error(got, expected) < 1e-9


@pytest.mark.parametrize("predicts", ["data", "noise"])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize(
    ("order", "corrector", "measured"),
    [(1, False, 1), (2, False, 2), (3, False, 3), (4, False, 4), (1, True, 2), (2, True, 3)],
)
def test_orders(order, corrector, measured, variant, predicts):
    scheduler = sc.UniPC(
        sc.VESchedule(),
        order=order,
        corrector=corrector,
        variant=variant,
        predicts=predicts,
        lower_order_final=False,
    )
    assert flow_order(scheduler, n=320) == pytest.approx(measured, abs=0.2)


@given(sigmas=sigma_grids(), order=st.integers(1, 4))
def test_of_noise_without_a_corrector_it_is_dpm_solver_once_it_has_three_estimates(sigmas, order):
    options = {"corrector": False, "lower_order_final": False, "predicts": "noise"}
    rows, others = (
        make.tableau(sigmas=sigmas).stages
        for make in (
            sc.UniPC(sc.VESchedule(), order=order, **options),
            sc.DEIS(sc.VESchedule(), order=order, variable="log_rho"),
        )
    )
    for step_, (row, other) in enumerate(zip(rows, others, strict=True)):
        if min(order, step_ + 1) == 2 or sigmas[step_ + 1] == 0.0:
            continue  # the factor 1/2; and the step that ends clean, of order 1 in UniPC
        size = max(1.0, np.abs(other.b).max())
        np.testing.assert_allclose(sum(row.a), sum(other.a), rtol=0, atol=1e-10 * size)
        np.testing.assert_allclose(row.b, other.b, rtol=0, atol=1e-10 * size)


@pytest.mark.parametrize("schedule", ["flow", "cosine", "zero_snr"])
@pytest.mark.parametrize("predicts", ["data", "noise"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_run_from_alpha_0_arrives(order, predicts, schedule):
    path, data = SCHEDULES[schedule], Gaussian([1.0, -2.0], 0.0)
    scheduler = sc.UniPC(path, prediction_type="flow", order=order, predicts=predicts)
    x = scheduler.initial_noise((3, 2), steps=6, rng=0)
    x_0 = scheduler.sample(data.denoiser(path, "flow"), x, steps=6)
    np.testing.assert_allclose(x_0, np.broadcast_to([1.0, -2.0], (3, 2)), atol=1e-12)


@given(order=st.integers(1, 4), steps=st.integers(1, 7))
def test_the_last_steps_have_lower_orders(order, steps):
    tableau = sc.UniPC(sc.VESchedule(), order=order, corrector=False).tableau(steps)
    reach = [max(age for age, weight in enumerate(s.a) if weight) for s in tableau.stages]
    expected = [min(order, i + 1, steps - i) - 1 for i in range(steps)]
    assert reach == expected


def test_from_its_third_step_on_unip_3_is_dpm_solver_pp_3m():
    # The second step differs: UniP's of order 2 has the factor 1/2, 3M's the exact integral.
    sigmas = [9.0, 5.0, 2.0, 0.8, 0.1]
    unip = sc.UniPC(sc.VESchedule(), order=3, corrector=False, lower_order_final=False)
    rows, others = (
        scheduler.tableau(sigmas=sigmas).stages
        for scheduler in (unip, sc.DPMSolverPP(sc.VESchedule(), order=3))
    )
    for row, other in zip(rows[2:], others[2:], strict=True):
        np.testing.assert_allclose(row.a, other.a, rtol=0, atol=1e-14)
        assert row.b == other.b
    assert rows[1].a != others[1].a
