"""Whoever drives the loop, and in whatever pieces, a run is the same, to the last bit."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, DETERMINISTIC, SCHEDULES, STOCHASTIC, bounded_denoiser, names, seeds

SOURCES = {
    "int": lambda seed: seed,
    "numpy int": np.int64,
    "sequence": np.random.SeedSequence,
    "generator": np.random.default_rng,
}
sources = st.sampled_from(sorted(SOURCES))
VP = SCHEDULES["vp"]
PICKLABLE = sorted(set(ALL) - {"DDIM-sigma"})  # its function is a lambda of the tests'


def noise(seed, shape=(2, 3)):
    return np.random.default_rng(seed).standard_normal(shape)


def finish(scheduler, state, rng):
    while not state.done:
        state = scheduler.update(bounded_denoiser(state.x, state.t), state, rng=rng)
    return state


@given(name=names, source=sources, seed=seeds, steps=st.integers(1, 9))
def test_sample_iterate_step_and_update_are_one(name, source, seed, steps):
    scheduler, x = ALL[name](VP, spacing="karras"), noise(seed)
    make = SOURCES[source]
    expected = scheduler.sample(bounded_denoiser, x, steps=steps, rng=make(seed))

    states = list(scheduler.iterate(bounded_denoiser, x, steps=steps, rng=make(seed)))
    assert len(states) == steps
    np.testing.assert_array_equal(states[-1].x, expected)

    rng = make(seed)
    stepped = [scheduler.init(x, steps=steps, rng=rng)]
    while not stepped[-1].done:
        stepped.append(scheduler.step(bounded_denoiser, stepped[-1], rng=rng))
    assert len(stepped) == steps + 1
    for one, other in zip(stepped[1:], states, strict=True):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.denoised, other.denoised)
        assert one.level == other.level

    rng = make(seed)
    state = finish(scheduler, scheduler.init(x, steps=steps, rng=rng), rng)
    np.testing.assert_array_equal(state.x, expected)
    np.testing.assert_array_equal(state.denoised, states[-1].denoised)


@given(name=names, source=sources, seed=seeds, order=st.lists(st.booleans(), max_size=40))
def test_interleaved_runs_are_what_each_is_alone(name, source, seed, order):
    scheduler, make = ALL[name](VP), SOURCES[source]
    xs, rngs = (noise(seed), noise(seed + 1, (4,))), (make(seed), make(seed + 1))
    alone = [
        scheduler.sample(bounded_denoiser, x, steps=5, rng=make(seed + i)) for i, x in enumerate(xs)
    ]
    states = [scheduler.init(x, steps=5, rng=rng) for x, rng in zip(xs, rngs, strict=True)]
    for which in order:
        state = states[which]
        if not state.done:
            output = bounded_denoiser(state.x, state.t)
            states[which] = scheduler.update(output, state, rng=rngs[which])
    for state, rng, expected in zip(states, rngs, alone, strict=True):
        np.testing.assert_array_equal(finish(scheduler, state, rng).x, expected)


@given(name=st.sampled_from(PICKLABLE), seed=seeds, after=st.integers(0, 4))
def test_a_pickled_state_goes_on_as_if_nothing_had_happened(name, seed, after):
    scheduler = ALL[name](VP)
    state = scheduler.init(noise(seed), steps=5, rng=seed)
    for _ in range(after):
        state = scheduler.update(bounded_denoiser(state.x, state.t), state, rng=seed)
    expected = finish(scheduler, state, seed)
    again, state = pickle.loads(pickle.dumps((scheduler, state)))
    assert again == scheduler
    np.testing.assert_array_equal(finish(again, state, seed).x, expected.x)


@given(name=names, seed=seeds)
def test_an_old_state_can_be_gone_on_from_again(name, seed):
    scheduler = ALL[name](VP)
    state = scheduler.init(noise(seed), steps=4, rng=seed)
    state = scheduler.step(bounded_denoiser, state, rng=seed)
    x = state.x.copy()
    first = finish(scheduler, state, seed)
    np.testing.assert_array_equal(state.x, x)
    np.testing.assert_array_equal(finish(scheduler, state, seed).x, first.x)


def test_one_scheduler_serves_many_threads():
    schedulers = [make(VP) for make in ALL.values()]

    def run(job):
        scheduler, seed = job
        return scheduler.sample(bounded_denoiser, noise(seed, (50,)), steps=20, rng=seed)

    jobs = [(scheduler, seed) for seed in range(4) for scheduler in schedulers]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, jobs))
    for job, got in zip(jobs, together, strict=True):
        np.testing.assert_array_equal(got, run(job))


def test_a_run_that_an_error_ended_leaves_nothing_behind():
    scheduler = sc.PLMS(VP)
    expected = scheduler.sample(bounded_denoiser, noise(0), steps=6)

    def fails(x, t):
        if t < 0.5:
            raise RuntimeError("the network is gone")
        return bounded_denoiser(x, t)

    with pytest.raises(RuntimeError, match="the network is gone"):
        scheduler.sample(fails, noise(1), steps=6)
    np.testing.assert_array_equal(scheduler.sample(bounded_denoiser, noise(0), steps=6), expected)


@given(name=names, seed=seeds, data=st.data())
def test_the_batch_is_only_a_batch(name, seed, data):
    # With noise that is independent of the others', a sample is the same in any company.
    scheduler, x = ALL[name](VP), noise(seed, (6, 3))
    z = {}

    class Rows(np.random.Generator):
        """Draws by call and row: what each row of x would have drawn alone."""

        def __init__(self, rows):
            super().__init__(np.random.PCG64(0))
            self.rows, self.calls = rows, 0

        def standard_normal(self, shape):
            self.calls += 1
            draw = z.setdefault(self.calls, noise(seed + self.calls, (6, *shape[1:])))
            return draw[self.rows]

    rows = data.draw(st.permutations(range(6)).map(lambda p: p[: data.draw(st.integers(1, 6))]))
    together = scheduler.sample(bounded_denoiser, x, steps=6, rng=Rows(list(range(6))))
    some = scheduler.sample(bounded_denoiser, x[rows], steps=6, rng=Rows(rows))
    np.testing.assert_array_equal(some, together[rows])


@given(name=names, seed=seeds, scale=st.floats(0.1, 10.0), offset=st.floats(-5.0, 5.0))
def test_data_scaled_and_moved_gives_samples_scaled_and_moved(name, seed, scale, offset):
    # If D(y, s) is a denoiser, so is scale D((y - offset) / scale, s / scale) + offset, for data
    # in other units; with the levels in those units a deterministic VE run is the same run.
    if name in STOCHASTIC:
        return
    ve, x = SCHEDULES["ve"], 20.0 * noise(seed)
    scheduler = DETERMINISTIC[name](ve, prediction_type="sample")
    sigmas = sc.karras_sigmas(7, 0.1, 20.0)
    expected = scheduler.sample(bounded_denoiser, x, sigmas=sigmas)
    got = scheduler.sample(
        lambda y, s: scale * bounded_denoiser((y - offset) / scale, s / scale) + offset,
        scale * x + offset,
        sigmas=scale * sigmas,
    )
    np.testing.assert_allclose(got, scale * expected + offset, rtol=1e-9, atol=1e-9 * scale)


@given(name=names, seed=seeds, start=st.integers(0, 9))
def test_a_run_may_begin_anywhere_along_the_grid(name, seed, start):
    scheduler = ALL[name](SCHEDULES["discrete"])
    whole = scheduler.tableau(steps=10)
    below = scheduler.tableau(timesteps=whole.timesteps[start:])
    assert below.levels == whole.levels[start:]
    by_sigma = scheduler.tableau(sigmas=whole.sigmas[start:])
    assert by_sigma == below
    x = scheduler.add_noise(noise(seed), whole.timesteps[start], rng=seed)
    got = scheduler.sample(bounded_denoiser, x, sigmas=whole.sigmas[start:], rng=seed)
    assert np.isfinite(got).all()
    if name in ("DDIM", "Euler", "Heun"):  # no memory of steps before: the rest of the whole run
        states = list(scheduler.iterate(bounded_denoiser, noise(seed), steps=10))
        x = noise(seed) if start == 0 else states[start - 1].x
        rest = scheduler.sample(bounded_denoiser, x, sigmas=whole.sigmas[start:])
        np.testing.assert_allclose(rest, states[-1].x, rtol=1e-12, atol=1e-12)
