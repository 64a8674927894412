import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import DISCRETE, PREDICTIONS, SCHEDULES, as_prediction, relative_error, seeds
from schedulers.analytic import Empirical, Gaussian, GaussianMixture

VE = sc.VESchedule()
rng0 = np.random.default_rng(0)
ROOT = rng0.normal(size=(3, 3))
FULL = ROOT @ ROOT.T
MEANS = rng0.normal(size=(4, 3))

DISTRIBUTIONS = {
    "scalar": Gaussian(1.5, 0.49),
    "isotropic": Gaussian([1.0, -2.0, 0.5], 0.3),
    "diagonal": Gaussian([1.0, -2.0, 0.5], [0.1, 2.0, 0.7]),
    "diagonal image": Gaussian(rng0.normal(size=(2, 3)), rng0.uniform(0.1, 2.0, (2, 3))),
    "full": Gaussian([1.0, -2.0, 0.5], FULL),
    "full image": Gaussian(np.zeros((1, 3)), FULL),
    "mixture": GaussianMixture(MEANS, 0.3),
    "weighted": GaussianMixture(MEANS, [0.1, 0.5, 1.0, 0.2], weights=[0.1, 0.2, 0.3, 0.4]),
    "mixture of scalars": GaussianMixture([-1.0, 2.0], 0.4),
    "mixture of images": GaussianMixture(rng0.normal(size=(3, 2, 2)), 0.5),
}


def points(distribution, n=5, seed=1):
    return 2.0 * np.random.default_rng(seed).normal(size=(n, *distribution.event_shape))


def numerical_score(log_prob, x, event_shape, h=1e-5):
    flat = x.reshape(len(x), -1)
    gradient = np.empty_like(flat)
    for j in range(flat.shape[1]):
        step = np.zeros_like(flat)
        step[:, j] = h
        up, down = ((flat + sign * step).reshape(x.shape) for sign in (1.0, -1.0))
        gradient[:, j] = (log_prob(up) - log_prob(down)) / (2.0 * h)
    return gradient.reshape(x.shape)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("schedule", ["vp", "ve", "flow", "discrete"])
