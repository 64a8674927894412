"""What once got through, by kind, and what is right in its place."""

import pickle
import sys

import numpy as np
import pytest

import schedulers as sc
from schedulers.analysis import kl_divergence
from schedulers.analytic import Empirical, Gaussian, GaussianMixture
from schedulers.compat import diffusers
from schedulers.compat.k_diffusion import dpm_solver, sample_dpm_adaptive
from schedulers.denoisers import per_sample
from schedulers.editing import inpaint
from schedulers.interpolate import spherical
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


@pytest.mark.parametrize("method", [sc.DPM2, sc.DPM2Ancestral])
def test_a_stage_between_levels_that_float64_has_no_sigma_for_is_refused(method):
    scheduler = method(sc.VESchedule(5e-324, 1.0), prediction_type="sample")
    with pytest.raises(ValueError, match="levels must be such that float64 holds the weights"):
        scheduler.sample(lambda x, t: 0.5 * x, X, sigmas=[1e-300, 1e-305, 0.0], rng=0)


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
    nothing = torch.ones(2, device="meta")
    with pytest.raises(TypeError, match="x_T must hold numbers, got Tensor"):
        DDIM.sample(halved, nothing, sigmas=SIGMAS)
    scheduler = ddim_of_diffusers()
    for call in (
        lambda: scheduler.step(torch.ones(1, 2), scheduler.timesteps[0], nothing[None]),
        lambda: scheduler.add_noise(torch.ones(1, 2), torch.ones(1, 2), nothing),
        lambda: setattr(scheduler, "alphas_cumprod", nothing),
    ):
        with pytest.raises((TypeError, ValueError), match="sample|timesteps|alphas_cumprod"):
            call()


def test_kinds_of_tensors_that_cannot_be_stepped_are_refused():
    torch = pytest.importorskip("torch")
    x, scheduler = torch.ones(2, 2), ddim_of_diffusers()
    for wrong, word in ((x.to_sparse(), "dense"), (x.to(torch.float8_e4m3fn), "floating")):
        for call in (
            lambda wrong: DDIM.sample(halved, wrong, sigmas=SIGMAS),
            lambda wrong: DDIM.add_noise(wrong, 1.0, rng=0),
            lambda wrong: spherical(wrong, wrong, 0.5),
            lambda wrong: scheduler.step(x, scheduler.timesteps[0], wrong),
        ):
            with pytest.raises(TypeError, match=word):
                call(wrong)
    for dtype in (torch.complex64, torch.bool):
        with pytest.raises(TypeError, match="dtype, or that of x, must be of real numbers"):
            per_sample(1.0, x, dtype=dtype)


def test_an_arc_between_tensors_of_a_graph_warns_of_nothing():
    torch = pytest.importorskip("torch")
    x, y = torch.tensor([1.0, 0.0], requires_grad=True), torch.tensor([0.0, 1.0])
    spherical(x, y, 0.5).sum().backward()
    assert x.grad.tolist() == pytest.approx([0.5**0.5] * 2)


# Steps in diffusers' interface.


def ddim_of_diffusers():
    scheduler = diffusers.DDIMScheduler(50)
    scheduler.set_timesteps(4)
    return scheduler


@pytest.mark.parametrize("images", [np.ones((1, 2), np.uint8), np.ones((1, 2), bool), [[1.0, 2.0]]])
@pytest.mark.parametrize("name", ["add_noise", "get_velocity"])
def test_data_of_diffusers_interface_is_floats(name, images):
    with pytest.raises(TypeError, match="original_samples|sample"):
        getattr(ddim_of_diffusers(), name)(images, np.ones((1, 2)), 10)


@pytest.mark.parametrize("which", [0, 1])
def test_noise_and_data_of_diffusers_interface_are_finite(which):
    arrays = [np.ones((1, 2)), np.ones((1, 2))]
    arrays[which][0, 1] = np.nan
    with pytest.raises(ValueError, match=f"^{('original_samples', 'noise')[which]} must be finite"):
        ddim_of_diffusers().add_noise(*arrays, 10)


