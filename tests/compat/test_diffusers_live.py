"""The same, and pipelines, with the diffusers that is installed: `pytest -m live`."""

import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from compat.diffusers_runs import check
from compat.test_diffusers_loops import ALL
from golden import space
from schedulers.compat import diffusers as ours

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]


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
    assume(np.isfinite(sample).all())  # see test_where_diffusers_gives_nan
    scheduler, sample64 = peer.run64(case)
    times = np.asarray(scheduler.timesteps, np.float64)
    check(case, sample, sample64, times, float(scheduler.init_noise_sigma))


@pytest.mark.parametrize("cls", ALL)
def test_same_arguments_and_defaults(peer, cls):
    import inspect

    import diffusers

    theirs = getattr(diffusers, cls.__name__)
    for method in ("__init__", "set_timesteps", "step", "add_noise", "scale_model_input"):
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


@pytest.mark.parametrize("cls", ALL)
def test_pipeline_of_stable_diffusion(peer, cls):
    pytest.importorskip("transformers")
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
    embeds = torch.randn(1, 4, 8)
    images = []
    for module in (diffusers, ours):
        config = {"skip_prk_steps": True} if cls.__name__ == "PNDMScheduler" else {}
        scheduler = getattr(module, cls.__name__)(beta_schedule="scaled_linear", **config)
        pipeline = diffusers.StableDiffusionPipeline(
            vae=None,
            text_encoder=None,
            tokenizer=None,
            unet=network,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        assert pipeline.scheduler is scheduler
        result = pipeline(
            prompt_embeds=embeds,
            negative_prompt_embeds=torch.zeros_like(embeds),
            num_inference_steps=5,
            guidance_scale=3.0,
            height=64,
            width=64,
            generator=torch.Generator().manual_seed(1),
            output_type="latent",
        )
        images.append(result.images.numpy())
    scale = max(1.0, np.abs(images[0]).max())
    np.testing.assert_allclose(images[1], images[0], rtol=0.0, atol=2e-5 * scale)


def test_nothing_imports_a_peer():
    import subprocess

    code = (
        "import sys, schedulers.compat.diffusers; "
        "print([m for m in ('torch', 'jax', 'diffusers', 'scipy') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "[]"
