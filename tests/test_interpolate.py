"""Interpolation between two samples of noise."""

import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

import schedulers as sc
from kit import relative_error, seeds
from schedulers import interpolate
from schedulers.interpolate import linear, spherical

weights = st.floats(-1.0, 2.0)
shapes = st.sampled_from([(5,), (2, 3), (1, 4, 3, 3)])


def pair(seed, shape):
    return np.random.default_rng(seed).normal(size=(2, *shape))


@given(seeds, shapes, weights)
def test_linear_is_the_point_on_the_line(seed, shape, weight):
    x, y = pair(seed, shape)
    np.testing.assert_allclose(linear(x, y, weight), x + weight * (y - x), atol=1e-13)


@given(seeds, shapes, weights)
def test_spherical_turns_in_the_plane_of_both_by_a_share_of_their_angle(seed, shape, weight):
    x, y = pair(seed, shape)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    # another way: an orthonormal basis of the plane, and the angle in it
    across = y - np.vdot(x, y) * x
    across /= np.linalg.norm(across)
    theta = math.atan2(np.vdot(across, y), np.vdot(x, y))
    expected = math.cos(weight * theta) * x + math.sin(weight * theta) * across
    made = spherical(x, y, weight)
    assert relative_error(made, expected) < 1e-10
    assert np.linalg.norm(made) == pytest.approx(1.0, rel=1e-10)


@given(seeds, shapes, st.sampled_from([linear, spherical]))
def test_the_ends_are_the_two_and_the_way_back_is_the_same(seed, shape, kind):
    x, y = pair(seed, shape)
    np.testing.assert_allclose(kind(x, y, 0.0), x, rtol=1e-13)
    np.testing.assert_allclose(kind(x, y, 1.0), y, rtol=1e-13)
    np.testing.assert_allclose(kind(x, y, 0.3), kind(y, x, 0.7), rtol=1e-10, atol=1e-13)


@given(seeds, st.lists(weights, max_size=4), st.sampled_from([linear, spherical]))
def test_many_weights_are_one_after_another_along_axis_0(seed, many, kind):
    x, y = pair(seed, (2, 3))
    made = kind(x, y, many)
    assert made.shape == (len(many), 2, 3)
    for one, weight in zip(made, many, strict=True):
        np.testing.assert_allclose(one, kind(x, y, weight), rtol=1e-14, atol=1e-15)


@given(seeds, st.floats(1e-12, 1e-2), st.floats(0.0, 1.0))
def test_between_close_ones_the_arc_is_the_line(seed, distance, weight):
    x, y = pair(seed, (6,))
    y = x + distance * y
    difference = np.linalg.norm(spherical(x, y, weight) - linear(x, y, weight))
    assert difference <= np.linalg.norm(x - y) ** 2 + 1e-14 * np.linalg.norm(x)
    np.testing.assert_allclose(spherical(x, x, weight), x, rtol=1e-14)


def test_noise_between_noise_has_unit_variance_on_the_arc_and_half_of_it_on_the_line():
    x, y = pair(0, (400_000,))
    assert spherical(x, y, 0.5).var() == pytest.approx(1.0, abs=0.01)
    assert linear(x, y, 0.5).var() == pytest.approx(0.5, abs=0.01)


@given(st.sampled_from([np.float16, np.float32, np.float64]), st.sampled_from([linear, spherical]))
def test_the_dtype_is_that_of_the_two(dtype, kind):
    x, y = (array.astype(dtype) for array in pair(1, (3, 4)))
    made = kind(x, y, [0.2, 0.5])
    assert made.dtype == dtype
    exact = kind(x.astype(float), y.astype(float), [0.2, 0.5])
    assert relative_error(made.astype(float), exact) < 4 * np.finfo(dtype).eps


def test_what_a_deterministic_run_makes_of_noise_in_between_changes_smoothly():
    scheduler = sc.DDIM(sc.VESchedule())
    model = sc.analytic.Gaussian(0.0, 1.0).denoiser(sc.VESchedule())
    x, y = (scheduler.initial_noise((50,), 10, rng=seed) for seed in (0, 1))
    made = scheduler.sample(model, spherical(x, y, np.linspace(0.0, 1.0, 101)), 10)
    moves = np.linalg.norm(np.diff(made, axis=0), axis=1)
    assert moves.max() < 1.2 * moves.min()


@pytest.mark.parametrize(
    ("x", "y", "weight", "error", "message"),
    [
        ([1.0], np.ones(1), 0.5, TypeError, "x must be an array of floats"),
        (np.ones(2), np.ones(3), 0.5, ValueError, "y must have the shape of x, (2,), got (3,)"),
        (np.ones(2), np.ones(2, np.float32), 0.5, TypeError, "y must be of the kind of x"),
        (np.ones(2), np.ones(2), np.ones((1, 1)), ValueError, "weight must be a number or"),
        (np.ones(2), np.ones(2), "half", TypeError, "weight must be real numbers"),
        (np.ones(2), np.ones(2), math.nan, ValueError, "weight must be finite"),
        (np.ones(2), np.array([np.inf, 0.0]), 0.5, ValueError, "y must be finite"),
    ],
)
@pytest.mark.parametrize("kind", [linear, spherical])
def test_bad_arguments_are_named(kind, x, y, weight, error, message):
    with pytest.raises(error, match=re.escape(message)):
        kind(x, y, weight)


def test_where_there_is_no_arc_there_is_an_error():
    x = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="y must not be 0 everywhere"):
        spherical(x, np.zeros(2), 0.5)
    with pytest.raises(ValueError, match="x and y must not point in opposite directions"):
        spherical(x, -3.0 * x, 0.5)


@given(seeds, st.floats(1e-6, 1e6), st.floats(0.0, 1.0))
def test_the_arc_grows_with_its_ends(seed, scale, weight):
    x, y = pair(seed, (4,))
    assume(abs(np.vdot(x, y)) < 0.99 * np.linalg.norm(x) * np.linalg.norm(y))
    made = interpolate.spherical(scale * x, scale * y, weight)
    assert relative_error(made, scale * spherical(x, y, weight)) < 1e-9


@pytest.mark.parametrize("scale", [1e-30, 1e-23, 1e20, 1e30])
def test_in_float32_no_length_is_too_small_or_too_large(scale):
    x = np.array([scale, 0.0], np.float32)
    made = spherical(x, x[::-1].copy(), 0.5)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, np.sqrt(0.5) * scale, rtol=1e-6)


@pytest.mark.parametrize("kind", [linear, spherical])
def test_tensors_are_interpolated_as_tensors(kind):
    torch = pytest.importorskip("torch")
    x, y = pair(2, (3, 2))
    made = kind(torch.from_numpy(x), torch.from_numpy(y), [0.25, 0.5])
    assert relative_error(made.numpy(), kind(x, y, [0.25, 0.5])) < 1e-13
    one = kind(torch.from_numpy(x), torch.from_numpy(y), 0.25)
    assert relative_error(one.numpy(), kind(x, y, 0.25)) < 1e-13
