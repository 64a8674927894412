"""Configurations, outputs and errors of diffusers' interface."""

import copy
import json
import pickle

import numpy as np
import pytest

from compat.diffusers.test_loops import ALL
from schedulers import BrownianPath
from schedulers.compat.diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)

X = np.array([[[0.5, -1.0]], [[2.0, 0.1]]], dtype=np.float32)


@pytest.mark.filterwarnings("ignore:.*clips its denoised estimates")
@pytest.mark.parametrize("cls", ALL)
class TestConfig:
    def test_by_attribute_and_by_item(self, cls):
        config = cls(num_train_timesteps=100).config
        assert config.num_train_timesteps == config["num_train_timesteps"] == 100
        assert config.get("nothing") is None
        assert not hasattr(config, "nothing")
        with pytest.raises(TypeError, match="read-only"):
            config.beta_start = 1.0
        with pytest.raises(TypeError, match="read-only"):
            config["beta_start"] = 1.0

    def test_saved_and_loaded(self, cls, tmp_path):
        scheduler = cls(beta_schedule="scaled_linear", trained_betas=np.full(1000, 0.01))
        scheduler.save_pretrained(tmp_path / "pipeline" / "scheduler")
        file = tmp_path / "pipeline" / "scheduler" / "scheduler_config.json"
        saved = json.loads(file.read_text())
        assert saved["_class_name"] == cls.__name__
        assert "_use_default_values" not in saved
        for loaded in (
            cls.from_pretrained(tmp_path / "pipeline", subfolder="scheduler"),
            cls.from_pretrained(str(file.parent)),
            cls.from_config(file),
            cls.from_config(saved),
        ):
            assert loaded.config.beta_schedule == "scaled_linear"
            assert loaded.config.trained_betas == [0.01] * 1000
            np.testing.assert_array_equal(loaded.betas, scheduler.betas)

    def test_nothing_is_downloaded(self, cls):
        with pytest.raises(OSError, match="nothing is downloaded"):
            cls.from_pretrained("somebody/some-model")

    @pytest.mark.parametrize("other", ALL)
    def test_from_another_scheduler(self, cls, other):
        given = other(beta_end=0.015, timestep_spacing="trailing")
        made = cls.from_config(given.config)
        assert made.config.beta_end == 0.015
        assert made.config.timestep_spacing == "trailing"
        # What was only a default there is this class' own default here.
        assert made.config.beta_start == cls().config.beta_start

    def test_unknown_arguments_are_kept_for_others(self, cls, caplog):
        config = {"beta_end": 0.03, "solver_order": 2, "_class_name": "DPMSolverMultistepScheduler"}
        made, unused = cls.from_config(config, return_unused_kwargs=True, more=1)
        assert made.config.solver_order == 2
        assert unused["more"] == 1
        assert not caplog.records
        cls.from_config({"nonsense": 2})
        assert "nonsense" in caplog.text

    def test_arguments_go_before_the_configuration(self, cls):
        made = cls.from_config({"beta_end": 0.03}, beta_end=0.04)
        assert made.config.beta_end == 0.04

    def test_copies(self, cls):
        scheduler = cls()
        scheduler.set_timesteps(5)
        for twin in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
            assert twin.config == scheduler.config
            np.testing.assert_array_equal(twin.timesteps, scheduler.timesteps)

    def test_length_and_repr(self, cls):
        assert len(cls(num_train_timesteps=77)) == 77
        assert cls.__name__ in repr(cls())


