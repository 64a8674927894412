"""Every sample of a `Batch` is what it is alone, to the bit."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import schedulers as sc
from kit import ALL, SCHEDULES

VP = SCHEDULES["vp"]
ROUGH = np.random.default_rng(0).standard_normal(6)


def model(x, t):
    """A model of whole batches that returns for a sample what it returns alone."""
    t = np.reshape(np.asarray(t, x.dtype), (-1, *(1,) * (x.ndim - 1)))
    return (np.tanh(x) * (1.0 - 0.5 * t) + 0.1 * t).astype(x.dtype)


def alone(scheduler, x, seed, steps):
    """The samples after every row of a run by itself."""
    state, found = scheduler.init(x, steps=steps, rng=seed), []
    while not state.done:
        state = scheduler.update(model(state.x, state.t), state, seed)
        found.append((state.x, state.denoised))
    return found


@st.composite
def requests(draw):
    """Runs of one or two methods, so that many rows weigh the same arrays."""
    names = draw(st.lists(st.sampled_from(sorted(ALL)), min_size=1, max_size=2))
    return draw(st.lists(request(names), min_size=2, max_size=6))


@st.composite
def request(draw, names):
    """A run: its method, its samples, their seeds, its steps, and the round when it joins."""
    name = draw(st.sampled_from(names))
    n = draw(st.integers(1, 3))
    seeds = draw(st.lists(st.integers(0, 99), min_size=n, max_size=n))
    threshold = draw(st.sampled_from([None, None, sc.StaticThreshold(0.7)]))
    scheduler = ALL[name](VP, prediction_type=draw(st.sampled_from(["epsilon", "v_prediction"])))
    scheduler = sc.scheduler.replace(scheduler, threshold=threshold)
    return scheduler, n, seeds, draw(st.integers(4, 7)), draw(st.integers(0, 4))


@settings(max_examples=150, deadline=None)
@given(
    runs=requests(),
    shape=st.sampled_from([(2,), (1, 3, 4), (9000,)]),
    dtype=st.sampled_from([np.float64, np.float32, np.float16]),
)
def test_samples_are_those_of_each_run_alone(runs, shape, dtype):
    rng, made = np.random.default_rng(1), []
    for scheduler, n, seeds, steps, joins in runs:
        x = rng.standard_normal((n, *shape)).astype(dtype)
        made.append((scheduler, x, seeds, steps, joins))
    expected = [alone(*run[:4]) for run in made]
    found, going, waiting, round_ = [[] for _ in made], {}, dict(enumerate(made)), 0
    while going or waiting:
        for i in [i for i, run in waiting.items() if run[4] <= round_]:
            scheduler, x, seeds, steps, _ = waiting.pop(i)
            going[i] = scheduler.init(x, steps=steps, rng=seeds)
        round_ += 1
        if not going:
            continue
        batch = sc.Batch(going.values())
        seeds = [seed for i in going for seed in made[i][2]]
        batch = batch.update(model(batch.x, batch.t), seeds)
        for i, state in zip(list(going), batch.states, strict=True):
            going[i] = state
            found[i].append((state.x, state.denoised))
            if state.done:
                del going[i]
    for own, others in zip(found, expected, strict=True):
        assert len(own) == len(others)
        for (x, d), (x_alone, d_alone) in zip(own, others, strict=True):
            np.testing.assert_array_equal(x, x_alone)
            np.testing.assert_array_equal(d, d_alone)
            assert x.dtype == x_alone.dtype


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_learned_variances(variance):
    scheduler = sc.DDPM(VP, variance=variance)
    x = np.random.default_rng(0).standard_normal((3, 2, 4))
    states = [scheduler.init(x[i : i + 1], steps=3 + i) for i in range(3)]
    output = 0.5 * np.concatenate([x, x], axis=1)
    after = sc.Batch(states).update(output, [4, 5, 6])
    for i, (before, state) in enumerate(zip(states, after.states, strict=True)):
        own = scheduler.update(output[i : i + 1], before, [4 + i])
        np.testing.assert_array_equal(state.x, own.x)


@pytest.mark.parametrize("rng", [3, np.random.SeedSequence(3), sc.BrownianPath(3)])
def test_one_seed_is_that_of_each_state(rng):
    scheduler, x = sc.EulerAncestral(VP), np.ones((2, 3))
    states = [scheduler.init(x, steps=3), scheduler.init(x, steps=4)]
    after = sc.Batch(states).update(np.full((4, 3), 0.5), rng)
    for before, state in zip(states, after.states, strict=True):
        np.testing.assert_array_equal(state.x, scheduler.update(0.5 * x, before, rng).x)


def test_brownian_paths_are_the_samples():
    scheduler, x = sc.EulerAncestral(VP), np.ones((2, 3))
    states = [scheduler.init(x, steps=3), scheduler.init(x, steps=4)]
    after = sc.Batch(states).update(np.full((4, 3), 0.5), sc.BrownianPath([1, 2, 3, 4]))
    own = scheduler.update(0.5 * x, states[1], sc.BrownianPath([3, 4]))
    np.testing.assert_array_equal(after.states[1].x, own.x)


def test_a_generator_and_a_function_draw_for_one_state_after_another():
    x, makes = np.ones((2, 3)), [sc.DDPM(VP), sc.DPMSolverPP(VP, eta=1.0), sc.DDPM(VP)]
    # Rows of two kinds, which are not summed up in this order.
    states = [s.init(x, steps=n) for n, s in zip((3, 4, 5), makes, strict=True)]
    states[1] = makes[1].update(0.5 * x, states[1], 0)
    for make in (np.random.default_rng, lambda s: np.random.default_rng(s).normal):
        rng, again = make(0), make(0)
        if callable(rng):
            rng, again = (lambda like, r=r: r(size=like.shape) for r in (rng, again))
        after = sc.Batch(states).update(np.full((6, 3), 0.5), rng)
        for scheduler, before, state in zip(makes, states, after.states, strict=True):
            np.testing.assert_array_equal(state.x, scheduler.update(0.5 * x, before, again).x)


def test_the_model_is_asked_for_all_samples_at_their_times():
    ddim = sc.DDIM(sc.DiscreteSchedule(sc.linear_betas(1000)))
    one = ddim.init(np.zeros((1, 2), np.float32), timesteps=[999, 5])
    two = ddim.init(np.ones((2, 2), np.float32), timesteps=[7])
    batch = sc.Batch([one, two])
    np.testing.assert_array_equal(batch.t, [999, 7, 7])
    np.testing.assert_array_equal(batch.x, [[0, 0], [1, 1], [1, 1]])
    assert batch.t.dtype == batch.x.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        batch.x[0] = 1.0
    assert [state.done for state in batch.update(np.zeros((3, 2), np.float32)).states] == [
        False, True,
    ]  # fmt: skip


def test_states_and_batches_pickle_and_no_state_is_changed():
    scheduler = sc.PLMS(VP, spacing=lambda schedule, n: np.linspace(0.9, 0.1, n))
    states = [scheduler.init(ROUGH[i : i + 1], steps=3 + i) for i in range(3)]
    before = [state.x.copy() for state in states]
    batch = pickle.loads(pickle.dumps(sc.Batch(states)))
    found, own = (b.update(np.ones(3)) for b in (batch, sc.Batch(states)))
    np.testing.assert_array_equal(found.x, own.x)
    for state, x in zip(states, before, strict=True):
        np.testing.assert_array_equal(state.x, x)
        assert state.index == 0


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_arrays_of_other_libraries(library):
    module = pytest.importorskip(library)
    array = module.tensor if library == "torch" else module.numpy.asarray
    kind = module.Tensor if library == "torch" else module.Array
    make = [sc.DDIM(VP), sc.DDPM(VP), sc.DPMSolverPP(VP)]
    x = array(np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32))
    states = [s.init(x[i : i + 1], steps=3 + i) for i, s in enumerate(make)]
    batch, seeds = sc.Batch(states), [7, 8, 9]
    for _ in range(3):
        output = 0.5 * batch.x
        assert isinstance(batch.x, kind)
        assert isinstance(batch.t, kind)
        batch = batch.update(output, seeds)
    for i, (scheduler, state) in enumerate(zip(make, states, strict=True)):
        for _ in range(3):
            state = scheduler.update(0.5 * state.x, state, [seeds[i]])
        np.testing.assert_allclose(np.asarray(batch.states[i].x), np.asarray(state.x), rtol=1e-6)


DDIM = sc.DDIM(VP)
STATE = DDIM.init(np.ones((2, 3)), steps=2)
BAD = [
    (lambda: sc.Batch([]), ValueError, "states must be at least one"),
    (lambda: sc.Batch(3), TypeError, "states must be a list of states, got 3"),
    (lambda: sc.Batch(STATE), TypeError, "states must be a list of states, got State"),
    (lambda: sc.Batch([STATE, 3]), TypeError, r"states\[1\] must be a State, got 3"),
    (
        lambda: sc.Batch([STATE, DDIM.init(np.ones((1, 4)), steps=2)]),
        ValueError,
        r"states\[1\] must have samples of the shape \(3,\), as states\[0\] has, got \(4,\)",
    ),
    (
        lambda: sc.Batch([STATE, DDIM.init(np.ones((1, 3), np.float32), steps=2)]),
        ValueError,
        r"states\[1\] must have the dtype float64",
    ),
    (
        lambda: sc.Batch([DDIM.init(np.array(1.0), steps=2)]),
        ValueError,
        "samples along axis 0",
    ),
    (
        lambda: sc.Batch(
            [
                sc.DDPM(VP, variance=v).init(np.ones((1, 2)), steps=2)
                for v in ("fixed_small", "learned")
            ]
        ),
        ValueError,
        r"states\[1\] must have a variance that the model did not learn",
    ),
    (
        lambda: sc.Batch([sc.Euler(VP, s_churn=1.0).init(np.ones((1, 2)), timesteps=[0.5])]),
        ValueError,
        "rng must be given to init",
    ),
    (lambda: sc.Batch([STATE]).update(np.ones((3, 3))), ValueError, r"output must have shape \(2"),
    (lambda: sc.Batch([STATE]).update("a"), TypeError, "output must be an array"),
    (
        lambda: sc.Batch([STATE, STATE]).update(np.repeat([1.0, np.nan], 6).reshape(4, 3)),
        ValueError,
        r"output for states\[1\] at t=1 must be finite",
    ),
    (
        lambda: sc.Batch([STATE, STATE]).update(np.ones((4, 3)), [1, 2]),
        ValueError,
        "one seed for each sample",
    ),
    (lambda: sc.Batch([STATE]).update(np.ones((2, 3)), "a"), TypeError, "rng must be"),
    (
        lambda: sc.Batch([STATE]).update(np.ones((2, 3)), keep_denoised=3),
        TypeError,
        "keep_denoised",
    ),
    (
        lambda: (
            sc.Batch(sc.Batch([STATE]).update(np.ones((2, 3))).states)
            .update(np.ones((2, 3)))
            .update(np.ones((2, 3)))
        ),
        ValueError,
        r"states\[0\] must not be done",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_an_error_that_names_it(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_states_of_other_interfaces_are_refused():
    from schedulers.engine.state import State

    bare = State(STATE.tableau, 0, np.ones((1, 3)), np.dtype(float))
    with pytest.raises(ValueError, match="must be from init of a scheduler"):
        sc.Batch([bare])
