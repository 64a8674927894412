"""The solvers' loops against exact flows; and configurations that models are published with."""

import pickle

import numpy as np
import pytest

from golden import solvers, space
from schedulers import DiscreteSchedule, FlowSchedule
from schedulers.analytic import Gaussian
from schedulers.compat import diffusers as ours

DATA = Gaussian(mean=2.0, cov=0.25)
FLOWS = [name for name in solvers.SPACE if name.startswith(("Flow", "LTX"))]
EDM = [name for name in solvers.SPACE if name.startswith(("EDM", "Cosine"))]
INVERSE = [name for name in solvers.SPACE if "Inverse" in name]
DISTILLED = ["LCMScheduler", "TCDScheduler"]
DISCRETE = [name for name in solvers.SPACE if name not in (*FLOWS, *EDM, *INVERSE, *DISTILLED)] + [
    "DPMSolverSDEScheduler"
]
EVERY = [*solvers.SPACE, "DPMSolverSDEScheduler", "IPNDMScheduler"]


def sampled(scheduler, model, x, steps, **more):
    scheduler.set_timesteps(steps)
    x = x * getattr(scheduler, "init_noise_sigma", 1.0)
    scaled = getattr(scheduler, "scale_model_input", lambda x, t: x)
    for t in scheduler.timesteps:
        x = scheduler.step(model(scaled(x, t), t), t, x, **more).prev_sample
    return x


def noise(count=4000, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 1))


def of_data(x, mean=2.0, std=0.5):
    assert x.dtype == np.float64
    assert x.mean() == pytest.approx(mean, abs=0.1)
    assert x.std() == pytest.approx(std, abs=0.1)


def discrete_model(scheduler, prediction_type="epsilon"):
    schedule = DiscreteSchedule.from_alphas_cumprod(np.asarray(scheduler.alphas_cumprod, float))
    denoiser = DATA.denoiser(schedule, prediction_type=prediction_type)
    return lambda x, t: denoiser(x, float(t))


def edm_model(scheduler):
    """The network that the preconditioning makes the exact denoised estimate of."""
    config = scheduler.config

    def network(scaled, t):
        index = scheduler.index_for_timestep(t)
        s = float(scheduler.sigmas[index])
        far = np.hypot(s, config.sigma_data)
        x = scaled * far
        exact = (0.25 * x + s**2 * 2.0) / (s**2 + 0.25)
        sign = 1.0 if config.prediction_type == "epsilon" else -1.0
        return sign * (exact - (config.sigma_data / far) ** 2 * x) * far / (s * config.sigma_data)

    return network


def flow_model(x, t):
    return DATA.denoiser(FlowSchedule(), prediction_type="flow")(x, float(t) / 1000.0)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("steps", [20, 60])
def test_samples_are_of_the_data(name, steps):
    scheduler = getattr(ours, name)()
    x = sampled(scheduler, discrete_model(scheduler), noise(), steps)
    of_data(x)


@pytest.mark.parametrize("name", EDM)
def test_samples_of_edm(name):
    scheduler = getattr(ours, name)(sigma_min=0.02)
    of_data(sampled(scheduler, edm_model(scheduler), noise(), 60))


@pytest.mark.parametrize("name", FLOWS)
def test_samples_of_flows(name):
    of_data(sampled(getattr(ours, name)(), flow_model, noise(), 60))


def test_a_flow_s_samples_are_those_of_its_inverted_sigmas():
    def inverted(x, t):  # told the data's share, and returns data minus noise
        return -flow_model(x, 1000.0 - float(t))

    x = sampled(ours.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), inverted, noise(), 60)
    np.testing.assert_allclose(
        x, sampled(ours.FlowMatchEulerDiscreteScheduler(), flow_model, noise(), 60), atol=1e-4
    )
    scheduler = ours.FlowMatchEulerDiscreteScheduler(invert_sigmas=True, stochastic_sampling=True)
    point = Gaussian(mean=2.0, cov=0.0).denoiser(FlowSchedule(), prediction_type="flow")
    x = sampled(scheduler, lambda x, t: -point(x, 1.0 - float(t) / 1000.0), noise(), 4, generator=0)
    np.testing.assert_allclose(x, 2.0, atol=1e-5)