def test_the_denoiser_is_tweedies_formula_on_the_marginal(name, schedule):
    # E[x_0 | x] = (x + sigma**2 grad log p(x)) / alpha, the gradient taken numerically.
    data, schedule = DISTRIBUTIONS[name], SCHEDULES[schedule]
    for t in (0.05 * schedule.t_max, 0.4 * schedule.t_max):
        t = int(t) if schedule is DISCRETE else t
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        x = alpha * points(data)
        score = numerical_score(
            data.marginal(schedule, t).log_prob, x, data.event_shape, h=1e-4 * (alpha + sigma)
        )
        expected = (x + sigma**2 * score) / alpha
        got = data.denoiser(schedule, "sample")(x, t)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        marginal = data.marginal(schedule, t)
        np.testing.assert_allclose(marginal.score(x), score, rtol=1e-4, atol=1e-4)
        exact = data.denoiser(schedule, "score")(x, t)
        np.testing.assert_allclose(marginal.score(x), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@given(prediction=st.sampled_from(PREDICTIONS), t=st.floats(0.01, 0.99))
def test_all_outputs_are_of_one_posterior(name, prediction, t):
    data, schedule = DISTRIBUTIONS[name], sc.VPSchedule()
    x = points(data)
    denoise = data.denoiser(schedule, "sample")
    model = as_prediction(schedule, lambda y, s: denoise(x, t), prediction)
    got = data.denoiser(schedule, prediction)(x, t)
    np.testing.assert_allclose(got, model(x, t), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_log_prob_is_scipys(name):
    from scipy.stats import multivariate_normal, norm

    data, x = DISTRIBUTIONS[name], points(DISTRIBUTIONS[name])
    flat = x.reshape(len(x), -1)
    if isinstance(data, Gaussian):
        if data.event_shape == ():
            expected = norm.logpdf(x, data.mean, math.sqrt(data.cov))
        else:
            cov = data.cov
            full = cov if cov.ndim == 2 and "full" in name else None
            if full is None:
                full = np.diag(np.broadcast_to(cov, data.event_shape).ravel())
            expected = multivariate_normal.logpdf(flat, data.mean.ravel(), full)
    else:
        total = 0.0
        for mean, var, weight in zip(data._means, data._variances, data._weights, strict=True):
            cov = var * np.eye(flat.shape[1])
            total = total + weight * multivariate_normal.pdf(flat, mean, cov)
        expected = np.log(total)
    np.testing.assert_allclose(data.log_prob(x), expected, rtol=1e-9)
    assert data.log_prob(x).shape == (len(x),)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_samples_have_the_moments_of_the_distribution(name):
    data = DISTRIBUTIONS[name]
    x = data.sample(200_000, rng=3).reshape(200_000, -1)
    mean, cov = data.mean.ravel(), data.cov
    assert data.mean.shape == data.event_shape
    if isinstance(data, Gaussian) and "full" not in name:
        cov = np.diag(np.broadcast_to(cov, data.event_shape or (1,)).ravel())
    scale = np.sqrt(np.diag(cov))
    assert np.max(np.abs(x.mean(axis=0) - mean) / scale) < 4.5 / math.sqrt(200_000)
    got = np.cov(x.T).reshape(cov.shape)
    assert np.max(np.abs(got - cov) / np.outer(scale, scale)) < 0.02


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_marginal_is_the_law_of_noised_samples(name):
    data, schedule = DISTRIBUTIONS[name], sc.VPSchedule()
    noised = sc.DDIM(schedule).add_noise(data.sample(100_000, rng=1), 0.4, rng=2)
    drawn = data.marginal(schedule, 0.4).sample(100_000, rng=3)
    scale = drawn.std(axis=0)
    assert np.max(np.abs(noised.mean(axis=0) - drawn.mean(axis=0)) / scale) < 0.025
    assert np.max(np.abs(noised.std(axis=0) / scale - 1.0)) < 0.02
    one, other = (data.marginal(schedule, 0.4).log_prob(x[:20_000]) for x in (drawn, noised))
    standard_error = math.sqrt((one.var() + other.var()) / 20_000)
    assert abs(one.mean() - other.mean()) < 4.5 * standard_error


@pytest.mark.parametrize("name", ["scalar", "isotropic", "diagonal", "diagonal image", "full"])
@pytest.mark.parametrize("schedule", ["vp", "ve", "flow", "cosine"])
def test_the_flow_solves_the_probability_flow_ode(name, schedule):
    # In y = x / alpha and s = sigma / alpha the ODE is dy/ds = e (EDM, eq. 4).
    from scipy.integrate import solve_ivp

    data, schedule = DISTRIBUTIONS[name], SCHEDULES[schedule]
    start, end = schedule.timestep([8.0, 0.05])
    x = schedule.sigma(start) * points(data)
    eps = data.denoiser(schedule, "epsilon")

    def velocity(s, y):
        t = schedule.timestep(s)
        return eps((schedule.alpha(t) * y).reshape(x.shape), t).ravel()

    y = (x / schedule.alpha(start)).ravel()
    solution = solve_ivp(velocity, (8.0, 0.05), y, rtol=1e-10, atol=1e-12)
    expected = schedule.alpha(end) * solution.y[:, -1].reshape(x.shape)
    got = data.flow(schedule, x, start, end)
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(data.flow(schedule, got, end, start), x, rtol=1e-10, atol=1e-11)


def test_the_flow_to_the_clean_level_and_from_alpha_0():
    data = DISTRIBUTIONS["full"]
    noise = points(data)
    got = data.flow(sc.FlowSchedule(), noise, 1.0, None)
    values, vectors = np.linalg.eigh(FULL)
    root = (vectors * np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(got, data.mean + noise @ root, rtol=1e-10)
    np.testing.assert_array_equal(got, data.flow(sc.FlowSchedule(), noise, 1.0, 0.0))
    assert data.flow(VE, noise.astype(np.float32), 3.0, 1.0).dtype == np.float32


def test_covariances_in_different_forms_are_one_distribution():
    mean, x = [1.0, -1.0], points(DISTRIBUTIONS["isotropic"])[:, :2]
    forms = [Gaussian(mean, 0.7), Gaussian(mean, [0.7, 0.7]), Gaussian(mean, 0.7 * np.eye(2))]
    for prediction in PREDICTIONS:
        outputs = [one.denoiser(VE, prediction)(x, 2.0) for one in forms]
        for other in outputs[1:]:
            np.testing.assert_allclose(other, outputs[0], rtol=1e-13, atol=1e-14)
    for one in forms[1:]:
        np.testing.assert_allclose(one.log_prob(x), forms[0].log_prob(x), rtol=1e-13)
        np.testing.assert_allclose(one.score(x), forms[0].score(x), rtol=1e-12)
    assert repr(forms[2]) == "Gaussian(event_shape=(2,), cov='full')"
    np.testing.assert_allclose(forms[2].cov, 0.7 * np.eye(2), rtol=1e-13)
    assert Gaussian(0.0, [1.0, 2.0]).event_shape == (2,)
    assert Gaussian(0.0, np.eye(3)).event_shape == (3,)
    single = GaussianMixture([mean], math.sqrt(0.7))
    np.testing.assert_allclose(
        single.denoiser(VE, "epsilon")(x, 2.0), forms[0].denoiser(VE, "epsilon")(x, 2.0), rtol=1e-12
    )


def test_a_mixture_tells_what_it_was_made_of():
    data = GaussianMixture(MEANS.reshape(4, 1, 3), [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])
    np.testing.assert_array_equal(data.means, MEANS.reshape(4, 1, 3))
    np.testing.assert_allclose(data.std, [0.1, 0.2, 0.3, 0.4], rtol=1e-15)
    np.testing.assert_allclose(data.weights, [0.4, 0.3, 0.2, 0.1], rtol=1e-15)
    data.means[:] = data.weights[:] = 9.0
    np.testing.assert_array_equal(data.means, MEANS.reshape(4, 1, 3))
    np.testing.assert_allclose(data.weights, [0.4, 0.3, 0.2, 0.1], rtol=1e-15)


def test_a_full_covariance_of_images_is_that_of_their_pixels():
    cov = np.cov(np.random.default_rng(0).normal(size=(6, 30)))
    mean = np.arange(6.0)
    flat, image = Gaussian(mean, cov), Gaussian(mean.reshape(2, 3), cov)
    x = np.random.default_rng(1).normal(size=(5, 2, 3))
    rows = x.reshape(5, 6)
    for prediction in PREDICTIONS:
        got = image.denoiser(VE, prediction)(x, 0.7)
        np.testing.assert_array_equal(got.reshape(5, 6), flat.denoiser(VE, prediction)(rows, 0.7))
    np.testing.assert_allclose(image.log_prob(x), flat.log_prob(rows), rtol=1e-14)
    np.testing.assert_array_equal(
        image.flow(VE, x, 3.0, 1.0).reshape(5, 6), flat.flow(VE, rows, 3.0, 1.0)
    )


@pytest.mark.parametrize("scale", [1e-20, 1e-4, 1.0, 1e20])
def test_the_unit_of_a_covariance_does_not_matter(scale):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(20, 3))
    singular = Gaussian(np.zeros(20), scale * (root @ root.T))
    assert np.count_nonzero(singular._variances) == 3
    regular = root[:4, :3] @ root[:4, :3].T + np.diag([1e-3, 1e-3, 1e-3, 1e-3])
    data, unit = Gaussian(np.zeros(4), scale * regular), Gaussian(np.zeros(4), regular)
    x = rng.normal(size=(5, 4))
    expected = unit.log_prob(x) - 2.0 * math.log(scale)
    np.testing.assert_allclose(data.log_prob(math.sqrt(scale) * x), expected, rtol=1e-10)


def test_small_eigenvalues_are_kept_and_only_rounding_is_not():
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    for smallest, kept in [(5e-4, 5e-4), (1e-12, 1e-12), (-1e-12, 0.0)]:
        spectrum = np.array([1.0, 0.5, 0.2, 0.1, smallest])
        cov = (basis * spectrum) @ basis.T
        variances = Gaussian(np.zeros(5), 0.5 * (cov + cov.T))._variances
        assert variances.min() == pytest.approx(kept, rel=1e-3, abs=1e-300)
    # symmetric to rounding, on either scale
    for scale in (1e-9, 1.0):
        Gaussian(np.zeros(2), scale * np.array([[1.0, 0.5 * (1.0 + 1e-13)], [0.5, 1.0]]))


def test_weights_sum_to_1_to_float32s_rounding():
    weights = np.array([0.1, 0.2, 0.7], np.float32)
    assert GaussianMixture([0.0, 1.0, 2.0], 1.0, weights).weights.sum() == pytest.approx(
        1.0, abs=1e-15
    )
    assert GaussianMixture([0.0, 1.0], 1.0, [1e-4, 0.9999]).weights[0] == pytest.approx(1e-4)


def test_a_distribution_keeps_its_own_arrays():
    mean, cov = np.zeros(2), np.ones(2)
    data = Gaussian(mean, cov)
    mean[0] = cov[0] = 9.0
    data.mean[1] = data.cov[1] = 9.0
    np.testing.assert_array_equal(data.mean, [0.0, 0.0])
    np.testing.assert_array_equal(data.cov, [1.0, 1.0])


def mixture_posterior(data, x, s):
    """Posterior mean of a mixture in VE coordinates, with 60 digits."""
    with localcontext(prec=60, Emin=-(10**15), Emax=10**15):
        row, noise = [Decimal(v) for v in x.tolist()], Decimal(s) ** 2
        total, norm = [Decimal(0)] * len(row), Decimal(0)
        for mean, var, share in zip(
            data._means.tolist(), data._variances.tolist(), data._weights.tolist(), strict=True
        ):
            v = Decimal(var) + noise
            off = [a - Decimal(m) for a, m in zip(row, mean, strict=True)]
            log = -sum(o * o for o in off) / (2 * v) - Decimal(len(row)) / 2 * v.ln()
            weight = Decimal(share) * log.exp()
            pull = Decimal(var) / v
            posterior = [Decimal(m) + pull * o for m, o in zip(mean, off, strict=True)]
            total = [t + weight * p for t, p in zip(total, posterior, strict=True)]
            norm += weight
        return [float(t / norm) for t in total]


@pytest.mark.parametrize("s", [1e-4, 1e-2, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("name", ["mixture", "weighted", "empirical"])
def test_a_mixtures_posterior_is_right_at_every_noise_level(name, s):
    data = Empirical(MEANS) if name == "empirical" else DISTRIBUTIONS[name]
    x = MEANS[:2] + s * np.random.default_rng(3).normal(size=(2, 3))
    halfway = 0.5 * (MEANS[0] + MEANS[1])
    for row in (*x, halfway):
        got = data.denoiser(VE, "sample")(row[None], s)[0]
        np.testing.assert_allclose(got, mixture_posterior(data, row, s), rtol=1e-9, atol=1e-11)


KINDS = ["scalar", "diagonal", "point", "mixture", "empirical"]


@pytest.mark.parametrize(
    ("kind", "d"),
    # An eigendecomposition of 3072 dimensions takes too long, and shows no more than one of 64.
    [(kind, d) for kind in KINDS for d in (1, 2, 64, 3072)] + [("full", d) for d in (1, 2, 64)],
)
@pytest.mark.parametrize("s", [1e-4, 1e-2, 1.0, 1e2, 1e4])
def test_every_noise_level_and_dimension_is_safe(kind, s, d):
    rng = np.random.default_rng(d)
    mean = rng.normal(size=d)
    data = {
        "scalar": lambda: Gaussian(mean, 0.5),
        "diagonal": lambda: Gaussian(mean, rng.uniform(0.1, 1.0, d)),
        "full": lambda: Gaussian(mean, np.eye(d) + np.outer(mean, mean)),
        "point": lambda: Gaussian(mean, 0.0),
        "mixture": lambda: GaussianMixture([mean, -mean], 0.2),
        "empirical": lambda: Empirical([mean, -mean]),
    }[kind]()
    x = mean + s * rng.normal(size=(3, d))
    for prediction in PREDICTIONS:
        output = data.denoiser(VE, prediction)(x, s)
        assert output.shape == x.shape
        assert np.isfinite(output).all()
    denoised, noise = (data.denoiser(VE, p)(x, s) for p in ("sample", "epsilon"))
    assert relative_error(denoised + s * noise, x) < 1e-12
    marginal = data.marginal(VE, s)
    assert np.isfinite(marginal.log_prob(x)).all()
    assert np.isfinite(marginal.score(x)).all()


def test_a_full_covariance_of_many_dimensions_is_its_own_spectrum():
    d = 300
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))
    spectrum = np.geomspace(1.0, 1e-6, d)
    full = Gaussian(np.zeros(d), (basis * spectrum) @ basis.T)
    x = np.random.default_rng(1).normal(size=(4, d))
    expected = Gaussian(np.zeros(d), spectrum).denoiser(VE, "epsilon")(x @ basis, 0.01) @ basis.T
    np.testing.assert_allclose(full.denoiser(VE, "epsilon")(x, 0.01), expected, atol=1e-9)
    assert np.isfinite(full.log_prob(x)).all()


def test_a_singular_covariance_is_a_point_in_its_directions():
    plane = Gaussian(np.zeros(3), np.diag([1.0, 1.0, 0.0]) + np.zeros((3, 3)))
    x = points(plane)
    np.testing.assert_array_equal(plane.denoiser(VE, "sample")(x, 1.0)[:, 2], np.zeros(5))
    np.testing.assert_array_equal(plane.sample(4, rng=0)[:, 2], np.zeros(4))
    rank_one = Gaussian(np.zeros(40), np.outer(np.arange(40.0), np.arange(40.0)))
    assert np.linalg.matrix_rank(rank_one.sample(50, rng=0), tol=1e-4) == 1


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_what_comes_out_has_the_shape_and_dtype_that_went_in(name, dtype):
    data = DISTRIBUTIONS[name]
    for batch in ((), (1,), (0,), (2, 3)):
        x = np.zeros((*batch, *data.event_shape), dtype)
        for output in (data.denoiser(VE, "epsilon")(x, 1.0), data.score(x)):
            assert isinstance(output, np.ndarray)
            assert output.shape == x.shape
            assert output.dtype == dtype
        assert data.log_prob(x).shape == batch


def test_empirical_gives_back_its_points():
    data = Empirical(MEANS)
    assert repr(data) == "Empirical(4 components, event_shape=(3,))"
    drawn = data.sample(100, rng=0)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in MEANS}
    x = MEANS + 1e-4 * np.random.default_rng(0).normal(size=MEANS.shape)
    np.testing.assert_allclose(data.denoiser(VE, "sample")(x, 1e-4), MEANS, rtol=1e-12)
    far = data.denoiser(VE, "sample")(np.full((1, 3), 7.0), 1e6)
    np.testing.assert_allclose(far[0], MEANS.mean(axis=0), rtol=1e-4)


@given(seed=seeds)
def test_equal_seeds_draw_equal_samples(seed):
    for data in (DISTRIBUTIONS["full"], DISTRIBUTIONS["weighted"]):
        np.testing.assert_array_equal(data.sample(3, rng=seed), data.sample(3, rng=seed))


GAUSSIAN = DISTRIBUTIONS["isotropic"]
X = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Gaussian("a", 1.0), TypeError, "mean must be real numbers, got 'a'"),
        (lambda: Gaussian(math.nan, 1.0), ValueError, "mean must be finite, got nan"),
        (lambda: Gaussian(0.0, math.inf), ValueError, "cov must be finite, got inf"),
        (lambda: Gaussian([], 1.0), ValueError, "mean and cov must not be empty"),
        (lambda: Gaussian(0.0, []), ValueError, "mean and cov must not be empty"),
        (lambda: Gaussian(0.0, -1.0), ValueError, "cov must be positive semidefinite, .* of -1"),
        (
            lambda: Gaussian([0.0, 0.0], [1.0, -1.0]),
            ValueError,
            "cov must be positive semidefinite",
        ),
        (
            lambda: Gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]),
            ValueError,
            "cov must be positive semidefinite, got a variance of -1",
        ),
        (
            lambda: Gaussian([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]),
            ValueError,
            "cov must be symmetric",
        ),
        (
            lambda: Gaussian([0.0, 0.0], [1.0, 1.0, 1.0]),
            ValueError,
            r"cov must be a scalar, an array of the mean's shape \(2,\), .*\(2, 2\), got .*\(3,\)",
        ),
        (lambda: GaussianMixture(1.0, 1.0), ValueError, "means must be a non-empty array"),
        (lambda: GaussianMixture([], 1.0), ValueError, "means must be a non-empty array"),
        (lambda: GaussianMixture([[0.0]], -1.0), ValueError, "std must be .* at least 0, got -1"),
        (lambda: GaussianMixture([[0.0]], [1.0, 2.0]), ValueError, "std must be one number or 1 "),
        (
            lambda: GaussianMixture([0.0, 1.0], 1.0, weights=[0.5, 0.6]),
            ValueError,
            "weights must be 2 positive numbers with sum 1",
        ),
        (lambda: GaussianMixture([0.0, 1.0], 1.0, weights=[1.0, 0.0]), ValueError, "weights must"),
        (lambda: GaussianMixture([0.0, 1.0], 1.0, weights=[1.0]), ValueError, "weights must be 2"),
        (lambda: Empirical(3.0), ValueError, "points must be a non-empty array"),
        (lambda: Empirical([[math.nan]]), ValueError, "points must be finite"),
        (lambda: GAUSSIAN.denoiser(None), TypeError, "schedule must be a NoiseSchedule, got None"),
        (lambda: GAUSSIAN.denoiser(VE, "x0"), ValueError, "prediction_type must be .*got 'x0'"),
        (lambda: GAUSSIAN.marginal(None, 1.0), TypeError, "schedule must be a NoiseSchedule"),
        (lambda: GAUSSIAN.flow(None, X, 1.0, 0.0), TypeError, "schedule must be a NoiseSchedule"),
        (lambda: GAUSSIAN.marginal(VE, -1.0), ValueError, "t must lie in"),
        (lambda: GAUSSIAN.marginal(VE, [1.0, 2.0]), ValueError, "t must be a single time"),
        (lambda: GAUSSIAN.denoiser(VE)([0.0], 1.0), TypeError, "x must be an ndarray of floats"),
        (lambda: GAUSSIAN.denoiser(VE)(X.astype(int), 1.0), TypeError, "x must be an ndarray"),
        (
            lambda: GAUSSIAN.denoiser(VE)(X[:, :2], 1.0),
            ValueError,
            r"x must have shape \(..., 3\), got \(2, 2\)",
        ),
        (
            lambda: DISTRIBUTIONS["full image"].log_prob(np.zeros(3)),
            ValueError,
            r"x must have shape \(..., 1, 3\), got \(3,\)",
        ),
        (lambda: GAUSSIAN.denoiser(VE)(X, 0.0), ValueError, "t must be above the clean level"),
        (
            lambda: GAUSSIAN.denoiser(sc.FlowSchedule())(X, 1.0),
            ValueError,
            "where alpha is 0 prediction_type must not be 'epsilon' or 'score'",
        ),
        (lambda: Gaussian([0.0], 0.0).log_prob(X[:, :1]), ValueError, "has a variance of 0 and so"),
        (lambda: Gaussian([0.0], 0.0).score(X[:, :1]), ValueError, "marginal.* has one"),
        (
            lambda: Gaussian([0.0, 0.0], [0.0, 1.0]).log_prob(X[:, :2]),
            ValueError,
            "a variance of 0",
        ),
        (lambda: GaussianMixture([0.0, 1.0], [0.0, 1.0]).score(X), ValueError, "a variance of 0"),
        (
            lambda: Gaussian([0.0, 0.0], [0.0, 1.0]).flow(VE, X[:, :2], 0.0, 1.0),
            ValueError,
            "t_from must be above the clean level",
        ),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 1e-6], [0.0, 1.0]]), ValueError, "cov must be symm"),
        (
            lambda: Gaussian([0.0, 0.0], [[1e-9, 4e-10], [0.0, 1e-9]]),
            ValueError,
            "cov must be symm",
        ),
        (lambda: Gaussian([0.0, 0.0], [[1e9, 1.0], [0.0, 1.0]]), ValueError, "cov must be symm"),
        (
            lambda: Gaussian([0.0, 0.0], np.diag([1.0, -1e-6]) + np.zeros((2, 2))),
            ValueError,
            "cov must be positive semidefinite, got a variance of -1e-06",
        ),
        (lambda: GaussianMixture([0.0, 1.0], 1.0, [0.2, 0.3]), ValueError, "weights must be 2"),
        (lambda: GaussianMixture([0.0, 1.0], 1.0, [0.5, 0.50001]), ValueError, "weights must be 2"),
        (lambda: Empirical(MEANS).log_prob(X), ValueError, "has a variance of 0 and so no density"),
        (lambda: Empirical(MEANS).score(X), ValueError, "has a variance of 0 and so no density"),
        (
            lambda: Gaussian([0.0], 0.0).flow(VE, X[:, :1], 0.0, 1.0),
            ValueError,
            "t_from must be above the clean level",
        ),
        (lambda: GAUSSIAN.sample(2, rng="a"), TypeError, "rng must be None, an int"),
        (lambda: GAUSSIAN.sample(2, rng=-1), ValueError, "rng must be at least 0, got -1"),
        (lambda: GAUSSIAN.flow(VE, X, -1.0, 0.0), ValueError, "t_from must lie in"),
        (lambda: GAUSSIAN.flow(VE, X, 1.0, "a"), TypeError, "t_to must be real numbers"),
        (lambda: GAUSSIAN.sample(-1), ValueError, "n must be at least 0, got -1"),
        (lambda: GAUSSIAN.sample(2.0), TypeError, "n must be an integer, got 2.0"),
    ],
)
def test_arguments_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()


