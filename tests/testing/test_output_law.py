"""The law that the tableau gives is the one that impulses give, which see nothing of a tableau."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kit import ALL, SCHEDULES, predictions, seeds, sigma_grids
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian
from schedulers.testing import as_sampler, black_box_law


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6)
@given(
    seed=seeds,
    schedule=st.sampled_from(sorted(SCHEDULES)),
    prediction=predictions,
    sigmas=sigma_grids(),
)
def test_output_law_is_the_law_of_the_black_box(name, seed, schedule, prediction, sigmas):
    schedule, rng = SCHEDULES[schedule], np.random.default_rng(seed)
    root = rng.normal(size=(3, 3))
    data = Gaussian(rng.normal(size=3), root @ root.T + 0.1 * np.eye(3))
    scheduler = ALL[name](schedule, prediction_type=prediction)
    end = schedule.alpha(schedule.timestep(float(sigmas[-1]))) if sigmas[-1] else 1.0
    law = output_law(scheduler, data, sigmas=sigmas)
    impulses = black_box_law(as_sampler(scheduler), data, sigmas)
    scale = float(np.abs(impulses.cov).max())
    np.testing.assert_allclose(law.mean / end, impulses.mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(law.cov / end**2, impulses.cov, rtol=1e-10, atol=1e-10 * scale)
