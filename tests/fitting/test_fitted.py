"""The scheduler that runs tables, and its file."""

import json
import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from schedulers.fitting import Fit, Report
from schedulers.testing import check_scheduler

VP = sc.DiscreteSchedule(sc.linear_betas(1000))
SCHEDULES = {
    "betas": VP,
    "alphas_cumprod": sc.DiscreteSchedule.from_alphas_cumprod(np.linspace(0.99, 0.01, 30)),
    "vp": sc.VPSchedule(0.2, 19.0),
    "ve": sc.VESchedule(0.01, 50.0),
    "flow": sc.FlowSchedule(0.002),
    "cosine": sc.CosineSchedule(0.01),
}
REPORT = Report("DDIM", 48, 16, 900, (Fit(4, 4, 0.3, 0.1 + 0.2, 1e-17, True),))


def tables(schedule, *counts, make=sc.DPMSolverPP):
    return [make(schedule, prediction_type="sample").tableau(count) for count in counts]


def fitted(schedule, *counts, **options):
    made = partial(sc.FittedScheduler, schedule, tables=tables(schedule, *counts))
    return made(**{"prediction_type": "sample", **options})


def bounded(x, t):
    return np.tanh(x)


X = np.random.default_rng(0).standard_normal((4, 3))


@pytest.mark.parametrize("make", [sc.DPMSolverPP, sc.Heun, sc.DDPM, partial(sc.Euler, s_churn=9.0)])
def test_a_table_runs_as_the_scheduler_that_it_is_from(make):
    scheduler = make(VP, prediction_type="sample")
    runs = sc.FittedScheduler(
        VP, prediction_type="sample", tables=[scheduler.tableau(5), scheduler.tableau(3)]
    )
    for steps in (3, 5):
        expected = scheduler.sample(bounded, X, steps=steps, rng=7)
        np.testing.assert_array_equal(runs.sample(bounded, X, steps=steps, rng=7), expected)
        state = runs.init(X, steps, rng=7)
        while not state.done:
            state = runs.update(bounded(state.x, state.t), state, rng=7)
        np.testing.assert_array_equal(state.x, expected)
    assert [table.steps for table in runs.tables] == [3, 5]
    assert pickle.loads(pickle.dumps(runs)) == runs


def test_an_entry_that_scales_the_sample_needs_no_noise():
    level, clean = VP.level(20.0), VP.clean
    top = VP.levels([999])[0]
    table = sc.Tableau("x", (top, clean), (sc.Stage(level, a=[1.0], b=[0.0]),), (0.9, 0.0))
    runs = sc.FittedScheduler(VP, prediction_type="sample", tables=[table])
    np.testing.assert_array_equal(runs.init(X, 1).x, 0.9 * X)
    np.testing.assert_array_equal(runs.sample(bounded, X, steps=1), np.tanh(0.9 * X))
    assert runs.init(X, 1).t == level.t


def test_on_other_levels_the_rows_are_ddims_and_the_kits_checks_pass():
    runs, ddim = fitted(VP, 4), sc.DDIM(VP, prediction_type="sample")
    sigmas = [20.0, 3.0, 1.0, 0.0]
    np.testing.assert_array_equal(
        runs.sample(bounded, X, sigmas=sigmas), ddim.sample(bounded, X, sigmas=sigmas)
    )
    np.testing.assert_array_equal(
        runs.sample(bounded, X, timesteps=runs.tables[0].timesteps),
        runs.sample(bounded, X, steps=4),
    )
    np.testing.assert_array_equal(
        runs.invert(bounded, X, steps=4), ddim.invert(bounded, X, steps=4)
    )
    check_scheduler(runs, order=1)


def test_steps_without_a_table_are_refused():
    with pytest.raises(ValueError, match="steps must be a number that there is a table for, 3, 5,"):
        fitted(VP, 5, 3).sample(bounded, X, steps=4)
    with pytest.raises(TypeError, match=r"steps must be an integer, got 3\.5"):
        fitted(VP, 3).tableau(3.5)
    with pytest.raises(ValueError, match="exactly one of steps, timesteps and sigmas"):
        fitted(VP, 3).tableau(3, sigmas=[1.0, 0.0])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((), ValueError, "tables must be at least one, each of another number of steps"),
        (tables(VP, 3) * 2, ValueError, r"tables must be .*got tables of \[3, 3\] steps"),
        (3, TypeError, "tables must be a sequence of Tableaus, got 3"),
        ([3], TypeError, r"tables must be a sequence of Tableaus, got \[3\]"),
        (tables(sc.VPSchedule(), 3), ValueError, "tables must have levels of DiscreteSchedule"),
        (
            tables(sc.DiscreteSchedule(sc.cosine_betas(1000)), 3),
            ValueError,
            "tables must have levels of DiscreteSchedule",
        ),
    ],
)
def test_tables_that_cannot_be_run_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        sc.FittedScheduler(VP, prediction_type="sample", tables=given)


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(
    "threshold", [None, sc.StaticThreshold(0.7, rederive_noise=False), sc.DynamicThreshold(0.9)]
)
@pytest.mark.parametrize("report", [None, REPORT])
def test_what_is_loaded_is_what_was_saved(schedule, threshold, report, tmp_path):
    saved = fitted(schedule, 4, 2, threshold=threshold, report=report)
    saved.save(tmp_path / "f.json")
    loaded = sc.FittedScheduler.load(tmp_path / "f.json")
    assert loaded == saved
    assert [t.fingerprint for t in loaded.tables] == [t.fingerprint for t in saved.tables]
    np.testing.assert_array_equal(
        loaded.sample(bounded, X, steps=4), saved.sample(bounded, X, steps=4)
    )


