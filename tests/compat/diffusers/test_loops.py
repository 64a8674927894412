"""Loops as diffusers' documentation writes them, on NumPy arrays; and against exact flows."""

import numpy as np
import pytest

from schedulers import DDIM, PLMS, DiscreteSchedule, Euler, Heun, VESchedule
from schedulers.analysis import error_budget
from schedulers.analytic import Gaussian
from schedulers.compat.diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)

ALL = [
    DDPMScheduler,
    DDIMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
]
DETERMINISTIC = [DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, PNDMScheduler]
VARIANCE_PRESERVING = [DDPMScheduler, DDIMScheduler, PNDMScheduler]
COUNTS = [3, 7, 9, 27, 300, 640, 999]
DATA = Gaussian(mean=2.0, cov=0.25)


def made(cls, **config):
    """A scheduler that leaves the estimates as they are, where it has a choice."""
    if cls in (DDPMScheduler, DDIMScheduler):
        config.setdefault("clip_sample", False)
    return cls(**config)


def exact_model(scheduler, prediction_type="epsilon", data=DATA):
    """The exact model of the data, at the levels that the scheduler says it is trained at."""
    schedule = DiscreteSchedule.from_alphas_cumprod(np.asarray(scheduler.alphas_cumprod, float))
    denoiser = data.denoiser(schedule, prediction_type=prediction_type)
    return lambda x, t: denoiser(x, float(t))


@pytest.mark.parametrize("cls", ALL)
def test_basic_loop(cls):
    scheduler = made(cls)
    model = exact_model(scheduler)
    scheduler.set_timesteps(50)
    noise = np.random.default_rng(0).standard_normal((4000, 1))
    input = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(input, t)
        noisy_residual = model(scaled, t)
        prev_noisy_sample = scheduler.step(noisy_residual, t, input).prev_sample
        input = prev_noisy_sample
    assert input.dtype == np.float64
    assert input.mean() == pytest.approx(2.0, abs=0.1)
    assert input.std() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("cls", ALL)
def test_loop_with_guidance(cls):
    scheduler = made(cls, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    unet = exact_model(scheduler)
    guidance_scale = 1.0
    latents = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32)
    latents = latents * scheduler.init_noise_sigma
    scheduler.set_timesteps(20)
    for t in scheduler.timesteps:
        latent_model_input = np.concatenate([latents] * 2)
        latent_model_input = scheduler.scale_model_input(latent_model_input, timestep=t)
        noise_pred = unet(latent_model_input, t)
        noise_pred_uncond, noise_pred_text = np.split(noise_pred, 2)
        noise_pred = noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)
        latents = scheduler.step(noise_pred, t, latents).prev_sample
    assert latents.dtype == np.float32
    assert latents.mean() == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("cls", ALL)
