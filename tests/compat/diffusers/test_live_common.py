"""What every scheduler of diffusers is tested for there, written anew: `pytest -m live`.

Each call runs on diffusers' class and on the one here, and must do the same: the same values to
float32's rounding, or an error on both sides. What differs for a reason is in `DIFFERENT`.
"""

import inspect

import numpy as np
import pytest

from schedulers.compat import diffusers as ours

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]

CLASSES = sorted(name for name in ours.__all__ if name.endswith("Scheduler"))
OURS = ("diffusers_steps",)  # options that diffusers has not
STEPS = 10
SHAPE = (2, 3, 8, 8)


def sample():
    """Numbers that are no multiples of one another."""
    n = np.prod(SHAPE)
    return (np.arange(n, dtype=np.float32).reshape(SHAPE) % 97 + 0.5) / 97.0


class Side:
    """Diffusers' class, or the one here, with the arrays that it takes."""

    def __init__(self, name, peer):
        import diffusers
        import torch

        self.torch, self.cls = torch, getattr(diffusers if peer else ours, name)

    def make(self, **options):
        return self.cls(**options)

    def array(self, values):
        return self.torch.from_numpy(np.array(values))

    def set(self, scheduler, steps=STEPS):
        scheduler.set_timesteps(steps)
        return scheduler

    def loop(self, scheduler, x=None, dtype=None):
        x = self.array(sample()) if x is None else x
        x = x if dtype is None else x.to(dtype)
        more = {}
        if "generator" in inspect.signature(scheduler.step).parameters:
            more["generator"] = self.torch.Generator().manual_seed(0)
        for t in scheduler.timesteps:
            given = x
            if hasattr(scheduler, "scale_model_input"):
                given = scheduler.scale_model_input(x, t)
            x = scheduler.step(0.3 * given, t, x, **more).prev_sample
        return x


def settings(side):
    scheduler = side.make()
    return {
        "len": len(scheduler),
        "order": scheduler.order,
        "config": {k: v for k, v in scheduler.config.items() if k[0] != "_" and k not in OURS},
        "name": scheduler.config_name,
    }


def times(side):
    return np.asarray(side.set(side.make()).timesteps, np.float64)


def times_twice(side):
    return np.asarray(side.set(side.set(side.make()), 7).timesteps, np.float64)


def number_of_steps(side):
    return side.set(side.make()).num_inference_steps


def first_scale(side):
    return float(getattr(side.set(side.make()), "init_noise_sigma", 1.0))


def betas(side):
    scheduler = side.make()
    return np.asarray(scheduler.betas) if hasattr(scheduler, "betas") else None


def trained_betas(side):
    if "trained_betas" not in inspect.signature(side.cls.__init__).parameters:
        return None
    table = np.linspace(1e-4, 0.02, 1000).tolist()
    return np.asarray(side.make(trained_betas=table).betas)


def full_loop(side):
    return side.loop(side.set(side.make()))


def full_loop_of_v(side):
    scheduler = side.make()
    if scheduler.config.get("prediction_type") != "epsilon":
        return None
    return side.loop(side.set(side.make(prediction_type="v_prediction")))


def two_loops(side):
    scheduler = side.set(side.make())
    side.loop(scheduler)
    return side.loop(side.set(scheduler))


def in_half_precision(side):
    result = side.loop(side.set(side.make()), dtype=side.torch.float16)
    return str(result.dtype)


def as_a_tuple(side):
    scheduler = side.set(side.make())
    x, t = side.array(sample()), scheduler.timesteps[0]
    return scheduler.step(0.3 * x, t, x, return_dict=False)[0].shape


def before_the_times(side):
    scheduler, x = side.make(), side.array(sample())
    try:
        scheduler.step(0.3 * x, 1, x)
    except Exception:
        return "an error"
    return "a sample"


def noised(side):
    scheduler = side.set(side.make())
    x, noise = side.array(sample()), side.array(sample()[::-1])
    t = scheduler.timesteps[3:5]
    t = t if hasattr(t, "to") else side.array(t)
    if hasattr(scheduler, "add_noise"):
        return scheduler.add_noise(x, noise, t)
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(x, t, noise)
    return None


def saved(side, folder):
    side.make(num_train_timesteps=200).save_pretrained(folder)
    return side.cls.from_pretrained(folder).config.num_train_timesteps


def of_a_configuration(side):
    scheduler = side.make(num_train_timesteps=200)
    other = side.cls.from_config(scheduler.config, num_train_timesteps=300)
    return scheduler.config.num_train_timesteps, other.config.num_train_timesteps


def attributes(side):
    scheduler = side.make()
    return scheduler.config.num_train_timesteps == scheduler.config["num_train_timesteps"]


CALLS = [
    settings, times, times_twice, number_of_steps, first_scale, betas, trained_betas, full_loop,
    full_loop_of_v, two_loops, in_half_precision, as_a_tuple, before_the_times, noised, saved,
    of_a_configuration, attributes,
]  # fmt: skip
TREE = "diffusers draws by PyTorch's Brownian tree in sigma: a seed's noise is another"
MIDDLE = "in the middle of a step diffusers' sigma is that of the step's start"
DIFFERENT = {
    ("CosineDPMSolverMultistepScheduler", "full_loop"): TREE,
    ("CosineDPMSolverMultistepScheduler", "two_loops"): TREE,
    ("DPMSolverSDEScheduler", "full_loop"): TREE,
    ("DPMSolverSDEScheduler", "full_loop_of_v"): TREE,
    ("DPMSolverSDEScheduler", "two_loops"): TREE,
    ("DPMSolverSDEScheduler", "noised"): MIDDLE,
    ("KDPM2DiscreteScheduler", "noised"): MIDDLE,
    ("FlowMatchHeunDiscreteScheduler", "noised"): "diffusers' scale_noise takes one time alone",
    ("FlowMatchHeunDiscreteScheduler", "before_the_times"): "the training's times are a grid here",
    ("IPNDMScheduler", "trained_betas"): "1000 betas do not fit the 1001 times of diffusers' own",
    ("IPNDMScheduler", "full_loop"): "diffusers' first step takes x_0 as 0 where alpha is 0",
    ("IPNDMScheduler", "two_loops"): "diffusers' first step takes x_0 as 0 where alpha is 0",
    ("PNDMScheduler", "full_loop_of_v"): "diffusers combines outputs; here noise estimates",
}


def outcome(call, side, folder):
    arguments = (
        [folder / type(side).__name__] if "folder" in inspect.signature(call).parameters else []
    )
    try:
        return call(side, *arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("name", CLASSES)
def test_does_what_diffusers_does(name, call, tmp_path):
    pytest.importorskip("diffusers")
    theirs = outcome(call, Side(name, True), tmp_path)
    if theirs is None:
        pytest.skip("diffusers' class has none")
    found = outcome(call, Side(name, False), tmp_path)
    try:
        same(theirs, found)
    except AssertionError:
        if (name, call.__name__) not in DIFFERENT:
            raise
        return
    assert (name, call.__name__) not in DIFFERENT


def same(theirs, found):
    """Assert that two outcomes are the same: errors, arrays or values."""
    if isinstance(theirs, str) and ": " in theirs:
        assert isinstance(found, str), f"{theirs} / {found}"
    elif hasattr(theirs, "shape"):
        assert hasattr(found, "shape"), found
        expected, scale = np.asarray(theirs), max(1.0, float(np.abs(np.asarray(theirs)).max()))
        np.testing.assert_allclose(np.asarray(found), expected, atol=2e-5 * scale)
    else:
        assert found == theirs
