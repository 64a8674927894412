"""Which arrays go in, and that they come out as they should and are left alone."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, SCHEDULES, bounded_denoiser, names, predictions, seeds

VP = SCHEDULES["vp"]
SHAPES = [(), (1,), (5,), (0,), (0, 3, 4), (2, 0), (2, 3), (2, 3, 4, 4)]
everything = pytest.mark.parametrize("name", ALL)


def noise(seed, shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


@everything
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_goes_in_and_comes_out(name, shape):
    states = list(ALL[name](VP).iterate(bounded_denoiser, noise(0, shape), steps=6, rng=0))
    for state in states:
        assert isinstance(state.x, np.ndarray)
        assert isinstance(state.denoised, np.ndarray)
        assert state.x.shape == state.denoised.shape == shape


@everything
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "longdouble", ">f8", ">f4"])
def test_the_dtype_that_goes_in_comes_out(name, dtype):
    x, seen = noise(0, (3, 2)).astype(dtype), []

    def model(x, t):
        seen.append(x.dtype)
        return bounded_denoiser(x, t)

    for state in ALL[name](VP).iterate(model, x, steps=5, rng=0):
        assert state.x.dtype == state.denoised.dtype == x.dtype
    assert set(seen) == {x.dtype}


@given(name=names, seed=seeds, prediction=predictions)
def test_float32_is_float64_to_its_own_precision(name, seed, prediction):
    scheduler = ALL[name](VP, prediction_type=prediction)
    x = noise(seed, (4, 3)).astype(np.float32)
    runs = []
    for start in (x, x.astype(np.float64)):
        rng = np.random.default_rng(seed)  # the same noise in either, rounded in one
        runs.append(
            scheduler.sample(
                bounded_denoiser,
                start,
                timesteps=[0.5, 0.3, 0.2, 0.1],
                rng=lambda like, rng=rng: rng.standard_normal(like.shape),
            )
        )
    got, exact = runs
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, exact, rtol=2e-4, atol=2e-4 * np.abs(exact).max())


@everything
def test_half_precision_is_stepped_in_float32(name):
    # A model of constant output sees nothing of the rounding, so a run stepped in float32 and
    # rounded at the end is float32's own, rounded. Stepping in float16 would be off by far more.
    scheduler = ALL[name](VP, prediction_type="sample")
    x = noise(0, (200,)).astype(np.float16)
    half = scheduler.sample(lambda x, t: np.full_like(x, 0.37109375), x, steps=60, rng=0)
    single = scheduler.sample(
        lambda x, t: np.full_like(x, 0.37109375), x.astype(np.float32), steps=60, rng=0
    )
    np.testing.assert_array_equal(half, single.astype(np.float16))
    x = 0.2 * x
    levels = {"timesteps": np.linspace(0.9, 0.3, 200).tolist(), "rng": 0}
    half = list(scheduler.iterate(lambda x, t: np.zeros_like(x), x, **levels))[-2].x
    x = x.astype(np.float32)
    single = list(scheduler.iterate(lambda x, t: np.zeros_like(x), x, **levels))[-2].x
    np.testing.assert_array_equal(half, single.astype(np.float16))


def test_bfloat16_is_stepped_in_float32_and_comes_back():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = noise(0, (5, 2)).astype(bfloat16)
    for make in ALL.values():
        scheduler = make(VP, prediction_type="sample")
        got = scheduler.sample(lambda x, t: np.zeros_like(x), x, timesteps=[0.9, 0.5], rng=0)
        assert got.dtype == bfloat16
        state = scheduler.init(x, timesteps=[0.9, 0.5], rng=0)
        assert state.x.dtype == bfloat16
        assert state.carried.dtype == np.float32
    drawn = scheduler.initial_noise((3,), steps=2, rng=0, dtype=bfloat16)
    assert drawn.dtype == bfloat16


@given(name=names, seed=seeds, prediction=predictions)
def test_no_array_of_the_callers_is_written_to(name, seed, prediction):
    x = noise(seed, (3, 2))
    x.flags.writeable = False
    handed, outputs = [], []

    def model(x, t):
        output = bounded_denoiser(x, t)
        output.flags.writeable = False
        handed.append((x, x.copy()))
        outputs.append((output, output.copy()))
        return output

    scheduler = ALL[name](VP, prediction_type=prediction)
    states = []
    for state in scheduler.iterate(model, x, steps=6, rng=seed):
        states.append((state.x, state.x.copy()))
        states.append((state.denoised, state.denoised.copy()))
    for array, copy in handed + outputs + states:
        np.testing.assert_array_equal(array, copy)


@given(name=names, seed=seeds, prediction=predictions)
def test_a_model_may_return_one_buffer_every_time(name, seed, prediction):
    scheduler, x = ALL[name](VP, prediction_type=prediction), noise(seed, (3, 2))
    buffer = np.empty_like(x)

    def model(x, t):
        buffer[...] = bounded_denoiser(x, t)
        return buffer

    states = list(scheduler.iterate(model, x, steps=7, rng=seed))
    copied = list(scheduler.iterate(bounded_denoiser, x, steps=7, rng=seed))
    buffer[...] = np.nan
    for one, other in zip(states, copied, strict=True):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.denoised, other.denoised)


@everything
def test_nothing_that_comes_out_shares_memory_with_what_went_in(name):
    scheduler, x, outputs = ALL[name](VP, prediction_type="sample"), noise(0, (4,)), []

    def model(x, t):
        outputs.append(0.5 * x)
        return outputs[-1]

    state = scheduler.init(x, steps=5, rng=0)
    x_before = state.x
    assert not np.shares_memory(x_before, x)
    while not state.done:
        state = scheduler.step(model, state, rng=0)
        for array in (state.x, state.denoised):
            assert not any(np.shares_memory(array, given) for given in (x, x_before, *outputs))


@pytest.mark.parametrize("order", ["F", "strided", "reversed"])
def test_memory_layout_does_not_matter(order):
    x = noise(0, (4, 6))
    laid = {
        "F": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
        "reversed": x[::-1].copy()[::-1],
    }[order]
    for make in ALL.values():
        got = make(VP).sample(bounded_denoiser, laid, steps=4, rng=0)
        np.testing.assert_array_equal(got, make(VP).sample(bounded_denoiser, x, steps=4, rng=0))


class Foreign:
    """An array of another library: it is scaled by floats, added, summed, and that is all."""

    dtype = "foreign.float"

    def __init__(self, values):
        self._values = np.asarray(values, dtype=np.float64)

    @property
    def shape(self):
        return self._values.shape

    def __mul__(self, factor):
        assert type(factor) is float
        return Foreign(self._values * factor)

    def __add__(self, other):
        assert type(other) is Foreign
        return Foreign(self._values + other._values)

    def __sub__(self, other):
        with np.errstate(invalid="ignore"):
            return Foreign(self._values - other._values)

    def sum(self):
        return self._values.sum()


@given(name=st.sampled_from(sorted(n for n in ALL)), seed=seeds, prediction=predictions)
def test_arrays_of_other_libraries_are_only_scaled_and_added(name, seed, prediction):
    scheduler, x = ALL[name](VP, prediction_type=prediction), noise(seed, (3, 2))

    def model(x, t):
        return Foreign(bounded_denoiser(x._values, t))

    if any(stage.c for stage in scheduler.tableau(5).stages):
        with pytest.raises(TypeError, match=r"must be a function noise\(like\) .*'foreign.float'"):
            scheduler.sample(model, Foreign(x), steps=5, rng=seed)
    rngs = [np.random.default_rng(seed) for _ in range(2)]
    got = scheduler.sample(
        model, Foreign(x), steps=5, rng=lambda like: Foreign(rngs[0].standard_normal(like.shape))
    )
    expected = scheduler.sample(bounded_denoiser, x, steps=5, rng=rngs[1])
    np.testing.assert_allclose(got._values, expected, rtol=1e-12, atol=1e-12)


def test_arrays_of_other_libraries_are_noised_with_noise_of_their_own():
    scheduler, x, z = sc.DDIM(VP), noise(0, (2, 3)), noise(1, (2, 3))
    got = scheduler.add_noise(Foreign(x), 0.3, noise=Foreign(z))
    np.testing.assert_allclose(got._values, scheduler.add_noise(x, 0.3, noise=z), rtol=1e-15)
    with pytest.raises(TypeError, match="must be a function noise"):
        scheduler.add_noise(Foreign(x), 0.3, rng=0)


def test_arrays_of_other_libraries_are_checked_too():
    scheduler = sc.DDIM(VP)
    dynamic = sc.DDIM(VP, threshold=sc.DynamicThreshold())
    with pytest.raises(TypeError, match="dynamic thresholding takes NumPy arrays, got Foreign"):
        dynamic.sample(lambda x, t: x, Foreign([1.0, 2.0]), steps=2)
    with pytest.raises(ValueError, match="x_T must be finite"):
        scheduler.init(Foreign([1.0, np.nan]), steps=2)
    with pytest.raises(ValueError, match=r"output at t=1 must be finite"):
        scheduler.sample(lambda x, t: Foreign([1.0, np.inf]), Foreign([1.0, 2.0]), steps=2)
    with pytest.raises(TypeError, match="output at t=1 must be an array, got None"):
        scheduler.sample(lambda x, t: None, Foreign([1.0, 2.0]), steps=2)
    with pytest.raises(ValueError, match=r"output at t=1 must have shape \(2,\), got \(1,\)"):
        scheduler.sample(lambda x, t: Foreign([1.0]), Foreign([1.0, 2.0]), steps=2)
