"""A configuration's scheduler in the core is the class of diffusers' that it names."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import schedulers as sc
from compat.diffusers.test_solvers import PUBLISHED
from schedulers.analytic import Gaussian
from schedulers.compat import diffusers

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DATA = Gaussian(0.3, 0.04)
X = np.random.default_rng(0).standard_normal((16, 2))
BY_TIME = ("leading", "linspace", "trailing")
# Classes whose levels are those of whole times, and options that end clean.
CLASSES = {
    "DDIMScheduler": {"clip_sample": st.booleans(), "set_alpha_to_one": st.just(True)},
    "EulerDiscreteScheduler": {"use_karras_sigmas": st.booleans()},
    "HeunDiscreteScheduler": {},
    "LMSDiscreteScheduler": {"use_karras_sigmas": st.booleans()},
    "KDPM2DiscreteScheduler": {},
    "PNDMScheduler": {"skip_prk_steps": st.booleans(), "set_alpha_to_one": st.just(True)},
    "DPMSolverMultistepScheduler": {
        "solver_order": st.integers(1, 3),
        "solver_type": st.sampled_from(["midpoint", "heun"]),
    },
    "UniPCMultistepScheduler": {
        "solver_order": st.integers(1, 3),
        "solver_type": st.sampled_from(["bh1", "bh2"]),
        "predict_x0": st.booleans(),
    },
}
SPACINGS = {
    "DDIMScheduler": BY_TIME,
    "DPMSolverMultistepScheduler": BY_TIME,
    "UniPCMultistepScheduler": BY_TIME,
    "PNDMScheduler": ("leading",),
}


# Their constructors make a whole grid of 1000 steps.
SLOW = "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler"


@st.composite
def configurations(draw, names):
    name = draw(st.sampled_from(names))
    options = {key: draw(values) for key, values in CLASSES[name].items()}
    spacing = draw(st.sampled_from(SPACINGS.get(name, ("leading", "trailing"))))
    predicts = draw(st.sampled_from(["epsilon", "v_prediction"]))
    if name == "PNDMScheduler":
        predicts = "epsilon"  # of v_prediction the facade says what differs
    common = {"timestep_spacing": spacing, "prediction_type": predicts, "steps_offset": 0}
    return {"_class_name": name, "num_train_timesteps": 1000, **SD, **common, **options}


def by_facade(config, x, steps):
    """The samples of the class's own loop."""
    kind = getattr(diffusers, config["_class_name"])
    facade = kind.from_config(config)
    facade.set_timesteps(steps)
    schedule = sc.DiscreteSchedule.from_config(config)
    denoiser = DATA.denoiser(schedule, prediction_type=config["prediction_type"])
    x, xs = x * float(facade.init_noise_sigma), []
    for t in facade.timesteps:
        x = facade.step(denoiser(facade.scale_model_input(x, t), float(t)), t, x).prev_sample
        xs.append(x)
    return xs


@settings(max_examples=60, deadline=None)
@given(config=configurations(sorted(set(CLASSES) - set(SLOW))), steps=st.sampled_from([16, 20, 25]))
def test_same_samples(config, steps):
    check_samples(config, steps)


@settings(max_examples=6, deadline=None)
@given(config=configurations(SLOW), steps=st.sampled_from([16, 20, 25]))
def test_same_samples_of_slow_classes(config, steps):
    check_samples(config, steps)