def test_image_to_image(cls):
    scheduler = made(cls)
    model = exact_model(scheduler)
    scheduler.set_timesteps(200)
    begin = 100 * scheduler.order
    timesteps = scheduler.timesteps[begin:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    rng = np.random.default_rng(0)
    x_0 = 2.0 + 0.5 * rng.standard_normal((2000, 1))
    latents = scheduler.add_noise(
        x_0, rng.standard_normal(x_0.shape), np.repeat(timesteps[:1], 2000)
    )
    for t in timesteps:
        noise_pred = model(scheduler.scale_model_input(latents, t), t)
        latents = scheduler.step(noise_pred, t, latents, return_dict=False)[0]
    assert latents.mean() == pytest.approx(2.0, abs=0.05)
    assert latents.std() == pytest.approx(0.5, abs=0.05)


def error(cls, steps, data=DATA, begin=0, make=made, array=np.asarray, **config):
    """Distance from the exact flow of the data, from the run's first level to its last."""
    scheduler = make(cls, **config)
    model = exact_model(scheduler, config.get("prediction_type", "epsilon"), data)
    schedule = DiscreteSchedule.from_alphas_cumprod(np.asarray(scheduler.alphas_cumprod, float))
    scheduler.set_timesteps(steps)
    z = np.array([[-1.0], [0.5], [2.0]])
    first = float(scheduler.timesteps[begin])
    alpha, sigma = schedule.alpha(first), schedule.sigma(first)
    at_model_scale = cls in (DDIMScheduler, PNDMScheduler)
    x = array(sigma * z if at_model_scale else sigma / alpha * z)
    for t in scheduler.timesteps[begin:]:
        output = array(model(np.asarray(scheduler.scale_model_input(x, t)), t))
        x = scheduler.step(output, t, x).prev_sample
    # alpha = 1 and sigma = 0 at the end: every point keeps its quantile.
    mean, std = float(data.mean), float(np.sqrt(data.cov))
    exact = mean + std * (sigma * z - alpha * mean) / np.hypot(alpha * std, sigma)
    return np.abs(np.asarray(x) - exact).max()


def discretization(cls, steps, kind, spacing):
    """The distance from the exact flow in law; what the core says of the very same levels, and of
    the last step alone.

    From the data's law at the first level a run makes an affine map, so two points tell the law.
    """
    config = {"timestep_spacing": spacing, "prediction_type": kind}
    if cls is PNDMScheduler:
        config |= {"skip_prk_steps": True, "set_alpha_to_one": True}
    scheduler = made(cls, **config)
    scheduler.set_timesteps(steps)
    products = scheduler.alphas_cumprod.astype(float)
    training = np.sqrt((1.0 - products) / products)
    times = list(dict.fromkeys(scheduler.timesteps.tolist()))
    if cls in VARIANCE_PRESERVING:
        schedule = DiscreteSchedule.from_alphas_cumprod(products)
        alpha, sigma = schedule.alpha(times[0]), schedule.sigma(times[0])
        visited = {"timesteps": times}
    else:
        schedule = VESchedule()
        sigmas = list(dict.fromkeys(scheduler.sigmas.tolist()))
        np.testing.assert_allclose(
            sigmas[:-1], np.interp(times, np.arange(1000), training), rtol=2e-7
        )
        alpha, sigma = 1.0, sigmas[0]
        visited = {"sigmas": sigmas}
    mean, std = float(DATA.mean), float(np.sqrt(DATA.cov))
    x = alpha * mean + np.hypot(alpha * std, sigma) * np.array([[0.0], [1.0]])
    denoiser = DATA.denoiser(schedule, prediction_type=kind)
    for i, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t)
        if cls in VARIANCE_PRESERVING:
            output = denoiser(scaled, float(t))
        else:
            # By the level itself; v is at the model's own scale.
            level = float(scheduler.sigmas[i])
            scale = np.hypot(1.0, level)
            output = denoiser(scaled * scale, level)
            output = output / scale if kind == "v_prediction" else output
        x = scheduler.step(output, t, x).prev_sample
    ends = x.ravel()
    there = np.hypot(ends[0] - mean, abs(ends[1] - ends[0]) - std)
    core = {
        DDIMScheduler: DDIM,
        EulerDiscreteScheduler: Euler,
        HeunDiscreteScheduler: Heun,
        PNDMScheduler: PLMS,
    }[cls]
    more = {"startup": "heun", "weights": "constant"} if cls is PNDMScheduler else {}
    method = core(schedule, **more)
    last = {name: levels[-1 if name == "timesteps" else -2 :] for name, levels in visited.items()}
    one = core(schedule, weights="constant") if cls is PNDMScheduler else method
    return (
        there,
        error_budget(method, DATA, **visited).discretization,
        error_budget(one, DATA, **last).discretization,
    )


@pytest.mark.slow
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("cls", DETERMINISTIC)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_every_number_of_steps_has_the_core_s_distance_from_the_exact_flow(cls, spacing, kind):
    errors = []
    for steps in COUNTS:
        there, core, last = discretization(cls, steps, kind, spacing)
        assert there == pytest.approx(core, rel=1e-4, abs=1e-7)
        errors.append(there)
        # At least as a method of first order's, ten times the steps a tenth of the error, but for
        # the last step's: from the model's least level to 0 it is the same in every number of them.
        if steps in (300, 999):
            assert there <= errors[3] * (27 / steps) ** 0.9 + last


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("steps", [1, 61, *COUNTS, 1000])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_as_many_times_as_there_are_steps(cls, steps, spacing):
    config = {"skip_prk_steps": True} if cls is PNDMScheduler else {}
    scheduler = cls(timestep_spacing=spacing, **config)
    scheduler.set_timesteps(steps)
    distinct = sorted({float(t) for t in scheduler.timesteps}, reverse=True)
    assert len(distinct) == scheduler.num_inference_steps == steps
    assert 0.0 <= distinct[-1] <= distinct[0] <= 999.0