class TestHostileConfigurations:
    def write(self, folder, text):
        (folder / "scheduler_config.json").write_text(text)
        return folder

    def test_a_subfolder_that_is_not_there_is_not_the_folder(self, tmp_path):
        DDIMScheduler().save_config(tmp_path)
        with pytest.raises(OSError, match="nowhere"):
            DDIMScheduler.from_pretrained(tmp_path, subfolder="nowhere")
        file = tmp_path / "scheduler_config.json"
        with pytest.raises(OSError, match="scheduler_config.json"):
            DDIMScheduler.from_pretrained(file, subfolder="nowhere")
        with pytest.raises(TypeError, match="name_or_path, .* must be a str or a path, got 5"):
            DDIMScheduler.from_pretrained(5)

    @pytest.mark.parametrize("value", ["false", "", 0, 1.0, [], {}])
    def test_a_flag_is_true_or_false(self, value, tmp_path):
        text = json.dumps({"clip_sample": value})
        with pytest.raises(TypeError, match="clip_sample must be True or False"):
            DDIMScheduler.from_pretrained(self.write(tmp_path, text))
        with pytest.raises(TypeError, match="use_karras_sigmas must be True or False"):
            EulerDiscreteScheduler(use_karras_sigmas=value)

    def test_a_flag_is_none_where_it_may_be(self):
        assert EulerDiscreteScheduler(use_karras_sigmas=None).config.use_karras_sigmas is None
        with pytest.raises(TypeError, match="clip_sample must be True or False"):
            DDIMScheduler(clip_sample=None)

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "3", '"a"', "{", "{]", "[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000],
        ids=range(8),
    )
    def test_a_file_that_is_no_configuration(self, text, tmp_path):
        with pytest.raises(
            OSError, match="scheduler_config.json.* must (be|hold) a JSON"
        ) as caught:
            DDIMScheduler.from_pretrained(self.write(tmp_path, text))
        assert len(str(caught.value)) <= 300

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"_use_default_values": 5}, "_use_default_values must be a list of names"),
            ({"_use_default_values": "beta_start"}, "_use_default_values must be"),
            ({"_use_default_values": [1]}, "_use_default_values must be"),
            ({1: 2}, "config must have keys that are strings"),
            ({"trained_betas": {"a": 1}}, "trained_betas must be"),
            ({"trained_betas": [[[]]]}, "trained_betas must be"),
            ({"trained_betas": "0.5"}, "trained_betas must be"),
            ({"beta_start": [0.1]}, "beta_start must be a real number"),
            ({"beta_start": True}, "beta_start must be a real number"),
            ({"timestep_spacing": ["leading"]}, "timestep_spacing must be"),
            ({"num_train_timesteps": 1e3}, "num_train_timesteps must be an integer"),
            ({"num_train_timesteps": 10**9}, "num_train_timesteps must be at most 1000000"),
            ({"num_train_timesteps": 10**400}, "num_train_timesteps must be at most 1000000"),
        ],
    )
    def test_what_it_says_is_checked(self, config, message):
        with pytest.raises((TypeError, ValueError), match=message) as caught:
            DDIMScheduler.from_config(config)
        assert len(str(caught.value)) <= 300

    @pytest.mark.parametrize("cls", ALL)
    def test_counts_have_an_upper_bound(self, cls):
        with pytest.raises(ValueError, match="num_train_timesteps must be at most 1000000"):
            cls(num_train_timesteps=10**9)

    def test_lists_that_are_nested_without_end_are_refused(self):
        endless = []
        endless.append(endless)
        with pytest.raises(ValueError, match="nested"):
            DDIMScheduler(trained_betas=endless)

    @pytest.mark.parametrize("kind", [list, np.array])
    def test_what_is_saved_is_what_is_in_use(self, kind, tmp_path):
        betas = kind([0.1] * 10)
        scheduler = DDIMScheduler(10, trained_betas=betas)
        before = scheduler.to_json_string()
        betas[0] = 0.5
        with pytest.raises((TypeError, ValueError), match="read-only"):
            scheduler.config.trained_betas[0] = 0.5
        config = scheduler.config
        with pytest.raises(TypeError, match="read-only"):
            config |= {"beta_start": 0.5}
        assert scheduler.to_json_string() == before
        again = DDIMScheduler.from_config(scheduler.config)
        np.testing.assert_array_equal(again.betas, scheduler.betas)
        for twin in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
            assert twin.to_json_string() == before

    @pytest.mark.parametrize(
        "change",
        [
            lambda held: held.append(1),
            lambda held: held.sort(),
            lambda held: held.__iadd__([1]),
            lambda held: held.__delitem__(0),
        ],
    )
    def test_a_list_that_is_kept_for_others_is_read_only(self, change):
        given = {"_class_name": "Other", "nested": {"list": [1, 2]}}
        scheduler = DDIMScheduler.from_config(given)
        with pytest.raises(TypeError, match="read-only"):
            change(scheduler.config.nested["list"])
        change(given["nested"]["list"])
        assert scheduler.config.nested == {"list": [1, 2]}


