"""The same, and pipelines, with the diffusers that is installed: `pytest -m live`."""

import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from compat.diffusers import test_solvers as exact
from compat.diffusers.runs import check, run
from compat.diffusers.test_loops import ALL, churned_estimate, error, exact_model
from golden import solvers, space
from schedulers import FlowSchedule
from schedulers.analytic import Gaussian
from schedulers.compat import diffusers as ours

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]


EVERY = [*ALL, *(getattr(ours, name) for name in [*solvers.SPACE, "DPMSolverSDEScheduler"])]
EVERY.append(ours.IPNDMScheduler)


@pytest.fixture(scope="module")
def peer():
    pytest.importorskip("diffusers")
    from golden import peer

    return peer


@st.composite
def cases(draw):
    name = draw(st.sampled_from(sorted(space.SPACE)))
    config = {k: draw(st.sampled_from(values)) for k, values in space.SPACE[name].items()}
    step = {k: draw(st.sampled_from(v)) for k, v in space.STEP_SPACE.get(name, {}).items()}
    steps = draw(st.sampled_from(space.STEPS) | st.integers(1, 120))
    return {"scheduler": name, "config": config, "steps": steps, "step": step}


@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_same_sample_over_the_golden_space(peer, case):
    assume(space.outside(case["scheduler"], case["config"], case["steps"]) is None)
    _, sample = peer.run(case)
    assume(np.isfinite(sample).all())  # see TestWhereDiffusersIsWrong
    scheduler, sample64 = peer.run64(case)
    times = np.asarray(scheduler.timesteps, np.float64)
    check(case, sample, sample64, times, float(scheduler.init_noise_sigma))


@st.composite
def solver_cases(draw):
    name = draw(st.sampled_from(sorted(solvers.SPACE)))
    steps = draw(st.sampled_from(solvers.STEPS))
    return solvers.case(name, lambda values: draw(st.sampled_from(values)), steps)


@settings(max_examples=300, deadline=None)
@given(case=solver_cases())
def test_same_sample_of_the_solvers(peer, case):
    assume(solvers.outside(case) is None)
    try:
        _, sample = peer.run(case)
        scheduler, sample64 = peer.run64(case)
    except (IndexError, RuntimeError, AssertionError, ValueError):
        assume(False)  # as with too many trailing times, or where diffusers refuses
    assume(np.isfinite(sample).all() and np.isfinite(sample64).all())
    times = np.asarray(scheduler.timesteps, np.float64)
    check(case, sample, sample64, times, float(getattr(scheduler, "init_noise_sigma", 1.0)))


@pytest.mark.parametrize("cls", EVERY)
def test_same_arguments_and_defaults(peer, cls):
    import inspect

    import diffusers

    theirs = getattr(diffusers, cls.__name__)
    methods = ("__init__", "set_timesteps", "step", "add_noise", "scale_noise", "scale_model_input")
    for method in methods:
        if not hasattr(theirs, method):
            continue
        here = inspect.signature(getattr(cls, method)).parameters
        there = inspect.signature(getattr(theirs, method)).parameters
        defaults = {k: p.default for k, p in here.items()}
        for name, parameter in there.items():
            if name in ("args", "kwargs"):
                continue
            assert defaults[name] == parameter.default, (method, name)
        added = [k for k in defaults if k not in there]
        assert set(added) <= {"diffusers_steps", "variance_noise", "timestep"}, (method, added)
    assert cls().order == theirs().order


