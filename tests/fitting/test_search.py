"""Tables grown row by row towards a recorded flow, and the descent that goes on from them."""

import numpy as np
import pytest

import schedulers as sc
from schedulers.analytic import GaussianMixture
from schedulers.fitting.descent import Batch, Descent
from schedulers.fitting.least_squares import Space
from schedulers.fitting.passes import Model, run
from schedulers.fitting.rows import Free, Grid, corrected, reweighed
from schedulers.fitting.search import _COARSE, _FINE, Search, Tried, _bent
from schedulers.fitting.trajectories import distances, fine_tableau

FLOW = sc.FlowSchedule()
BASES = [sc.DDIM, sc.PLMS, sc.DPMSolverPP]


def begun(n=60, dims=3, make=sc.DDIM, reach=4):
    data = GaussianMixture(np.eye(3, dims) * [[-2.0], [1.0], [0.5]], 0.5)
    base = make(FLOW, prediction_type="flow")
    denoiser = data.denoiser(FLOW, prediction_type="flow")
    x_T = base.initial_noise((n, dims), steps=1, rng=3)
    model = Model(base, denoiser, x_T)
    fine = fine_tableau(FLOW, "flow", 50)
    mask = np.arange(n) % 4 != 3 if n > 3 else np.ones(n, bool)
    return Search(base, model, run(model, fine), mask, reach)


def error(tried):
    return tried.grown.error


def at(search, *places):
    return [search.levels[place] for place in places]


@pytest.mark.parametrize("make", BASES)
@pytest.mark.parametrize(
    "places", [(5, 20, 30, 45), (2, 21, 30, 45), (2, 20, 33, 45), (2, 20, 30, 47)]
)
def test_what_is_known_of_a_similar_table_changes_nothing(make, places):
    search = begun(make=make)
    known = search.grown(at(search, 2, 20, 30, 45))
    calls = search.model.calls
    one = search.grown(at(search, *places), known=known)
    reused = search.model.calls - calls
    two = search.grown(at(search, *places))
    assert reused <= 4
    assert reused < 4 or places[0] == 5
    assert one.error == two.error
    np.testing.assert_array_equal(one.free.vector, two.free.vector)


@pytest.mark.parametrize("make", BASES)
@pytest.mark.parametrize(("reach", "part"), [(1, 1.1), (2, 0.9), (4, 1.0)])
def test_the_error_is_that_of_a_run_of_the_table(make, reach, part):
    search = begun(make=make, reach=reach)
    levels = at(search, 2, 12, 25, 35, 45)
    grown = search.grown(levels, np.log(part))
    assert [w.size for w in grown.free.weights] == [min(i, reach - 1) for i in range(5)]
    table = corrected(search.base, search.levels[0], grown.grid, grown.free)
    assert table.entry == (table.stages[0].level.sigma / search.levels[0].sigma, 0.0)
    for stage, level in zip(table.stages, levels, strict=True):
        assert stage.level.karras == pytest.approx(level.karras)
        assert stage.told.karras == pytest.approx(part * level.karras)
        own = FLOW.level(stage.told.karras)
        assert stage.told == pytest.approx(own, rel=1e-12)
        assert (stage.told_sigma is None) == (part == 1.0)
    far = distances(run(search.model, table).x, search.flow.x, search.fitted)
    assert grown.error == pytest.approx(far.mean(), rel=1e-10)


def test_one_number_is_led_to_the_flow():
    search = begun(n=1, dims=1)
    grown = search.grown(at(search, 0, 20, 35))
    table = corrected(search.base, search.levels[0], grown.grid, grown.free)
    plain = search.base.tableau(sigmas=table.sigmas)
    missed = abs(run(search.model, plain).x - search.flow.x).item()
    assert grown.error < 1e-3 * missed


