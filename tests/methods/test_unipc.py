"""UniPC is the paper's algorithm, by its linear system and with the corrected sample kept."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import relative_error, seeds, sigma_grids


def denoised(x, s):
    return np.tanh(x) / (1.0 + s)


def factor(h, variant):
    return -h if variant == "bh1" else math.expm1(-h)


def coefficients(ratios, h, variant):
    """Solve R(h) rho = phi(h) / B(h), for data: the orders of the exact integral."""
    phi, moments, factorial = math.expm1(-h) / -h - 1.0, [], 1.0
    for power in range(1, len(ratios) + 1):
        factorial *= power
        moments.append(phi * factorial / factor(h, variant))
        phi = phi / -h - 1.0 / (factorial * (power + 1))
    matrix = [[ratio**power for ratio in ratios] for power in range(len(ratios))]
    return np.linalg.solve(matrix, moments)


def step(x, ds, now, then, others, order, variant, new=None):
    """Take a step on a VE path from D at `now` and at the `others`, and at `then` if it is new."""
    lam, lam_then = -math.log(now), -math.log(then)
    h = lam_then - lam
    ratios = [(-math.log(s) - lam) / h for s in others[: order - 1]]
    slopes = [(d - ds[0]) / r for d, r in zip(ds[1:], ratios, strict=False)]
    if new is not None:
        ratios, slopes = [*ratios, 1.0], [*slopes, new - ds[0]]
    rho = [0.5] if len(ratios) == 1 else coefficients(ratios, h, variant) if ratios else []
    x = then / now * x - math.expm1(-h) * ds[0]
    return x - factor(h, variant) * sum(
        (weight * slope for weight, slope in zip(rho, slopes, strict=True)), np.zeros_like(x)
    )


def paper(x, sigmas, order, variant, corrector):
    ds, seen = [], []
    corrected = x
    for i, now in enumerate(sigmas[:-1]):
        d = denoised(x, now)
        if corrector and i:
            used = min(order, i)
            corrected = step(corrected, ds[:used], seen[0], now, seen[1:], used, variant, new=d)
        else:
            corrected = x
        ds, seen = [d, *ds], [now, *seen]
        used = min(order, i + 1)
        x = step(corrected, ds[:used], now, sigmas[i + 1], seen[1:], used, variant)
    return x


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("corrector", [True, False])
@given(sigmas=sigma_grids(clean=False), seed=seeds)
def test_rows_are_the_papers_algorithm(order, variant, corrector, sigmas, seed):
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
    )
    got = scheduler.sample(denoised, x, sigmas=sigmas)
    assert relative_error(got, paper(x, sigmas, order, variant, corrector)) < 1e-9


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
