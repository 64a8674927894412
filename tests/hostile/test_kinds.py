"""What once got through, by kind, and what is right in its place."""

import pickle

import numpy as np
import pytest

import schedulers as sc
from schedulers.analysis import kl_divergence
from schedulers.analytic import Empirical, Gaussian, GaussianMixture
from schedulers.editing import inpaint
from schedulers.likelihood import log_likelihood

SIGMAS = [4.0, 2.0, 0.0]
DDIM = sc.DDIM(sc.VESchedule(), prediction_type="sample")
X = np.array([8.0, 4.0])


def halved(x, t):
    return 0.5 * x


# Silently wrong.


@pytest.mark.parametrize("low", [5e-324, 1e-310])
def test_a_level_that_float64_cannot_divide_by_is_refused(low):
    scheduler = sc.DDIM(sc.VESchedule(low, 1.0), prediction_type="score", spacing="linspace")
    with pytest.raises(ValueError, match="levels must be such that float64 holds the weights"):
        scheduler.sample(lambda x, t: -x, np.array([1.0]), steps=3)


def test_a_sample_that_outgrows_its_dtype_is_refused_at_the_end():
    low = np.zeros(100, np.float16)
    with pytest.raises(ValueError, match=r"the sample at t=2 must be finite in .* float16"):
        sc.DDIM(sc.VESchedule()).sample(lambda x, t: np.full_like(x, -6e4), low, sigmas=SIGMAS)
    ancestral = sc.EulerAncestral(sc.VESchedule(), prediction_type="sample")
    with pytest.raises(ValueError, match=r"the sample at t=100000 must be finite in .* float16"):
        ancestral.sample(halved, low, sigmas=[2e5, 1e5], rng=0)


def test_in_mid_run_the_sample_is_blamed_and_not_the_model():
    schedule = sc.VESchedule()
    scheduler = sc.Euler(schedule)

    def denoiser(x, t):
        return np.full_like(x, -65000.0) if t == 4.0 else x - x  # NaN of infinity

    with (
        np.errstate(invalid="ignore"),
        pytest.raises(
            ValueError, match="the sample at t=2 must be finite in the dtype of the run, float16"
        ),
    ):
        scheduler.sample(denoiser, np.zeros(2, np.float16), sigmas=SIGMAS)
    with pytest.raises(ValueError, match="the model's output at t=4 must be finite"):
        scheduler.sample(lambda x, t: x + np.nan, X, sigmas=SIGMAS)


@pytest.mark.parametrize("ratio", [1e8, 1e16, 1e24])
def test_a_small_variance_beside_a_large_one_is_kept(ratio):
    data = Gaussian(np.zeros(2), np.diag([ratio, 1.0]))
    assert data.sample(10_000, rng=0)[:, 1].std() == pytest.approx(1.0, rel=0.05)
    slanted = np.array([[ratio, 0.5 * np.sqrt(ratio)], [0.5 * np.sqrt(ratio), 1.0]])
    variances = np.sort(Gaussian(np.zeros(2), slanted)._variances)
    # The determinant is the product, and the trace the sum.
    exact = 0.75 * ratio / (0.5 * (ratio + 1.0) + np.sqrt(0.25 * (ratio - 1.0) ** 2 + ratio / 4))
    np.testing.assert_allclose(variances, [exact, ratio + 1.0 - exact], rtol=1e-12)


def test_variances_of_a_graded_covariance_are_those_of_its_exact_spectrum():
    rng = np.random.default_rng(0)
    root, scale = rng.standard_normal((5, 5)), 10.0 ** np.array([8, 0, -8, 3, -3])
    cov = (root @ root.T) * scale[:, None] * scale
    variances = np.sort(Gaussian(np.zeros(5), cov)._variances)
    # The inverse has the inverse spectrum; it is made of the factors, each well-conditioned.
    inverse = np.linalg.inv(root @ root.T) / scale[:, None] / scale
    largest = np.linalg.eigvalsh(inverse)[-1]
    assert variances[0] == pytest.approx(1.0 / largest, rel=1e-10)
    np.testing.assert_allclose(Gaussian(np.zeros(5), cov).cov, cov, rtol=1e-7, atol=1e-3)


def test_a_singular_covariance_stays_singular():
    points = np.random.default_rng(1).standard_normal((6, 3))
    assert np.count_nonzero(Gaussian(np.zeros(6), points @ points.T)._variances) == 3
    with pytest.raises(ValueError, match="cov must be positive semidefinite"):
        Gaussian(np.zeros(2), [[1.0, 2.0], [2.0, 1.0]])


@pytest.mark.parametrize(
    "call",
    [
        lambda masked: DDIM.sample(halved, masked, sigmas=SIGMAS),
        lambda masked: DDIM.sample(lambda x, t: masked, X, sigmas=SIGMAS),
        lambda masked: DDIM.add_noise(X, 1.0, noise=masked),
        lambda masked: inpaint(DDIM, halved, X, masked, np.array([1.0, 0.0]), sigmas=SIGMAS),
        lambda masked: inpaint(DDIM, halved, X, X, masked, sigmas=SIGMAS),
        lambda masked: Gaussian(masked, 1.0),
        lambda masked: sc.DiscreteSchedule(masked),
        lambda masked: Gaussian([0.0, 0.0], 1.0).log_prob(masked),
    ],
)
def test_masks_are_not_lost(call):
    with pytest.raises(TypeError):
        call(np.ma.masked_array([0.1, 0.2], mask=[True, False]))


