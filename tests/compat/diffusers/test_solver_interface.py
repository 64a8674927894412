"""What pipelines ask of the solvers besides steps: begin indices, noise for data, given times."""

import numpy as np
import pytest

from golden import solvers
from schedulers.compat import diffusers as ours

X = np.array([[1.0], [2.0]])
NOISE = np.array([[0.5], [-1.0]])
EXPONENTIAL = [
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
    "SASolverScheduler",
]
INDEXED = [name for name in solvers.SPACE if name != "DDIMInverseScheduler"]


@pytest.mark.parametrize("name", INDEXED)
def test_a_run_counts_its_steps(name):
    scheduler = getattr(ours, name)()
    scheduler.set_timesteps(4)
    assert scheduler.step_index is None
    assert scheduler.begin_index is None
    scheduler.set_begin_index(1)
    assert scheduler.begin_index == 1
    with pytest.raises(ValueError, match="begin_index must be below"):
        scheduler.set_begin_index(99)
    t = scheduler.timesteps[0]
    scheduler.step(0.1 * X, t, X)
    assert scheduler.step_index == 1


@pytest.mark.parametrize("name", EXPONENTIAL)
def test_data_is_noised_to_the_level_of_a_time(name):
    scheduler = getattr(ours, name)()
    scheduler.set_timesteps(4)
    t = scheduler.timesteps[1]
    assert scheduler.index_for_timestep(t) == 1
    product = float(scheduler.alphas_cumprod[t])
    expected = np.sqrt(product) * X + np.sqrt(1.0 - product) * NOISE
    np.testing.assert_allclose(scheduler.add_noise(X, NOISE, np.array([t, t])), expected)
    flow = getattr(ours, name)(use_flow_sigmas=True, prediction_type="flow_prediction")
    flow.set_timesteps(4)
    t, s = flow.timesteps[1], float(flow.sigmas[1])
    expected = (1.0 - s) * X + s * NOISE
    np.testing.assert_allclose(flow.add_noise(X, NOISE, np.array([t, t])), expected)


@pytest.mark.parametrize("name", EXPONENTIAL[:2])
def test_given_times_are_those_of_the_run(name):
    scheduler = getattr(ours, name)()
    scheduler.set_timesteps(timesteps=[900, 500, 100])
    np.testing.assert_array_equal(scheduler.timesteps, [900, 500, 100])
    with pytest.raises(ValueError, match="exactly one of"):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="mu must be given only with"):
        scheduler.set_timesteps(4, mu=0.5)
    karras = getattr(ours, name)(use_karras_sigmas=True)
    with pytest.raises(ValueError, match="timesteps must not be given"):
        karras.set_timesteps(timesteps=[900, 500])
    shifted = getattr(ours, name)(
        use_flow_sigmas=True, use_dynamic_shifting=True, prediction_type="flow_prediction"
    )
    shifted.set_timesteps(4, mu=0.5)
    plain = getattr(ours, name)(
        use_flow_sigmas=True, flow_shift=np.exp(0.5), prediction_type="flow_prediction"
    )
    plain.set_timesteps(4)
    np.testing.assert_array_equal(shifted.sigmas, plain.sigmas)


def test_a_learned_variance_is_left_out():
    scheduler = ours.DPMSolverMultistepScheduler(variance_type="learned_range")
    twin = ours.DPMSolverMultistepScheduler()
    for one in (scheduler, twin):
        one.set_timesteps(4)
    x = np.ones((1, 2, 3))
    output = np.concatenate([0.1 * x, 9.0 * x], axis=1)
    t = scheduler.timesteps[0]
    np.testing.assert_array_equal(
        scheduler.step(output, t, x).prev_sample, twin.step(0.1 * x, t, x).prev_sample
    )


def test_sigmas_of_a_flow_for_unipc():
    options = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    scheduler = ours.UniPCMultistepScheduler(**options, flow_shift=3.0, shift_terminal=0.1)
    scheduler.set_timesteps(sigmas=[1.0, 0.6, 0.2])
    assert scheduler.sigmas[2] == pytest.approx(0.1)
    assert scheduler.sigmas[0] == pytest.approx(1.0, abs=2e-6)
    with pytest.raises(ValueError, match="sigmas must be given only with use_flow_sigmas"):
        ours.UniPCMultistepScheduler().set_timesteps(sigmas=[1.0, 0.5])
    karras = ours.UniPCMultistepScheduler(**options, use_karras_sigmas=True)
    karras.set_timesteps(4)
    assert (np.diff(karras.sigmas) < 0.0).all()
    assert karras.sigmas[0] < 1.0


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_times_of_distilled_models(name):
    scheduler = getattr(ours, name)()
    assert scheduler.final_alpha_cumprod == 1.0
    scheduler.set_timesteps(timesteps=[999, 499, 99])
    np.testing.assert_array_equal(scheduler.timesteps, [999, 499, 99])
    scheduler.set_timesteps(timesteps=[999, 499, 99, 49], strength=0.5)
    np.testing.assert_array_equal(scheduler.timesteps, [99, 49])
    scheduler.set_timesteps(4, original_inference_steps=100)
    assert len(scheduler.timesteps) == 4
    with pytest.raises(ValueError, match="exactly one of"):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="num_inference_steps must be at most"):
        scheduler.set_timesteps(60)
    fresh = getattr(ours, name)()
    with pytest.raises(ValueError, match="set_timesteps must be called"):
        fresh.step(X, 999, X)


