"""SEEDS: the solution written out with its noises, its orders, and the noise that stages share."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given

import schedulers as sc
from kit import (
    SCHEDULES,
    bounded_denoiser,
    expectation_order,
    law_order,
    path_gaps,
    relative_error,
    seeds,
    sigma_grids,
)
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian

VE = sc.VESchedule()
NODES = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}


def phi_1(h):
    return math.expm1(h) / h


def phi_2(h):
    return (math.expm1(h) - h) / h**2


def written_out(denoise, y, sigmas, order, normal):
    """Exponential Runge-Kutta on y, its noises the increments of one W(u), u = 1 / s**2."""
    for s, s_next in pairwise(sigmas):
        first = denoise(y, s)
        if s_next == 0.0:
            y = first
            continue
        big = 2.0 * math.log(s / s_next)
        w, u = 0.0, s**-2.0
        estimates = [first]
        for stage, r in enumerate((*NODES[order], 1.0)):
            at = s ** (1.0 - r) * s_next**r
            h = r * big
            w, u = w + math.sqrt(at**-2.0 - u) * normal(), at**-2.0
            drift = h * phi_1(-h) * first
            if r == 1.0 and order == 2:
                drift = h * phi_1(-h) * estimates[1]
            elif stage:
                slope = (estimates[-1] - first) / NODES[order][stage - 1]
                drift = drift + r * big * phi_2(-h) * slope * r
            reached = math.exp(-h) * y + drift + at**2 * w
            if r < 1.0:
                estimates.append(denoise(reached, at))
        y = reached
    return y


@pytest.mark.parametrize("order", [1, 2, 3])
@given(sigmas=sigma_grids(max_steps=4), seed=seeds)
def test_it_is_the_exponential_solution_with_noises_of_one_path(order, sigmas, seed):
    generator = np.random.default_rng(seed)
    x = sigmas[0] * generator.standard_normal((3, 2))
    expected = written_out(
        bounded_denoiser, x, sigmas, order, lambda: generator.standard_normal(x.shape)
    )
    generator = np.random.default_rng(seed)
    generator.standard_normal((3, 2))
    scheduler = sc.SEEDS(VE, prediction_type="sample", order=order)
    got = scheduler.sample(bounded_denoiser, x, sigmas=sigmas, rng=generator)
    assert relative_error(got, expected) < 1e-9


@pytest.mark.parametrize("schedule", ["ve", "vp", "discrete", "flow"])
@pytest.mark.parametrize(("order", "measured"), [(1, 1), (2, 2), (3, 2)])
def test_the_law_of_gaussian_data_converges_in_order(order, measured, schedule):
    scheduler = sc.SEEDS(SCHEDULES[schedule], prediction_type="sample", order=order)
    assert law_order(scheduler, n=320) == pytest.approx(measured, abs=0.1)


@pytest.mark.parametrize(("order", "measured"), [(1, 1), (2, 2)])
def test_expectations_converge_where_the_data_is_not_gaussian(order, measured):
    assert expectation_order(sc.SEEDS(VE, order=order)) == pytest.approx(measured, abs=0.3)


@dataclass(frozen=True, kw_only=True)
class Independent(sc.SEEDS):
    """Order 2 with a draw for the stage and another one for the step."""

    def stages(self, levels):
        rows = list(super().stages(levels))
        for step, (now, then) in enumerate(pairwise(levels)):
            first, second = rows[2 * step : 2 * step + 2]
            q = (then.karras / now.karras) ** 2
            yield first
            b = (0.0, then.alpha * q * now.karras)
            c = then.sigma * math.sqrt(1.0 - q)
            yield sc.Stage(second.level, (then.alpha * (1.0 - q), then.alpha * q), b, c)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2, 3])
def test_on_one_path_the_samples_converge(order):
    falling = path_gaps(partial(sc.SEEDS, order=order))
    assert np.all(falling[1:] < 0.65 * falling[:-1])
    assert falling[-1] < 0.02


@pytest.mark.slow
def test_with_a_draw_for_each_stage_they_do_not_and_the_law_is_of_first_order():
    assert path_gaps(Independent)[-1] > 0.5
    assert law_order(Independent(VE)) == pytest.approx(1.0, abs=0.1)
    assert law_order(sc.SEEDS(VE)) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("order", [2, 3])
def test_it_begins_without_signal_as_from_very_much_noise(order):
    data = Gaussian(1.0, 0.3)
    scheduler = sc.SEEDS(SCHEDULES["flow"], prediction_type="flow", order=order)
    top, near = (
        output_law(scheduler, data, sigmas=[s, 3.0, 1.0, 0.3], initial="marginal")
        for s in (math.inf, 1e8)
    )
    assert float(near.mean) == pytest.approx(float(top.mean), abs=1e-6)
    assert float(near.cov) == pytest.approx(float(top.cov), abs=1e-6)
    assert scheduler.tableau(sigmas=[math.inf, 3.0, 1.0, 0.0]).nfe == 2 + order


def test_there_are_at_most_three_stages():
    with pytest.raises(ValueError, match="order must be at most 3, got 4"):
        sc.SEEDS(VE, order=4)
