"""What `generator` may be: NumPy's, old and new, one for a batch or one for each image."""

import numpy as np
import pytest

from schedulers.compat.diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    LCMScheduler,
    SASolverScheduler,
    TCDScheduler,
)

X = np.random.default_rng(7).standard_normal((3, 4, 2)).astype(np.float32)
DRAWING = [
    (DDPMScheduler, {}, {}),
    (DDIMScheduler, {}, {"eta": 1.0}),
    (EulerDiscreteScheduler, {}, {"s_churn": 1.0}),
    (EulerAncestralDiscreteScheduler, {}, {}),
    (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}, {}),
    (SASolverScheduler, {}, {}),
    (KDPM2AncestralDiscreteScheduler, {}, {}),
    (LCMScheduler, {}, {}),
    (TCDScheduler, {}, {}),
    (FlowMatchEulerDiscreteScheduler, {"stochastic_sampling": True}, {}),
]


def stepped(case, generator, x=X):
    cls, config, more = case
    scheduler = cls(**config)
    scheduler.set_timesteps(5)
    for t in scheduler.timesteps[:2]:
        x = scheduler.step(0.1 * x, t, x, generator=generator, **more).prev_sample
    return x


@pytest.mark.parametrize("case", DRAWING, ids=lambda case: case[0].__name__)
class TestNumPy:
    @pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
    def test_a_list_gives_each_image_its_own(self, case, kind):
        made = stepped(case, [kind(seed) for seed in range(3)])
        for seed in range(3):
            alone = stepped(case, [kind(seed)], X[seed : seed + 1])
            np.testing.assert_array_equal(made[seed : seed + 1], alone)
        assert made.dtype == np.float32

    def test_the_old_generator_and_the_module_draw_the_same(self, case):
        made = stepped(case, np.random.RandomState(3))
        np.random.seed(3)  # noqa: NPY002
        np.testing.assert_array_equal(stepped(case, np.random), made)
        # The numbers that the caller would have drawn: two batches, each as ONNX pipelines do.
        twin = np.random.RandomState(3)
        noise = [twin.standard_normal(X.shape).astype(X.dtype) for _ in range(2)]
        np.testing.assert_array_equal(stepped(case, lambda like: noise.pop(0)), made)

    def test_as_many_as_there_are_images(self, case):
        for wrong in ([np.random.default_rng(0)] * 2, [np.random.RandomState(0)] * 4):
            with pytest.raises(ValueError, match="generator must be one, or one for each sample"):
                stepped(case, wrong)

    def test_what_is_none_of_them_is_an_error_that_names_them(self, case):
        for wrong in ("seed", [np.random.default_rng(0), "x", 1], []):
            with pytest.raises((TypeError, ValueError), match="generator must be"):
                stepped(case, wrong)


def test_for_tensors_and_for_jax_s_arrays():
    made = stepped(DRAWING[0], [np.random.RandomState(seed) for seed in range(3)])
    torch = pytest.importorskip("torch")
    generators = [np.random.RandomState(seed) for seed in range(3)]
    there = stepped(DRAWING[0], generators, torch.from_numpy(X))
    assert isinstance(there, torch.Tensor)
    np.testing.assert_allclose(there.numpy(), made, rtol=1e-5, atol=1e-5)