def test_ipndm_begins_where_alpha_is_zero():
    scheduler = ours.IPNDMScheduler()
    scheduler.set_timesteps(50)

    def model(x, t):
        i = int(np.argmin(abs(scheduler.timesteps - np.float32(t))))
        a, s = float(scheduler.alphas[i]), float(scheduler.betas[i])
        d = (0.25 * a * x + s**2 * 2.0) / (s**2 + 0.25 * a**2)
        return a * (x - a * d) / s - s * d

    of_data(sampled(scheduler, model, noise(), 50))


def third_order_error(steps, module=ours, array=np.asarray):
    """Distance to the exact flow before the last step, where steps are even in lambda."""
    scheduler = module.DPMSolverMultistepScheduler(
        solver_order=3, use_lu_lambdas=True, lower_order_final=False
    )
    scheduler.set_timesteps(steps)
    x = np.ones((1, 1))
    for index, t in enumerate(scheduler.timesteps[:-1]):
        s = float(scheduler.sigmas[index])
        a, b = 1.0 / np.hypot(1.0, s), s / np.hypot(1.0, s)
        d = (0.25 * x / a + s**2 * 2.0) / (s**2 + 0.25)
        x = np.asarray(scheduler.step(array((x - a * d) / b), t, array(x)).prev_sample)
    first, last = (float(scheduler.sigmas[i]) for i in (0, -2))
    exact = 2.0 + (np.hypot(1.0, first) - 2.0) * np.hypot(last, 0.5) / np.hypot(first, 0.5)
    return abs(float(x[0, 0]) * np.hypot(1.0, last) - exact)


def test_third_order_is_of_third_order():
    assert np.log2(third_order_error(160) / third_order_error(320)) > 2.6


