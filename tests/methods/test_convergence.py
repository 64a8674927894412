"""How single methods converge to the exact probability flow of a Gaussian."""

import math
from functools import partial

import numpy as np
import pytest

import schedulers as sc
from kit import DETERMINISTIC, SCHEDULES
from schedulers.analytic import Gaussian

DIMENSION = 3


def random_gaussian(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(DIMENSION, DIMENSION))
    return Gaussian(rng.normal(size=DIMENSION), root @ root.T + 0.5 * np.eye(DIMENSION)), rng


def error(make, schedule, data, x, sigmas, prediction_type="epsilon"):
    """Largest error against the exact flow, of a start x in units of the first level's noise."""
    first, last = schedule.timestep(sigmas[[0, -1]])
    x = schedule.sigma(first) * x
    model = data.denoiser(schedule, prediction_type)
    got = make(schedule, prediction_type=prediction_type).sample(model, x, sigmas=sigmas)
    return np.abs(got - data.flow(schedule, x, first, last)).max()


def order(make, schedule, data, x, grid, n, **options):
    coarse, fine = (error(make, schedule, data, x, grid(k), **options) for k in (n, 2 * n))
    return math.log2(coarse / fine)


def uniform(n):
    return np.linspace(12.0, 0.4, n + 1)


@pytest.mark.parametrize("order_", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("startup", "limit"), [("lower_order", 2), ("heun", 3), ("runge_kutta", 4)]
)
def test_the_startup_limits_the_order_of_plms(order_, startup, limit):
    # A few first steps leave their local error, of one order more than the method's own: Euler's
    # step 2, Heun's 3, Runge-Kutta's 5.
    data, x = Gaussian(1.0, 1.0), np.array([1.0, -0.5, 2.0])
    make = DETERMINISTIC[f"PLMS{order_}-{startup}"]
    measured = order(make, SCHEDULES["ve"], data, x, lambda n: np.linspace(1.5, 1.0, n + 1), 100)
    assert measured == pytest.approx(min(order_, limit), abs=0.05)


@pytest.mark.parametrize("order_", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ["ve", "flow"])
def test_with_the_weights_of_the_actual_steps_plms_keeps_its_order_on_any_grid(schedule, order_):
    data, x = Gaussian(1.0, 1.0), np.array([1.0, -0.5, 2.0])
    path = SCHEDULES[schedule]

    def uneven(n):
        return 2.0 * np.exp(-(np.linspace(0.0, 1.0, n + 1) ** 2))

    def measured(weights):
        make = partial(sc.PLMS, order=order_, startup="runge_kutta", weights=weights)
        return order(make, path, data, x, uneven, 100)

    assert measured("variable") == pytest.approx(order_, abs=0.1)
    if order_ > 2:
        assert measured("constant") < 2.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["discrete", "vp", "ve"])
def test_there_the_error_of_order_4_keeps_falling_to_1e_11(name):
    data, rng = random_gaussian(1)
    x = rng.normal(size=(4, DIMENSION))
    make = DETERMINISTIC["PLMS4-runge_kutta"]
    assert error(make, SCHEDULES[name], data, x, uniform(8_000)) < 1e-11


def test_a_run_that_ends_clean_converges_too():
    # The last step, from sigma_min, is Euler's; with sigma_min falling its error falls as well.
    data, rng = random_gaussian(3)
    x = 60.0 * rng.normal(size=(4, DIMENSION))
    exact = data.flow(sc.VESchedule(), x, 60.0, None)
    errors = []
    for n in (20, 40, 80):
        sigmas = sc.karras_sigmas(n, 1.0 / n**2, 60.0)
        got = sc.Heun(sc.VESchedule()).sample(data.denoiser(sc.VESchedule()), x, sigmas=sigmas)
        errors.append(np.abs(got - exact).max())
    assert errors[2] < errors[1] / 3.0 < errors[0] / 9.0
