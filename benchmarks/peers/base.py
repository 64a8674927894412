"""What the adapters share: a peer, its grids, and schedulers that are stepped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from schedulers import karras_sigmas
from schedulers.testing import SamplerCase, from_torch


@dataclass(frozen=True)
class Peer:
    """A sampler of another package, and what its documentation claims of it."""

    package: str
    name: str
    case: SamplerCase


def peer(package: str, name: str, sampler: Callable, order: float, **claims: Any) -> Peer:
    """Make a peer of a sampler of PyTorch's tensors."""
    case = SamplerCase(from_torch(sampler), order=order, name=name, **claims)
    return Peer(package, name, case)


def never_clean(steps: int) -> Any:
    """Karras's grid to a last sigma above 0, for samplers that cannot reach 0."""
    return karras_sigmas(steps + 1, 0.3, 80.0)[:-1]


class Stepped:
    """A scheduler that is stepped along timesteps of its own, at levels of a discrete VP path.

    A run goes over the steps that end above 0, and, where these are evenly spaced timesteps, above
    0.4: below, such levels are so far apart that no number of steps shows an order.
    """

    low = 0.4
    prediction = "epsilon"

    def __init__(self, make: Callable[[], Any], **step_options: Any) -> None:
        self.make, self.step_options = make, step_options
        self.steps: dict[bytes, int] = {}
        self.fresh: dict[int, Any] = {}

    def scheduler(self, steps: int) -> Any:
        """Return a scheduler that has been told the number of steps, and made no step."""
        if steps not in self.fresh:
            self.fresh[steps] = self.make()
            self.set_timesteps(self.fresh[steps], steps)
        return copy.deepcopy(self.fresh[steps])

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Tell it the number of steps."""
        scheduler.set_timesteps(steps + 1)

    def grid(self, steps: int) -> Any:
        """Return the Karras sigmas of its steps, each once."""
        if self.low and steps > 400:
            raise ValueError(f"{steps} steps of 1000 timesteps: their rounding is all there is")
        scheduler = self.scheduler(steps)
        levels = np.array(list(dict.fromkeys(self.levels(scheduler))))
        levels = levels[np.isfinite(levels)]  # a flow's first is pure noise
        levels = levels[: max(2, np.count_nonzero(levels >= self.low))]
        self.steps[levels.tobytes()] = steps
        return levels

    def levels(self, scheduler: Any) -> list[float]:
        """Karras sigmas at which its steps begin."""
        return [self.at(scheduler, t) for t in self.timesteps(scheduler)]

    def timesteps(self, scheduler: Any) -> Any:
        """Timesteps of the steps, in order."""
        return scheduler.timesteps

    def at(self, scheduler: Any, t: Any) -> float:
        """Karras sigma at which the model is asked."""
        abar = float(scheduler.alphas_cumprod[int(t)])
        return float(np.sqrt((1.0 - abar) / abar))

    def begins(self, scheduler: Any) -> bool:
        """Whether a step begins, rather than goes on with a second evaluation."""
        return True

    def alpha(self, s: Any) -> Any:
        """Scale of the sample."""
        return 1.0 / np.sqrt(1.0 + s * s)

    def output(self, scheduler: Any, y: Any, denoised: Any, s: float) -> Any:
        """Return what a model that says `denoised` at y = x_0 + s eps would return."""
        alpha = float(self.alpha(s))
        noise = (y - denoised) / s
        return {
            "epsilon": noise,
            "sample": denoised,
            "v_prediction": alpha * noise - s * alpha * denoised,
        }[self.prediction]

    def step(self, scheduler: Any, output: Any, t: Any, sample: Any) -> Any:
        """Make one step."""
        made = scheduler.step(output, t, sample, **self.step_options)
        if isinstance(made, dict):
            return made["prev_sample"]
        return made[0] if isinstance(made, tuple) else made.prev_sample

    def __call__(self, denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        """Run it, on tensors."""
        import torch

        levels = self.levels_given(sigmas)
        scheduler = self.scheduler(self.steps[levels.tobytes()])
        sample, last = x * float(self.alpha(levels[0])), float(levels[-1])
        for t in self.timesteps(scheduler):
            s = self.at(scheduler, t)
            if s <= last * (1.0 + 1e-6) and self.begins(scheduler):
                break
            self.scale(scheduler, sample, t)
            y = (sample / float(self.alpha(s))).to(x.dtype)
            output = self.output(scheduler, y, denoiser(y, s), s)
            sample = self.step(scheduler, output.to(sample.dtype), t, sample)
        return torch.as_tensor(sample / float(self.alpha(last))).to(x.dtype)

    def levels_given(self, sigmas: Any) -> Any:
        """The grid, of those that were made, which the (perhaps rounded) sigmas are."""
        given = sigmas.numpy().astype(np.float64)
        return min(
            (np.frombuffer(key) for key in self.steps if len(key) == given.nbytes),
            key=lambda known: float(np.abs(known - given).max()),
        )

    def scale(self, scheduler: Any, sample: Any, t: Any) -> None:
        """Tell it that its input was scaled, where it wants to know."""
