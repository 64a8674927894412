"""Sources of noise: seeds name it, sample by sample, and nothing else about a run matters."""

import math
import pickle
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

import schedulers as sc
from kit import ALL, SCHEDULES, STOCHASTIC, bounded_denoiser, names, seeds
from schedulers.engine import noise as noise_module

VP = SCHEDULES["vp"]
X = np.random.default_rng(0).standard_normal((3, 2))
batches = st.lists(st.integers(0, 2**64), min_size=1, max_size=6)
dtypes = st.sampled_from(["float16", "float32", "float64", "longdouble"])


def source(seed):
    return noise_module.checked_source(seed)


def start(batch, dtype="float64", shape=(2, 3)):
    scheduler = sc.DDPM(VP)
    return scheduler.initial_noise((len(batch), *shape), steps=6, rng=batch, dtype=dtype)


def finish(scheduler, state, rng):
    while not state.done:
        state = scheduler.update(bounded_denoiser(state.x, state.t), state, rng=rng)
    return state


@given(name=names, batch=batches, dtype=dtypes, shape=st.sampled_from([(), (3,), (2, 3)]))
def test_a_seeds_sample_is_the_same_alone_and_in_any_company(name, batch, dtype, shape):
    scheduler = ALL[name](VP)
    together = scheduler.sample(bounded_denoiser, start(batch, dtype, shape), steps=6, rng=batch)
    for sample, seed in zip(together, batch, strict=True):
        x = start([seed], dtype, shape)
        for rng in ([seed], (np.random.SeedSequence(seed),), seed):
            alone = scheduler.sample(bounded_denoiser, x, steps=6, rng=rng)
            np.testing.assert_array_equal(alone[0], sample)


@given(name=names, batch=batches, order=st.randoms(use_true_random=False))
def test_the_order_of_a_batch_does_not_matter(name, batch, order):
    scheduler, places = ALL[name](VP), list(range(len(batch)))
    order.shuffle(places)
    shuffled = [batch[place] for place in places]
    samples = scheduler.sample(bounded_denoiser, start(batch), steps=5, rng=batch)
    others = scheduler.sample(bounded_denoiser, start(shuffled), steps=5, rng=shuffled)
    np.testing.assert_array_equal(others, samples[places])


@given(name=names, batch=batches, after=st.integers(0, 6))
def test_by_step_by_update_and_resumed_a_seeds_sample_is_the_same(name, batch, after):
    scheduler, x = ALL[name](VP), start(batch)
    expected = scheduler.sample(bounded_denoiser, x, steps=6, rng=batch)
    state = scheduler.init(x, steps=6, rng=batch)
    for _ in range(after):
        state = scheduler.step(bounded_denoiser, state, rng=np.array(batch, dtype=object).tolist())
    if name != "DDIM-sigma":  # whose function is a lambda of the tests'
        state = pickle.loads(pickle.dumps(state))
    np.testing.assert_array_equal(finish(scheduler, state, batch).x, expected)


@given(seed=seeds, dtype=dtypes, sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_noise_is_the_same_on_any_number_of_threads(seed, dtype, sizes):
    batch = list(range(seed, seed + len(sizes)))
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise_module, "_CHUNK", 7)
        for processors in (1, 2, 5):
            patch.setattr(noise_module, "_processors", lambda n=processors: n)
            for rng in (batch, seed):
                shape = (len(batch), max(sizes))
                drawn.append(
                    noise_module.normal(
                        noise_module.checked_source(rng), noise_module.START, shape, np.dtype(dtype)
                    )
                )
    for one, other in zip(drawn[:2] * 3, drawn, strict=True):
        np.testing.assert_array_equal(one, other)


def test_large_noise_is_drawn_in_threads_to_the_same_bits(monkeypatch):
    shape = (3, 2 * noise_module._CHUNK + 5)
    drawn, used = [], []

    class Counted(Thread):
        def start(self):
            used[-1] += 1
            super().start()

    monkeypatch.setattr(noise_module, "Thread", Counted)
    for processors in (1, 2, 64):
        used.append(1)  # the one that asks
        monkeypatch.setattr(noise_module, "_processors", lambda n=processors: n)
        drawn.append(noise_module.normal(source(5), noise_module.START, shape, np.dtype("f4")))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert used[:2] == [1, 2]
    assert 2 < used[2] <= 7


