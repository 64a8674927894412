"""CFG++: the paper's step, which renoises with the unconditional estimate."""

import math
import pickle
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import PREDICTIONS, SCHEDULES, as_prediction, relative_error, schedules, seeds, sigma_grids
from schedulers.denoisers import CFGPlusPlus


def conditional(y, s):
    return np.tanh(y)


def unconditional(y, s):
    return np.sin(y) / (1.0 + 0.1 * s)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (sc.DDIM, lambda s, s_next: (s_next, 0.0)),
        (sc.Euler, lambda s, s_next: (s_next, 0.0)),
        (
            sc.EulerAncestral,
            lambda s, s_next: (s_next**2 / s, s_next * math.sqrt(1.0 - (s_next / s) ** 2)),
        ),
        (partial(sc.LCM, timestep_scaling=None), lambda s, s_next: (0.0, s_next)),
    ],
)
@given(
    sigmas=sigma_grids(),
    seed=seeds,
    name=schedules,
    prediction=st.sampled_from(PREDICTIONS),
    scale=st.floats(0.0, 2.0),
)
def test_it_is_algorithm_2_of_its_paper(make, kept, sigmas, seed, name, prediction, scale):
    schedule = SCHEDULES[name]
    generator = np.random.default_rng(seed)
    start = y = sigmas[0] * generator.standard_normal((3, 2))
    for s, s_next in pairwise(sigmas):
        away = unconditional(y, s)
        guided = away + scale * (conditional(y, s) - away)
        old, fresh = kept(s, s_next)
        y = guided + old * (y - away) / s
        if fresh:
            y = y + fresh * generator.standard_normal(y.shape)
    scheduler = make(schedule, prediction_type=prediction)
    tableau = scheduler.tableau(sigmas=sigmas)
    models = (as_prediction(schedule, model, prediction) for model in (conditional, unconditional))
    generator = np.random.default_rng(seed)
    generator.standard_normal((3, 2))
    got = scheduler.sample(
        CFGPlusPlus(*models, scale, tableau),
        tableau.levels[0].alpha * start,
        sigmas=sigmas,
        rng=generator,
    )
    assert relative_error(got / tableau.levels[-1].alpha, y) < 1e-9


def test_it_begins_without_signal_and_can_be_pickled():
    scheduler = sc.DDIM(SCHEDULES["flow"], prediction_type="flow")
    guided = CFGPlusPlus(conditional, unconditional, 0.6, scheduler.tableau(4))
    assert [guided.guidance(t) for t in (1.0, 0.25)] == pytest.approx([0.6, 0.6])
    again = pickle.loads(pickle.dumps(guided))
    x = np.array([0.3, -2.0])
    np.testing.assert_array_equal(scheduler.sample(again, x, 4), scheduler.sample(guided, x, 4))


@pytest.mark.parametrize("make", [sc.Heun, sc.PLMS, sc.SEEDS])
def test_rows_that_weigh_earlier_estimates_are_refused(make):
    tableau = make(SCHEDULES["ve"]).tableau(sigmas=[4.0, 2.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="tableau must be of a scheduler whose rows weigh no"):
        CFGPlusPlus(conditional, unconditional, 0.6, tableau)


def test_bad_arguments_are_refused():
    tableau = sc.DDIM(SCHEDULES["ve"]).tableau(sigmas=[4.0, 0.0])
    with pytest.raises(TypeError, match="tableau must be a Tableau, got 4"):
        CFGPlusPlus(conditional, unconditional, 0.6, 4)
    with pytest.raises(TypeError, match="conditional must be a callable"):
        CFGPlusPlus(None, unconditional, 0.6, tableau)
    with pytest.raises(ValueError, match="t must be a time of the tableau's run, got 3.0"):
        CFGPlusPlus(conditional, unconditional, 0.6, tableau)(np.ones(2), 3.0)