def check_samples(config, steps):
    scheduler = sc.from_config(config)
    denoiser = DATA.denoiser(scheduler.schedule, prediction_type=config["prediction_type"])
    alpha, sigma = (
        getattr(scheduler.schedule, name)(scheduler.tableau(steps).stages[0].level.t)
        for name in ("alpha", "sigma")
    )
    # The classes at Karras's scale begin with alpha times less.
    facade = getattr(diffusers, config["_class_name"]).from_config(config)
    facade.set_timesteps(steps)
    scale = float(facade.init_noise_sigma)
    x_T = X * scale * (alpha if scale != 1.0 else 1.0)
    assert sigma > 0.9
    found = scheduler.sample(denoiser, x_T, steps=steps)
    np.testing.assert_allclose(found, by_facade(config, X, steps)[-1], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("solver", ["midpoint", "heun"])
def test_solvers_of_the_noise_up_to_their_last_step(order, solver):
    """They end at the lowest level in diffusers, and clean here."""
    config = {
        "_class_name": "DPMSolverMultistepScheduler", "prediction_type": "epsilon", **SD,
        "algorithm_type": "dpmsolver", "solver_order": order, "solver_type": solver,
        "final_sigmas_type": "sigma_min",
    }  # fmt: skip
    scheduler = sc.from_config(config)
    states = scheduler.iterate(DATA.denoiser(scheduler.schedule), X, steps=20)
    found = [state.x for state in states][:-1]
    np.testing.assert_allclose(found, by_facade(config, X, 20)[:-1], atol=2e-5)


def test_the_sde_of_the_noise_is_refused():
    config = {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min", **SD}
    with pytest.raises(ValueError, match="SEEDS"):
        sc.from_config({"_class_name": "DPMSolverMultistepScheduler", **config})


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_configurations(model, tmp_path):
    name, config, _ = PUBLISHED[model]
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": name, **config}))
    scheduler = sc.from_config(tmp_path)
    facade = getattr(diffusers, name).from_config(config)
    facade.set_timesteps(20)
    scale = 1000.0 if isinstance(scheduler.schedule, sc.FlowSchedule) else 1.0
    told = [scale * stage.level.t for stage in scheduler.tableau(20).stages]
    # diffusers rounds times of sigmas; PNDM's second row is at the next time, Heun's at its end.
    np.testing.assert_allclose(sorted(set(told)), sorted(set(facade.timesteps.tolist())), atol=1.0)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_clipping_is_that_of_the_class(name):
    """DDIM keeps the noise estimate of the unclipped D, DDPM takes that of the clipped one."""
    config = {"_class_name": name, "num_train_timesteps": 1000, **SD, "clip_sample": True}
    rederives = name == "DDPMScheduler"
    assert sc.from_config(config).threshold == sc.StaticThreshold(1.0, rederives)


def test_levels_by_sigma_are_diffusers_own():
    config = {"_class_name": "DPMSolverMultistepScheduler", **SD, "use_karras_sigmas": True}
    facade = diffusers.DPMSolverMultistepScheduler.from_config(config)
    facade.set_timesteps(12)
    found = [level.karras for level in sc.from_config(config).tableau(12).levels]
    np.testing.assert_allclose(found, facade.sigmas, rtol=2e-6)


def test_zero_terminal_snr_begins_at_alpha_0():
    config = {
        "_class_name": "DDIMScheduler", **SD, "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
    }  # fmt: skip
    level = sc.from_config(config).tableau(10).levels[0]
    assert (level.t, level.alpha) == (999, 0.0)
    multistep = {**config, "_class_name": "DPMSolverMultistepScheduler"}
    assert sc.from_config(multistep).tableau(10).levels[0].alpha == 0.0


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({}, "_class_name"),
        ({"_class_name": "EDMEulerScheduler"}, "by hand"),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True},
            "invert_sigmas",
        ),
        ({"_class_name": "DDIMScheduler", "beta_start": "a"}, "beta_start"),
    ],
)
def test_what_is_not_made_in_one_line(config, word):
    with pytest.raises((TypeError, ValueError), match=word):
        sc.from_config(config)


class TestSchedule:
    """`DiscreteSchedule.from_config`."""

    @pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
    @pytest.mark.parametrize("rescales", [False, True])
    def test_levels_are_diffusers_own(self, kind, rescales):
        config = {**SD, "beta_schedule": kind, "rescale_betas_zero_snr": rescales}
        facade = diffusers.DDIMScheduler(**config)
        found = sc.DiscreteSchedule.from_config(config)
        np.testing.assert_array_equal(found.alphas_cumprod, facade.alphas_cumprod)

    @pytest.mark.parametrize("missing", ["beta_schedule", "beta_start", "beta_end"])
    def test_a_missing_key_is_named(self, missing):
        with pytest.raises((TypeError, ValueError), match=missing):
            sc.DiscreteSchedule.from_config({k: v for k, v in SD.items() if k != missing})

    def test_a_file_its_folder_and_none(self, tmp_path):
        file = tmp_path / "scheduler_config.json"
        with pytest.raises(OSError, match="scheduler_config"):
            sc.DiscreteSchedule.from_config(file)
        file.write_text("[1, 2]")
        with pytest.raises(ValueError, match="one object"):
            sc.DiscreteSchedule.from_config(file)
        file.write_text(json.dumps(SD))
        made = sc.DiscreteSchedule.from_config(tmp_path)
        assert made == sc.DiscreteSchedule.from_config(str(file))
