"""Configurations that are of another process, leave things out, or name an absent class."""

import importlib
import json
import warnings

import numpy as np
import pytest

from schedulers.compat import diffusers as ours

SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "trained_betas": None,
}
PNDM = {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1, **SD}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "base_shift": 0.5}
EDM = {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5, "sigma_max": 80.0, "rho": 7.0}
CASCADE = {"_class_name": "DDPMWuerstchenScheduler", "s": 0.008, "scaler": 1.0}
CONSISTENCY = {
    "_class_name": "CMStochasticIterativeScheduler",
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "clip_denoised": True,
}
WAN = {
    "_class_name": "UniPCMultistepScheduler",
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "flow_shift": 3.0,
    **SD,
}
VIDEO = {
    "_class_name": "EulerDiscreteScheduler",
    "prediction_type": "v_prediction",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    **SD,
}
COGVIDEO = {"_class_name": "CogVideoXDDIMScheduler", "snr_shift_scale": 3.0, **SD}
AUDIO = {"_class_name": "CosineDPMSolverMultistepScheduler", "sigma_data": 1.0, "sigma_max": 500.0}
OF_BETAS = [
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "LCMScheduler",
]
WRONG = [
    *((name, config, word) for name in OF_BETAS for config, word in [
        (FLOW, "FlowMatchEulerDiscreteScheduler"),
        (EDM, "EDMEulerScheduler"),
        (CASCADE, "CosineSchedule"),
        (CONSISTENCY, "VESchedule"),
        (AUDIO, "CosineDPMSolverMultistepScheduler"),
        (COGVIDEO, "alphas_cumprod"),
        ({"_class_name": "IPNDMScheduler"}, "IPNDMScheduler"),
        ({"_class_name": "VQDiffusionScheduler"}, "diffusers itself"),
    ]),
    ("DDIMScheduler", WAN, "use_flow_sigmas=True"),
    ("EulerDiscreteScheduler", WAN, "FlowMatchEulerDiscreteScheduler"),
    ("UniPCMultistepScheduler", FLOW, "use_flow_sigmas=True"),
    ("DDIMScheduler", VIDEO, "EulerDiscreteScheduler"),
    ("HeunDiscreteScheduler", VIDEO, "EulerDiscreteScheduler"),
    ("FlowMatchEulerDiscreteScheduler", PNDM, "DDIMScheduler"),
    ("FlowMatchHeunDiscreteScheduler", EDM, "EDMEulerScheduler"),
    ("EDMEulerScheduler", PNDM, "DDIMScheduler"),
    ("EDMEulerScheduler", AUDIO, "CosineDPMSolverMultistepScheduler"),
    ("CosineDPMSolverMultistepScheduler", EDM, "EDMEulerScheduler"),
    ("EDMDPMSolverMultistepScheduler", FLOW, "FlowMatchEulerDiscreteScheduler"),
    ("IPNDMScheduler", PNDM, "DDIMScheduler"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "word"), WRONG)
def test_another_process_is_refused_and_the_class_that_fits_named(name, config, word):
    cls = getattr(ours, name)
    with pytest.raises(ValueError, match=f"config is one of .*{name} steps .*Take .*{word}"):
        cls.from_config(config)
    # So is one that names no class, if its arguments tell.
    if len(config) > 2:
        nameless = {key: value for key, value in config.items() if key != "_class_name"}
        if config not in (AUDIO,) and name != "EDMEulerScheduler":
            with pytest.raises(ValueError, match="config is one of"):
                cls.from_config(nameless)


@pytest.mark.parametrize(("name", "config", "word"), WRONG[:8])
def test_from_a_folder_it_is_logged(name, config, word, tmp_path, caplog):
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(ours, name).from_pretrained(tmp_path)
    assert word in caplog.text


def test_the_config_of_a_scheduler_made_here_tells_its_process():
    flow = ours.FlowMatchEulerDiscreteScheduler(shift=3.0)
    with pytest.raises(ValueError, match="a rectified flow, as its _class_name"):
        ours.EulerDiscreteScheduler.from_config(flow.config)
    with pytest.raises(ValueError, match="a rectified flow, as its _class_name"):
        ours.DDIMScheduler.from_config(ours.FlowMatchHeunDiscreteScheduler().config)
    with pytest.raises(ValueError, match="betas, as its _class_name"):
        ours.EDMEulerScheduler.from_config(ours.EulerDiscreteScheduler().config)


def test_the_same_process_is_taken(caplog):
    ours.UniPCMultistepScheduler.from_config(WAN)
    ours.DPMSolverMultistepScheduler.from_config(WAN)
    ours.FlowMatchEulerDiscreteScheduler.from_config({**WAN, "flow_shift": 1.0})
    ours.EDMDPMSolverMultistepScheduler.from_config(EDM)
    ours.EulerDiscreteScheduler.from_config(VIDEO)
    ours.DDIMScheduler.from_config({**COGVIDEO, "snr_shift_scale": 1.0, "clip_sample": False})
    ours.EulerDiscreteScheduler.from_config({"num_train_timesteps": 100})
    ours.FlowMatchHeunDiscreteScheduler.from_config(FLOW)

    class Own(ours.DDIMScheduler):
        """A subclass is of its base's process."""

    Own.from_config({**PNDM, "clip_sample": False})
    with pytest.raises(ValueError, match="a rectified flow"):
        Own.from_config(FLOW)
    assert not caplog.records


