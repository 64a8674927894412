"""Tables fitted to a model: exact mixtures stand for networks."""

import numpy as np
import pytest

import schedulers as sc
from schedulers.analytic import GaussianMixture
from schedulers.fitting import fit

FLOW = sc.FlowSchedule()
VP = sc.DiscreteSchedule(sc.linear_betas(1000))
MIXTURE = GaussianMixture([[-2.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.5, -2.0, -1.0]], 1.0)


def model(schedule, prediction="flow"):
    return MIXTURE.denoiser(schedule, prediction_type=prediction)


def begun(schedule, prediction="flow", make=sc.DDIM, **options):
    return make(schedule, prediction_type=prediction, **options)


def noise(scheduler, n, seed=0):
    top = [float(scheduler.schedule.t_max)]
    return scheduler.initial_noise((n, 3), timesteps=top, rng=seed)


def miss(scheduler, denoiser, x_T, **run):
    exact = sc.DPMSolverPP(
        scheduler.schedule,
        order=3,
        prediction_type=scheduler.prediction_type,
        spacing="flow_karras",
    ).sample(denoiser, x_T, steps=400)
    return np.sqrt(np.mean((scheduler.sample(denoiser, x_T, **run) - exact) ** 2))


@pytest.fixture(scope="module")
def fitted():
    scheduler = begun(FLOW)
    return fit(scheduler, model(FLOW), noise(scheduler, 300), steps=[3, 5])


@pytest.mark.parametrize("steps", [3, 5])
def test_a_fitted_table_is_nearer_to_the_flow_on_samples_that_were_not_used(fitted, steps):
    x_T, denoiser = noise(fitted, 1000, seed=5), model(FLOW)
    after = miss(fitted, denoiser, x_T, steps=steps)
    books = min(
        miss(begun(FLOW, make=make, spacing=spacing), denoiser, x_T, steps=steps)
        for make in (sc.DDIM, sc.PLMS, sc.DPMSolverPP, sc.UniPC)
        for spacing in ("trailing", "flow_karras")
    )
    assert after < 0.35 * books
    said = {row.steps: row.after for row in fitted.report.fits}[steps]
    assert said == pytest.approx(after, rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "prediction"),
    [(VP, "epsilon"), (VP, "v_prediction"), (sc.VESchedule(), "sample"), (FLOW, "sample")],
)
@pytest.mark.parametrize("make", [sc.DDIM, sc.PLMS, sc.DPMSolverPP])
def test_any_schedule_prediction_and_method_can_be_begun_with(schedule, prediction, make):
    scheduler = begun(schedule, prediction, make)
    x_T = noise(scheduler, 200)
    table = fit(scheduler, model(schedule, prediction), x_T, steps=4, fine_steps=50).report.fits[0]
    assert table.kept
    assert table.after < 0.35 * table.before


def test_rows_stay_consistent_and_a_point_mass_is_exact(fitted):
    for table in fitted.tables:
        ends = [*(stage.level for stage in table.stages[1:]), table.levels[-1]]
        for stage, end in zip(table.stages, ends, strict=True):
            assert sum(stage.a) == pytest.approx(end.alpha, abs=1e-12)
            assert sum(stage.b) == pytest.approx(end.sigma, abs=1e-12)
        x_0 = fitted.sample(
            lambda x, t: (x - 3.0) / FLOW.sigma(t), np.full((2, 3), 0.7), steps=table.steps
        )
        np.testing.assert_allclose(x_0, 3.0, rtol=1e-12)


def test_weights_alone_leave_the_levels(fitted):
    scheduler = begun(FLOW, spacing="flow_karras")
    alone = fit(scheduler, model(FLOW), noise(scheduler, 100), steps=4, levels=False)
    assert alone.tables[0].levels == scheduler.tableau(4).levels
    assert alone.tables[0].entry == (1.0, 0.0)
    assert alone.report.fits[0].after < alone.report.fits[0].before


def test_reach_is_how_many_evaluations_a_row_weighs():
    scheduler = begun(FLOW)
    table = fit(scheduler, model(FLOW), noise(scheduler, 100), steps=5, reach=2).tables[0]
    assert [len(stage.b) for stage in table.stages] == [1, 2, 2, 2, 2]
    plain = fit(scheduler, model(FLOW), noise(scheduler, 100), steps=5, reach=1).tables[0]
    assert [len(stage.b) for stage in plain.stages] == [1] * 5