def test_output_by_attribute_name_and_position():
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(10)
    out = scheduler.step(X, 900, X)
    assert out.prev_sample is out["prev_sample"] is out[0]
    assert out.pred_original_sample is out["pred_original_sample"] is out[1]
    assert out.to_tuple() == out[:2]
    assert list(out.keys()) == ["prev_sample", "pred_original_sample"]
    as_tuple = scheduler.step(X, 900, X, return_dict=False)
    np.testing.assert_array_equal(as_tuple[0], out[0])
    with pytest.raises(AttributeError, match="nonsense"):
        _ = out.nonsense


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (DDIMScheduler, {"beta_schedule": "cosine"}, "beta_schedule must be one of"),
        (DDIMScheduler, {"prediction_type": "noise"}, "prediction_type must be one of"),
        (DDIMScheduler, {"timestep_spacing": "karras"}, "timestep_spacing must be one of"),
        (DDIMScheduler, {"clip_sample_range": -1.0}, "clip_sample_range must be"),
        (DDPMScheduler, {"variance_type": "large"}, "variance_type must be one of"),
        (EulerDiscreteScheduler, {"final_sigmas_type": "one"}, "final_sigmas_type must be"),
        (EulerDiscreteScheduler, {"timestep_type": "real"}, "timestep_type must be"),
        (
            EulerDiscreteScheduler,
            {"use_karras_sigmas": True, "use_beta_sigmas": True},
            "at most one of",
        ),
    ],
)
def test_bad_arguments(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


def set_to(cls, steps=10, **config):
    scheduler = cls(**config)
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DDIMScheduler().step(X, 0, X), "set_timesteps must be called before step"),
        (lambda: PNDMScheduler().step(X, 0, X), "set_timesteps must be called before step"),
        (lambda: set_to(DDIMScheduler).step(X, 1000, X), "timestep must be an integer from 0"),
        (lambda: set_to(DDIMScheduler).step(X, 1.5, X), "timestep must be an integer from 0"),
        (lambda: set_to(DDIMScheduler).step(X[:1], 900, X), "model_output at t=900 must have"),
        (lambda: set_to(DDIMScheduler, 1001), "num_inference_steps must be at most 1000"),
        (lambda: set_to(DDIMScheduler, 1000, steps_offset=1), "must not begin beyond"),
        (lambda: set_to(PNDMScheduler, 3), "at least 4"),
        (lambda: set_to(EulerDiscreteScheduler).step(X, 0, X), "no integer, such as an index"),
        (lambda: set_to(EulerDiscreteScheduler).step(X, 0.5, X), "one of the scheduler's"),
        (
            lambda: set_to(EulerDiscreteScheduler, 1001, timestep_spacing="leading"),
            "timesteps must differ",
        ),
        (lambda: EulerDiscreteScheduler().set_timesteps(5, sigmas=[1.0, 0.0]), "exactly one of"),
        (lambda: DDPMScheduler().set_timesteps(timesteps=[5, 9]), "strictly decreasing"),
        (lambda: HeunDiscreteScheduler().set_timesteps(timesteps=[1000, 9]), "must lie between"),
        (
            lambda: set_to(DDPMScheduler, variance_type="learned").step(X, 900, X),
            "model_output must have shape",
        ),
        (
            lambda: set_to(
                DDIMScheduler, rescale_betas_zero_snr=True, timestep_spacing="trailing"
            ).step(X, 999, X),
            "alpha is 0, here at time 999: noise says nothing",
        ),
        (
            lambda: set_to(DDIMScheduler).step(X, 900, X, eta=1.0, generator=1, variance_noise=X),
            "must not both be given",
        ),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_custom_times_and_sigmas():
    euler = EulerDiscreteScheduler()
    euler.set_timesteps(timesteps=[900, 500, 100])
    np.testing.assert_array_equal(euler.timesteps, [900.0, 500.0, 100.0])
    sigmas = euler.sigmas
    euler.set_timesteps(sigmas=sigmas.tolist())
    np.testing.assert_allclose(euler.sigmas, sigmas)
    np.testing.assert_allclose(euler.timesteps, [900.0, 500.0, 100.0], rtol=1e-5)
    euler.set_timesteps(sigmas=[500.0, 1.0, 0.001, 0.0])  # beyond the training's at both ends
    assert euler.timesteps[[0, 2]].tolist() == [999.0, 0.0]
    heun = HeunDiscreteScheduler()
    heun.set_timesteps(timesteps=[900, 500])
    np.testing.assert_array_equal(heun.timesteps, [900.0, 500.0, 500.0])
    assert heun.index_for_timestep(500.0) == 2  # the second, where a step begins
    ddpm = DDPMScheduler()
    ddpm.set_timesteps(timesteps=[900, 500])
    assert [ddpm.previous_timestep(t) for t in ddpm.timesteps] == [500, -1]


@pytest.mark.parametrize(
    "source",
    [
        lambda: 3,
        lambda: [3, 4],
        lambda: np.random.default_rng(5),
        lambda: np.ones_like,
        lambda: BrownianPath([3, 4]),
    ],
)
def test_noise_sources(source):
    scheduler = set_to(DDIMScheduler)
    one, two = (
        scheduler.step(X, 900, X, eta=1.0, generator=source()).prev_sample for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float32
    with pytest.raises(TypeError, match="generator must be None, an int"):
        scheduler.step(X, 900, X, eta=1.0, generator="seed")


def test_given_noise_is_left_as_it_was():
    noise = np.ones_like(X)
    scheduler = set_to(DDIMScheduler)
    made = scheduler.step(X, 900, X, eta=1.0, variance_noise=noise).prev_sample
    np.testing.assert_array_equal(noise, np.ones_like(X))
    by_function = scheduler.step(X, 900, X, eta=1.0, generator=np.ones_like).prev_sample
    np.testing.assert_array_equal(made, by_function)


def test_seed_names_the_noise_of_each_step():
    scheduler = set_to(DDPMScheduler)
    zero = np.zeros((1, 64))
    first, second = (scheduler.step(zero, t, zero, generator=0).prev_sample for t in (900, 800))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("cls", ALL)
def test_dtype_in_is_dtype_out(cls, dtype):
    scheduler = set_to(cls)
    t, x = scheduler.timesteps[0], X.astype(dtype)
    assert scheduler.scale_model_input(x, t).dtype == dtype
    assert scheduler.step(0.5 * x, t, x).prev_sample.dtype == dtype
    times = np.repeat(scheduler.timesteps[3:4], 2)
    assert scheduler.add_noise(x, x, times).dtype == dtype
