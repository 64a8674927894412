"""Rows whose model is told another level than that of the sample."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import PREDICTIONS, SCHEDULES, as_prediction, predictions, seeds
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian

VP, FLOW = SCHEDULES["vp"], SCHEDULES["flow"]
PARTS = (0.7, 0.9, 1.1)


def table(schedule, sigmas=(4.0, 1.5, 0.5), parts=PARTS):
    """A table whose model is told of these parts of the sigmas, with weights of all estimates."""
    told = [schedule.level(s * part) for s, part in zip(sigmas, parts, strict=True)]
    at = [level._replace(sigma=level.alpha * s) for level, s in zip(told, sigmas, strict=True)]
    stages = []
    for i, (level, then) in enumerate(zip(at, [*at[1:], schedule.clean], strict=True)):
        rest = [0.1 * (k + 1) for k in range(i)]
        a = [then.alpha - sum(rest), *rest]
        b = [then.sigma + sum(rest), *(-weight for weight in rest)]
        stages.append(sc.Stage(level, a, b, told_sigma=told[i].sigma))
    return sc.Tableau("told", (*told, schedule.clean), tuple(stages))


def scheduler(schedule, prediction="sample", **options):
    return sc.FittedScheduler(
        schedule, prediction_type=prediction, tables=[table(schedule)], **options
    )


@given(st.sampled_from(["vp", "ve", "flow"]), predictions, seeds)
def test_d_is_what_the_model_says_there_and_e_is_the_noise_in_the_sample(name, kind, seed):
    schedule, x = SCHEDULES[name], np.random.default_rng(seed).normal(size=5)
    runs, made = scheduler(schedule, kind), table(schedule)

    def denoise(y, s):
        asked.append(s)
        return np.tanh(y) / (1.0 + s)

    asked, y, past = [], x, []
    for stage in made.stages:
        alpha, sigma = stage.level.alpha, stage.level.sigma
        d = denoise(y / alpha, stage.told_sigma / alpha)
        past.insert(0, (d, (y - alpha * d) / sigma))
        y = sum(a * d for a, (d, _) in zip(stage.a, past, strict=True))
        y = y + sum(b * e for b, (_, e) in zip(stage.b, past, strict=True))
    got = runs.sample(as_prediction(schedule, denoise, kind), x, steps=3)
    np.testing.assert_allclose(asked[3:], asked[:3], rtol=1e-9)
    np.testing.assert_allclose(got, y, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("schedule", [VP, FLOW], ids=["vp", "flow"])
def test_a_point_mass_is_exact_at_every_level(schedule, kind):
    point, eps = np.array([0.3, -2.0]), np.array([[1.0, -0.4], [0.2, 2.0]])
    runs, model = scheduler(schedule, kind), Gaussian(point, 0.0).denoiser(schedule, kind)
    first = runs.tableau(3).stages[0].level
    state = runs.init(first.alpha * point + first.sigma * eps, 3)
    while not state.done:
        expected = state.level.alpha * point + state.level.sigma * eps
        np.testing.assert_allclose(state.x, expected, rtol=1e-9)
        state = runs.update(model(state.x, state.t), state)
    np.testing.assert_allclose(state.x, np.tile(point, (2, 1)), rtol=1e-9)


def test_the_law_of_the_output_is_that_of_runs():
    data, runs = Gaussian([0.5], 0.3), scheduler(VP)
    law = output_law(runs, data, steps=3, initial=Gaussian([0.2], 1.0))
    x_T, model = np.array([[-0.8], [1.2]]), data.denoiser(VP, "sample")
    low, high = runs.sample(model, x_T, steps=3).ravel()
    np.testing.assert_allclose(law.mean, (low + high) / 2.0, rtol=1e-10)
    np.testing.assert_allclose(law.cov, ((high - low) / 2.0) ** 2, rtol=1e-10)


@pytest.mark.parametrize("rederive_noise", [True, False])
def test_a_threshold_is_of_d_and_e_may_be_made_anew(rederive_noise):
    threshold = sc.StaticThreshold(0.4, rederive_noise=rederive_noise)
    runs, x = scheduler(VP, threshold=threshold), np.array([3.0, -0.2])
    stage, then = runs.tableau(3).stages[:2]
    after = runs.update(0.5 * x, runs.init(x, 3))
    d = np.clip(0.5 * x, -0.4, 0.4)
    e = (x - stage.level.alpha * (d if rederive_noise else 0.5 * x)) / stage.level.sigma
    np.testing.assert_allclose(after.x, then.level.alpha * d + then.level.sigma * e, rtol=1e-12)


def test_samples_of_a_batch_are_those_of_their_own_runs():
    runs, x = scheduler(FLOW), np.random.default_rng(0).normal(size=(2, 3))
    states = [runs.init(x[:1], 3), runs.init(x[1:], 3)]
    states[1] = runs.update(np.tanh(states[1].x), states[1])
    batch = sc.Batch(states)
    for _ in range(2):
        batch = batch.update(np.tanh(batch.x))
    last = runs.update(np.tanh(batch.states[0].x), batch.states[0])
    got = np.concatenate([last.x, batch.states[1].x])
    np.testing.assert_allclose(got, runs.sample(lambda y, t: np.tanh(y), x, steps=3), rtol=1e-12)


def test_the_scale_that_is_told_is_kept_printed_and_a_part_of_the_fingerprint(tmp_path):
    made = table(VP)
    made.save(tmp_path / "t.json")
    assert sc.Tableau.load(tmp_path / "t.json") == made
    assert [stage.told.sigma for stage in made.stages] == [s.told_sigma for s in made.stages]
    lines = str(made).splitlines()
    assert lines[1].split()[:7] == ["step", "NFE", "t", "alpha", "sigma", "told", "D"]
    assert lines[2].split()[5] == f"{made.stages[0].told_sigma:.5g}"
    plain = [sc.Stage(s.level, s.a, s.b) for s in made.stages]
    other = sc.Tableau("told", made.levels, tuple(plain))
    assert other.fingerprint != made.fingerprint
    mixed = sc.Tableau("told", made.levels, (*plain[:2], made.stages[2]))
    assert sc.Tableau.from_dict(mixed.to_dict()) == mixed
    shown = [line.split()[5] for line in str(mixed).splitlines()[2:5]]
    assert shown[:2] == [f"{stage.level.sigma:.5g}" for stage in plain[:2]]


@pytest.mark.parametrize(
    ("told", "error", "message"),
    [
        (0.0, ValueError, "told_sigma must be above 0 and finite, got 0.0"),
        (-1.0, ValueError, "told_sigma must be above 0 and finite, got -1.0"),
        (np.inf, ValueError, "told_sigma must be above 0 and finite, got inf"),
        ("1", TypeError, "told_sigma must be a real number, got '1'"),
    ],
)
def test_a_scale_that_cannot_be_told_is_refused(told, error, message):
    with pytest.raises(error, match=message):
        sc.Stage(sc.Level(1.0, 0.6, 0.8), [1.0], [0.0], told_sigma=told)
    document = table(VP).to_dict()
    document["stages"][1]["told_sigma"] = told
    with pytest.raises(error, match=rf"stages\[1\].{message}"):
        sc.Tableau.from_dict(document)


def test_a_scale_of_null_is_refused():
    document = table(VP).to_dict()
    document["stages"][1]["told_sigma"] = None
    with pytest.raises(ValueError, match=r"stages\[1\] must be an object with the keys"):
        sc.Tableau.from_dict(document)


def test_what_is_told_is_a_level_of_the_schedule():
    made = table(VP)
    stages = [sc.Stage(s.level, s.a, s.b, told_sigma=1.1 * s.told_sigma) for s in made.stages]
    with pytest.raises(ValueError, match="tables must have levels of"):
        sc.FittedScheduler(VP, tables=[sc.Tableau("told", made.levels, tuple(stages))])


def test_without_noise_in_the_sample_none_is_told_and_none_is_known():
    clean, top = VP.clean, VP.level(2.0)
    with pytest.raises(ValueError, match="told_sigma must be left out where sigma is 0, got 0.5"):
        sc.Stage(clean, [1.0], [0.0], told_sigma=0.5)
    rows = sc.Stage(top, [1.0], [0.0], ends_step=False), sc.Stage(clean, [1.0], [0.0])
    runs = sc.FittedScheduler(VP, tables=[sc.Tableau("clean", (top, clean), rows)])
    with pytest.raises(ValueError, match="levels must be such that float64 holds the weights"):
        output_law(runs, Gaussian([0.0], 1.0), steps=1)