@pytest.mark.parametrize("steps", [10**9, 2**63])
def test_steps_of_diffusers_interface_have_an_upper_bound(steps):
    for name in diffusers.__all__:
        cls = getattr(diffusers, name)
        if hasattr(cls, "set_timesteps"):
            with pytest.raises(ValueError, match="num_inference_steps must be at most"):
                cls().set_timesteps(steps)


def test_flags_of_diffusers_steps_are_flags():
    scheduler, x = ddim_of_diffusers(), np.ones((1, 2))
    for flags in ({"return_dict": "no"}, {"use_clipped_model_output": 1}):
        with pytest.raises(TypeError, match=f"{next(iter(flags))} must be True or False"):
            scheduler.step(x, scheduler.timesteps[0], x, **flags)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EDMEulerScheduler"])
def test_bounds_of_churn_are_checked_where_they_are_not_used(name):
    scheduler, x = getattr(diffusers, name)(), np.ones((1, 2))
    scheduler.set_timesteps(4)
    with pytest.raises(TypeError, match="s_tmin must be a real number"):
        scheduler.step(x, scheduler.timesteps[0], x, s_tmin="abc")


# Hangs and lost data.


def test_an_adaptive_run_that_no_step_is_small_enough_for_is_given_up(monkeypatch):
    monkeypatch.setattr(dpm_solver, "_MOST", 200)

    def model(x, sigma):
        return 0.5 * x

    with pytest.raises(RuntimeError, match="the steps are more than 200 at sigma="):
        sample_dpm_adaptive(model, np.ones((1, 2)), 0.1, 1.0, rtol=1e-300, atol=1e-300)


def test_a_flow_that_leaves_float64_is_refused_without_a_warning():
    schedule = sc.FlowSchedule()
    with pytest.raises((RuntimeError, ValueError), match="flow cannot be followed|model's output"):
        log_likelihood(schedule, lambda x, t: 1e200 * x, np.ones(1), 0.01, prediction_type="flow")


def test_nonsense_of_configurations_is_no_part_of_a_file(tmp_path):
    folder = tmp_path / "kept"
    diffusers.DDIMScheduler(77).save_config(folder)
    for wrong in (np.longdouble(1.0), {0.5}, b"x", 1j, np.ma.masked, np.full(2, None)[:, None]):
        scheduler = diffusers.DDIMScheduler(88)
        scheduler.register_to_config(extra=[wrong, object()])
        with pytest.raises(TypeError, match="config must hold what JSON can"):
            scheduler.save_config(folder)
        assert "extra" in repr(scheduler)
    for wrong in ({1: 2, "a": 3}, [{(1, 2): 3}], 10**5000):
        with pytest.raises((TypeError, ValueError), match="extra must have"):
            diffusers.DDIMScheduler().register_to_config(extra=wrong)
    assert diffusers.DDIMScheduler.from_pretrained(folder).config.num_train_timesteps == 77


@pytest.mark.parametrize("path", ["a\0b", "a\ud800"])
@pytest.mark.skipif(sys.platform == "win32", reason="there are such names")
def test_names_that_no_file_can_have(path):
    tableau = DDIM.tableau(sigmas=SIGMAS)
    for call in (tableau.save, sc.Tableau.load, diffusers.DDIMScheduler().save_config):
        with pytest.raises(ValueError, match="(path|save_directory) must be without null"):
            call(path)


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


def test_what_another_process_needs_is_said_shortly(caplog, tmp_path):
    for config in ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, {"beta_start": -1.0}):
        for name in ("DPMSolverMultistepInverseScheduler", "FlowMatchHeunDiscreteScheduler"):
            with pytest.raises(ValueError, match="config is one of|must be") as caught:
                getattr(diffusers, name).from_config({**config, "beta_end": -1.0, "shift": -1.0})
            assert len(str(caught.value)) < 300
    many = {f"key{i}": 1 for i in range(1000)}
    diffusers.DDIMScheduler.from_config({"_class_name": "DDIMScheduler", **many})
    assert max(len(record.getMessage()) for record in caplog.records) < 300


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