def test_the_model_gets_whole_batches_in_their_order_and_its_output_may_be_overwritten():
    scheduler, inner, buffer = begun(FLOW), model(FLOW), np.zeros((80, 3))
    x_T = noise(scheduler, 80)

    def denoiser(x, t):
        assert x.shape == (80, 3)
        buffer[:] = inner(x, t)
        x[:] = np.nan
        return buffer

    kept = x_T.copy()
    found = fit(scheduler, denoiser, x_T, steps=3, fine_steps=40)
    np.testing.assert_array_equal(x_T, kept)
    assert found.tables == fit(scheduler, inner, x_T, steps=3, fine_steps=40).tables


def test_samples_held_out_change_the_report_alone():
    scheduler, denoiser = begun(FLOW), model(FLOW)
    x_T = noise(scheduler, 80)
    other = x_T.copy()
    other[3::4] = noise(scheduler, 20, seed=9)
    one, two = (fit(scheduler, denoiser, x, steps=3, fine_steps=40) for x in (x_T, other))
    assert (one.report.samples, one.report.held_out) == (60, 20)
    assert one.tables == two.tables
    assert one.report.fits[0].fitted == two.report.fits[0].fitted
    assert one.report.fits[0].after != two.report.fits[0].after


def test_batches_are_added_up():
    scheduler, denoiser = begun(FLOW), model(FLOW)
    x_T = noise(scheduler, 160)
    pairs = [(denoiser, x_T[:80]), (denoiser, x_T[80:])]
    one = fit(scheduler, denoiser, x_T, steps=3, fine_steps=40)
    two = fit(scheduler, pairs, steps=3, fine_steps=40)  # whose search begins with the first
    for mine, theirs in zip(one.tables[0].stages, two.tables[0].stages, strict=True):
        # Searched on other samples, a descent ends elsewhere in the same flat valley.
        np.testing.assert_allclose(mine.level, theirs.level, rtol=1e-2)
    assert two.report.fits[0].after == pytest.approx(one.report.fits[0].after, rel=1e-2)


def test_a_batch_given_twice_changes_no_table():
    scheduler, denoiser = begun(FLOW), model(FLOW)
    x_T = noise(scheduler, 80)
    one = fit(scheduler, denoiser, x_T, steps=3, fine_steps=40)
    two = fit(scheduler, [(denoiser, x_T)] * 2, steps=3, fine_steps=40)
    for mine, theirs in zip(one.tables[0].stages, two.tables[0].stages, strict=True):
        np.testing.assert_allclose(mine.level, theirs.level, rtol=1e-9)
        np.testing.assert_allclose(mine.b, theirs.b, rtol=1e-7, atol=1e-9)
    assert two.report.samples == 2 * one.report.samples


def test_a_batch_has_its_own_conditions():
    scheduler = begun(FLOW)
    x_T = noise(scheduler, 80)
    near, far = (GaussianMixture([[m, 0.0, 0.0], [0.0, m, 0.0]], 0.3) for m in (1.0, 4.0))
    pairs = [(data.denoiser(FLOW, prediction_type="flow"), x_T) for data in (near, far)]
    found = fit(scheduler, pairs, steps=4, fine_steps=40)
    assert found.report.samples == 120
    assert found.report.fits[0].after < 0.4 * found.report.fits[0].before


def test_where_fitting_gains_nothing_the_table_is_the_schedulers_own():
    scheduler = begun(FLOW)  # exact on a point mass
    found = fit(scheduler, lambda x, t: (x - 3.0) / FLOW.sigma(t), noise(scheduler, 40), steps=3)
    assert not found.report.fits[0].kept
    assert found.tables[0].stages == scheduler.tableau(3).stages
    assert "gained nothing" in str(found.report)
    assert found.report.fits[0].after == found.report.fits[0].before


def test_float32_and_a_threshold_are_kept():
    scheduler = begun(VP, "epsilon", threshold=sc.StaticThreshold(2.0))
    inner = model(VP, "epsilon")
    x_T = noise(scheduler, 200).astype(np.float32)
    found = fit(scheduler, lambda x, t: inner(x, t).astype(np.float32), x_T, steps=4)
    assert found.threshold == sc.StaticThreshold(2.0)
    assert found.report.fits[0].after < 0.5 * found.report.fits[0].before
    assert found.sample(inner, x_T, steps=4).dtype == np.float32


def test_tensors_are_fitted_as_arrays_are():
    torch = pytest.importorskip("torch")
    scheduler, inner = begun(FLOW), model(FLOW)
    x_T = noise(scheduler, 80)

    def denoiser(x, t):
        assert isinstance(x, torch.Tensor)
        return torch.tensor(inner(x.numpy(), t))

    found = fit(scheduler, denoiser, torch.tensor(x_T), steps=3, fine_steps=40)
    assert found.tables == fit(scheduler, inner, x_T, steps=3, fine_steps=40).tables


