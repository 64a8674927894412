"""Runs that begin anywhere in `timesteps`, also on a time that is there twice or within a step."""

import numpy as np
import pytest

from compat.diffusers.test_loops import exact_model
from schedulers.analytic import Gaussian
from schedulers.compat import diffusers as ours

SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
DATA = Gaussian(mean=0.5, cov=0.25)
CASES = [
    ("PNDMScheduler", {"skip_prk_steps": True, **SD}),
    ("PNDMScheduler", {"skip_prk_steps": False, **SD}),
    ("PNDMScheduler", {"skip_prk_steps": True, "timestep_spacing": "trailing"}),
    ("HeunDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", {"use_karras_sigmas": True}),
    ("KDPM2DiscreteScheduler", {}),
    ("KDPM2AncestralDiscreteScheduler", {}),
    ("DPMSolverSDEScheduler", {"noise_sampler_seed": 0}),
    ("LMSDiscreteScheduler", {"use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    ("DPMSolverSinglestepScheduler", {}),
    ("UniPCMultistepScheduler", {"use_karras_sigmas": True}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config"), CASES)
@pytest.mark.parametrize("steps", [10, 41])
def test_every_slice_runs_and_ends_at_the_data(name, config, steps):
    scheduler = getattr(ours, name)(**config)
    scheduler.set_timesteps(steps)
    model = exact_model(scheduler, data=DATA)
    rng = np.random.default_rng(0)
    # Two evaluations a step and fresh noise: ten evaluations end wider than the data.
    ancestral = name == "KDPM2AncestralDiscreteScheduler"
    drawn, wide = ({"generator": rng}, 0.3) if ancestral else ({}, 0.2)
    x_0, noise = 0.5 + 0.5 * rng.standard_normal((2000, 1)), rng.standard_normal((2000, 1))
    count = len(scheduler.timesteps)
    for begin in range(count) if steps == 10 else (1, 2, 3, 7, count // 2, count - 2, count - 1):
        scheduler.set_timesteps(steps)
        times = scheduler.timesteps[begin:]
        x = scheduler.add_noise(x_0, noise, np.repeat(times[:1], len(x_0)))
        for t in times:
            output = model(scheduler.scale_model_input(x, t), t)
            x = scheduler.step(output, t, x, **drawn).prev_sample
        assert x.mean() == pytest.approx(0.5, abs=0.1), begin
        assert x.std() == pytest.approx(0.5, abs=wide), begin


@pytest.mark.parametrize(("name", "config"), CASES[:4])
def test_a_repeated_first_time_leaves_the_run_as_it_is(name, config):
    """[t1, t1, t2, ...] is [t1, t2, ...] with one evaluation more."""
    scheduler = getattr(ours, name)(**config)
    scheduler.set_timesteps(10)
    repeats = np.flatnonzero(scheduler.timesteps[1:] == scheduler.timesteps[:-1])
    for repeat in repeats:
        ends = [ended(scheduler, begin) for begin in (repeat, repeat + 1)]
        np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_many_tiles_in_turn_from_the_middle(name, config):
    """Nobody's samples begin runs of their own, even where another run is at the same time."""
    more = {"generator": 0} if name == "KDPM2AncestralDiscreteScheduler" else {}
    scheduler = getattr(ours, name)(**config)
    scheduler.set_timesteps(10)
    times = scheduler.timesteps[2:]
    alone = []
    starts = [np.full((1, 2), 0.1 * k + 0.1) for k in range(5)]
    for x in starts:
        for t in times:
            x = scheduler.step(0.3 * x + 0.1, t, x, **more).prev_sample
        alone.append(x)
    tiles = starts
    for t in times:
        tiles = [scheduler.step(0.3 * x + 0.1, t, x, **more).prev_sample.copy() for x in tiles]
    np.testing.assert_array_equal(tiles, alone)


def ended(scheduler, begin):
    scheduler.set_timesteps(10)
    x = np.array([[1.0], [-2.0]])
    for t in scheduler.timesteps[begin:]:
        x = scheduler.step(0.3 * x + 0.1, t, x).prev_sample
    return x


def test_where_it_begins_may_be_said():
    """Of times that are rounded to the same, `set_begin_index` says which."""
    scheduler = ours.DPMSolverMultistepScheduler(use_karras_sigmas=True)
    scheduler.set_timesteps(200)
    (places,) = np.nonzero(np.diff(scheduler.timesteps) == 0)
    place = int(places[0])
    assert scheduler.index_for_timestep(scheduler.timesteps[place]) == place + 1
    x, t = np.ones((1, 2)), scheduler.timesteps[place]
    ends = []
    for begin in (place, place + 1):
        scheduler.set_timesteps(200)
        scheduler.set_begin_index(begin)
        ends.append(scheduler.step(0.1 * x, t, x).prev_sample)
    assert (ends[0] != ends[1]).any()


def test_a_time_that_is_in_none_of_the_steps():
    for name, config in CASES:
        scheduler = getattr(ours, name)(**config)
        scheduler.set_timesteps(10)
        with pytest.raises(ValueError, match="timestep must be"):
            scheduler.step(np.ones((1, 2)), 500.5 if "SD" not in config else 3, np.ones((1, 2)))
