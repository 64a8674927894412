"""Distances between Gaussians, against higher precision and their own laws."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import linalg

from kit import seeds
from schedulers.analysis import kl_divergence, wasserstein2
from schedulers.analysis.law import matrix
from schedulers.analytic import Gaussian

forms = st.sampled_from(["scalar", "diagonal", "full"])


def random_gaussian(seed, form, size=4):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((size, size))
    cov = {
        "scalar": rng.uniform(0.1, 3.0),
        "diagonal": rng.uniform(0.1, 3.0, size),
        "full": root @ root.T + 0.1 * np.eye(size),
    }[form]
    return Gaussian(rng.standard_normal(size), cov)


@given(forms=st.tuples(forms, forms), seed=seeds)
def test_the_wasserstein_distance_is_its_formula(forms, seed):
    p, q = (random_gaussian(seed + i, form) for i, form in enumerate(forms))
    c, f = matrix(p), matrix(q)
    root = linalg.sqrtm(c).real
    square = np.sum((p.mean - q.mean) ** 2) + np.trace(
        c + f - 2.0 * linalg.sqrtm(root @ f @ root).real
    )
    assert wasserstein2(p, q) == pytest.approx(math.sqrt(square), rel=1e-7)
    assert wasserstein2(p, q) == pytest.approx(wasserstein2(q, p), rel=1e-12)
    assert wasserstein2(p, p) < 1e-13


@given(forms=st.tuples(forms, forms), seed=seeds)
def test_the_divergence_is_its_formula(forms, seed):
    p, q = (random_gaussian(seed + i, form) for i, form in enumerate(forms))
    c, f = matrix(p), matrix(q)
    off = q.mean - p.mean
    expected = 0.5 * (
        np.trace(np.linalg.solve(f, c))
        - len(off)
        + np.linalg.slogdet(f)[1]
        - np.linalg.slogdet(c)[1]
        + off @ np.linalg.solve(f, off)
    )
    assert kl_divergence(p, q) == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert kl_divergence(p, p) == pytest.approx(0.0, abs=1e-13)


@given(forms=st.tuples(forms, forms), seed=seeds)
def test_the_form_that_a_covariance_is_given_in_does_not_matter(forms, seed):
    p, q = (random_gaussian(seed + i, form) for i, form in enumerate(forms))
    full = [Gaussian(law.mean, matrix(law)) for law in (p, q)]
    assert wasserstein2(*full) == pytest.approx(wasserstein2(p, q), rel=1e-11, abs=1e-12)
    assert kl_divergence(*full) == pytest.approx(kl_divergence(p, q), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("exponent", range(-14, 0))
def test_small_distances_keep_their_digits(exponent):
    # N(0, v) and N(0, v (1 + d)): W2 = sqrt(v) (sqrt(1 + d) - 1), KL = (d - log(1 + d)) / 2.
    d, v = 10.0**exponent, np.array([4.0, 0.25])
    with localcontext() as context:
        context.prec = 60
        ratio = 1 + Decimal(d)
        w2 = float(Decimal("4.25").sqrt() * (ratio.sqrt() - 1))
        kl = float(Decimal(d) - ratio.ln())  # twice a half
    spun = linalg.expm(np.array([[0.0, 0.3], [-0.3, 0.0]]))
    for axes, tolerance in ((np.eye(2), 1e-15), (spun, 3e-15)):
        if axes is spun:
            p, q = (Gaussian([0.0, 0.0], (spun * w) @ spun.T) for w in (v, v * (1.0 + d)))
        else:
            p, q = (Gaussian([0.0, 0.0], w) for w in (v, v * (1.0 + d)))
        # The covariances themselves are rounded, to 1e-16 of them.
        assert wasserstein2(p, q) == pytest.approx(w2, rel=1e-9, abs=tolerance)
        assert kl_divergence(q, p) == pytest.approx(kl, rel=1e-9, abs=2.0 * tolerance * d + 1e-30)


def test_distances_of_points_and_of_what_lies_in_fewer_dimensions():
    point, plane = Gaussian([1.0, 0.0], 0.0), Gaussian([0.0, 0.0], [4.0, 0.0])
    whole = Gaussian([0.0, 0.0], [4.0, 1.0])
    tilted = Gaussian([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]])
    full = Gaussian([0.0, 0.0], [[2.0, 1.0], [1.0, 2.0]])
    assert wasserstein2(point, plane) == pytest.approx(math.sqrt(5.0))
    assert wasserstein2(plane, whole) == pytest.approx(1.0)
    assert wasserstein2(tilted, tilted) < 1e-15
    assert kl_divergence(plane, whole) == math.inf
    assert kl_divergence(whole, plane) == math.inf
    assert kl_divergence(tilted, full) == math.inf
    assert kl_divergence(full, tilted) == math.inf
    assert kl_divergence(plane, Gaussian([0.0, 0.0], [1.0, 0.0])) == pytest.approx(
        0.5 * (3.0 - math.log(4.0))
    )
    assert kl_divergence(plane, Gaussian([0.0, 1.0], [1.0, 0.0])) == math.inf
    assert kl_divergence(tilted, Gaussian([0.0, 0.0], [[2.0, 2.0], [2.0, 2.0]])) == pytest.approx(
        0.5 * (-0.5 + math.log(2.0))
    )


@given(seed=seeds)
def test_means_apart_within_the_support_have_a_finite_divergence(seed):
    # N(L u, L L^T) from N(0, L L^T) is |u|**2 / 2, whatever the L, of fewer columns than rows.
    rng = np.random.default_rng(seed)
    low, u = np.linalg.qr(rng.standard_normal((4, 2)))[0] * [1.0, 3.0], rng.standard_normal(2)
    p, q = Gaussian(low @ u, low @ low.T), Gaussian(np.zeros(4), low @ low.T)
    assert kl_divergence(p, q) == pytest.approx(0.5 * u @ u, rel=1e-9)
    outside = linalg.null_space(low.T)[:, 0]
    assert kl_divergence(Gaussian(low @ u + 1e-6 * outside, low @ low.T), q) == math.inf


def test_a_scalar_covariance_counts_for_every_element():
    p, q = Gaussian(np.zeros((2, 3)), 1.0), Gaussian(np.zeros((2, 3)), 4.0)
    assert wasserstein2(p, q) == pytest.approx(math.sqrt(6.0))
    assert kl_divergence(q, p) == pytest.approx(3.0 * (3.0 - math.log(4.0)))


@pytest.mark.parametrize("distance", [wasserstein2, kl_divergence])
def test_what_is_no_gaussian_of_one_shape_is_refused(distance):
    p = Gaussian([0.0], 1.0)
    with pytest.raises(TypeError, match=r"q must be a Gaussian, got 3.0"):
        distance(p, 3.0)
    with pytest.raises(ValueError, match="q must have the event shape of p"):
        distance(p, Gaussian([0.0, 1.0], 1.0))


@pytest.mark.parametrize("exponent", [-30, -17, -16, -14, -8, 8, 14, 30])
def test_variances_far_apart_keep_their_digits(exponent):
    v = 10.0**exponent
    expected = 0.5 * (v - 1.0 - math.log(v))
    assert kl_divergence(Gaussian(0.0, v), Gaussian(0.0, 1.0)) == pytest.approx(expected, rel=1e-12)
    tilted, other = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1.2, 0.1], [0.1, 1.2]])
    ratios = np.linalg.eigvals(np.linalg.solve(other, tilted)).real
    expected = 0.5 * np.sum(v * ratios - 1.0 - np.log(v * ratios))
    got = kl_divergence(Gaussian([0.0, 0.0], v * tilted), Gaussian([0.0, 0.0], other))
    assert got == pytest.approx(expected, rel=1e-9)


@given(seed=seeds)
def test_two_laws_on_one_plane_have_a_finite_divergence(seed):
    rng = np.random.default_rng(seed)
    plane, spread = rng.normal(size=(4, 2)), np.array([1.0, 1.0 / 300.0**2])
    p, q = (Gaussian(np.zeros(4), (plane * s) @ plane.T) for s in (1.0, spread))
    expected = 0.5 * np.sum(1.0 / spread - 1.0 + np.log(spread))
    assert kl_divergence(p, q) == pytest.approx(expected, rel=1e-4)