def test_float32_noise_has_the_normal_law_to_its_tails_and_no_memory():
    n = 2**22
    z = noise_module.normal(source(11), noise_module.START, (n,), np.dtype("f4")).astype(float)
    assert stats.kstest(z, "norm").pvalue > 1e-4
    for limit in (3.0, 4.0, 4.7):  # of which there are 5662, 133 and 5 a side
        expected = n * stats.norm.sf(limit)
        for tail in (z > limit, z < -limit):
            assert abs(tail.sum() - expected) < 5 * math.sqrt(expected)
    for lag in (1, 2, noise_module._CHUNK):
        for one, other in ((z[:-lag], z[lag:]), (z[:-lag] ** 2, z[lag:] ** 2)):
            assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(n - lag)


def test_the_streams_of_large_noise_are_different_ones():
    z = noise_module.normal(source(5), noise_module.START, (4, noise_module._CHUNK), np.dtype("f8"))
    assert np.abs(np.corrcoef(z) - np.eye(4)).max() < 6.0 / np.sqrt(noise_module._CHUNK)


@pytest.mark.parametrize("rng", [7, [7, 8, 9], sc.BrownianPath(7), np.random.default_rng(7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_standard_normal(rng, dtype):
    places = [noise_module.stage_place(3, (0.25, 0.75)), noise_module.START]
    for place in places:
        z = noise_module.normal(source(rng), place, (3, 30_000), np.dtype(dtype))
        assert z.dtype == dtype
        z = np.sort(z.astype(np.float64).reshape(-1))
        # Kolmogorov's and Smirnov's distance; 2.3 is exceeded once in 20 000 times.
        from scipy.special import ndtr

        distance = np.abs(ndtr(z) - (np.arange(z.size) + 0.5) / z.size).max()
        assert distance * np.sqrt(z.size) < 2.3


def test_float32_noise_is_drawn_in_float32():
    asked = []

    class Asked(np.random.Generator):
        def standard_normal(self, size=None, dtype=np.float64):
            asked.append(np.dtype(dtype).name)
            return super().standard_normal(size, dtype)

    for dtype in ("float16", "float32", "float64"):
        rng = Asked(np.random.PCG64(0))
        sc.DDPM(VP).sample(bounded_denoiser, X.astype(dtype), steps=2, rng=rng)
    assert asked == ["float32", "float32", "float64"]
    z = sc.DDPM(VP).initial_noise((1000,), steps=2, rng=0)
    assert np.any(z != z.astype(np.float32))


@pytest.mark.parametrize("name", ["DDPM", "DDIM1", "EulerAncestral"])
def test_places_and_seeds_have_noise_of_their_own(name):
    drawn = [sc.DDPM(VP).initial_noise((4,), steps=3, rng=[seed] * 4) for seed in (0, 1)]
    scheduler = STOCHASTIC[name](VP, prediction_type="sample")
    # With D = 0 what comes out of a step is its noise, but for the weight of x.
    zero = np.zeros((4,))
    for seed in (0, 1):
        state = scheduler.init(zero, steps=5, rng=[seed] * 4)
        for _ in range(4):
            state = scheduler.update(np.zeros_like(zero), state, rng=[seed] * 4)
        drawn.append(state.x)
    for i, z in enumerate(drawn):
        assert z[0] == z[1]  # one seed, one noise
        assert z[0] not in [other[0] for other in drawn[:i]]


@pytest.mark.parametrize("rng", [[1, 2], [1, 2, 3, 4], sc.BrownianPath([1, 2])])
def test_there_is_a_seed_for_each_sample(rng):
    for make in (sc.DDIM, sc.DDPM):
        scheduler = make(VP)
        state = scheduler.init(X, steps=2)
        calls = [
            lambda s=scheduler: s.sample(bounded_denoiser, X, steps=2, rng=rng),
            lambda s=scheduler: s.iterate(bounded_denoiser, X, steps=2, rng=rng),
            lambda s=scheduler: s.init(X, steps=2, rng=rng),
            lambda s=scheduler, t=state: s.step(bounded_denoiser, t, rng=rng),
            lambda s=scheduler, t=state: s.update(X, t, rng=rng),
            lambda s=scheduler: s.initial_noise((3, 2), steps=2, rng=rng),
            lambda s=scheduler: s.add_noise(X, 0.5, rng=rng),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=r"one seed for each sample .*\(3, 2\), got [24]"):
                call()


def test_a_batch_of_no_dimensions_has_no_samples_to_seed():
    with pytest.raises(ValueError, match="one seed for each sample"):
        sc.DDPM(VP).sample(bounded_denoiser, np.array(1.0), steps=2, rng=[1])


@given(name=names, seed=seeds)
def test_a_function_is_asked_for_noise_like_the_sample(name, seed):
    scheduler = ALL[name](VP)
    generators = [np.random.default_rng(seed) for _ in range(2)]
    likes = []

    def draw(like):
        likes.append(like)
        return generators[0].standard_normal(like.shape)

    got = scheduler.sample(bounded_denoiser, X, steps=4, rng=draw)
    np.testing.assert_array_equal(
        got, scheduler.sample(bounded_denoiser, X, steps=4, rng=generators[1])
    )
    assert all(like.shape == X.shape and like.dtype == X.dtype for like in likes)


@pytest.mark.parametrize("size", [6, 200_000])
def test_a_functions_own_buffer_is_not_written_to(size):
    buffer = np.random.default_rng(0).standard_normal(size)
    before = buffer.copy()
    sc.DDPM(VP).sample(bounded_denoiser, np.ones(size), steps=3, rng=lambda like: buffer)
    np.testing.assert_array_equal(buffer, before)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((3,)), ValueError, r"must have shape \(3, 2\), got \(3,\)"),
        (np.full((3, 2), np.nan), ValueError, "must be finite"),
        (np.zeros((3, 2), dtype=int), TypeError, "must have a floating dtype"),
        (None, TypeError, "must be an array of floats"),
    ],
)
def test_what_a_function_returns_is_checked(value, error, message):
    with pytest.raises(error, match="the noise that rng returned " + message):
        sc.DDPM(VP).sample(bounded_denoiser, X, steps=3, rng=lambda like: value)