def test_a_schedule_of_ones_own_is_not_saved(tmp_path):
    class Own(sc.VPSchedule):
        pass

    with pytest.raises(TypeError, match="schedule must be one of this library's to be saved"):
        fitted(Own(), 3).save(tmp_path / "f.json")
    assert not list(tmp_path.iterdir())


def changed(document, path, value):
    *parents, last = path
    place = document
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema"], "schedulers.tableau", "schema must be one of 'schedulers.fitted'"),
        (["schema"], None, "schema must be one of 'schedulers.fitted', got None"),
        (["version"], 2, "version must be at most 1, got 2"),
        (["version"], "1", "version must be an integer, got '1'"),
        (["extra"], 1, "the file must be an object with the keys schedule, "),
        (["report"], None, "the file must be an object with the keys schedule, "),
        (["schedule", "class"], "os.system", "schedule.class must be one of 'VPSchedule', "),
        (["schedule", "class"], 1, "schedule.class must be one of "),
        (["schedule"], 3, "schedule must be an object, got 3"),
        (["schedule", "betas"], None, "schedule must be an object with the keys betas"),
        (["schedule", "betas"], [0.1, 2.0], "betas must lie between 0 and 1"),
        (["schedule", "betas"], ["0.1"], r"schedule.betas\[0\] must be a real number, got '0.1'"),
        (["prediction_type"], "eps", "prediction_type must be one of .*, got 'eps'"),
        (["threshold"], {"class": "StaticThreshold"}, "threshold must be an object with the keys"),
        (["threshold"], {"class": "eval"}, "threshold.class must be one of"),
        (["tables"], [], r"tables must be a list of at least 1 items, got \[\]"),
        (["tables", 0, "method"], 3, "method must be a string, got 3"),
        (["tables", 0, "entry"], [1.0], "entry must be a list of at least 2 items"),
        (["tables", 0, "entry"], [1.0, 0.0, 0.0], "entry must be two weights"),
        (["tables", 0, "levels"], [], "levels must be a list of at least 2 items"),
        (["tables", 0, "levels", 0, "alpha"], -0.1, r"levels\[0\].alpha must be at least 0"),
        (["tables", 0, "levels", 0, "t"], True, r"levels\[0\].t must be a real number, got True"),
        (["tables", 0, "stages"], [], "stages must be a list of at least 1 items"),
        (["tables", 0, "stages", 1, "a"], [], r"stages\[1\].a must be a list of at least 1"),
        (["tables", 0, "stages", 1, "b"], [None], r"stages\[1\].b\[0\] must be a real number"),
        (["tables", 0, "stages", 1, "c"], "1", r"stages\[1\].c must be a real number, got '1'"),
        (["tables", 0, "stages", 1, "ends_step"], 1, r"stages\[1\].ends_step must be True or"),
        (["tables", 0, "stages", 1, "t"], 1.0, "tables must have levels of DiscreteSchedule"),
        (["report", "samples"], -1, "report.samples must be at least 0, got -1"),
        (["report", "scheduler"], 3, "report.scheduler must be a string, got 3"),
        (["report", "fits", 0, "kept"], 1, r"report.fits\[0\] must be True or False, got 1"),
    ],
)
def test_a_damaged_file_is_refused_by_name(path, value, message, tmp_path):
    file = tmp_path / "f.json"
    fitted(VP, 3, report=REPORT).save(file)
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    with pytest.raises(ValueError, match=message) as error:
        sc.FittedScheduler.load(file)
    assert "f.json' must be a file of a fitted scheduler: " in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[1, 2", b"[]", b"3", b'{"a": 1, "a": 2}', b"[" * 100_000]
)
@pytest.mark.parametrize("kind", [sc.FittedScheduler, sc.Tableau])
def test_what_is_no_such_file_is_refused(content, kind, tmp_path):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"f.json' must be a file of a "):
        kind.load(tmp_path / "f.json")


@given(st.data())
def test_a_file_cut_short_is_refused(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("cut") / "f.json"
    fitted(VP, 2).save(file)
    whole = file.read_bytes().rstrip()
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ValueError, match="must be a file of a fitted scheduler"):
        sc.FittedScheduler.load(file)


def test_a_path_is_a_path():
    for call in (fitted(VP, 2).save, sc.FittedScheduler.load, sc.Tableau.load):
        with pytest.raises(TypeError, match="path must be a str or a path, got 3"):
            call(3)