def test_the_report_is_printed_as_a_table(fitted):
    lines = str(fitted.report).splitlines()
    assert lines[0].startswith("Begun with DDIM(")
    assert lines[1].startswith(
        "Root-mean-square distance to the exact flow on 75 samples held out; fitted on 225, with "
    )
    assert lines[2].split() == ["steps", "evaluations", "before", "after", "ratio"]
    assert [line.split()[:2] for line in lines[3:]] == [["3", "3"], ["5", "5"]]


def wrong(x, t):
    raise AssertionError("the model was called")


@pytest.mark.parametrize(
    ("scheduler", "options", "error", "message"),
    [
        (None, {}, TypeError, "scheduler must be a Scheduler, got None"),
        (sc.Heun(VP), {}, ValueError, "scheduler must be deterministic, with one evaluation"),
        (sc.DDPM(VP), {}, ValueError, "scheduler must be deterministic, with one evaluation"),
        (sc.DDIM(VP), {"steps": ()}, ValueError, "steps must be different numbers, at least one"),
        (sc.DDIM(VP), {"steps": [3, 3]}, ValueError, "steps must be different numbers"),
        (sc.DDIM(VP), {"steps": 2.5}, TypeError, "steps must be an integer, got 2.5"),
        (sc.DDIM(VP), {"steps": "3"}, TypeError, "steps must be an integer, got '3'"),
        (sc.DDIM(VP), {"steps": 26}, ValueError, "steps must be at most 25, got 26"),
        (sc.DDIM(VP), {"fine_steps": 5}, ValueError, "fine_steps must be at least 20, got 5"),
        (sc.DDIM(VP), {"levels": 1}, TypeError, "levels must be True or False, got 1"),
        (sc.DDIM(VP), {"reach": 0}, ValueError, "reach must be at least 1, got 0"),
        (sc.DDIM(VP), {"held_out": 0.0}, ValueError, "held_out must be above 0"),
        (sc.DDIM(VP), {"held_out": 1.5}, ValueError, "held_out must be .*at most 1, got 1.5"),
        (sc.DDIM(VP), {"held_out": 1.0}, ValueError, "x_T must have more samples: .* 0 elements"),
        (sc.DDIM(VP), {"progress": 1}, TypeError, "progress must be True or False, got 1"),
        (sc.DDIM(VP), {"x_T": [1.0]}, TypeError, "x_T must be an array of floats"),
        (sc.DDIM(VP), {"x_T": np.array(1.0)}, ValueError, "x_T must have its samples along axis"),
        (sc.DDIM(VP), {"x_T": np.full((9, 9), np.inf)}, ValueError, "x_T must be finite"),
        (sc.DDIM(VP), {"x_T": np.ones((3, 9))}, ValueError, "x_T must have more samples: .*held"),
        (
            sc.DDIM(VP),
            {"x_T": np.ones((8, 1))},
            ValueError,
            "3 steps has 9 free numbers, and .* 6 el",
        ),
        (sc.DDIM(VP), {"denoiser": 3}, TypeError, r"denoiser must be a callable \(x, t\), or"),
        (sc.DDIM(VP), {"denoiser": [(wrong, 1)]}, TypeError, "denoiser must be a callable"),
        (sc.DDIM(VP), {"denoiser": [3], "x_T": None}, TypeError, r"denoiser must be pairs"),
        (sc.DDIM(VP), {"denoiser": [], "x_T": None}, TypeError, r"denoiser must be a callable"),
    ],
)
def test_bad_arguments_are_refused_before_the_model_is_called(scheduler, options, error, message):
    given = {"denoiser": wrong, "x_T": np.ones((8, 8)), "steps": 3, **options}
    with pytest.raises(error, match=message):
        fit(scheduler, given.pop("denoiser"), given.pop("x_T"), **given)


def test_a_model_that_draws_noise_or_is_not_finite_is_refused():
    rng, x_T = np.random.default_rng(0), np.ones((40, 3))
    with pytest.raises(ValueError, match="denoiser must return the same for the same arguments"):
        fit(sc.DDIM(VP), lambda x, t: rng.standard_normal(x.shape), x_T, steps=2)
    with pytest.raises(ValueError, match="the model's output at t=999 must be finite"):
        fit(sc.DDIM(VP), lambda x, t: x * np.nan, x_T, steps=2)