def test_the_recorded_flow_is_known_at_its_levels_and_between_them():
    search = begun()
    for place in (1, 10, 49):
        level, (d, e) = search.levels[place], search.flow.estimates[place]
        expected = level.alpha * d + level.sigma * e
        np.testing.assert_allclose(search._flow_at(level), expected, rtol=1e-9, atol=1e-12)
        scaled = sc.Level(0.3, 0.5, 0.5 * level.karras)  # the same noise at another scale
        np.testing.assert_allclose(
            search._flow_at(scaled), expected * (0.5 / level.alpha), rtol=1e-9, atol=1e-12
        )
    np.testing.assert_array_equal(search._flow_at(FLOW.clean), search.flow.x)
    # Between two levels: where a run in fine steps to there ends.
    karras = np.sqrt(search.levels[20].karras * search.levels[21].karras)
    sigmas = np.append(np.inf, sc.karras_sigmas(400, karras, 100.0))
    solver = sc.DPMSolverPP(FLOW, order=3, prediction_type="flow")
    there = list(solver.iterate(search.model.denoiser, search.model.x_T, sigmas=sigmas[:-1]))[-1].x
    np.testing.assert_allclose(search._flow_at(FLOW.level(karras)), there, atol=2e-3)


def test_the_search_ends_where_no_move_helps_and_ahead_of_its_beginnings():
    search = begun()
    own = search.base.tableau(4).levels[:-1]
    best = search.best(4, own, 2)
    log_told = best.free.log_told[0]
    found = [search.levels[round(search._place(s))] for s in np.exp(best.free.log_sigmas)]
    places = [search.levels.index(level) for level in found]
    alone, tails = [(i, i + 1) for i in range(4)], [(i, 4) for i in range(3)]
    for i, end in alone + tails:
        for way in (1, -1):
            moved = [*places[:i], *(place + way for place in places[i:end]), *places[end:]]
            if moved[0] >= 0 and moved[-1] < 50 and np.all(np.diff(moved) > 0):
                tried = search.grown(at(search, *moved), log_told)
                assert tried.error >= best.error * (1.0 - 2e-3)
    for way in (0.01, -0.01):
        tried = search.grown(found, log_told + way)
        assert tried.error >= best.error * (1.0 - 2e-3)
    assert log_told != 0.0
    assert best.error < search.grown(found).error
    assert best.error < 0.9 * search.grown(at(search, *search._nearest(own))).error
    assert search.best(4, own, 2).error == best.error


def test_the_search_goes_on_from_the_best_beginnings_the_own_levels_among_them():
    search = begun()
    own = at(search, 3, 13, 30, 44)
    beginnings = {(3, 13, 30, 44), *_bent(50, 4)}
    known = sorted((search._tried(places, 0.0) for places in beginnings), key=error)
    seen = {(places, 0.0) for places in beginnings}
    coarse = [search._descended(each, _COARSE, seen) for each in known[:3]]
    expected = search._descended(min(coarse, key=error), _FINE, seen)
    assert search.best(4, own, 3).error == error(expected)
    assert error(expected) < error(min(coarse, key=error)) < error(known[0])
    search._descended = lambda best, parts, seen: gone.append((best.places, parts)) or best
    for count in (1, 3):
        gone = []
        search.best(4, own, count)
        assert gone[:-1] == [(each.places, _COARSE) for each in known[:count]]
        assert gone[-1] == (known[0].places, _FINE)


def test_levels_that_hold_each_other_move_together():
    search = begun()
    a, b, c = 5, 12, 30
    # An error that falls along a line on which all three move, and rises fast beside it.
    grown = search.grown(at(search, a, b, c))

    def tried(places, log_told, known=None):
        i, j, k = places
        beside = abs(j - i - (b - a)) + abs(k - j - (c - b))
        made = grown._replace(error=abs(i - 17) + 100.0 * beside + 1.0)
        return Tried(places, log_told, made)

    search._tried = tried
    assert error(search._descended(tried((a, b, c), 0.0), _COARSE + _FINE, set())) == 1.0


def test_no_table_is_tried_twice():
    search = begun()
    asked, plain = [], search._tried

    def tried(places, log_told, known=None):
        asked.append((places, log_told))
        return plain(places, log_told, known)

    search._tried = tried
    search.best(4, at(search, 2, 20, 30, 45), 3)
    assert len(asked) == len(set(asked)) > 50