@given(seed=seeds, n=st.integers(2, 30), shape=st.sampled_from([(1,), (4,), (2, 3)]))
def test_a_fit_is_the_samples_mean_and_their_shrunk_covariance(seed, n, shape):
    samples = np.random.default_rng(seed).standard_normal((n, *shape)) * 2.0 + 1.0
    rows = samples.reshape(n, -1)
    s = np.cov(rows.T, bias=True).reshape(rows.shape[1], -1)
    likeliest = Gaussian.fit(samples, shrinkage=0.0)
    np.testing.assert_allclose(likeliest.mean, samples.mean(axis=0))
    np.testing.assert_allclose(likeliest.cov.reshape(s.shape), s, atol=1e-12)
    # Ledoit and Wolf's Lemma 3.2 to 3.4, term by term; norms are |A|**2 = tr(A A^T) / d.
    d = len(s)
    centred = rows - rows.mean(axis=0)
    m = np.trace(s) / d
    d2 = np.sum((s - m * np.eye(d)) ** 2) / d
    b2 = sum(np.sum((np.outer(x, x) - s) ** 2) / d for x in centred) / n**2
    r = min(b2, d2) / d2 if d2 > 1e-28 else 0.0
    fitted = Gaussian.fit(samples)
    np.testing.assert_allclose(
        fitted.cov.reshape(s.shape), (1 - r) * s + r * m * np.eye(d), atol=1e-10
    )
    assert fitted.event_shape == shape


def test_a_fit_agrees_with_scikit_learns():
    covariance = pytest.importorskip("sklearn.covariance")
    samples = np.random.default_rng(0).standard_normal((40, 60)) @ np.diag(np.linspace(0.1, 3, 60))
    expected = covariance.LedoitWolf().fit(samples)
    np.testing.assert_allclose(Gaussian.fit(samples).cov, expected.covariance_, atol=1e-12)
    assert np.linalg.eigvalsh(Gaussian.fit(samples).cov).min() > 0.0


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([1.0, 2.0], {}, r"samples must have shape \(n, \*event_shape\), n at least 2"),
        ([[1.0, 2.0]], {}, "n at least 2"),
        (np.zeros((3, 0)), {}, "n at least 2"),
        ([[1.0], [np.nan]], {}, "samples must be finite"),
        ([[1.0], [2.0]], {"shrinkage": 1.5}, "shrinkage must be at least 0 and at most 1"),
    ],
)
def test_a_fit_checks_its_samples(samples, options, message):
    with pytest.raises(ValueError, match=message):
        Gaussian.fit(samples, **options)
