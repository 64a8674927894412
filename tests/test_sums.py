"""Weighted sums: by blocks or whole, to the same bits, and never into an array of anyone else's."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, SCHEDULES, bounded_denoiser, names, predictions, seeds
from schedulers.engine import arrays, noise as noise_module

VP = SCHEDULES["vp"]
weights = st.one_of(st.just(0.0), st.floats(-10.0, 10.0), st.just("learned"))


def noise(seed, shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


@given(
    seed=seeds,
    given_weights=st.lists(weights, min_size=1, max_size=4),
    shape=st.sampled_from([(1,), (7,), (3, 5), (2, 3, 11)]),
    dtype=st.sampled_from(["float32", "float64"]),
    into=st.booleans(),
)
def test_a_sum_by_blocks_is_the_whole_sum_to_the_last_bit(seed, given_weights, shape, dtype, into):
    rng = np.random.default_rng(seed)
    terms = [
        (rng.random(shape).astype(dtype) if weight == "learned" else weight, noise(i, shape))
        for i, weight in enumerate(given_weights)
    ]
    terms = [(weight, array.astype(dtype)) for weight, array in terms]
    whole = arrays.weighted_sum(terms)
    expected = sum(np.asarray(weight, np.float64) * array for weight, array in terms)
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-4 if dtype == "float32" else 1e-13)
    before = [array.copy() for _, array in terms[:-1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", 4)
        blocked = arrays.weighted_sum(terms, terms[-1][1] if into else None)
    np.testing.assert_array_equal(blocked, whole)
    assert blocked.dtype == dtype
    for (_, array), copy in zip(terms[:-1], before, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(name=names, seed=seeds, prediction=predictions)
def test_a_run_by_blocks_is_the_same_run(name, seed, prediction):
    scheduler, x = ALL[name](VP, prediction_type=prediction), noise(seed, (3, 7))
    whole = scheduler.sample(bounded_denoiser, x, steps=6, rng=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", 5)
        np.testing.assert_array_equal(
            scheduler.sample(bounded_denoiser, x, steps=6, rng=seed), whole
        )
        transposed = scheduler.sample(
            lambda x, t: np.asfortranarray(bounded_denoiser(x, t)), x, steps=6, rng=seed
        )
    np.testing.assert_array_equal(transposed, whole)


@given(name=names, seed=seeds, prediction=predictions)
def test_what_was_handed_out_is_never_written_to_again(name, seed, prediction):
    scheduler = ALL[name](VP, prediction_type=prediction)
    handed = []

    def keep(array):
        handed.append((array, array.copy()))
        return array

    def model(x, t):
        keep(x)
        return keep(bounded_denoiser(x, t))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", 2)
        state = scheduler.init(noise(seed, (5,)), steps=5, rng=seed)
        while not state.done:
            state = scheduler.update(model(keep(state.x), state.t), state, rng=seed)
            keep(state.denoised)
        scheduler.sample(
            model, keep(state.x), steps=5, rng=seed, callback=lambda state: keep(state.x)
        )
    for array, copy in handed:
        np.testing.assert_array_equal(array, copy)


@given(name=names, seed=seeds, prediction=predictions)
def test_after_an_update_d_is_what_it_is_after_a_step(name, seed, prediction):
    scheduler = ALL[name](VP, prediction_type=prediction)
    states = iter(scheduler.iterate(bounded_denoiser, noise(seed, (5,)), steps=5, rng=seed))
    state = scheduler.init(noise(seed, (5,)), steps=5, rng=seed)
    while not state.done:
        ends = state.tableau.stages[state.index].ends_step
        state = scheduler.update(bounded_denoiser(state.x, state.t), state, rng=seed)
        if ends:
            np.testing.assert_array_equal(state.denoised, next(states).denoised)


def test_d_is_refused_once_the_output_that_it_is_made_of_is_overwritten():
    scheduler, buffer = sc.DDIM(VP), noise(0, (1000,))
    state = scheduler.update(buffer, scheduler.init(noise(1, (1000,)), steps=3))
    expected = state.denoised.copy()
    before = buffer.copy()
    one_changed = before.copy()
    one_changed[17] += 1e-3
    for other in (noise(2, (1000,)), -before, before[::-1], one_changed, 0.0 * before):
        buffer[...] = other
        with pytest.raises(ValueError, match="denoised must be asked for before the model's"):
            state.denoised  # noqa: B018
    buffer[...] = before
    np.testing.assert_array_equal(state.denoised, expected)


def test_d_is_made_at_once_where_nothing_would_tell_that_the_output_was_overwritten():
    output = np.array([1.0, 2.0])
    state = sc.DDIM(VP, prediction_type="sample").init(np.zeros(2), steps=3)
    state = sc.DDIM(VP, prediction_type="sample").update(output, state)
    output[...] = 0.0
    np.testing.assert_array_equal(state.denoised, [1.0, 2.0])


@given(name=names, seed=seeds)
def test_a_state_cannot_be_written_to(name, seed):
    scheduler = ALL[name](VP)
    state = scheduler.init(noise(seed, (5,)), steps=4, rng=seed)
    for step in (scheduler.step, lambda model, s, rng: scheduler.update(s.x, s, rng)):
        for array in (state.x, state.denoised):
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[...] = 0.0
        state = step(bounded_denoiser, state, rng=seed)
    samples = scheduler.sample(bounded_denoiser, noise(seed, (5,)), steps=4, rng=seed)
    samples[...] = 0.0


def test_d_of_outputs_too_large_to_be_told_apart_is_made_at_once():
    x = np.full(3, 1e10, np.float32)
    scheduler = sc.DDIM(VP, prediction_type="sample")
    output = np.full(3, 1e30, np.float32)
    state = scheduler.update(output, scheduler.init(x, steps=3))
    output[...] = 0.0
    np.testing.assert_array_equal(state.denoised, np.full(3, 1e30, np.float32))


def test_an_update_takes_the_memory_of_one_array(monkeypatch):
    import tracemalloc

    monkeypatch.setattr(noise_module, "_processors", lambda: 2)
    x = np.ones((512, 4096), np.float32)
    for scheduler in (sc.DDIM(VP), sc.Euler(VP), sc.DDPM(VP), sc.EulerAncestral(VP)):
        state = scheduler.update(x, scheduler.init(x, steps=9), rng=0)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = scheduler.update(x, state, rng=0)
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        assert kept.x.nbytes == x.nbytes
        # The blocks of a sum are 0.5 MiB; and so is what each of two threads makes noise of.
        assert peak < x.nbytes + 1_200_000