def test_beginnings_differ_in_their_first_level_their_end_and_their_density():
    found = set(_bent(100, 5))
    assert {places[0] for places in found} == {0, 10, 20}
    assert len(found) == 30
    for places in found:
        assert 0 <= places[0] < places[-1] < 100
        assert np.all(np.diff(places) > 0)
    lasts = [places[-1] for places in found if places[0] == 0]
    assert min(lasts) < 65
    assert max(lasts) > 85
    falling = [np.diff(places, 2).sum() < 0 for places in found]
    assert 0 < sum(falling) < len(falling)


def test_what_is_told_is_moved_from_where_it_is():
    search = begun()
    places = (2, 20, 30, 45)
    tried = []
    plain = search.grown

    def grown(levels, log_told=0.0, known=None):
        tried.append((log_told, 0.0 if known is None else known.free.log_told[0]))
        return plain(levels, log_told, known)

    search.grown = grown
    begin = Tried(places, 0.5, plain(at(search, *places), 0.5))
    search._descended(begin, _COARSE + _FINE, set())
    moves = {round(abs(new - old), 12) for new, old in tried}
    assert moves == {0.0, 0.08, 0.04, 0.02, 0.01}


class Foresees(sc.DDIM):
    """Rows that depend on the last noisy level."""

    def stages(self, levels):
        for i, (stage, then) in enumerate(zip(super().stages(levels), levels[1:], strict=True)):
            weight = 0.1 * np.log(levels[-2].karras)
            yield reweighed(stage, np.full(int(i > 0), weight), then)


def test_rows_that_depend_on_later_levels_are_made_anew():
    search = begun(make=Foresees, reach=1)
    known = search.grown(at(search, 2, 12, 20, 30, 45))
    one = search.grown(at(search, 2, 12, 20, 30, 47), known=known)
    assert one.error == search.grown(at(search, 2, 12, 20, 30, 47)).error
    assert one.error != known.error


def test_nothing_is_known_of_a_run_that_is_told_otherwise():
    search = begun()
    known = search.grown(at(search, 2, 20, 30, 45))
    one = search.grown(at(search, 2, 20, 30, 45), 0.1, known)
    assert one.error == search.grown(at(search, 2, 20, 30, 45), 0.1).error
    assert one.error != known.error


@pytest.mark.parametrize("log_told", [np.full(4, -0.2), np.zeros(4), np.linspace(-0.3, 0.2, 4)])
def test_a_point_mass_is_exact_at_every_level(log_told):
    search = begun()
    grown = search.grown(at(search, 2, 20, 30, 45))
    grid = Grid.of(search.base, at(search, 2, 20, 30, 45), log_told, search.flow.tableau)
    table = corrected(search.base, search.levels[0], grid, grown.free._replace(log_told=log_told))
    scheduler = sc.FittedScheduler(FLOW, prediction_type="flow", tables=[table])
    x_T = np.array([[-1.0], [0.3], [2.0]])
    state, seen = scheduler.init(x_T, 4), []
    while not state.done:
        seen.append((state.x - state.level.alpha * 3.0) / state.level.sigma)
        state = scheduler.update((state.x - 3.0) / FLOW.sigma(state.t), state)
    np.testing.assert_allclose(state.x, 3.0, rtol=1e-12)
    for noise in seen[1:]:
        np.testing.assert_allclose(noise, seen[0], rtol=1e-9)
    first = table.stages[0].level  # where there is no data in x_T, but some at a first row's level
    np.testing.assert_allclose(seen[0], x_T - first.alpha * 3.0 / first.sigma, rtol=1e-9)


def test_what_is_told_stays_between_the_levels_of_the_fine_run():
    search = begun()
    highest, lowest = search.levels[1].karras, search.levels[-1].karras  # after infinity
    grid = Grid.of(search.base, at(search, 1, 49), np.array([0.5, -0.5]), search.flow.tableau)
    assert [level.karras for level in grid.told[:2]] == pytest.approx([highest, lowest])
    top = Grid.of(search.base, at(search, 0, 9), np.full(2, -0.5), search.flow.tableau)
    assert top.told[0] == top.samples[0] == search.levels[0]
    assert top.told[1] != top.samples[1]


