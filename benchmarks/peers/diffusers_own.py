"""diffusers: the schedulers whose steps, levels or outputs are unlike those of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from peers.base import Peer, Stepped, peer
from peers.diffusers import BETAS, SPACINGS, Diffusers


def own() -> Iterator[Peer]:
    """Every one of them."""
    import diffusers as package

    def given(name: str, run: Stepped, order: float, stochastic: bool, **claims: Any) -> Peer:
        claims = {"grid": run.grid, "any_sigmas": False, "precision": "float32", **claims}
        return peer("diffusers", name, run, order, stochastic=stochastic, **claims)

    def make(name: str, **options: Any) -> Callable[[], Any]:
        return lambda: getattr(package, name)(**options)

    name = "CMStochasticIterativeScheduler"
    scheduler = make(name, num_train_timesteps=100_000, clip_denoised=False)
    yield given(name, Consistency(scheduler), 1, True)
    name = "SCMScheduler"
    yield given(name, TrigFlow(make(name)), 1, True)
    name = "HeliosDMDScheduler"
    one = {"stages": 1, "stage_range": [0, 1]}
    yield given(f"{name}, stages=1", Distilled(package.HeliosDMDScheduler, one), 1, True)
    for solver, order in (("euler", 1), ("unipc", 2)):
        options = {**one, "scheduler_type": solver}
        run = OwnFlow(package.HeliosScheduler, options)
        yield given(f"HeliosScheduler, stages=1, {solver}", run, order, False)
    yield given("MiniMaxH3Scheduler", Dataward(package.MiniMaxH3Scheduler, {}), 1, False)
    yield given("PiflowScheduler", Policy(package.PiflowScheduler, {}), 1, False)
    name = "DDPMWuerstchenScheduler"
    yield given(name, Continuous(make(name)), 1, True)
    for prediction in ("epsilon", "sample"):
        name, options = "UnCLIPScheduler", {"prediction_type": prediction, "clip_sample": False}
        title = f"{name}, prev_timestep given, {prediction}"
        yield given(title, ToTimestep(make(name, **options), prediction), 1, True)
    for spacing in SPACINGS:
        name = "CogVideoXDPMScheduler"
        options = {**BETAS, "clip_sample": False, "snr_shift_scale": 1.0}
        run = LastOutput(make(name, **options, timestep_spacing=spacing), "epsilon")
        yield given(f"{name}, {spacing}", run, 1, True)
    name = "ScoreSdeVeScheduler"
    yield given(f"{name}, step_pred", ScoreVE(make(name), False), 1, True)
    yield given(f"{name}, step_correct and step_pred", ScoreVE(make(name), True), 1, True)
    from diffusers.schedulers.deprecated import ScoreSdeVpScheduler

    yield given("ScoreSdeVpScheduler", ScoreVP(ScoreSdeVpScheduler), 1, True)
    name = "KarrasVeScheduler"
    yield given(f"{name}, s_churn=0", Churned(make(name, s_churn=0.0)), 2, False)
    yield given(name, Churned(make(name)), 2, True, s_noise=1.007)
    name = "RFD4ProteinaScheduler"
    for mode in ("1/t", "tan"):
        options = {"schedule_mode": "power", "noise_mode": mode, "tsr_sigma": 1.0}
        scheduler = make(name, **options, tsr_k=1.0, tail_steps=0)
        yield given(f"{name}, noise={mode}, tsr_k=1", Rescaled(scheduler), 1, True)


class Consistency(Stepped):
    """A consistency model's scheduler, whose output is preconditioned to be x at sigma_min."""

    def levels(self, scheduler: Any) -> list[float]:
        """Karras sigmas at which its steps begin."""
        return scheduler.sigmas[:-1].tolist()

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of the next evaluation."""
        return float(scheduler.sigmas[scheduler.index_for_timestep(t)])

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        return 1.0

    def scale(self, scheduler: Any, sample: Any, t: Any) -> None:
        """Tell it that its input was scaled."""
        scheduler.scale_model_input(sample, t)

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return what a model that says `denoised` would return."""
        skip, out = scheduler.get_scalings_for_boundary_condition(s)
        return (denoised - skip * y) / out