def test_a_function_has_no_sample_to_be_like_at_the_start():
    with pytest.raises(TypeError, match="rng must be a seed, .* not a function"):
        sc.DDPM(VP).initial_noise((2,), steps=3, rng=np.zeros_like)


def test_a_seed_sequence_counts_with_its_children_and_its_pool():
    sequences = [
        np.random.SeedSequence(5),
        np.random.SeedSequence(5).spawn(1)[0],
        np.random.SeedSequence(5, pool_size=8),
    ]
    drawn = [start([sequence])[0, 0, 0] for sequence in sequences]
    assert len(set(drawn)) == 3
    assert drawn[0] == start([5])[0, 0, 0]


def test_several_ints_are_one_seed_of_a_sample():
    """As `numpy.random.SeedSequence` takes them: for the tick of a control loop, say."""
    scheduler = sc.DDPM(VP)

    def run(*seeds):
        x_T = scheduler.initial_noise((len(seeds), 2), steps=3, rng=list(seeds))
        return scheduler.sample(bounded_denoiser, x_T, steps=3, rng=list(seeds))

    both = run((7, 1), 3)
    np.testing.assert_array_equal(both[:1], run([7, 1]))
    np.testing.assert_array_equal(both[:1], run(np.random.SeedSequence([7, 1])))
    np.testing.assert_array_equal(both[1:], run(3))
    assert (run((7, 2)) != both[:1]).all()
    for wrong, error in ((7, -1), ValueError), ((7, "a"), TypeError), ((), TypeError):
        with pytest.raises(error, match=r"rng\[0\]"):
            run(wrong)
