"""One scheduler for several runs: each has its own result, or a clear error."""

import pickle
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from compat.diffusers.test_loops import ALL, made
from schedulers.compat.diffusers import (
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)

MULTISTAGE = [HeunDiscreteScheduler, PNDMScheduler]


def model(x, t):
    return 0.8 * x - 0.1 * np.tanh(x)


def steps_of(scheduler, x, timesteps, seed, copies=False):
    """A run, step by step, as a generator of samples."""
    for i, t in enumerate(timesteps):
        output = model(scheduler.scale_model_input(x, t), t)
        more = {}
        if "generator" in scheduler.step.__code__.co_varnames:
            more["generator"] = np.random.default_rng([seed, i])
        x = scheduler.step(output, t, x, **more).prev_sample
        if copies:
            x = x.copy()
        yield x


def steps_without_scale(scheduler, x):
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t), t, x).prev_sample
        yield x


def alone(cls, x, seed):
    scheduler = made(cls)
    scheduler.set_timesteps(7)
    *_, last = steps_of(scheduler, x, scheduler.timesteps, seed)
    return last


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("shapes", [((2, 3), (5, 4)), ((2, 3), (2, 3))])
@pytest.mark.parametrize("cls", ALL)
def test_interleaved_batches(cls, shapes, copies):
    rng = np.random.default_rng(0)
    starts = [rng.standard_normal(shape) for shape in shapes]
    scheduler = made(cls)
    scheduler.set_timesteps(7)
    runs = [
        steps_of(scheduler, x, scheduler.timesteps, seed, copies) for seed, x in enumerate(starts)
    ]
    ends = [None, None]
    turns = [0, 1, 1, 0, 0, 1] * 20
    for turn in turns:
        ends[turn] = next(runs[turn], ends[turn])
    for seed, (x, end) in enumerate(zip(starts, ends, strict=True)):
        assert next(runs[seed], None) is None
        np.testing.assert_array_equal(end, alone(cls, x, seed))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("cls", ALL)
def test_after_an_aborted_run(cls, again):
    scheduler = made(cls)
    scheduler.set_timesteps(7)
    x = np.random.default_rng(0).standard_normal((2, 3))
    for taken in range(1, 8):
        aborted = steps_of(scheduler, x + 1.0, scheduler.timesteps, seed=9)
        for _ in range(taken):
            next(aborted)
        if again:
            scheduler.set_timesteps(7)
        *_, last = steps_of(scheduler, x, scheduler.timesteps, seed=0)
        np.testing.assert_array_equal(last, alone(cls, x, 0))


@pytest.mark.parametrize("cls", ALL)
def test_set_timesteps_for_another_batch_in_mid_run(cls):
    scheduler = made(cls)
    scheduler.set_timesteps(7)
    x = np.random.default_rng(0).standard_normal((2, 3))
    first = steps_of(scheduler, x, scheduler.timesteps, seed=0)
    for _ in range(4):
        next(first)
    scheduler.set_timesteps(8)  # but for its ends no time of 7 steps
    list(steps_of(scheduler, x + 1.0, scheduler.timesteps, seed=0))
    if cls is PNDMScheduler:  # which knows the run by its sample, and needs no scale
        *_, last = first
        np.testing.assert_array_equal(last, alone(cls, x, 0))
    else:
        with pytest.raises(ValueError, match="timestep must be one of"):
            next(first)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("cls", ALL)
def test_grids_that_share_timesteps_are_never_mixed(cls, spacing):
    counts = (5, 10) if spacing != "linspace" else (4, 10)  # 999 / 3 and 999 / 9 times k
    x = np.random.default_rng(0).standard_normal((2, 3))
    config = {"skip_prk_steps": True} if cls is PNDMScheduler else {}
    scheduler = made(cls, timestep_spacing=spacing, **config)
    scheduler.set_timesteps(counts[0])
    times = scheduler.timesteps
    first = steps_of(scheduler, x, times, seed=0)
    next(first), next(first)
    scheduler.set_timesteps(counts[1])
    list(steps_of(scheduler, x + 1.0, scheduler.timesteps, seed=0))
    if cls in MULTISTAGE:  # which know the run, and its own grid, by its sample
        *_, last = first
        twin = made(cls, timestep_spacing=spacing, **config)
        twin.set_timesteps(counts[0])
        *_, expected = steps_of(twin, x, times, seed=0)
        np.testing.assert_array_equal(last, expected)
    else:
        assert set(times) & set(scheduler.timesteps) - {times[0], times[-1]}
        with pytest.raises(ValueError, match="sample must go on by the [45] timesteps"):
            list(first)


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls not in MULTISTAGE])
class TestGridChangedInMidRun:
    def stepped(self, cls):
        scheduler = made(cls, timestep_spacing="leading")
        scheduler.set_timesteps(5)
        (x,) = steps_of(scheduler, np.ones((2, 3)), scheduler.timesteps[:1], seed=0)
        return scheduler, x, scheduler.timesteps[1]

    def test_the_same_grid_again_is_no_other(self, cls):
        scheduler, x, t = self.stepped(cls)
        scheduler.set_timesteps(5)
        scheduler.step(x, t, x)

    def test_a_copy_goes_on_by_the_new_grid(self, cls):
        scheduler, x, t = self.stepped(cls)
        scheduler.set_timesteps(10)
        twin = made(cls, timestep_spacing="leading")
        twin.set_timesteps(10)
        more = {} if cls is EulerDiscreteScheduler else {"generator": 0}
        ends = [one.step(x, t, x.copy(), **more).prev_sample for one in (scheduler, twin)]
        np.testing.assert_array_equal(*ends)

    def test_a_finished_sample_begins_another_run(self, cls):
        scheduler, x, _ = self.stepped(cls)
        *_, x = steps_of(scheduler, x, scheduler.timesteps[1:], seed=0)
        scheduler.set_timesteps(10)
        scheduler.step(x, scheduler.timesteps[0], x)

    def test_a_copy_of_the_scheduler_knows_no_sample(self, cls):
        scheduler, x, t = self.stepped(cls)
        twin = pickle.loads(pickle.dumps(scheduler))
        twin.set_timesteps(10)
        twin.step(x, t, x)

    def test_samples_are_not_kept_alive(self, cls):
        scheduler, x, _ = self.stepped(cls)
        gone = weakref.ref(x)
        del x
        assert gone() is None
        assert not scheduler._grids._of