class TrigFlow(Stepped):
    """A scheduler of times t with x = cos(t) x_0 + sin(t) sigma_data eps."""

    low, of_data = 0.0, 0.5

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps."""
        scheduler.set_timesteps(steps + 2, intermediate_timesteps=None)

    def timesteps(self, scheduler: Any) -> Any:
        """Timesteps of the steps; the first is pure noise."""
        if scheduler.step_index is None:
            scheduler.set_begin_index(1)
        return scheduler.timesteps[1:-1]

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of the next evaluation."""
        return self.of_data * float(np.tan(float(t)))

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        return self.of_data / np.hypot(self.of_data, s)

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return what a model that says `denoised` would return."""
        alpha = float(self.alpha(s))
        return (alpha * alpha * y - denoised) * self.of_data / (alpha * s)


class OwnFlow(Diffusers):
    """A scheduler of a flow that knows its steps by their number alone."""

    def __init__(self, make: Any, config: dict[str, Any]) -> None:
        super().__init__(make, config, "flow", False)

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps, with one from pure noise, and one to the data."""
        scheduler.set_timesteps(steps + 2)
        scheduler.asked = 0

    def timesteps(self, scheduler: Any) -> Any:
        """Timesteps of the steps after pure noise."""
        if scheduler.step_index is None:
            scheduler._step_index = 1
        return scheduler.timesteps[1:]


class Dataward(OwnFlow):
    """A model whose velocity leads to the data, and steps whose count has the last level in it."""

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of levels."""
        super().set_timesteps(scheduler, steps + 1)

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return what a model that says `denoised` would return."""
        return -super().output(scheduler, y, denoised, s)


class Policy(OwnFlow):
    """A model that says its velocity on a grid of times at once: here the same at all."""

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return what a model that says `denoised` would return."""
        import torch

        return torch.cat([super().output(scheduler, y, denoised, s)] * scheduler.n_grid, dim=-1)


class Distilled(OwnFlow):
    """Steps that add noise to D anew, for videos."""

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step; the caller gives noise, levels and timesteps."""
        import torch

        video = (len(sample), 1, 1, 1, -1)
        if not sample.numel():
            video = (0, 1, 1, 1, 1)
        made = scheduler.step(
            output.reshape(video),
            t,
            sample.reshape(video),
            cur_sampling_step=scheduler.step_index,
            dmd_noisy_tensor=torch.randn_like(sample).reshape(video),
            dmd_sigmas=scheduler.sigmas[:-1],
            dmd_timesteps=scheduler.timesteps,
            all_timesteps=scheduler.timesteps,
        )
        scheduler._step_index += 1
        return made.prev_sample.reshape(sample.shape)


class Continuous(Stepped):
    """Times from 1 to 0 on the cosine path, one for each sample."""

    low = 0.0

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it its times, which end at the same level for any number."""
        scheduler.set_timesteps(timesteps=[*np.linspace(1.0, 0.25, steps + 1), 0.0])

    def timesteps(self, scheduler: Any) -> Any:
        """Times of the steps."""
        return scheduler.timesteps[:-1]

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of the next evaluation."""
        abar = float(scheduler._alpha_cumprod(t, t.device))
        return float(np.sqrt((1.0 - abar) / abar))

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        return super().step(scheduler, output, t.expand(max(1, len(sample))), sample)


class ToTimestep(Stepped):
    """A scheduler that is told where each step ends."""

    def __init__(self, make: Callable[[], Any], prediction: str) -> None:
        super().__init__(make)
        self.prediction = prediction

    def neighbours(self, scheduler: Any, t: Any) -> tuple[int | None, int | None]:
        """Timesteps before and after this one in the run."""
        run = scheduler.timesteps.tolist()
        at = run.index(int(t))
        return (run[at - 1] if at else None), (run[at + 1] if at + 1 < len(run) else None)

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        _, after = self.neighbours(scheduler, t)
        return scheduler.step(output, int(t), sample, prev_timestep=after).prev_sample


