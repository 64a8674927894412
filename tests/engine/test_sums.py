"""Weighted sums: by blocks or whole, to the same bits, and never into an array of anyone else's."""

import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, SCHEDULES, bounded_denoiser, names, predictions, seeds
from schedulers.engine import arrays, noise as noise_module

VP = SCHEDULES["vp"]
weights = st.one_of(st.just(0.0), st.floats(-10.0, 10.0))


def noise(seed, shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


@given(
    seed=seeds,
    given_weights=st.lists(weights, min_size=1, max_size=4),
    shape=st.sampled_from([(1,), (7,), (3, 5), (2, 3, 11)]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_sum_by_blocks_is_the_whole_sum_to_the_last_bit(seed, given_weights, shape, dtype):
    drawn = (noise(seed + i, shape).astype(dtype) for i in range(len(given_weights)))
    terms = list(zip(given_weights, drawn, strict=True))
    whole = arrays.weighted_sum(terms)
    expected = sum(weight * array.astype(np.float64) for weight, array in terms)
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-4 if dtype == "float32" else 1e-13)
    before = [array.copy() for _, array in terms]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", 4)
        blocked = arrays.weighted_sum(terms)
    np.testing.assert_array_equal(blocked, whole)
    assert blocked.dtype == dtype
    for (_, array), copy in zip(terms, before, strict=True):
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
        transposed = [
            scheduler.sample(
                lambda x, t: np.asfortranarray(bounded_denoiser(x, t)), start, steps=6, rng=seed
            )
            for start in (x, np.asfortranarray(x))
        ]
    np.testing.assert_array_equal(transposed, [whole, whole])


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


@given(name=names, seed=seeds, prediction=predictions)
def test_a_state_is_its_own_whatever_becomes_of_the_output(name, seed, prediction):
    scheduler = ALL[name](VP, prediction_type=prediction)
    state = scheduler.init(noise(seed, (5,)), steps=5, rng=seed)
    output = noise(seed + 1, (5,))
    after = scheduler.update(output, state, rng=seed)
    x, d = after.x.copy(), after.denoised.copy()
    output[...] = np.nan
    np.testing.assert_array_equal(after.x, x)
    np.testing.assert_array_equal(after.denoised, d)


@given(name=names, seed=seeds, prediction=predictions, threshold=st.booleans())
def test_without_d_the_run_is_the_same_and_the_state_has_none(name, seed, prediction, threshold):
    limit = sc.StaticThreshold(0.5) if threshold else None
    scheduler = ALL[name](VP, prediction_type=prediction, threshold=limit)
    state = scheduler.init(noise(seed, (5,)), steps=5, rng=seed)
    expected = scheduler.sample(bounded_denoiser, noise(seed, (5,)), steps=5, rng=seed)
    while not state.done:
        output = bounded_denoiser(state.x, state.t)
        state = scheduler.update(output, state, rng=seed, keep_denoised=False)
        assert state.denoised is None
    np.testing.assert_array_equal(state.x, expected)


@pytest.mark.parametrize(("keep", "samples"), [(True, 2.1), (False, 1.1)])
@pytest.mark.parametrize("make", [sc.DDIM, sc.Euler, sc.DDPM, sc.EulerAncestral])
def test_a_pickled_state_is_as_large_as_its_sample_and_d(make, keep, samples):
    scheduler, x = make(VP), np.ones((64, 1024), np.float32)
    state = scheduler.update(x, scheduler.init(x, steps=20), rng=0, keep_denoised=keep)
    assert len(pickle.dumps(state)) <= samples * x.nbytes


def test_keep_denoised_is_true_or_false():
    state = sc.DDIM(VP).init(np.ones(3), steps=3)
    with pytest.raises(TypeError, match="keep_denoised must be True or False, got 1"):
        sc.DDIM(VP).update(np.ones(3), state, keep_denoised=1)


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


@pytest.mark.parametrize("keep", [True, False])
def test_an_update_takes_the_memory_of_the_arrays_that_it_makes(monkeypatch, keep):
    import tracemalloc

    monkeypatch.setattr(noise_module, "_processors", lambda: 2)
    x = np.ones((512, 4096), np.float32)
    for scheduler in (sc.DDIM(VP), sc.Euler(VP), sc.DDPM(VP), sc.EulerAncestral(VP)):
        state = scheduler.update(x, scheduler.init(x, steps=9), rng=0)
        made = 1 + keep + bool(state.tableau.stages[1].c)  # the sample, D and the noise
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = scheduler.update(x, state, rng=0, keep_denoised=keep)
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        assert kept.x.nbytes == x.nbytes
        assert peak < made * x.nbytes + 700_000  # a block of a sum is 0.25 MiB