@pytest.mark.parametrize("cls", MULTISTAGE)
class TestWhichRunASampleBelongsTo:
    def begun(self, cls, steps=3):
        scheduler = cls()
        scheduler.set_timesteps(7)
        *_, x = steps_of(scheduler, np.ones((2, 3)), scheduler.timesteps[:steps], seed=0)
        return scheduler, x, scheduler.timesteps[steps]

    def test_an_unknown_sample_goes_on_with_the_latest_run(self, cls):
        """As where a loop blends each sample with another: the same as a change in place."""
        for steps in (1, 3, 4):
            scheduler, x, t = self.begun(cls, steps)
            twin, y, _ = self.begun(cls, steps)
            blended = 0.5 * x + 1.0
            y[...] = blended
            np.testing.assert_array_equal(
                scheduler.step(blended, t, blended).prev_sample, twin.step(y, t, y).prev_sample
            )

    def test_after_set_timesteps_it_begins_a_run(self, cls):
        scheduler, x, t = self.begun(cls, steps=3)
        scheduler.set_timesteps(7)
        fresh = cls()
        fresh.set_timesteps(7)
        np.testing.assert_array_equal(
            scheduler.step(x, t, x + 1.0).prev_sample, fresh.step(x, t, x + 1.0).prev_sample
        )

    def test_many_tiles_in_turn(self, cls):
        scheduler = cls()
        scheduler.set_timesteps(4)
        tiles = [np.full((2, 3), 0.1 * k) for k in range(40)]
        for t in scheduler.timesteps:
            tiles = [scheduler.step(model(x, t), t, x.copy()).prev_sample for x in tiles]
        for k in (0, 17, 39):
            alone = cls()
            alone.set_timesteps(4)
            *_, last = steps_without_scale(alone, np.full((2, 3), 0.1 * k))
            np.testing.assert_array_equal(tiles[k], last)

    @pytest.mark.slow
    def test_threads_have_their_own_runs(self, cls):
        scheduler = cls()
        scheduler.set_timesteps(4)

        def blended(scheduler, seed):
            x = np.random.default_rng(seed).standard_normal((2, 3))
            for t in scheduler.timesteps:
                x = 0.5 * scheduler.step(model(x, t), t, x).prev_sample
            return x

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                ends = list(pool.map(lambda seed: blended(scheduler, seed), range(200)))
        finally:
            sys.setswitchinterval(interval)
        for seed, end in enumerate(ends):
            alone = cls()
            alone.set_timesteps(4)
            np.testing.assert_array_equal(end, blended(alone, seed))

    def test_a_sample_at_another_time(self, cls):
        scheduler, x, _ = self.begun(cls)
        with pytest.raises(ValueError, match=r"timestep must be .*, which comes next"):
            scheduler.step(x, scheduler.timesteps[-1], x)

    def test_a_sample_changed_in_place_is_the_run_s(self, cls):
        scheduler, x, t = self.begun(cls)
        x[0] = 5.0
        assert scheduler.step(x, t, x).prev_sample.shape == (2, 3)

    def test_another_shape_begins_its_own_run(self, cls):
        scheduler, _, t = self.begun(cls, steps=3)
        if cls is HeunDiscreteScheduler:
            t = scheduler.timesteps[3]
        y = np.ones((4,))
        fresh = cls()
        fresh.set_timesteps(7)
        expected = fresh.step(0.5 * y, t, y).prev_sample
        np.testing.assert_array_equal(scheduler.step(0.5 * y, t, y).prev_sample, expected)