class LastOutput(ToTimestep):
    """A scheduler that is given the last estimate of the data, and its timestep."""

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        before, _ = self.neighbours(scheduler, t)
        last = getattr(scheduler, "last", None)
        before = None if last is None else before
        made, scheduler.last = scheduler.step(output, last, int(t), before, sample)
        return made


class ScoreVE(Stepped):
    """The predictor of Song et al. on the VE path, and their corrector before it."""

    low = 0.0

    def __init__(self, make: Callable[[], Any], correct: bool) -> None:
        super().__init__(make)
        self.correct = correct

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps."""
        scheduler.set_timesteps(steps + 1)
        scheduler.set_sigmas(steps + 1)
        scheduler.asked = 0

    def timesteps(self, scheduler: Any) -> Any:
        """Times of the evaluations."""
        return scheduler.timesteps.repeat_interleave(1 + self.correct)

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of the next evaluation."""
        return float(scheduler.sigmas[(scheduler.timesteps == t).nonzero()[0].item()])

    def begins(self, scheduler: Any) -> bool:
        """Whether a step begins."""
        return not (self.correct and scheduler.asked % 2)

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        return 1.0

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return the score."""
        return (denoised - y) / (s * s)

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step, or correct before it."""
        corrects = self.correct and self.begins(scheduler)
        scheduler.asked += 1
        if corrects:
            return scheduler.step_correct(output, sample).prev_sample
        return scheduler.step_pred(output, t, sample).prev_sample


class ScoreVP(Stepped):
    """The Euler-Maruyama steps of Song et al. on the VP path."""

    low = 0.0

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of the next evaluation."""
        low, high = scheduler.config.beta_min, scheduler.config.beta_max
        time = float(t)
        return float(np.sqrt(np.expm1(0.5 * time * time * (high - low) + time * low)))

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        return scheduler.step_pred(output, sample, t)[0]


class Churned(Stepped):
    """Heun's method of Karras et al., in the three calls that it is cut into."""

    def levels(self, scheduler: Any) -> list[float]:
        """Karras sigmas at which its steps begin."""
        return scheduler.schedule.flip(0).tolist()

    def grid(self, steps: int) -> Any:
        """Return the levels of a number of steps."""
        levels = np.array(self.levels(self.scheduler(steps)))
        self.steps[levels.tobytes()] = steps
        return levels

    def __call__(self, denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        """Run it, on tensors."""
        scheduler = self.scheduler(self.steps[self.levels_given(sigmas).tobytes()])

        def estimate(y: Any, s: float) -> Any:
            return (denoiser(y, s) - y) / s

        for i in range(len(sigmas) - 1, 0, -1):
            s, then = float(scheduler.schedule[i]), float(scheduler.schedule[i - 1])
            noisy, up = scheduler.add_noise_to_input(x, s)
            made = scheduler.step(estimate(noisy, up), up, then, noisy)
            ahead = estimate(made.prev_sample, then)
            x = scheduler.step_correct(
                ahead, up, then, noisy, made.prev_sample, made.derivative
            ).prev_sample
        return x


class Rescaled(Stepped):
    """A flow whose times rise to the data, for tokens, with noise in the middle of the run."""

    low = 0.4

    def grid(self, steps: int) -> Any:
        """Return the Karras sigmas of its steps: any number, as none is rounded."""
        levels = np.array(self.levels(self.scheduler(steps)))
        levels = levels[levels >= self.low]
        self.steps[levels.tobytes()] = steps
        return levels

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps."""
        scheduler.set_timesteps(steps + 1)

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma of the next evaluation."""
        return (1.0 - float(t)) / float(t)

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        return 1.0 / (1.0 + s)

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return the velocity towards the data."""
        return denoised - (y - denoised) / s

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        import torch

        tokens = (len(sample), 1, int(np.prod(sample.shape[1:])))
        mask = torch.ones(tokens[:2], dtype=torch.bool)
        made = scheduler.step(output.reshape(tokens), t, sample.reshape(tokens), mask)
        return made.prev_sample.reshape(sample.shape)