def test_free_numbers_are_those_of_their_vector():
    search = begun()
    free = search.grown(at(search, 2, 20, 30, 45), -0.1).free
    again = Free.of(free.vector, 4, 4)
    np.testing.assert_array_equal(again.vector, free.vector)
    np.testing.assert_array_equal(again.log_told, np.full(4, -0.1))
    assert [weights.size for weights in again.weights] == [0, 1, 2, 3]


def test_weights_are_least_squares_in_which_far_samples_weigh_less():
    search = begun(n=200)
    levels = at(search, 5, 22, 38)
    grown = search.grown(levels)
    (d, e), (_, before) = grown.estimates[1], grown.estimates[0]
    then, rows = levels[2], search.fitted
    level, (d_then, e_then) = levels[1], search.flow.estimates[38]
    left = (then.alpha * (d_then - d) + then.sigma * (e_then - e))[rows]
    column = (then.alpha * (then.karras - level.karras) * (before - e))[rows]
    root = 1.0 / np.sqrt(np.linalg.norm(left, axis=1, keepdims=True))
    expected, plain = (
        np.linalg.lstsq((column * r).reshape(-1, 1), (left * r).reshape(-1))[0].item()
        for r in (root, 1.0)
    )
    assert grown.free.weights[1].item() == pytest.approx(expected, rel=1e-3)
    assert abs(plain / expected - 1.0) > 1e-2


def test_places_near_levels_differ_and_leave_room():
    search = begun()
    assert search._nearest(at(search, 3, 9, 40)) == (3, 9, 40)
    assert search._nearest(at(search, 0, 7, 7, 7)) == (0, 7, 8, 9)
    assert search._nearest(at(search, 49, 49, 49)) == (47, 48, 49)


def descent(parts):
    search = begun(n=64)
    grown = search.grown(at(search, 2, 20, 35))
    base, x_T = search.base, search.model.x_T
    batches = []
    for rows in parts:
        model = Model(base, search.model.denoiser, x_T[rows])
        batches.append(Batch(model, search.flow.x[rows], np.ones(len(x_T[rows]), bool)))
    vector = grown.free.vector
    return Descent(base, search.flow.tableau, batches, 3, 4, True, vector), vector


def test_the_sums_of_batches_are_those_of_one():
    whole, _ = descent([slice(None)])
    halves, _ = descent([slice(0, 32), slice(32, None)])
    for mine, theirs in zip(halves.down(3).stages, whole.down(3).stages, strict=True):
        np.testing.assert_allclose(mine.level, theirs.level, rtol=1e-6)
        np.testing.assert_allclose(mine.told, theirs.told, rtol=1e-6)
        np.testing.assert_allclose(mine.b, theirs.b, rtol=1e-6, atol=1e-8)


def test_the_slope_of_a_round_is_that_of_the_mean_distance():
    one, vector = descent([slice(None)])
    one._ridge *= 100.0
    vector = vector + np.array([0.0, 0.0, 0.0, -0.05, 0.04, 0.02, 0.1, -0.1, 0.2])
    space = Space.around(vector[:3], np.log(1e-3), np.log(100.0))
    _, slope = one._normal_equations(space, vector)
    for i in range(9):
        move = np.eye(9)[i] * 1e-5
        expected = (one._error(vector + move) - one._error(vector - move)) / 2e-5
        assert slope[i] == pytest.approx(expected, rel=2e-2, abs=2e-2 * np.abs(slope).max())


def test_weights_are_held_by_a_part_of_the_error():
    one, vector = descent([slice(None)])
    moved = vector + np.array([0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.3, -0.4])
    ((model, x_0, rows),) = one.batches
    distance = np.sum(distances(run(model, one.table(moved)).x, x_0, rows))
    held = one._error(moved) - distance
    assert held == pytest.approx(3e-3 * one._error(vector) * 0.25, rel=1e-9)
