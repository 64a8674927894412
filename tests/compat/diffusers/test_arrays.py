"""Arrays of PyTorch and JAX through all six, where the library is installed."""

import numpy as np
import pytest

from compat.diffusers.test_loops import ALL, VARIANCE_PRESERVING
from golden import space
from schedulers.compat.diffusers import EulerDiscreteScheduler


def library(name):
    if name == "torch":
        torch = pytest.importorskip("torch")
        return torch.from_numpy, torch.Tensor
    jax = pytest.importorskip("jax")
    return jax.numpy.asarray, jax.Array


def last_sample(cls, array, noise=None, **config):
    scheduler = cls(**config)
    scheduler.set_timesteps(12)
    x = array(space.wave(0) * np.float32(scheduler.init_noise_sigma))
    more = {"generator": noise} if noise is not None and takes_generator(cls) else {}
    for t in scheduler.timesteps:
        output = space.model(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(output, t, x, **more).prev_sample
    return x


def takes_generator(cls):
    return "generator" in cls.step.__code__.co_varnames


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("cls", ALL)
class TestArrays:
    def test_the_same_run(self, cls, name):
        array, kind = library(name)
        expected = last_sample(cls, np.asarray, 3)
        x = last_sample(cls, array, 3)
        assert isinstance(x, kind)
        assert "float32" in str(x.dtype)
        scale = max(1.0, np.abs(expected).max())
        # Both round in float32, from samples of the first sigma's size.
        np.testing.assert_allclose(np.asarray(x), expected, rtol=0.0, atol=1e-5 * scale)

    def test_noise_of_the_caller_s(self, cls, name):
        array, _ = library(name)
        made = last_sample(cls, array, lambda like: 0.5 * like / abs(like).max())
        expected = last_sample(cls, np.asarray, lambda like: 0.5 * like / abs(like).max())
        np.testing.assert_allclose(np.asarray(made), expected, rtol=0.0, atol=1e-4)

    def test_thresholds(self, cls, name):
        array, _ = library(name)
        if "thresholding" not in cls().config:
            pytest.skip("has none")
        config = {"thresholding": True, "sample_max_value": 1.5}
        expected = last_sample(cls, np.asarray, 3, **config)
        made = last_sample(cls, array, 3, **config)
        np.testing.assert_allclose(np.asarray(made), expected, rtol=0.0, atol=1e-5)

    def test_add_noise_at_a_time_for_each_sample(self, cls, name):
        array, kind = library(name)
        scheduler = cls()
        scheduler.set_timesteps(12)
        times = scheduler.timesteps[[2, 5]]
        x, z = space.wave(0), space.wave(1)
        expected = scheduler.add_noise(x, z, times)
        for given in (times, array(np.array(times))):
            noisy = scheduler.add_noise(array(x), array(z), given)
            assert isinstance(noisy, kind)
            np.testing.assert_allclose(np.asarray(noisy), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cls", ALL)
def test_times_are_what_a_network_takes(cls):
    """Integers where the levels are the training's own, else float32; tensors on a device."""
    scheduler = cls()
    scheduler.set_timesteps(12)
    dtype = np.int64 if cls in VARIANCE_PRESERVING else np.float32
    assert isinstance(scheduler.timesteps, np.ndarray)
    assert scheduler.timesteps.dtype == dtype
    torch = pytest.importorskip("torch")
    scheduler.set_timesteps(12, device="cpu")
    assert isinstance(scheduler.timesteps, torch.Tensor)
    assert scheduler.timesteps.dtype == getattr(torch, np.dtype(dtype).name)


def test_a_tensor_of_one_time_is_a_time():
    array, _ = library("torch")
    scheduler = EulerDiscreteScheduler()
    scheduler.set_timesteps(5, device="cpu")
    x = array(space.wave(0))
    one = scheduler.step(x, scheduler.timesteps[1], x).prev_sample
    other = scheduler.step(x, scheduler.timesteps[1:2], x).prev_sample
    assert bool((one == other).all())
