"""DPM++ SDE: the second noise of a step contains the first."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import (
    SCHEDULES,
    bounded_denoiser,
    expectation_order,
    law_order,
    path_gaps,
    relative_error,
    schedules,
    seeds,
    sigma_grids,
)
from schedulers.analytic import Gaussian

VE = sc.VESchedule()
SDE = partial(sc.DPMSolverPP, singlestep=True, sde=True)


def written_out(denoise, y, sigmas, eta, normal):
    """The two stages of Lu et al., the noises increments of one W(u), u = 1 / s**2."""
    for s, end in pairwise(sigmas):
        d = denoise(y, s)
        if end == 0.0:
            return d
        middle = math.sqrt(s * end)
        w = math.sqrt(middle**-2.0 - s**-2.0) * normal()
        down = math.sqrt(middle**2 - (eta * middle**2) ** 2 * (middle**-2.0 - s**-2.0))
        y_1 = down / s * y + (1.0 - down / s) * d + eta * middle**2 * w
        d_1 = denoise(y_1, middle)
        w = w + math.sqrt(end**-2.0 - middle**-2.0) * normal()
        down = math.sqrt(end**2 - (eta * end**2) ** 2 * (end**-2.0 - s**-2.0))
        y = down / s * y + (1.0 - down / s) * d_1 + eta * end**2 * w
    return y


@given(sigmas=sigma_grids(max_steps=4), seed=seeds, eta=st.floats(0.01, 1.0))
def test_its_noises_are_those_of_one_path(sigmas, seed, eta):
    generator = np.random.default_rng(seed)
    x = sigmas[0] * generator.standard_normal((3, 2))
    expected = written_out(
        bounded_denoiser, x, sigmas, eta, lambda: generator.standard_normal(x.shape)
    )
    generator = np.random.default_rng(seed)
    generator.standard_normal((3, 2))
    scheduler = SDE(VE, prediction_type="sample", eta=eta)
    got = scheduler.sample(bounded_denoiser, x, sigmas=sigmas, rng=generator)
    assert relative_error(got, expected) < 1e-9


@given(sigmas=sigma_grids(), seed=seeds, name=schedules)
@pytest.mark.parametrize(
    ("eta", "make"),
    [(1.0, partial(sc.SEEDS, order=2)), (0.0, partial(sc.DPMSolverPP, singlestep=True))],
)
def test_it_is_seeds_and_without_noise_2s(eta, make, sigmas, seed, name):
    one, other = (
        scheduler.sample(bounded_denoiser, np.ones((2, 3)), sigmas=sigmas, rng=seed)
        for scheduler in (SDE(SCHEDULES[name], eta=eta), make(SCHEDULES[name]))
    )
    assert relative_error(one, other) < 1e-12


@dataclass(frozen=True, kw_only=True)
class Independent(sc.DPMSolverPP):
    """The same with two independent draws: both noises have the right variance."""

    def stages(self, levels):
        rows = list(super().stages(levels))
        for step, (now, then) in enumerate(pairwise(levels)):
            first, second = rows[2 * step : 2 * step + 2]
            shared = then.alpha * (then.karras / second.level.karras) ** 2
            a, b = second.a, second.b
            a = a[0] - shared, a[1] + shared
            b = 0.0, b[1] + shared * first.b[0] / second.level.alpha
            fresh = math.sqrt(1.0 - (then.karras / now.karras) ** 2)
            yield first
            yield sc.Stage(second.level, a, b, c=then.sigma * self.eta * fresh)


def errors(make):
    """Root mean square distances of runs of n steps to one of 1024 on the same path."""
    ve = sc.VESchedule(sigma_min=0.1, sigma_max=10.0)
    denoiser = Gaussian(0.0, 1.0).denoiser(ve, prediction_type="sample")
    x, path = 10.0 * np.random.default_rng(0).standard_normal(500), sc.BrownianPath(1)
    runs = [
        make(ve, prediction_type="sample").sample(
            denoiser, x, sigmas=np.geomspace(10.0, 0.1, n + 1), rng=path
        )
        for n in (8, 16, 32, 64, 1024)
    ]
    return np.array([np.sqrt(np.mean((run - runs[-1]) ** 2)) for run in runs[:-1]])


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_on_one_path_the_samples_converge_to_a_fine_run(eta):
    falling = errors(partial(SDE, eta=eta))
    assert np.all(falling[1:] < 0.65 * falling[:-1])
    assert falling[-1] < 0.03


@pytest.mark.slow
def test_with_two_independent_draws_they_do_not():
    make = partial(Independent, singlestep=True, sde=True, eta=1.0)
    assert errors(make)[-1] > 0.3
    assert path_gaps(make)[-1] > 0.3
    assert law_order(make(VE)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("schedule", ["ve", "vp", "flow"])
def test_the_law_converges_in_order_2(schedule):
    assert law_order(SDE(SCHEDULES[schedule], eta=1.0)) == pytest.approx(2.0, abs=0.1)


def test_so_do_expectations_where_the_data_is_not_gaussian():
    assert expectation_order(SDE(VE, eta=1.0)) == pytest.approx(2.0, abs=0.3)


def test_it_is_singlestep_of_order_2():
    with pytest.raises(ValueError, match="sde must be False except for singlestep=True and order"):
        sc.DPMSolverPP(VE, sde=True)
    with pytest.raises(TypeError, match="sde must be True or False, got 1"):
        SDE(VE, sde=1)
