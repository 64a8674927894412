"""Arrays that are not NumPy's own: bfloat16, and those of other libraries."""

import numpy as np
import pytest

import schedulers as sc
from kit import ALL, SCHEDULES
from schedulers.testing.laws.scheduler_arrays import Foreign

VP = SCHEDULES["vp"]


def noise(seed, shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


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


def test_noise_for_arrays_of_other_libraries_is_their_callers_to_draw():
    with pytest.raises(TypeError, match=r"must be a function noise\(like\) .*'foreign.float'"):
        sc.DDPM(VP).sample(lambda x, t: x, Foreign(noise(0, (3, 2))), steps=5, rng=0)


def test_arrays_of_other_libraries_are_noised_with_noise_of_their_own():
    scheduler, x, z = sc.DDIM(VP), noise(0, (2, 3)), noise(1, (2, 3))
    got = scheduler.add_noise(Foreign(x), 0.3, noise=Foreign(z))
    np.testing.assert_allclose(got.values, scheduler.add_noise(x, 0.3, noise=z), rtol=1e-15)
    with pytest.raises(TypeError, match="must be a function noise"):
        scheduler.add_noise(Foreign(x), 0.3, rng=0)


def test_arrays_of_other_libraries_are_checked_too():
    scheduler = sc.DDIM(VP)
    dynamic = sc.DDIM(VP, threshold=sc.DynamicThreshold())
    with pytest.raises(TypeError, match="dynamic thresholding takes NumPy arrays, got Foreign"):
        dynamic.init(Foreign([1.0, 2.0]), steps=2)
    with pytest.raises(ValueError, match="x_T must be finite"):
        scheduler.init(Foreign([1.0, np.nan]), steps=2)
    with pytest.raises(ValueError, match=r"output at t=1 must be finite"):
        scheduler.sample(lambda x, t: Foreign([1.0, np.inf]), Foreign([1.0, 2.0]), steps=2)
    with pytest.raises(TypeError, match="output at t=1 must be an array, got None"):
        scheduler.sample(lambda x, t: None, Foreign([1.0, 2.0]), steps=2)
    with pytest.raises(ValueError, match=r"output at t=1 must have shape \(2,\), got \(1,\)"):
        scheduler.sample(lambda x, t: Foreign([1.0]), Foreign([1.0, 2.0]), steps=2)


def test_large_finite_numbers_whose_squares_overflow_are_taken():
    x = np.full(3, 1e30, np.float32)
    scheduler = sc.DDIM(sc.VPSchedule(), prediction_type="sample")
    state = scheduler.update(x, scheduler.init(x, steps=3))
    np.testing.assert_array_equal(state.denoised, x)
    with pytest.raises(ValueError, match="must be finite"):
        scheduler.update(np.array([1e30, np.inf, 0.0], np.float32), state)