@pytest.mark.parametrize("kind", ["", "sde-"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("solver", ["midpoint", "heun"])
def test_singlestep_samples_have_the_data_s_spread(kind, order, solver):
    """Diffusers' third order of the SDE, with a sign wrong, has ten times the spread."""
    scheduler = ours.DPMSolverSinglestepScheduler(
        solver_order=order, solver_type=solver, algorithm_type=kind + "dpmsolver++"
    )
    more = {"generator": 0} if kind else {}
    of_data(sampled(scheduler, discrete_model(scheduler), noise(), 60, **more))


@pytest.mark.parametrize("name", INVERSE)
def test_inversion_leads_back(name):
    up = getattr(ours, name)(**({"clip_sample": False} if name.startswith("DDIM") else {}))
    x_0 = 2.0 + 0.5 * noise(50)
    up.set_timesteps(200)
    x = x_0
    for t in up.timesteps:
        x = up.step(discrete_model(up)(x, t), t, x).prev_sample
    down = {
        "DDIMInverseScheduler": ours.DDIMScheduler(clip_sample=False),
        "DPMSolverMultistepInverseScheduler": ours.DPMSolverMultistepScheduler(
            final_sigmas_type="sigma_min"
        ),
    }[name]
    back = sampled(down, discrete_model(down), x, 200)
    assert np.abs(back - x_0).max() < 0.05


@pytest.mark.parametrize("name", EVERY)
def test_configurations_and_pickles_go_round(name, tmp_path):
    cls = getattr(ours, name)
    scheduler = cls()
    scheduler.save_pretrained(tmp_path)
    loaded = cls.from_pretrained(tmp_path).config
    public = {key: value for key, value in scheduler.config.items() if key[0] != "_"}
    assert public == {key: loaded[key] for key in public}
    scheduler.set_timesteps(4)
    copy = pickle.loads(pickle.dumps(scheduler))
    np.testing.assert_array_equal(copy.timesteps, scheduler.timesteps)
    with pytest.raises(ValueError, match="timestep must be|timesteps must|between|one of"):
        scheduler.step(np.ones((1, 2)), 123.25, np.ones((1, 2)))


@pytest.mark.parametrize("name", EVERY)
def test_runs_side_by_side_are_those_alone(name):
    scheduler = getattr(ours, name)()
    scheduler.set_timesteps(5)
    scaled = getattr(scheduler, "scale_model_input", lambda x, t: x)
    drawn = {"generator": 3} if "generator" in type(scheduler).step.__code__.co_varnames else {}
    if name == "DPMSolverSDEScheduler":
        scheduler = ours.DPMSolverSDEScheduler(noise_sampler_seed=3)
        scheduler.set_timesteps(5)
        scaled = scheduler.scale_model_input

    def stepped(xs):
        for t in scheduler.timesteps:
            xs = [
                scheduler.step(space.model(scaled(x, t), t), t, x, **drawn).prev_sample for x in xs
            ]
        return xs

    starts = [space.wave(k).astype(float) for k in (0, 1)]
    alone = [stepped([x])[0] for x in starts]
    for x, y in zip(stepped(starts), alone, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tensors_and_half_precision(name, dtype):
    torch = pytest.importorskip("torch")
    scheduler = getattr(ours, name)()
    scheduler.set_timesteps(4, device="cpu")
    assert isinstance(scheduler.timesteps, torch.Tensor)
    x = torch.from_numpy(space.wave(0)).to(getattr(torch, dtype))
    scaled = getattr(scheduler, "scale_model_input", lambda x, t: x)
    for t in scheduler.timesteps:
        x = scheduler.step(0.1 * scaled(x, t), t, x).prev_sample
        assert x.dtype == getattr(torch, dtype)
    assert torch.isfinite(x).all()


@pytest.mark.parametrize(
    ("name", "config", "word"),
    [
        ("DPMSolverMultistepScheduler", {"solver_order": 4}, "solver_order"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "euler"}, "algorithm_type"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, "final_sigmas_type"),
        ("DPMSolverMultistepScheduler", {"solver_type": "rk"}, "solver_type"),
        ("DPMSolverSinglestepScheduler", {"final_sigmas_type": "last"}, "final_sigmas_type"),
        ("UniPCMultistepScheduler", {"solver_p": object()}, "solver_p"),
        ("DEISMultistepScheduler", {"solver_order": 0}, "solver_order"),
        ("SASolverScheduler", {"algorithm_type": "noise_prediction"}, "algorithm_type"),
        ("SASolverScheduler", {"tau_func": 1.0}, "tau_func"),
        ("LCMScheduler", {"timestep_scaling": 0.0}, "timestep_scaling"),
        ("EDMEulerScheduler", {"sigma_min": 90.0}, "sigma_min"),
        ("EDMEulerScheduler", {"prediction_type": "sample"}, "prediction_type"),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 0.0}, "shift"),
        ("FlowMatchEulerDiscreteScheduler", {"time_shift_type": "log"}, "time_shift_type"),
        ("LTXEulerAncestralRFScheduler", {"eta": 1.5}, "eta"),
        ("KDPM2DiscreteScheduler", {"prediction_type": "sample"}, "prediction_type"),
        ("IPNDMScheduler", {"num_train_timesteps": 0}, "num_train_timesteps"),
    ],
)
def test_what_a_configuration_must_not_say(name, config, word):
    with pytest.raises((TypeError, ValueError), match=word):
        getattr(ours, name)(**config)