@pytest.mark.parametrize("cls", ALL)
def test_configurations_are_read_by_both(peer, cls, tmp_path):
    import diffusers

    theirs = getattr(diffusers, cls.__name__)
    cls(beta_end=0.015).save_pretrained(tmp_path / "ours")
    theirs(beta_end=0.015).save_pretrained(tmp_path / "theirs")
    there = theirs.from_pretrained(tmp_path / "ours")
    here = cls.from_pretrained(tmp_path / "theirs")
    for name, value in there.config.items():
        if name in theirs().config and not name.startswith("_"):
            assert here.config[name] == value, name
    for other in ALL:
        config = getattr(diffusers, other.__name__)(beta_end=0.015).config
        expected, made = theirs.from_config(config).config, cls.from_config(config).config
        assert {k: v for k, v in expected.items() if not k.startswith("_")} == {
            k: v for k, v in made.items() if not k.startswith("_") and k != "diffusers_steps"
        }


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tensors(peer, cls, dtype):
    import diffusers
    import torch

    torch_dtype = getattr(torch, dtype)
    samples = []
    for module in (diffusers, ours):
        scheduler = getattr(module, cls.__name__)()
        scheduler.set_timesteps(10, device="cpu")
        assert isinstance(scheduler.timesteps, torch.Tensor)
        generator = torch.Generator().manual_seed(0)
        x = torch.from_numpy(space.wave(0)).to(torch_dtype) * scheduler.init_noise_sigma
        x = x.to(torch_dtype)
        for t in scheduler.timesteps:
            output = space.model(scheduler.scale_model_input(x, t), t)
            more = {} if cls.__name__[:4] in ("Heun", "PNDM") else {"generator": generator}
            x = scheduler.step(output.to(torch_dtype), t, x, **more).prev_sample
        assert isinstance(x, torch.Tensor)
        assert x.dtype == torch_dtype or module is diffusers
        samples.append(x.float().numpy())
    tolerance = {"float32": 1e-5, "float16": 0.02, "bfloat16": 0.15}[dtype]
    scale = max(1.0, np.abs(samples[0]).max())
    np.testing.assert_allclose(samples[1], samples[0], rtol=0.0, atol=tolerance * scale)


class TestWhereItsSolversAreWrong:
    """The other side of what test_solvers shows."""

    def sampled(self, scheduler, model, steps, count=4000, **more):
        import torch

        def tensors(x, t):
            return torch.from_numpy(np.asarray(model(x.numpy(), float(t))))

        scheduler.set_timesteps(steps)
        x = torch.from_numpy(np.random.default_rng(0).standard_normal((count, 1)))
        for t in scheduler.timesteps:
            x = scheduler.step(tensors(x, t), t, x, **more).prev_sample
        return x.numpy()

    def test_third_order_has_half_a_second_derivative(self, peer):
        import diffusers
        import torch

        error = exact.third_order_error(80, diffusers, torch.from_numpy)
        assert error > 10.0 * exact.third_order_error(80)

    def test_third_order_of_the_sde_has_a_sign_wrong(self, peer):
        import diffusers

        scheduler = diffusers.DPMSolverSinglestepScheduler(
            solver_order=3, solver_type="heun", algorithm_type="sde-dpmsolver++"
        )
        ours_too = ours.DPMSolverSinglestepScheduler()
        assert self.sampled(scheduler, exact.discrete_model(ours_too), 60).std() > 1.0  # for 0.5

    def test_a_stochastic_flow_takes_one_share_for_the_other(self, peer):
        import diffusers

        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
            invert_sigmas=True, stochastic_sampling=True
        )
        point = Gaussian(mean=2.0, cov=0.0).denoiser(FlowSchedule(), prediction_type="flow")
        x = self.sampled(scheduler, lambda x, t: -point(x, 1.0 - t / 1000.0), 4)
        assert np.abs(x - 2.0).max() > 1.0

    def test_ipndm_s_first_step_forgets_the_data(self, peer):
        import diffusers
        import torch

        scheduler = diffusers.IPNDMScheduler()
        scheduler.set_timesteps(4)
        x, v = torch.ones((1, 1)), torch.full((1, 1), -3.0)  # the data is at 3
        after = scheduler.step(v, scheduler.timesteps[0], x).prev_sample
        alpha, beta = float(scheduler.alphas[1]), float(scheduler.betas[1])
        assert float(after[0, 0]) == pytest.approx(beta)  # and not 3 alpha + beta
        assert alpha > 0.5

    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    def test_dpmpp_sde_on_the_same_path(self, peer, prediction):
        """With the second noise of a step made of the first, the samples are the same."""
        import diffusers
        import torch

        waves, first = space.waves(), []

        def increment(sigma, sigma_next):
            s, end = float(sigma), float(sigma_next)
            up = end * np.sqrt(1.0 - (end / s) ** 2)
            z = next(waves).astype(np.float64)
            if first:
                middle, noise = first.pop()
                shared = (end / middle) ** 2
                z = (shared * noise + end * np.sqrt(1.0 - shared) * z) / up
            else:
                first.append((end, up * z))
            return torch.from_numpy(z)

        draws = space.waves()
        theirs = diffusers.DPMSolverSDEScheduler(prediction_type=prediction)
        here = ours.DPMSolverSDEScheduler(
            prediction_type=prediction, noise_sampler_seed=lambda like: next(draws).astype(float)
        )
        ends = []
        for scheduler, array in ((theirs, torch.from_numpy), (here, np.asarray)):
            scheduler.set_timesteps(6)
            scheduler.noise_sampler = increment
            x = array(space.wave(0).astype(float) * float(scheduler.init_noise_sigma))
            for t in scheduler.timesteps:
                output = space.model(scheduler.scale_model_input(x, t), t)
                x = scheduler.step(output, t, x).prev_sample
            ends.append(np.asarray(x))
        np.testing.assert_allclose(ends[1], ends[0], rtol=0.0, atol=1e-5 * np.abs(ends[0]).max())