@pytest.mark.parametrize("dtype", ["complex64", "int64", "bool"])
def test_other_libraries_arrays_are_held_to_what_numpys_are(dtype):
    torch = pytest.importorskip("torch")
    x, kind = torch.tensor([8.0, 4.0]), getattr(torch, dtype)
    wrong = torch.ones(2).to(kind)
    for call in (
        lambda: DDIM.sample(lambda x, t: wrong, x, sigmas=SIGMAS),
        lambda: DDIM.add_noise(x, 1.0, noise=wrong),
        lambda: inpaint(DDIM, halved, x, wrong, torch.tensor([1.0, 0.0]), sigmas=SIGMAS),
        lambda: sc.EulerAncestral(sc.VESchedule(), prediction_type="sample").sample(
            halved, x, sigmas=SIGMAS, rng=lambda like: wrong
        ),
    ):
        with pytest.raises(TypeError, match="must have a floating dtype"):
            call()


def test_a_tensor_without_values_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="x_T must hold numbers, got Tensor"):
        DDIM.sample(halved, torch.ones(2, device="meta"), sigmas=SIGMAS)


# Hangs and lost data.


def test_a_flow_whose_divergence_rounding_hides_is_given_up():
    data, schedule = Gaussian(1e5, 1.0), sc.FlowSchedule()
    denoiser, calls = data.denoiser(schedule, "flow"), []

    def counted(x, t):
        calls.append(t)
        return denoiser(x, t)

    x = np.array([0.99e5])
    with pytest.raises(RuntimeError, match="the flow cannot be followed from t="):
        log_likelihood(schedule, counted, x, 0.01, prediction_type="flow")
    assert len(calls) <= 3 * 10_000


@pytest.mark.parametrize(
    "data", [Gaussian(1.0, 4.0), GaussianMixture([-1.0, 1.0], 0.5), Empirical([-1.0, 2.0])]
)
def test_exact_denoisers_pickle(data):
    denoiser, x = data.denoiser(sc.FlowSchedule(), "flow"), np.array([0.3, -2.0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(denoiser))(x, 0.5), denoiser(x, 0.5))


# Another exception, or the wrong name.


def test_the_divergence_of_many_dimensions_takes_no_matrix():
    d = 200_000  # a matrix would take 300 GB
    p, q = Gaussian(np.zeros(d), 2.0), Gaussian(np.ones(d), np.full(d, 2.0))
    assert kl_divergence(p, q) == pytest.approx(d / 4.0, rel=1e-12)


@pytest.mark.parametrize("number", [10**9, 2**63, pytest.param(10**5000, id="of 5000 digits")])
@pytest.mark.parametrize(
    "call",
    [
        sc.linear_betas,
        lambda n: sc.karras_sigmas(n, 0.1, 10.0),
        lambda n: DDIM.tableau(steps=n),
        lambda n: sc.Stage(sc.Level(2.0, 1.0, 2.0), a=[1.0], b={n: 0.5}),
    ],
)
def test_counts_have_an_upper_bound(call, number):
    with pytest.raises(ValueError, match="must be at most 1000000, got"):
        call(number)


def test_messages_are_short():
    for long in ([0.5] * 100_000, "x" * 10**6, 10**4000, {i: i for i in range(10**5)}):
        with pytest.raises((TypeError, ValueError)) as caught:
            sc.DiscreteSchedule(long)
        assert len(str(caught.value)) < 300


# Nonsense accepted.


@pytest.mark.parametrize(
    "nonsense", [[True, 0.5], (0.5, np.True_), [[0.1], [True]], b"\x01\x02", bytearray(b"\x01")]
)
def test_truth_values_and_bytes_are_no_numbers(nonsense):
    for call in (sc.DiscreteSchedule, lambda v: Gaussian(v, 1.0), sc.VESchedule().sigma):
        with pytest.raises(TypeError, match="must be real numbers"):
            call(nonsense)
    with pytest.raises(TypeError, match="the model's output at t=4 must be an array of floats"):
        DDIM.sample(lambda x, t: nonsense, X, sigmas=SIGMAS)


def test_levels_of_alphas_cumprod_differ_and_end_above():
    schedule = sc.DiscreteSchedule.from_alphas_cumprod([0.9, 0.5, -0.0])
    assert schedule.sigmas[-1] == np.inf
    near_1 = [1.0 - 2.0**-53, 1.0 - 2.0**-52, 0.5]
    assert np.all(np.diff(sc.DiscreteSchedule.from_alphas_cumprod(near_1).sigmas) > 0.0)
    close = [0.5 - i * 2.0**-54 for i in range(4)]
    with pytest.raises(ValueError, match="alphas_cumprod must give levels that differ"):
        sc.DiscreteSchedule.from_alphas_cumprod(close)


@pytest.mark.parametrize("std", [1e-200, 1e200, np.inf, [0.5, 5e-324]])
def test_standard_deviations_whose_squares_are_lost_are_refused(std):
    with pytest.raises(ValueError, match="std must be"):
        GaussianMixture([-1.0, 1.0], std)
