"""ER-SDE: its integrals against quadrature, its orders, and how much noise it draws."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from scipy.integrate import quad

import schedulers as sc
from kit import SCHEDULES, bounded_denoiser, law_order, relative_error, seeds, sigma_grids
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian
from schedulers.testing import scheduler_case
from schedulers.testing.laws import accuracy

VE = sc.VESchedule()
EVERYWHERE = ["ve", "vp", "discrete", "flow"]


NOISES = ("ode", "sde", "er_sde")


def phi(noise, s):
    return {"ode": s, "sde": s**2, "er_sde": s * (math.exp(s**0.3) + 10.0)}[noise]


@pytest.mark.parametrize("noise", NOISES)
@given(sigmas=sigma_grids(max_steps=6), seed=seeds)
def test_orders_1_and_2_are_those_of_the_paper(noise, sigmas, seed):
    for order in (1, 2):
        generator = np.random.default_rng(seed)
        start = y = sigmas[0] * generator.standard_normal((3, 2))
        before = None
        for s, s_next in pairwise(sigmas):
            d = bounded_denoiser(y, s)
            if s_next == 0.0:
                y = d
                continue
            r = phi(noise, s_next) / phi(noise, s)
            y = r * y + (1.0 - r) * d
            if before is not None and order == 2:
                part, _ = quad(
                    lambda u: math.exp(u) / phi(noise, math.exp(u)), *np.log([s_next, s])
                )
                slope = (d - before[1]) / (s - before[0])
                y = y + (s_next - s + phi(noise, s_next) * part) * slope
            if noise != "ode":
                variance = s_next**2 - r**2 * s**2
                y = y + math.sqrt(variance) * generator.standard_normal(y.shape)
            before = s, d
        generator = np.random.default_rng(seed)
        generator.standard_normal((3, 2))
        scheduler = sc.ERSDE(VE, prediction_type="sample", order=order, noise=noise)
        got = scheduler.sample(bounded_denoiser, start, sigmas=sigmas, rng=generator)
        assert relative_error(got, y) < 1e-8


@pytest.mark.parametrize("noise", NOISES)
def test_order_3_integrates_every_parabola(noise):
    sigmas = [9.0, 5.0, 4.0, 2.5]
    row = sc.ERSDE(VE, noise=noise).tableau(sigmas=sigmas).stages[-1]
    s, end = sigmas[2:]
    r = phi(noise, end) / phi(noise, s)
    weights = np.array(row.a) - [r, 0.0, 0.0]  # of y = D + s e

    def kernel(u):  # phi(s') phi'(u) / phi(u)**2
        slope = (phi(noise, u + 1e-5) - phi(noise, u - 1e-5)) / 2e-5
        return phi(noise, end) * slope / phi(noise, u) ** 2

    for power in range(3):
        exact, _ = quad(lambda u: u**power * kernel(u), end, s)  # noqa: B023
        assert weights @ np.power(sigmas[2::-1], power) == pytest.approx(exact, rel=1e-7)


def shorter_at_first(n):
    """Grid whose first step is halved again and again, so that the start-up leaves no error."""
    sigmas = np.geomspace(10.0, 0.3, n + 1)
    h = math.log(sigmas[0] / sigmas[1])
    halvings = round(math.log2(n))
    fine = sigmas[0] * np.exp(-h * 2.0 ** np.arange(-halvings, 0))
    return np.concatenate([sigmas[:1], fine, sigmas[1:]])


@pytest.mark.parametrize("schedule", EVERYWHERE)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_without_noise_the_order_is_that_of_its_name(order, schedule):
    scheduler = sc.ERSDE(SCHEDULES[schedule], prediction_type="sample", order=order, noise="ode")
    measured = law_order(scheduler, n=64, grid=shorter_at_first)
    assert measured == pytest.approx(order, abs=0.1)
    case = scheduler_case(scheduler, order=min(order, 2), uneven_order=min(order, 2))
    accuracy.check_order_nonlinear(case)
    accuracy.check_order_uneven(case)


@pytest.mark.parametrize("schedule", EVERYWHERE)
@pytest.mark.parametrize(
    ("noise", "order", "measured"), [("sde", 1, 1), ("sde", 2, 2), ("sde", 3, 2), ("er_sde", 2, 2)]
)
def test_with_noise_the_law_converges_in_order_1_or_2(noise, order, measured, schedule):
    scheduler = sc.ERSDE(SCHEDULES[schedule], prediction_type="sample", order=order, noise=noise)
    assert law_order(scheduler) == pytest.approx(measured, abs=0.1)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("noise", NOISES)
def test_it_begins_without_signal_as_from_very_much_noise(noise, order):
    data = Gaussian(1.0, 0.3)
    scheduler = sc.ERSDE(SCHEDULES["flow"], prediction_type="flow", order=order, noise=noise)
    top, near = (
        output_law(scheduler, data, sigmas=[s, 3.0, 1.0, 0.5, 0.3], initial="marginal")
        for s in (math.inf, 1e10)
    )
    assert float(near.mean) == pytest.approx(float(top.mean), abs=1e-6)
    assert float(near.cov) == pytest.approx(float(top.cov), abs=1e-6)


def test_the_amount_of_noise_may_be_a_function():
    sigmas = [4.0, 2.0, 1.0, 0.0]
    made = [sc.ERSDE(VE, noise=noise).tableau(sigmas=sigmas).stages for noise in ("sde", float)]
    assert made[0] == made[1]


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="order must be at most 3, got 4"):
        sc.ERSDE(VE, order=4)
    with pytest.raises(ValueError, match="noise must be one of 'ode', 'sde', 'er_sde', got 'all'"):
        sc.ERSDE(VE, noise="all")
    with pytest.raises(ValueError, match="noise must be positive and not fall with sigma, got 0.5"):
        sc.ERSDE(VE, noise=lambda s: 1.0 / s).tableau(sigmas=[4.0, 2.0, 0.0])
    with pytest.raises(ValueError, match="noise must be positive and not fall with sigma, got 0.0"):
        sc.ERSDE(VE, noise=lambda s: 0.0).tableau(sigmas=[4.0, 2.0, 0.0])
