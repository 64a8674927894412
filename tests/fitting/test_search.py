"""Tables grown row by row towards a recorded flow, and the descent that goes on from them."""

import numpy as np
import pytest

import schedulers as sc
from schedulers.analytic import GaussianMixture
from schedulers.fitting.descent import Batch, Descent
from schedulers.fitting.least_squares import Space
from schedulers.fitting.passes import Model, run
from schedulers.fitting.rows import corrected, reweighed
from schedulers.fitting.search import Search, _bent
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
@pytest.mark.parametrize(("reach", "factor"), [(1, 1.1), (2, 0.9), (4, 1.0)])
def test_the_error_is_that_of_a_run_of_the_table(make, reach, factor):
    search = begun(make=make, reach=reach)
    grown = search.grown(at(search, 2, 12, 25, 35, 45), np.log(factor))
    assert [w.size for w in grown.free.weights] == [min(i, reach - 1) for i in range(5)]
    table = corrected(search.base, search.levels[0], grown.levels, grown.free)
    assert table.entry == (
        pytest.approx(factor * grown.levels[0].sigma / search.levels[0].sigma),
        0.0,
    )
    far = distances(run(search.model, table).x, search.flow.x, search.fitted)
    assert grown.error == pytest.approx(far.mean(), rel=1e-10)


def test_one_number_is_led_to_the_flow():
    search = begun(n=1, dims=1)
    grown = search.grown(at(search, 0, 20, 35))
    table = corrected(search.base, search.levels[0], grown.levels, grown.free)
    plain = search.base.tableau(sigmas=table.sigmas)
    missed = abs(run(search.model, plain).x - search.flow.x).item()
    assert grown.error < 1e-3 * missed


def test_the_recorded_flow_is_known_at_its_levels_and_between_them():
    search = begun()
    for place in (1, 10, 49):
        level, (d, e) = search.levels[place], search.flow.estimates[place]
        expected = level.alpha * d + level.sigma * e
        np.testing.assert_allclose(search._flow_at(level, 0.0), expected, rtol=1e-9, atol=1e-12)
        told = search.levels[30]  # with the noise of this level, at the scale of that one
        louder = search._flow_at(told, np.log(level.karras / told.karras))
        np.testing.assert_allclose(louder, expected * (told.alpha / level.alpha), rtol=1e-9)
    np.testing.assert_array_equal(search._flow_at(FLOW.clean, 0.1), search.flow.x)
    # Between two levels: where a run in fine steps to there ends.
    karras = np.sqrt(search.levels[20].karras * search.levels[21].karras)
    sigmas = np.append(np.inf, sc.karras_sigmas(400, karras, 100.0))
    solver = sc.DPMSolverPP(FLOW, order=3, prediction_type="flow")
    there = list(solver.iterate(search.model.denoiser, search.model.x_T, sigmas=sigmas[:-1]))[-1].x
    np.testing.assert_allclose(search._flow_at(FLOW.level(karras), 0.0), there, atol=2e-3)


def test_the_search_ends_where_no_move_helps_and_ahead_of_its_beginnings():
    search = begun()
    own = search.base.tableau(4).levels[:-1]
    best = search.best(4, own, 2)
    places = [search.levels.index(level) for level in best.levels[:-1]]
    alone, tails = [(i, i + 1) for i in range(4)], [(i, 4) for i in range(3)]
    for i, end in alone + tails:
        for way in (1, -1):
            moved = [*places[:i], *(place + way for place in places[i:end]), *places[end:]]
            if moved[0] >= 0 and moved[-1] < 50 and np.all(np.diff(moved) > 0):
                tried = search.grown(at(search, *moved), best.free.log_factor)
                assert tried.error >= best.error * (1.0 - 2e-3)
    for way in (0.005, -0.005):
        tried = search.grown(best.levels[:-1], best.free.log_factor + way)
        assert tried.error >= best.error * (1.0 - 2e-3)
    assert best.free.log_factor != 0.0
    assert best.error < search.grown(best.levels[:-1]).error
    assert best.error < 0.9 * search.grown(at(search, *search._nearest(own))).error
    assert search.best(4, own, 2).error == best.error


def test_the_search_goes_on_from_the_best_beginnings_the_own_levels_among_them():
    search = begun()
    own = at(search, 3, 13, 30, 44)
    beginnings = {(3, 13, 30, 44), *_bent(50, 4)}
    first = min(beginnings, key=lambda places: search._at(places).error)
    expected = search._descended(first, search._at(first))
    assert search.best(4, own, 1).error == expected.error
    found = search.best(4, own, 2)
    assert search.best(4, found.levels[:-1], 1).error <= found.error
    known = {places: search._at(places).error for places in beginnings}
    search._descended = lambda places, grown: gone.append(places) or grown
    for count in (1, 3):
        gone = []
        search.best(4, own, count)
        assert gone == sorted(known, key=known.get)[:count]