def test_edm_s_euler_raises_its_level_and_takes_an_estimate():
    scheduler = ours.EDMEulerScheduler()
    scheduler.set_timesteps(4)
    t, s = scheduler.timesteps[0], float(scheduler.sigmas[0])
    np.testing.assert_allclose(scheduler.add_noise(X, NOISE, np.array([t, t])), X + s * NOISE)
    there = scheduler.step(0.0 * X, t, X, pred_original_sample=0.5 * X)
    ratio = float(scheduler.sigmas[1]) / s
    np.testing.assert_allclose(there.prev_sample, ratio * X + (1.0 - ratio) * 0.5 * X)
    churned = scheduler.step(0.0 * X, t, X, s_churn=1.0, generator=lambda like: NOISE)
    hat = s * 1.25
    x = X + np.sqrt(hat**2 - s**2) * NOISE
    d = 0.25 / (hat**2 + 0.25) * x
    ratio = float(scheduler.sigmas[1]) / hat
    np.testing.assert_allclose(churned.prev_sample, ratio * x + (1.0 - ratio) * d)
    scheduler.set_timesteps(sigmas=np.linspace(0.0, 1.0, 4))
    even = scheduler.sigmas.copy()
    scheduler.set_timesteps(4)
    np.testing.assert_allclose(even, scheduler.sigmas, rtol=1e-6)
    with pytest.raises(ValueError, match="exactly one of"):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="sigmas must not be given"):
        ours.EDMEulerScheduler(sigma_schedule="exponential").set_timesteps(sigmas=[0.0, 1.0])


def test_flows_are_noised_shifted_and_given_their_levels():
    scheduler = ours.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(4)
    t, s = scheduler.timesteps[1:2], float(scheduler.sigmas[1])
    np.testing.assert_allclose(scheduler.scale_noise(X, t, NOISE), (1 - s) * X + s * NOISE)
    with pytest.raises(ValueError, match="noise must be an array"):
        scheduler.scale_noise(X, t)
    scheduler.set_shift(1.0)
    assert scheduler.shift == 1.0
    scheduler.set_timesteps(sigmas=[1.0, 0.5], timesteps=[1000.0, 500.0])
    np.testing.assert_array_equal(scheduler.sigmas, [1.0, 0.5, 0.0])
    scheduler.set_timesteps(timesteps=[1000.0, 250.0])
    np.testing.assert_array_equal(scheduler.sigmas, [1.0, 0.25, 0.0])
    with pytest.raises(ValueError, match="must go together"):
        scheduler.set_timesteps(3, sigmas=[1.0, 0.5])
    with pytest.raises(ValueError, match="one of num_inference_steps"):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="per_token_timesteps must be None"):
        scheduler.step(X, 1000.0, X, per_token_timesteps=X)
    with pytest.raises(ValueError, match="no integer"):
        scheduler.step(X, 1000, X)
    with pytest.raises(ValueError, match="at least two steps"):
        ours.FlowMatchEulerDiscreteScheduler(shift_terminal=0.1).set_timesteps(1)
    with pytest.raises(ValueError, match="s_churn must be 0"):
        ours.FlowMatchHeunDiscreteScheduler().step(X, 1000.0, X, s_churn=1.0)


def test_ltx_takes_all_its_sigmas():
    scheduler = ours.LTXEulerAncestralRFScheduler(eta=0.0)
    with pytest.raises(ValueError, match="set_timesteps must be called"):
        scheduler.step(X, 1.0, X)
    scheduler.set_timesteps(sigmas=[1.0, 0.5, 0.0])
    x = scheduler.step(NOISE - X, scheduler.timesteps[0], NOISE).prev_sample
    np.testing.assert_allclose(x, 0.5 * (X + NOISE))
    assert scheduler.step(X, scheduler.timesteps[-1], x).prev_sample is x
    with pytest.raises(ValueError, match="between 0 and 1"):
        scheduler.set_timesteps(sigmas=[2.0, 0.0])