class TestWhereDiffusersIsWrong:
    """The other side of the exceptions in test_loops: theirs, and the exact answer."""

    def error(self, cls, steps, **config):
        import diffusers
        import torch

        def make(cls, **config):
            config |= {"clip_sample": False} if cls is ours.DDIMScheduler else {}
            return getattr(diffusers, cls.__name__)(**config)

        return error(cls, steps, make=make, array=torch.from_numpy, **config)

    @pytest.mark.parametrize("spacing", ["linspace", "trailing"])
    def test_ddim_steps_lead_elsewhere(self, peer, spacing):
        assert self.error(ours.DDIMScheduler, 640, timestep_spacing=spacing) > 0.1

    @pytest.mark.parametrize(
        ("steps", "config"),
        [
            (111, {"timestep_spacing": "linspace"}),
            (111, {"timestep_spacing": "trailing"}),
            (100, {"prediction_type": "v_prediction"}),
            (100, {"begin": 40}),
        ],
    )
    def test_pndm_is_off_the_flow(self, peer, steps, config):
        config = {"skip_prk_steps": True, "set_alpha_to_one": True} | config
        theirs = self.error(ours.PNDMScheduler, steps, **config)
        assert theirs > 2 * error(ours.PNDMScheduler, steps, **config)

    def test_ddpm_s_last_step_adds_noise(self, peer):
        import diffusers
        import torch

        scheduler = diffusers.DDPMScheduler(
            variance_type="fixed_large", timestep_spacing="trailing", clip_sample=False
        )
        model = exact_model(scheduler, data=Gaussian(mean=2.0, cov=1e-12))
        scheduler.set_timesteps(10)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(500, 1, generator=generator, dtype=torch.float64)
        for t in scheduler.timesteps:
            output = torch.from_numpy(model(x.numpy(), t))
            x = scheduler.step(output, t, x, generator=generator).prev_sample
        assert x.std() > 0.2

    def test_fixed_large_log_is_nan(self, peer):
        import diffusers
        import torch

        x = torch.ones(1, 1)
        scheduler = diffusers.DDPMScheduler(variance_type="fixed_large_log")
        assert torch.isnan(scheduler.step(x, 500, x).prev_sample).all()

    def test_eta_1_from_alpha_0_may_be_nan(self, peer):
        config = space.base("DDIMScheduler") | {
            "prediction_type": "v_prediction",
            "set_alpha_to_one": False,
            "timestep_spacing": "linspace",
            "rescale_betas_zero_snr": True,
        }
        step = {"eta": 1.0, "use_clipped_model_output": False}
        cases = [
            {"scheduler": "DDIMScheduler", "config": config, "steps": steps, "step": step}
            for steps in range(60, 90)
        ]
        theirs = [peer.run(case)[1] for case in cases]
        assert any(np.isnan(sample).any() for sample in theirs)
        assert all(np.isfinite(run(case)[1]).all() for case in cases)

    def test_trailing_times_may_have_one_of_minus_1(self, peer):
        import diffusers

        scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing")
        scheduler.set_timesteps(61)
        assert len(scheduler.timesteps) == 62
        assert scheduler.timesteps[-1] == -1

    def test_euler_velocity_is_that_of_a_place(self, peer):
        import diffusers
        import torch

        scheduler = diffusers.EulerDiscreteScheduler()
        scheduler.set_timesteps(10)
        x = torch.ones(1, 1)
        t = scheduler.timesteps[2:3]
        expected = ours.DDIMScheduler().get_velocity(np.ones((1, 1)), np.ones((1, 1)), [777])
        assert abs(float(scheduler.get_velocity(x, x, t)) - expected.item()) > 0.1

    def test_churn_s_estimate_is_another(self, peer):
        import diffusers
        import torch

        scheduler = diffusers.EulerDiscreteScheduler()
        assert churned_estimate(scheduler, array=torch.from_numpy) > 0.1