def test_levels_that_hold_each_other_move_together():
    search = begun()
    a, b, c = 5, 12, 30
    # An error that falls along a line on which all three move, and rises fast beside it.
    grown = search._at((a, b, c))

    def at_places(places, log_factor=0.0, known=None):
        i, j, k = places
        beside = abs(j - i - (b - a)) + abs(k - j - (c - b))
        return grown._replace(error=abs(i - 17) + 100.0 * beside + 1.0)

    search._at = at_places
    assert search._descended((a, b, c), at_places((a, b, c))).error == 1.0


def test_no_table_is_tried_twice():
    search = begun()
    tried, plain = [], search._at

    def at_places(places, log_factor=0.0, known=None):
        tried.append((places, log_factor))
        return plain(places, log_factor, known)

    search._at = at_places
    search._descended((2, 20, 30, 45), at_places((2, 20, 30, 45)))
    assert len(tried) == len(set(tried)) > 20


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


def test_the_noise_is_moved_from_where_it_is():
    search = begun()
    places = (2, 20, 30, 45)
    tried = []
    plain = search.grown

    def grown(levels, log_factor=0.0, known=None):
        tried.append((log_factor, 0.0 if known is None else known.free.log_factor))
        return plain(levels, log_factor, known)

    search.grown = grown
    search._descended(places, plain(at(search, *places), 0.5))
    moves = {round(abs(new - old), 12) for new, old in tried}
    assert moves == {0.0, 0.08, 0.04, 0.02, 0.01, 0.005}


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


def test_nothing_is_known_of_a_run_that_begins_with_other_noise():
    search = begun()
    known = search.grown(at(search, 2, 20, 30, 45))
    one = search.grown(at(search, 2, 20, 30, 45), 0.1, known)
    assert one.error == search.grown(at(search, 2, 20, 30, 45), 0.1).error
    assert one.error != known.error


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
def test_a_point_mass_keeps_the_factor_of_its_noise_until_the_last_row(factor):
    search = begun()
    grown = search.grown(at(search, 2, 20, 30, 45), np.log(factor))
    table = corrected(search.base, search.levels[0], grown.levels, grown.free)
    scheduler = sc.FittedScheduler(FLOW, prediction_type="flow", tables=[table])
    x_T = np.array([[-1.0], [0.3], [2.0]])

    def denoiser(x, t):
        level = FLOW.levels([t])[0]
        seen.append((x - level.alpha * 3.0) / level.sigma)
        return (x - 3.0) / level.sigma

    seen = []
    x_0 = scheduler.sample(denoiser, x_T, steps=4)
    np.testing.assert_allclose(x_0, 3.0, rtol=1e-12)
    for noise in seen[1:]:
        np.testing.assert_allclose(noise, seen[0], rtol=1e-9)
    first = grown.levels[0]  # where there is no data in x_T, but some at the level of a first row
    np.testing.assert_allclose(seen[0], factor * x_T - first.alpha * 3.0 / first.sigma, rtol=1e-9)


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
    np.testing.assert_allclose(halves.down(3), whole.down(3), rtol=1e-6, atol=1e-8)


def test_the_slope_of_a_round_is_that_of_the_mean_distance():
    one, vector = descent([slice(None)])
    one._ridge *= 100.0
    vector = vector + np.array([0.0, 0.0, 0.0, 0.05, 0.1, -0.1, 0.2])
    space = Space.around(vector[:3], np.log(1e-3), np.log(100.0))
    _, slope = one._normal_equations(space, vector)
    for i in range(7):
        move = np.eye(7)[i] * 1e-5
        expected = (one._error(vector + move) - one._error(vector - move)) / 2e-5
        assert slope[i] == pytest.approx(expected, rel=2e-2, abs=2e-2 * np.abs(slope).max())


def test_weights_are_held_by_a_part_of_the_error():
    one, vector = descent([slice(None)])
    moved = vector + np.array([0.0, 0.0, 0.0, 0.2, 0.0, 0.3, -0.4])
    ((model, x_0, rows),) = one.batches
    distance = np.sum(distances(run(model, one.table(moved)).x, x_0, rows))
    held = one._error(moved) - distance
    assert held == pytest.approx(3e-3 * one._error(vector) * 0.25, rel=1e-9)
