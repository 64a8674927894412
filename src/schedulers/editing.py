"""Editing: images made of parts of others, with a model that was trained for none of it.

Both functions are a run of `Scheduler.sample` from another start, and `inpaint` with a denoiser
that knows a part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.arrays import cast
from schedulers.engine.parameterization import coefficients
from schedulers.methods.ddpm import DDPM
from schedulers.scheduler import Scheduler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from schedulers.engine.noise import RandomSource
    from schedulers.engine.state import State
    from schedulers.schedules.base import NoiseSchedule

    Array = Any
    Denoiser = Callable[[Array, float], Array]


def image_to_image(
    scheduler: Scheduler,
    denoiser: Denoiser,
    x_0: Array,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
    strength: float = 1.0,
    rng: RandomSource = None,
    callback: Callable[[State], object] | None = None,
) -> Array:
    """Noise data partly, and denoise it again (SDEdit; Meng et al. 2022, Algorithm 1).

    Details smaller than the noise are made anew; what is larger stays. The run takes the last
    levels of the whole one, so what depends on a run's length (churn's gamma, a sequence of sigmas
    for `DDIM`) depends on the shorter run.

    Parameters
    ----------
    scheduler : Scheduler
    denoiser : callable
        As for `Scheduler.step`.
    x_0 : array of floats
        Data.
    steps, timesteps, sigmas
        As for `Scheduler.tableau`: the whole run's.
    strength : float
        Share of the run's steps that are taken, in (0, 1], rounded to a whole number of at least
        one: the last ones. The data is noised to the level where they begin.
    rng : source of noise
        As in the notes on `Scheduler`; for noising the data, too.
    callback : callable, optional
        As for `Scheduler.sample`.

    Returns
    -------
    array, shape and dtype of `x_0`

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; and as for `Scheduler.sample`.

    References
    ----------
    Meng, He, Song, Song, Wu, Zhu, Ermon: SDEdit: Guided Image Synthesis and Editing with
    Stochastic Differential Equations, ICLR 2022.

    Examples
    --------
    >>> from schedulers import DDIM, FlowSchedule
    >>> from schedulers.analytic import GaussianMixture
    >>> schedule = FlowSchedule()
    >>> denoiser = GaussianMixture([[-1.0], [1.0]], std=0.1).denoiser(schedule, "flow")
    >>> scheduler = DDIM(schedule, prediction_type="flow")
    >>> x_0 = np.full((1000, 1), 0.5)
    >>> for strength in (0.3, 1.0):
    ...     made = image_to_image(scheduler, denoiser, x_0, steps=10, strength=strength, rng=0)
    ...     print(f"{np.mean(made > 0.0):.2f} of them near 1")
    0.88 of them near 1
    0.51 of them near 1
    """
    _check_scheduler(scheduler)
    _checks.real("strength", strength, above=0.0, at_most=1.0)
    tableau = scheduler.tableau(steps, timesteps=timesteps, sigmas=sigmas)
    begin = tableau.steps - max(1, round(strength * tableau.steps))
    x_T = scheduler.add_noise(x_0, tableau.levels[begin].t, rng=rng)
    rest: dict[str, Any] = {"sigmas": tableau.sigmas[begin:]}
    if tableau.levels[-1].sigma == 0.0:  # by times where it can be: they are the model's own
        rest = {"timesteps": tableau.timesteps[begin:]}
    return scheduler.sample(denoiser, x_T, **rest, rng=rng, callback=callback)


def inpaint(
    scheduler: Scheduler,
    denoiser: Denoiser,
    x_T: Array,
    known: Array,
    mask: Array,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
    rng: RandomSource = None,
    callback: Callable[[State], object] | None = None,
) -> Array:
    """Sample what is missing of an image of which a part is known.

    The method is replacement (Song et al. 2021b, appendix I.2; Lugmayr et al. 2022, eq. 8): at
    every level the known part of x is the known data with that level's noise, and the model makes
    the rest of x fit. It is written as a denoiser whose D is `known` where the mask is 1. Then
    every row keeps the known part at its level: with the noise that the sample began with if the
    scheduler draws none, and with that of q(x' given x, x_0) if it does. A scheduler that draws
    more noise than that (DDPM with variance "fixed_large", or `s_noise` above 1) makes the known
    part noisier, too.

    Replacement is not exact: it does not sample p(missing given known). At a high level the model
    sees the known part through noise, and later steps cannot undo all that it did then.

    Parameters
    ----------
    scheduler : Scheduler
    denoiser : callable
        As for `Scheduler.step`.
    x_T : array of floats
        Noise alone, at the scale of the run's first level, as `Scheduler.initial_noise` draws it.
    known : array of finite floats
        The known data, of the library of `x_T` and a shape that broadcasts to its; where the mask
        is 0 its values go nowhere.
    mask : array of floats or bools
        1 where the data is known, 0 where it is made; in between, D is mixed. Library and shape as
        for `known`.
    steps, timesteps, sigmas, rng, callback
        As for `Scheduler.sample`.

    Returns
    -------
    array, shape and dtype of `x_T`
        Where the mask is 1 it is `known`, to rounding, if the run ends at the clean level and the
        scheduler has no threshold, which would be applied to all of D.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, if the scheduler's model learned its variance, and as
        for `Scheduler.sample`.

    References
    ----------
    Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole: Score-Based Generative Modeling through
    Stochastic Differential Equations, ICLR 2021. Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool:
    RePaint, CVPR 2022.

    Examples
    --------
    Of two numbers that go together, the second one is known:

    >>> from schedulers import DDPM, VPSchedule
    >>> from schedulers.analytic import GaussianMixture
    >>> schedule = VPSchedule()
    >>> denoiser = GaussianMixture([[-1.0, -1.0], [1.0, 1.0]], std=0.1).denoiser(schedule)
    >>> scheduler = DDPM(schedule)
    >>> x_T = scheduler.initial_noise((1000, 2), steps=100, rng=0)
    >>> mask = np.array([0.0, 1.0])
    >>> made = inpaint(scheduler, denoiser, x_T, np.array([0.0, 1.0]), mask, steps=100, rng=1)
    >>> print(f"{np.mean(made[:, 0] > 0.0):.2f} of the first ones are near 1")
    0.97 of the first ones are near 1
    """
    _check_scheduler(scheduler)
    _checks.function("denoiser", denoiser, "(x, t)")
    x, dtype = arrays.sample("x_T", x_T)
    if isinstance(scheduler, DDPM) and scheduler.learns_variance:
        raise ValueError("scheduler must be one whose model has not learned its variance")
    known, mask = _like("known", known, x), _like("mask", mask, x)
    if not bool(((mask >= 0.0) & (mask <= 1.0)).all()):
        least, most = float(mask.min()), float(mask.max())
        raise ValueError(f"mask must be between 0 and 1 everywhere, got {least:g} to {most:g}")
    first = scheduler.tableau(steps, timesteps=timesteps, sigmas=sigmas).levels[0]
    completed = _Completed(denoiser, known, mask, scheduler.schedule, scheduler.prediction_type)
    begun = x + mask * known * first.alpha
    return scheduler.sample(
        completed,
        cast(np.asarray(begun) if isinstance(x, np.ndarray) else begun, dtype),
        steps,
        timesteps=timesteps,
        sigmas=sigmas,
        rng=rng,
        callback=callback,
    )


@dataclass(frozen=True)
class _Completed:
    """Denoiser whose D is the known data where that is known."""

    denoiser: Denoiser
    known: Array
    mask: Array
    schedule: NoiseSchedule
    prediction_type: str

    def __call__(self, x: Array, t: float) -> Array:
        carried = cast(x, self.known.dtype)
        k = coefficients(self.prediction_type, self.schedule.alpha(t), self.schedule.sigma(t))
        # The output whose D is known: D = denoised_x x + denoised_output output
        of_known = (self.known - carried * k.denoised_x) * (1.0 / k.denoised_output)
        # Only now, as the model may write to x.
        output, shape = self.denoiser(x, t), tuple(carried.shape)
        output = arrays.matching("the model's output", output, carried, shape, t)
        return of_known * self.mask + output * (1.0 - self.mask)


def _check_scheduler(scheduler: object) -> None:
    if not isinstance(scheduler, Scheduler):
        raise TypeError(f"scheduler must be a Scheduler, got {_checks.shown(scheduler)}")


def _is_boolean(mask: Any) -> bool:
    """Whether a mask is an array of truth values, or such lists."""
    if isinstance(mask, (list, tuple)):
        return bool(mask) and all(map(_is_boolean, mask))
    if isinstance(mask, np.ndarray):
        return mask.dtype.kind == "b" and not isinstance(mask, np.ma.MaskedArray)
    return isinstance(mask, (bool, np.bool_))


def _like(name: str, array: Array, x: Array) -> Array:
    """Check an array that broadcasts to x; return it as floats of its own library."""
    if isinstance(x, np.ndarray):
        if name == "mask" and _is_boolean(array):
            array = np.asarray(array) * 1.0
        array = cast(_checks.array(name, array), x.dtype)
    elif not hasattr(array, "shape") or isinstance(array, (np.ndarray, np.generic)):
        raise TypeError(f"{name} must be of the library of x_T, got {type(array).__name__}")
    elif not (name == "mask" and "bool" in str(array.dtype)):
        arrays.check_floats(name, array)
        arrays.check_finite(name, array)
    try:
        fits = np.broadcast_shapes(tuple(array.shape), tuple(x.shape)) == tuple(x.shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} must have a shape that broadcasts to that of x_T, {tuple(x.shape)}, "
            f"got {tuple(array.shape)}"
        )
    return array * 1.0