def unet():
    import diffusers
    import torch

    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
    )


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_pipeline_of_an_unconditional_model(peer, name):
    import diffusers
    import torch

    images = []
    for module in (diffusers, ours):
        pipeline = diffusers.DDPMPipeline(unet(), getattr(module, name)())
        pipeline.set_progress_bar_config(disable=True)
        assert isinstance(pipeline.scheduler, getattr(module, name))
        generator = torch.Generator().manual_seed(1)
        images.append(pipeline(num_inference_steps=5, generator=generator, output_type="np").images)
    np.testing.assert_allclose(images[1], images[0], rtol=0.0, atol=1e-5)


def stable_diffusion(pipeline_class, scheduler):
    import diffusers
    import torch

    torch.manual_seed(0)
    network = diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "safety_checker"))
    pipeline = pipeline_class(
        **parts,
        unet=network,
        scheduler=scheduler,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler is scheduler
    return pipeline


def images(cls, pipeline, config, **call):
    """What a pipeline gives with their scheduler and with ours."""
    import diffusers
    import torch

    if cls is ours.PNDMScheduler:
        config = config | {"skip_prk_steps": True}
    results = []
    for module in (diffusers, ours):
        scheduler = getattr(module, cls.__name__)(beta_schedule="scaled_linear", **config)
        embeds = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(2))
        result = stable_diffusion(getattr(diffusers, pipeline), scheduler)(
            prompt_embeds=embeds,
            negative_prompt_embeds=torch.zeros_like(embeds),
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(1),
            output_type="latent",
            **call,
        )
        results.append(result.images.numpy())
    return results


def assert_same_image(images):
    scale = max(1.0, np.abs(images[0]).max())
    np.testing.assert_allclose(images[1], images[0], rtol=0.0, atol=2e-5 * scale)


@pytest.mark.parametrize("cls", ALL)
def test_pipeline_of_stable_diffusion(peer, cls):
    pytest.importorskip("transformers")
    pair = images(cls, "StableDiffusionPipeline", {}, num_inference_steps=5, height=64, width=64)
    assert_same_image(pair)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_pipeline_from_image_to_image(peer, cls, spacing):
    pytest.importorskip("transformers")
    import torch

    image = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    if cls is ours.DDIMScheduler and spacing == "linspace":
        config = {"timestep_spacing": spacing, "num_train_timesteps": 5}  # steps of 1, both of them
    else:
        config = {"timestep_spacing": spacing}
    call = {"num_inference_steps": 5, "strength": 0.6, "image": image}
    pair = images(cls, "StableDiffusionImg2ImgPipeline", config, **call)
    if cls is ours.PNDMScheduler:  # whose start-up here is of times that it has not visited
        assert pair[1].shape == pair[0].shape
        assert np.isfinite(pair[1]).all()
    else:
        assert_same_image(pair)


def test_nothing_imports_a_peer():
    import subprocess

    code = (
        "import sys, schedulers.compat.diffusers; "
        "print([m for m in ('torch', 'jax', 'diffusers', 'scipy') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "[]"
