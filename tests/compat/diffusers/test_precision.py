"""Kinds of numbers: integers are refused, half precision is computed in float32."""

import numpy as np
import pytest

from schedulers.compat import diffusers as ours

Z = np.random.default_rng(0).standard_normal((2, 3, 4))
IMAGES = np.full((2, 3, 4), 100, np.uint8)
NAMES = [
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "EDMEulerScheduler",
    "LCMScheduler",
]
VELOCITY = ["DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler", "TCDScheduler"]
FLOWS = ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"]


def noising(name):
    """Calls that noise data, at a time of the run."""
    scheduler = getattr(ours, name)()
    scheduler.set_timesteps(5)
    times = scheduler.timesteps[1:2]
    if name in FLOWS:
        return [lambda x, z: scheduler.scale_noise(x, times, z)]
    calls = [lambda x, z: scheduler.add_noise(x, z, times)]
    if name in VELOCITY:
        calls.append(lambda x, z: scheduler.get_velocity(x, z, times))
    return calls


@pytest.mark.parametrize("name", sorted({*NAMES, *VELOCITY, *FLOWS}))
class TestDataWithNoise:
    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool, complex])
    def test_integers_are_refused(self, name, dtype):
        for call in noising(name):
            with pytest.raises(TypeError, match=r"sample.* must have a floating dtype.*, got"):
                call(IMAGES.astype(dtype), Z)
            with pytest.raises(TypeError, match="noise must have a floating dtype"):
                call(Z, IMAGES.astype(dtype))
        torch = pytest.importorskip("torch")
        for call in noising(name):
            with pytest.raises(TypeError, match="floating dtype.*scale images to floats first"):
                call(torch.from_numpy(IMAGES), torch.from_numpy(Z))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_it_has_the_dtype_of_the_data(self, name, dtype):
        for call in noising(name):
            for noise in (Z, Z.astype(np.float32), Z.astype(np.float16)):
                data = (0.01 * Z).astype(dtype)
                made = call(data, noise)
                assert made.dtype == dtype
                exact = call(data.astype(np.float64), noise.astype(np.float64))
                # Half precision is rounded once, at the end.
                size = 0.6 * np.finfo(dtype).eps if dtype == np.float16 else 1e-6
                np.testing.assert_allclose(made, exact, rtol=size, atol=1e-7)


def test_what_half_precision_cannot_hold():
    """Of a cosine's first sigma, 2e4, four spreads are beyond its 65504."""
    scheduler = ours.EulerDiscreteScheduler(beta_schedule="squaredcos_cap_v2")
    scheduler.set_timesteps(10)
    t = scheduler.timesteps[:1]
    noise = np.full((1, 4), 5.0, np.float16)
    with pytest.raises(ValueError, match=r"original_samples with noise must fit into float16"):
        scheduler.add_noise(noise, noise, t)
    assert np.isfinite(scheduler.add_noise(noise.astype(np.float32), noise, t)).all()
    with pytest.raises(
        ValueError, match=r"must (fit into|be finite in the dtype of the run,) float16"
    ):
        scheduler.step(np.full((1, 4), 6e4, np.float16), t[0], np.full((1, 4), 6e4, np.float16))
    torch = pytest.importorskip("torch")
    half = torch.from_numpy(noise)
    with pytest.raises(ValueError, match=r"must fit into torch.float16"):
        scheduler.add_noise(half, half, t)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("EulerDiscreteScheduler", {}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("LMSDiscreteScheduler", {}),
        ("KDPM2DiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("EDMEulerScheduler", {"sigma_max": 1e5}),
    ],
)
@pytest.mark.parametrize("of_sample", [np.float32, np.float64])
def test_a_half_precision_network_is_stepped_as_its_float32_copy(name, config, of_sample):
    kinds = {"prediction_type": "v_prediction", **config}
    if "EDM" not in name:
        kinds["beta_schedule"] = "squaredcos_cap_v2"
    ends = []
    v = Z.astype(np.float16)
    for dtype in (np.float16, of_sample):
        scheduler = getattr(ours, name)(**kinds)
        scheduler.set_timesteps(5)
        x = Z.astype(of_sample) * getattr(scheduler, "init_noise_sigma", 1.0)
        more = {"generator": 0} if "Ancestral" in name else {}
        for t in scheduler.timesteps[:3]:
            x = scheduler.step(v.astype(dtype), t, x, **more).prev_sample
        ends.append(x)
    np.testing.assert_array_equal(*ends)
    assert ends[0].dtype == of_sample


def test_a_half_precision_sample_is_scaled_in_float32():
    scheduler = ours.EulerDiscreteScheduler(beta_schedule="squaredcos_cap_v2")
    scheduler.set_timesteps(10)
    x = np.full((1, 4), 6e4, np.float16)
    t = scheduler.timesteps[0]
    exact = scheduler.scale_model_input(x.astype(np.float64), t)
    made = scheduler.scale_model_input(x, t)
    assert made.dtype == np.float16
    np.testing.assert_allclose(made, exact, rtol=5e-4)  # 1 / sigma alone is off by more


@pytest.mark.parametrize(
    "name", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler"]
)
def test_whole_times_are_times_wherever_they_go(name):
    scheduler = getattr(ours, name)(timestep_spacing="trailing")
    scheduler.set_timesteps(4)
    for t in (749, np.int64(749), np.array(749), np.array([749])):
        assert scheduler.index_for_timestep(t) == 1
        made = scheduler.scale_model_input(Z, t)
        np.testing.assert_array_equal(made, scheduler.scale_model_input(Z, 749.0))
        many = np.full(2, int(np.ravel(t)[0]))
        np.testing.assert_array_equal(
            scheduler.add_noise(Z, Z, many), scheduler.add_noise(Z, Z, many.astype(float))
        )
    for wrong in (750, 1, True):
        with pytest.raises((TypeError, ValueError), match="timestep must be"):
            scheduler.scale_model_input(Z, wrong)


def test_whole_times_of_a_flow_noise_data_but_are_no_steps():
    scheduler = ours.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1.0, 0.5])
    whole, same = (scheduler.scale_noise(Z, t, Z[::-1]) for t in (np.array([500]), 500.0))
    np.testing.assert_array_equal(whole, same)
    with pytest.raises(ValueError, match="no integer, such as an index"):
        scheduler.step(Z, 500, Z)


def test_the_first_scale_is_a_tensor_where_times_are():
    torch = pytest.importorskip("torch")
    for name in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"):
        scheduler = getattr(ours, name)(timestep_spacing="leading")
        scheduler.set_timesteps(4)
        number = scheduler.init_noise_sigma
        assert isinstance(number, float)
        scheduler.set_timesteps(4, device="cpu")
        made = scheduler.init_noise_sigma
        assert isinstance(made, torch.Tensor)
        assert made.to("cpu").item() == pytest.approx(number)
        for dtype in (torch.float16, torch.float32, torch.float64):
            assert (torch.ones(2, 3, dtype=dtype) * made).dtype == dtype
