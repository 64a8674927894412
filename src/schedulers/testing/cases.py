"""A case: a sampler, and what is claimed of it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.grids import karras_sigmas
from schedulers.testing.failures import CheckFailed, expect, shown
from schedulers.testing.models import level

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.testing.models import Denoiser

    Floats = NDArray[np.float64]
    Noise = Callable[[Any], Any]
    Sampler = Callable[[Denoiser, Any, Floats, Noise], Any]
    Grid = Callable[[int], ArrayLike]

EPS = float(np.finfo(np.float64).eps)
_DISTURBANCE = 1e-6


@dataclass(frozen=True)
class SamplerCase:
    """A sampler, and what is claimed of it.

    Parameters
    ----------
    sampler : callable
        ``sampler(denoiser, x, sigmas, noise)`` returns the sample at ``sigmas[-1]`` for the sample
        x at ``sigmas[0]``, in Karras's convention: x = x_0 + sigma eps, and ``denoiser(x, sigma)``
        returns the denoised estimate, for sigma a number, or an array of it for each sample.
        `sigmas` fall, and the last may be 0; ``noise(x)`` returns
        fresh standard normal noise of x's shape and dtype.
    order : float
        The order of convergence, of the samples for a deterministic sampler and of their
        distribution for a stochastic one.
    uneven_order : float
        The order on grids whose steps alternate in length, where that is claimed to be more than 1:
        a multistep method has its order there only if its weights heed the steps' lengths.
    stochastic : bool
        Whether it draws noise.
    grid : callable, optional
        ``grid(steps)`` returns the sigmas that it is run on, steps + 1 of them, or as near to that
        as it has. By default it is run on uneven random ones, and on Karras's and evenly spaced
        logarithms for its order.
    any_sigmas : bool
        Whether it takes any sigmas; if not, those of `grid` alone.
    sigma_min, sigma_max : float
        Between which sigmas it is run, where there is no `grid`.
    min_steps : int
        The fewest steps that it can take.
    precision : str
        The dtype that it keeps its levels and weights in, where that is not float64: "float32" for
        one that computes them in that, whatever x is. Rounding is then that dtype's.
    uses_time : bool
        Whether it works in the model's time, which other units of the data and other coordinates
        change: `check_scale` and `check_coordinates` do not apply.
    tolerance : float
        How far off its samples may be, in units of their size, where it chooses its own steps to
        that end. Its order and its levels are then its own affair: its error is held to this.
    s_noise : float
        The standard deviation of the noise that it adds, in units of what the path asks for.
    reused_output : bool
        Whether it copies what it keeps, so that the denoiser may return one array every time,
        overwritten, as compiled networks do.
    seed : int
        Of all that is random in the checks.
    name : str
        What a failure calls it; by default the sampler's own name.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.
    """

    sampler: Sampler
    _: KW_ONLY
    order: float
    uneven_order: float = 1.0
    stochastic: bool = False
    grid: Grid | None = None
    any_sigmas: bool = True
    sigma_min: float = 0.02
    sigma_max: float = 80.0
    min_steps: int = 1
    precision: str = "float64"
    uses_time: bool = False
    tolerance: float = 0.0
    s_noise: float = 1.0
    reused_output: bool = False
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        _checks.function("sampler", self.sampler, "(denoiser, x, sigmas, noise)")
        _checks.settle(self, "order", above=0.0)
        _checks.settle(self, "uneven_order", above=0.0)
        _checks.boolean("stochastic", self.stochastic)
        _checks.boolean("any_sigmas", self.any_sigmas)
        if self.grid is not None:
            _checks.function("grid", self.grid, "(steps)")
        elif not self.any_sigmas:
            raise ValueError("grid must be given for a sampler that does not take any sigmas")
        _checks.boolean("any_sigmas", self.any_sigmas)
        _checks.settle(self, "sigma_min", above=0.0)
        _checks.settle(self, "sigma_max", above=self.sigma_min)
        _checks.integer("min_steps", self.min_steps, at_least=1)
        _checks.choice("precision", self.precision, ("float64", "float32"))
        _checks.boolean("uses_time", self.uses_time)
        _checks.settle(self, "tolerance", at_least=0.0)
        _checks.settle(self, "s_noise", above=0.0)
        _checks.boolean("reused_output", self.reused_output)
        _checks.integer("seed", self.seed, at_least=0)

    @property
    def title(self) -> str:
        """What a failure calls it."""
        return self.name or getattr(self.sampler, "__name__", repr(self.sampler))

    @property
    def unit(self) -> float:
        """The rounding of its own arithmetic."""
        return float(np.finfo(self.precision).eps)

    def rng(self, purpose: str) -> np.random.Generator:
        """Return a generator of the case's seed, one of its own for each purpose."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def sigmas(
        self, rng: np.random.Generator, steps: int | None = None, clean: bool | None = None
    ) -> Any:
        """Draw levels: the grid's, or uneven ones that end clean or, half the time, do not."""
        if steps is None:
            steps = int(rng.integers(self.min_steps, self.min_steps + 8))
        if self.grid is not None:
            return self._given(steps)
        gaps = rng.uniform(0.1, 1.0, steps)
        logs = np.concatenate([[0.0], np.cumsum(gaps)]) / gaps.sum()
        sigmas = self.sigma_max * (self.sigma_min / self.sigma_max) ** logs
        if clean or (clean is None and rng.integers(2)):
            sigmas[-1] = 0.0
        return sigmas

    def fine_sigmas(self, steps: int) -> Floats:
        """Levels for the order of convergence; if not the grid's, they end well above 0."""
        if self.grid is not None:
            return self._given(steps)
        low = max(self.sigma_min, self.sigma_max / 200.0)
        return np.asarray(karras_sigmas(steps + 1, low, self.sigma_max)[:-1])

    def middle_sigmas(self, steps: int) -> Floats:
        """Likewise from a level at which the first steps' errors are as large as the others'."""
        if self.grid is not None:
            return self._given(steps)
        low = max(self.sigma_min, self.sigma_max / 200.0)
        return np.geomspace(low * (self.sigma_max / low) ** 0.4, low, steps + 1)

    def _given(self, steps: int) -> Floats:
        """The grid's levels, of which there may be other than ``steps + 1``."""
        assert self.grid is not None
        sigmas = _checks.vector(f"grid({steps})", self.grid(steps))
        _checks.decreasing(f"grid({steps})", sigmas)
        if len(sigmas) < 2 or sigmas[-1] < 0.0:
            raise ValueError(
                f"grid({steps}) must be at least two levels, none of them below 0, "
                f"got {shown(sigmas)}"
            )
        return sigmas.copy()

    def with_noise_of_the_path(self) -> Sampler:
        """The sampler with `s_noise` undone: the noise that it is handed is as much smaller."""
        return lambda denoiser, x, sigmas, noise: self.sampler(
            denoiser, x, sigmas, lambda like: (noise(like) / self.s_noise).astype(like.dtype)
        )

    def uneven_sigmas(self, steps: int) -> Floats:
        """Levels for the order of convergence, every third one of a finer grid left out."""
        fine = self.fine_sigmas(3 * steps // 2)
        return np.asarray(fine[np.arange(len(fine)) % 3 != 1])

    def run(self, denoiser: Denoiser, x: Any, sigmas: Floats, noise: Noise | None = None) -> Any:
        """Call the sampler, watching what it hands to the denoiser and what it returns."""
        noise = noise or Normal(self.rng("noise"))
        got = self.sampler(_watched(denoiser, x, float(sigmas[0])), x, sigmas, noise)
        expect(
            isinstance(got, np.ndarray) and got.shape == x.shape,
            f"an array of x's shape, {x.shape}",
            f"{type(got).__name__} of shape {np.shape(got)}",
            _foreign(got) or "what the sampler returns",
        )
        expect(
            np.isfinite(got).all(),
            "finite samples",
            f"NaN or infinity, of x within {np.abs(x).max(initial=0.0):.3g} at sigmas={sigmas}",
            "divisions by a sigma or by a step's length that may be 0, such as in the last step",
        )
        return got

    def bounded(
        self,
        denoiser: Denoiser,
        x: Any,
        sigmas: Floats,
        noise: Noise | None = None,
        unit: float = EPS,
    ) -> tuple[Any, float]:
        """Run it, and bound what is in its samples of rounding, and of the `tolerance` claimed.

        Beside each sample runs another with the same noise and a `disturbed` denoiser, which shows
        the run's condition.
        """
        n, off = len(x), disturbed(denoiser, self.rng("rounding"))
        draw = noise or Normal(self.rng("noise"))

        def beside(y: Any, s: float) -> Any:
            return np.concatenate([denoiser(y[:n], s), off(y[n:], s)])

        def twice(like: Any) -> Any:
            return np.concatenate([draw(like[:n])] * 2) if len(like) == 2 * n else draw(like)

        both = self.run(beside, np.concatenate([x, x]), sigmas, twice)
        plain = both[:n]
        bound = rounding(plain, both[n:], len(sigmas), max(unit, self.unit))
        return plain, bound + self.tolerance * float(np.abs(plain).max(initial=0.0))

    def rounding(self, denoiser: Denoiser, x: Any, sigmas: Floats, unit: float = EPS) -> float:
        """Bound what is in a run's samples of rounding, and of the `tolerance` claimed."""
        return self.bounded(denoiser, x, sigmas, None, unit)[1]


def disturbed(denoiser: Denoiser, rng: np.random.Generator) -> Denoiser:
    """Return a denoiser off by some 1e-6 of what goes into it and of what comes out.

    Rounding does the same to each evaluation, only less. So what that does to the samples is the
    condition of the run: brought down to the dtype's rounding it bounds what rounding may do.
    """

    def off(values: Any) -> Any:
        return _DISTURBANCE * np.abs(values) * rng.standard_normal(values.shape)

    def model(y: Any, s: float) -> Any:
        out = denoiser(y + off(y), s)
        return out + off(np.abs(y) + np.abs(out))

    return model


def rounding(plain: Any, moved: Any, steps: int, unit: float = EPS) -> float:
    """Bound of the rounding in a run's samples, given those of the disturbed run.

    Evaluations are off by a few units, and by some tens more where a level's time was rounded, to
    which sigma is so much more sensitive. To that comes what each step's own sum is off by.
    """
    condition = float(np.abs(moved - plain).max(initial=0.0)) / _DISTURBANCE
    return unit * (256.0 * condition + 8.0 * (steps + 1) * float(np.abs(plain).max(initial=0.0)))


@dataclass
class Normal:
    """Noise of a seed: ``noise(x)`` of x's shape and dtype; `draws` counts."""

    generator: np.random.Generator
    rows: slice | Any = field(default_factory=lambda: slice(None))
    batch: int | None = None
    draws: int = 0

    def __call__(self, like: Any) -> Any:
        """Draw for the whole batch, and return the rows of this part."""
        self.draws += 1
        shape = like.shape if self.batch is None else (self.batch, *like.shape[1:])
        drawn = self.generator.standard_normal(shape)
        if self.batch is not None:
            drawn = drawn[self.rows]
        return np.asarray(drawn).astype(like.dtype)


def zeros(like: Any) -> Any:
    """Noise that is 0."""
    return np.zeros(like.shape, like.dtype)


def _watched(denoiser: Denoiser, x: Any, first: float) -> Denoiser:
    """Refuse what no denoiser can be asked; a sigma for each sample is taken, if they are one."""

    def watched(y: Any, s: Any) -> Any:
        told = level(s, first)
        if not 0.0 < told < math.inf:
            raise CheckFailed(
                "the denoiser to be called at a finite sigma above 0: a number, or the same number "
                "for each sample",
                f"a call at sigma={_checks.shown(s)}",
                "the step that ends clean, which has no evaluation at its end",
            )
        if not isinstance(y, np.ndarray) or y.shape != x.shape:
            raise CheckFailed(
                f"the denoiser to be called with an array of x's shape, {x.shape}",
                f"{type(y).__name__} of shape {np.shape(y)}",
                _foreign(y) or "what is handed to the denoiser",
            )
        return denoiser(y, told)

    return watched


def _foreign(value: Any) -> str:
    """A hint for arrays of another library."""
    if isinstance(value, np.ndarray):
        return ""
    return "`from_torch`, which takes samplers of PyTorch's tensors"