def churned_estimate(scheduler, kind="epsilon", array=np.asarray):
    """Distance of pred_original_sample from data that is a point, in a step with churn."""
    model = exact_model(scheduler, kind, Gaussian(mean=2.0, cov=1e-14))
    scheduler.set_timesteps(10)
    t = scheduler.timesteps[5]
    x = array(np.array([[3.0], [-1.0]]))
    output = array(model(np.asarray(scheduler.scale_model_input(x, t)), t))
    estimate = scheduler.step(output, t, x, s_churn=4.0).pred_original_sample
    return np.abs(np.asarray(estimate) - 2.0).max()


class TestWhereDiffusersIsWrong:
    """Each exception to the agreement, against the exact answer."""

    @pytest.mark.parametrize("spacing", ["linspace", "trailing"])
    def test_ddim_steps_lead_to_the_next_time(self, spacing):
        right = error(DDIMScheduler, 640, timestep_spacing=spacing)
        as_there = error(DDIMScheduler, 640, timestep_spacing=spacing, diffusers_steps=True)
        assert right < 0.01 < 0.1 < as_there

    @pytest.mark.parametrize("variance", ["fixed_large", "fixed_large_log"])
    def test_ddpm_adds_no_noise_to_the_finished_sample(self, variance):
        kwargs = {"variance_type": variance, "timestep_spacing": "trailing"}
        point = Gaussian(mean=2.0, cov=1e-12)

        def spread(**more):
            scheduler = made(DDPMScheduler, **kwargs, **more)
            model = exact_model(scheduler, data=point)
            scheduler.set_timesteps(10)
            rng = np.random.default_rng(0)
            x = rng.standard_normal((500, 1))
            for t in scheduler.timesteps:
                x = scheduler.step(model(x, t), t, x, generator=rng).prev_sample
            return x.std()

        assert spread() < 1e-5
        assert spread(diffusers_steps=True) > 0.2

    def test_fixed_large_log_is_fixed_large(self):
        x, output = np.array([[1.0]]), np.array([[0.5]])
        samples = [
            DDPMScheduler(variance_type=kind).step(output, 500, x, generator=3).prev_sample
            for kind in ("fixed_large", "fixed_large_log")
        ]
        assert samples[0] == samples[1]

    @pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
    @pytest.mark.parametrize("skip_prk_steps", [False, True])
    def test_pndm_steps_lead_to_the_next_time(self, spacing, skip_prk_steps):
        config = {"skip_prk_steps": skip_prk_steps, "set_alpha_to_one": True}
        assert error(PNDMScheduler, 111, timestep_spacing=spacing, **config) < 0.01

    def test_pndm_from_the_middle_is_on_the_flow(self):
        config = {"skip_prk_steps": True, "set_alpha_to_one": True}
        assert error(PNDMScheduler, 100, begin=40, **config) < 0.01

    @pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
    def test_churn_s_estimate_of_a_point_is_the_point(self, kind):
        assert churned_estimate(EulerDiscreteScheduler(prediction_type=kind), kind) < 1e-6

    def test_rising_sigmas_have_no_part_for_fresh_noise(self):
        scheduler = EulerAncestralDiscreteScheduler(
            rescale_betas_zero_snr=True, timestep_spacing="trailing"
        )
        x = np.ones((1, 1))
        with pytest.raises(ValueError, match="sigmas must not rise"):
            scheduler.set_timesteps(640)
        with pytest.raises(ValueError, match="sigmas must not rise"):
            scheduler.step(x, scheduler.timesteps[0], x)  # all of the training's

    def test_pndm_combines_noise_estimates_whatever_the_model_predicts(self):
        config = {"skip_prk_steps": True, "set_alpha_to_one": True}
        v = error(PNDMScheduler, 100, prediction_type="v_prediction", **config)
        assert v == pytest.approx(error(PNDMScheduler, 100, **config), rel=1e-6)

    def test_euler_velocity_is_that_of_the_timestep(self):
        scheduler = EulerDiscreteScheduler()
        scheduler.set_timesteps(10)
        rng = np.random.default_rng(0)
        x_0, noise = rng.standard_normal((2, 3, 4))
        t = scheduler.timesteps[[2, 5, 9]]
        expected = DDIMScheduler().get_velocity(x_0, noise, t.astype(int))
        np.testing.assert_allclose(scheduler.get_velocity(x_0, noise, t), expected, rtol=1e-6)