def test_a_shift_goes_by_another_name_in_another_class(caplog):
    options = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    ours.UniPCMultistepScheduler.from_config(FLOW, **options)
    assert "give flow_shift=3.0" in caplog.text
    caplog.clear()
    ours.FlowMatchEulerDiscreteScheduler.from_config(WAN)
    assert "give shift=3.0" in caplog.text
    caplog.clear()
    ours.UniPCMultistepScheduler.from_config(FLOW, flow_shift=3.0, **options)
    assert not caplog.records


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "DDIMInverseScheduler"])
class TestClipping:
    @pytest.mark.parametrize(
        "config",
        [
            PNDM,
            {**PNDM, "_class_name": "FlaxPNDMScheduler"},
            {**PNDM, "clip_sample": None},
            {key: value for key, value in PNDM.items() if key != "_class_name"},
            {"_class_name": "DPMSolverMultistepScheduler", **SD},
            ours.LCMScheduler(**SD).config,
            ours.EulerDiscreteScheduler(**SD).config,
        ],
    )
    def test_by_its_own_default_it_warns(self, name, config):
        with pytest.warns(UserWarning, match="clips its denoised estimates.*clip_sample=False"):
            made = getattr(ours, name).from_config(config)
        assert made.config.clip_sample is True  # as in diffusers

    @pytest.mark.parametrize(
        "config",
        [
            {**PNDM, "clip_sample": True},
            {**PNDM, "clip_sample": False},
            {"_class_name": "DDIMScheduler", **SD},
            ours.DDIMScheduler(**SD).config,
            ours.DDPMScheduler().config,
            SD,
        ],
    )
    def test_where_it_was_chosen_or_is_the_same_it_does_not(self, name, config):
        if config.get("_class_name") == "DDIMScheduler" and name != "DDIMScheduler":
            config = {**config, "clip_sample": True}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            getattr(ours, name).from_config(config)


def test_null_is_the_default():
    nulls = dict.fromkeys(
        ("clip_sample_range", "variance_type", "beta_schedule", "thresholding", "steps_offset")
    )
    made = ours.DDPMScheduler.from_config({"_class_name": "DDPMScheduler", **SD, **nulls})
    plain = ours.DDPMScheduler(**{**SD, "beta_schedule": "linear"})
    for key in nulls:
        assert made.config[key] == plain.config[key]
    np.testing.assert_array_equal(made.betas, plain.betas)
    solver = {"_class_name": "DPMSolverMultistepScheduler", "variance_type": None, **SD}
    with pytest.warns(UserWarning, match="clip"):
        assert ours.DDPMScheduler.from_config(solver).config.variance_type == "fixed_small"
    euler = ours.EulerDiscreteScheduler.from_config({**VIDEO, "use_karras_sigmas": None})
    assert euler.config.use_karras_sigmas is False
    flow = ours.FlowMatchEulerDiscreteScheduler.from_config({**FLOW, "shift": None})
    assert flow.shift == 1.0


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("DDPMWuerstchenScheduler", "CosineSchedule"),
        ("CMStochasticIterativeScheduler", "VESchedule"),
        ("FlowMatchLCMScheduler", "FlowSchedule"),
        ("FlaxDDIMScheduler", "DDIMScheduler"),
        ("RePaintScheduler", "inpaint"),
        ("UnCLIPScheduler", "DDPMScheduler"),
        ("VQDiffusionScheduler", "diffusers itself"),
        ("SomeNewScheduler", "one of DDIMScheduler"),
    ],
)
def test_a_class_that_is_not_here(name, word):
    with pytest.raises(ImportError, match=f"has no {name}: take .*{word}"):
        exec(f"from schedulers.compat.diffusers import {name}")
    module = importlib.import_module("schedulers.compat.diffusers")
    assert not hasattr(module, "nonsense")


def test_compatible_classes():
    names = {cls.__name__ for cls in ours.DDIMScheduler().compatibles}
    assert {"EulerDiscreteScheduler", "PNDMScheduler", "LCMScheduler"} <= names
    assert "DDIMScheduler" not in names
    assert not {"EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"} & names
    for cls in ours.EDMEulerScheduler().compatibles:
        cls.from_config(EDM)
    assert ours.IPNDMScheduler().compatibles == []


def test_what_is_registered_is_read_from_then_on(tmp_path):
    scheduler = ours.DDIMScheduler()
    scheduler.register_to_config(timestep_spacing="trailing", more=3)
    assert scheduler.config.more == 3
    scheduler.set_timesteps(4)
    np.testing.assert_array_equal(scheduler.timesteps, [999, 749, 499, 249])
    scheduler.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "scheduler_config.json").read_text())["more"] == 3
    euler = ours.EulerDiscreteScheduler(use_karras_sigmas=True)
    euler.register_to_config(sigma_max=50.0)
    euler.set_timesteps(4)
    assert euler.sigmas[0] == pytest.approx(50.0)