PUBLISHED = {
    "Stable Diffusion 1.5": (
        "PNDMScheduler",
        {
            "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "clip_sample": False, "skip_prk_steps": True,
            "set_alpha_to_one": False, "steps_offset": 1, "trained_betas": None,
        },
        [981, 961, 961, 941],
    ),
    "Stable Diffusion 2.1": (
        "DDIMScheduler",
        {
            "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "clip_sample": False, "set_alpha_to_one": False,
            "steps_offset": 1, "prediction_type": "v_prediction", "trained_betas": None,
        },
        [981, 961, 941, 921],
    ),
    "SDXL": (
        "EulerDiscreteScheduler",
        {
            "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "interpolation_type": "linear",
            "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False,
            "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "leading",
            "trained_betas": None, "use_karras_sigmas": False, "clip_sample": False,
        },
        [981, 961, 941, 921],
    ),
    "SDXL-Turbo": (
        "EulerAncestralDiscreteScheduler",
        {
            "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "clip_sample": False, "interpolation_type": "linear",
            "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False,
            "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "trailing",
            "trained_betas": None, "use_karras_sigmas": False,
        },
        [999, 979, 959, 939],
    ),
    "Stable Diffusion 3": (
        "FlowMatchEulerDiscreteScheduler",
        {"num_train_timesteps": 1000, "shift": 3.0},
        [1000.0, 993.12439, 986.05707, 978.78979],
    ),
    "LCM": (
        "LCMScheduler",
        {
            "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "clip_sample": False, "clip_sample_range": 1.0,
            "dynamic_thresholding_ratio": 0.995, "original_inference_steps": 50,
            "prediction_type": "epsilon", "rescale_betas_zero_snr": False,
            "sample_max_value": 1.0, "set_alpha_to_one": True, "steps_offset": 1,
            "thresholding": False, "timestep_scaling": 10.0, "timestep_spacing": "leading",
            "trained_betas": None,
        },
        [999, 979, 959, 939],
    ),
    "PixArt": (
        "DPMSolverMultistepScheduler",
        {
            "num_train_timesteps": 1000, "algorithm_type": "dpmsolver++", "beta_start": 0.0001,
            "beta_end": 0.02, "beta_schedule": "linear", "dynamic_thresholding_ratio": 0.995,
            "euler_at_final": False, "lambda_min_clipped": -float("inf"),
            "lower_order_final": True, "prediction_type": "epsilon", "sample_max_value": 1.0,
            "solver_order": 2, "solver_type": "midpoint", "steps_offset": 0, "thresholding": False,
            "timestep_spacing": "linspace", "trained_betas": None, "use_karras_sigmas": False,
            "use_lu_lambdas": False, "variance_type": None,
        },
        [999, 979, 959, 939],
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_configurations_have_the_peer_s_times(model):
    name, config, times = PUBLISHED[model]
    scheduler = getattr(ours, name).from_config({"_class_name": name, **config})
    scheduler.set_timesteps(50)
    np.testing.assert_allclose(scheduler.timesteps[:4], times, rtol=1e-6)


def test_flux_shifts_its_levels_by_the_resolution():
    config = {
        "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
        "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    }  # fmt: skip
    scheduler = ours.FlowMatchEulerDiscreteScheduler.from_config(config)
    with pytest.raises(ValueError, match="mu must be given"):
        scheduler.set_timesteps(4)
    sigmas = np.linspace(1.0, 0.25, 4)
    scheduler.set_timesteps(sigmas=sigmas, mu=1.15)
    expected = np.exp(1.15) / (np.exp(1.15) + 1.0 / sigmas - 1.0)
    np.testing.assert_allclose(scheduler.sigmas, [*expected, 0.0], rtol=1e-6)


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_the_training_levels_by_their_usual_names(name):
    scheduler = getattr(ours, name)()
    alpha, sigma = scheduler.alpha_t, scheduler.sigma_t
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-12)
    np.testing.assert_allclose(alpha**2, scheduler.alphas_cumprod, rtol=1e-12)
    np.testing.assert_allclose(scheduler.lambda_t, np.log(alpha / sigma), rtol=1e-9, atol=1e-9)
