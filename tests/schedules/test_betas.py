import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from schedulers import (
    CosineSchedule,
    DiscreteSchedule,
    cosine_betas,
    laplace_betas,
    linear_betas,
    rescale_zero_terminal_snr,
    scaled_linear_betas,
    sigmoid_betas,
)

MAKERS = [linear_betas, scaled_linear_betas, sigmoid_betas, cosine_betas, laplace_betas]


@pytest.mark.parametrize("make", MAKERS)
@given(n=st.integers(1, 300))
def test_betas_are_n_variances_in_float64_that_a_schedule_takes(make, n):
    betas = make(n)
    assert betas.shape == (n,)
    assert betas.dtype == np.float64
    assert np.all((betas > 0.0) & (betas < 1.0))
    assert DiscreteSchedule(betas).num_train_timesteps == n


def test_the_ends_of_linear_and_scaled_linear_are_those_of_the_papers():
    np.testing.assert_allclose(linear_betas(1000)[[0, 1, -1]], [1e-4, 1e-4 + 0.0199 / 999, 0.02])
    roots = np.sqrt(scaled_linear_betas(1000))
    np.testing.assert_allclose(roots[[0, -1]] ** 2, [0.00085, 0.012], rtol=1e-15)
    np.testing.assert_allclose(np.diff(roots), (roots[-1] - roots[0]) / 999, rtol=1e-11)


def test_sigmoid_betas_are_logistic_between_their_ends():
    betas = sigmoid_betas(13)
    logit = [math.log((b - 1e-4) / (0.02 - b)) for b in betas]
    np.testing.assert_allclose(logit, np.arange(-6.0, 7.0), rtol=1e-9, atol=1e-9)


def test_cosine_betas_have_the_alphas_cumprod_of_the_cosine_schedule():
    products = np.cumprod(1.0 - cosine_betas(500))
    t = np.arange(1, 500) / 500  # the last beta is capped
    np.testing.assert_allclose(products[:-1], CosineSchedule().alpha(t) ** 2, rtol=1e-11)
    assert cosine_betas(500)[-1] == 0.999
    assert cosine_betas(500, max_beta=0.5).max() == 0.5


def test_cosine_betas_take_the_offset():
    products = np.cumprod(1.0 - cosine_betas(8, s=0.3))
    t = np.arange(1, 8) / 8
    np.testing.assert_allclose(products[:-1], CosineSchedule(s=0.3).alpha(t) ** 2, rtol=1e-12)


@pytest.mark.parametrize(("mu", "b"), [(0.0, 0.5), (1.0, 2.0)])
def test_laplace_betas_have_a_log_snr_at_the_quantiles_of_a_laplace_distribution(mu, b):
    from scipy.stats import laplace

    products = np.cumprod(1.0 - laplace_betas(400, mu=mu, b=b))
    log_snr = np.log(products / (1.0 - products))[:-1]
    falling = laplace.isf(np.arange(1, 400) / 400, loc=mu, scale=b)
    np.testing.assert_allclose(log_snr, falling, rtol=1e-9, atol=1e-9)
    assert laplace_betas(400)[-1] == 0.999


@given(n=st.integers(2, 300), end=st.floats(0.001, 0.5))
def test_rescaling_ends_at_zero_begins_as_before_and_is_affine_in_alpha(n, end):
    before = np.sqrt(np.cumprod(1.0 - linear_betas(n, 1e-4, end)))
    betas = rescale_zero_terminal_snr(linear_betas(n, 1e-4, end))
    after = DiscreteSchedule(betas).alpha(np.arange(n))
    assert betas[-1] == 1.0
    assert after[-1] == 0.0
    np.testing.assert_allclose(after[0], before[0], rtol=1e-14)
    slope = before[0] / (before[0] - before[-1])
    np.testing.assert_allclose(after, (before - before[-1]) * slope, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("make", [linear_betas, scaled_linear_betas, sigmoid_betas])
def test_betas_are_float64_whatever_their_ends_are(make):
    betas = make(5, np.float32(0.1), np.float32(0.2))
    np.testing.assert_array_equal(betas, make(5, float(np.float32(0.1)), float(np.float32(0.2))))
    assert betas.dtype == np.float64


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "num_train_timesteps must be at least 1, got 0"),
        (2.5, TypeError, "num_train_timesteps must be an integer, got 2.5"),
        (True, TypeError, "num_train_timesteps must be an integer, got True"),
    ],
)
def test_the_number_of_betas_is_checked(make, n, error, message):
    with pytest.raises(error, match=message):
        make(n)


@pytest.mark.parametrize("make", [linear_betas, scaled_linear_betas, sigmoid_betas])
@pytest.mark.parametrize("name", ["beta_start", "beta_end"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_the_ends_are_checked(make, name, value):
    with pytest.raises(ValueError, match=f"{name} must .*got {value}"):
        make(10, **{name: value})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: laplace_betas(10, mu=1000.0), ValueError, "must give betas above 0"),
        (lambda: cosine_betas(5, s=-0.1), ValueError, "s must be .* at most 1000, got -0.1"),
        (lambda: cosine_betas(5, s="a"), TypeError, "s must be a real number, got 'a'"),
        (lambda: cosine_betas(5, max_beta=1.0), ValueError, "max_beta must lie between 0 and 1"),
        (lambda: laplace_betas(5, b=0.0), ValueError, "b must be above 0 and finite, got 0.0"),
        (lambda: laplace_betas(5, mu=math.inf), ValueError, "mu must be finite, got inf"),
        (lambda: rescale_zero_terminal_snr([0.1]), ValueError, "betas must be at least two"),
        (lambda: rescale_zero_terminal_snr([0.1, 1.0]), ValueError, "betas must .* to 1"),
        (lambda: rescale_zero_terminal_snr([0.0, 0.5]), ValueError, "betas must .* from 0"),
        (lambda: rescale_zero_terminal_snr([0.999] * 200), ValueError, "betas must give alphas_c"),
        (lambda: rescale_zero_terminal_snr([[0.1, 0.2]]), ValueError, r"betas must .*\(1, 2\)"),
    ],
)
def test_other_arguments_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()
