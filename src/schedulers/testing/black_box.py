"""The law of a sampler's output, found by calling it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.analytic import Gaussian
from schedulers.testing.models import exact, level

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.testing.cases import Sampler

    Floats = NDArray[np.float64]

_AFFINE = 1e-8


def black_box_law(
    sampler: Sampler,
    data: Gaussian,
    sigmas: ArrayLike,
    *,
    initial: Gaussian | None = None,
    precision: str = "float64",
) -> Gaussian:
    """Exact normal distribution that a sampler's output follows, if the data is Gaussian.

    With a Gaussian's denoiser every weighted sum of estimates is affine in the start and in the
    fresh noise. So the sampler is called with a batch of impulses: every row has a 1 in one place
    of the start or of one draw of noise and 0 elsewhere, and what comes out is a column of the map.
    No sampling error; only that of rounding.

    Parameters
    ----------
    sampler : callable
        ``sampler(denoiser, x, sigmas, noise)``, as for `check_sampler`.
    data : Gaussian
        The data; its event shape is that of one sample.
    sigmas : array_like, shape (steps + 1,)
        Karras's sigmas, as the sampler takes them.
    initial : Gaussian, optional
        Distribution of the start; by default noise alone, of mean 0 and standard deviation
        ``sigmas[0]``.
    precision : str
        "float32" for a sampler that computes in that, and so is affine to its rounding alone.

    Returns
    -------
    Gaussian
        With a full covariance, of shape (d, d) for an event of d elements.

    Raises
    ------
    TypeError, ValueError
        If `data` or `sigmas` is not as described; if the sampler is not affine, or its samples are
        not independent of each other.

    Examples
    --------
    Two steps of Euler's method, for data of variance 4. In the first the sample, of variance 16, is
    multiplied by (4 + 4 * 2) / (4 + 16); in the second, by 4 / (4 + 4).

    >>> def euler(denoiser, x, sigmas, noise):
    ...     for s, s_next in zip(sigmas, sigmas[1:]):
    ...         x = x + (s_next - s) * (x - denoiser(x, s)) / s
    ...     return x
    >>> law = black_box_law(euler, Gaussian(0.0, 4.0), [4.0, 2.0, 0.0])
    >>> print(law.cov, 16 * ((4 + 4 * 2) / (4 + 16) * 4 / (4 + 4)) ** 2)
    [[1.44]] 1.44
    """
    if not isinstance(data, Gaussian):
        raise TypeError(f"data must be a Gaussian, got {_checks.shown(data)}")
    _checks.function("sampler", sampler, "(denoiser, x, sigmas, noise)")
    levels = _checks.vector("sigmas", sigmas)
    if not ((levels == 0.0) | ((levels >= 1e-150) & (levels <= 1e150))).all():
        raise ValueError(f"sigmas must be 0 or from 1e-150 to 1e150, got {_checks.shown(sigmas)}")
    _checks.choice("precision", precision, ("float64", "float32"))
    shape, size = data.event_shape, int(np.prod(data.event_shape))
    posterior, first = exact(data), float(levels[0])

    def denoiser(y: Any, s: Any) -> Any:
        return posterior(y, level(s, first))

    def call(start: Floats, noise: Callable[[Any], Any]) -> Floats:
        x = start.reshape(len(start), *shape)
        out = np.asarray(sampler(denoiser, x, levels.copy(), noise))
        if out.shape != x.shape or out.dtype.kind != "f":
            raise ValueError(
                f"sampler must return floats of the shape of x, {x.shape}, got {out.dtype} of "
                f"shape {out.shape}"
            )
        return out.reshape(len(start), size)

    silent = _Impulses(np.zeros((0, 1, size)))
    call(np.zeros((1, size)), silent)
    draws = silent.drawn

    # Rows: nothing, an impulse in each element of the start, in each of each draw, and at random.
    inputs = np.concatenate([np.zeros((1, (1 + draws) * size)), np.eye((1 + draws) * size)])
    random = np.random.default_rng(0).standard_normal((1, inputs.shape[1]))
    inputs = np.concatenate([inputs, random]).reshape(-1, 1 + draws, size)
    out = call(inputs[:, 0].copy(), _Impulses(np.moveaxis(inputs[:, 1:], 1, 0)))

    base, columns = out[0], out[1:-1] - out[0]
    off = np.abs(base + random[0] @ columns - out[-1]).max(initial=0.0)
    affine = max(_AFFINE, 1e3 * float(np.finfo(precision).eps))
    if not off <= affine * max(np.abs(out).max(initial=0.0), 1.0):
        raise ValueError(
            f"sampler must be affine in its start and its noise where the data is Gaussian, and "
            f"its samples independent of each other: a sum of inputs came out {off:.2g} away from "
            f"the sum of their outputs"
        )
    to_start, to_noise = columns[:size], columns[size:]
    mean, cov = _moments(initial, size, float(levels[0]))
    full = to_start.T @ cov @ to_start + to_noise.T @ to_noise
    return Gaussian((base + mean @ to_start).reshape(shape or (1,)), 0.5 * (full + full.T))


class _Impulses:
    """Noise that is given: of shape (draws, batch, size), and 0 after the last draw."""

    def __init__(self, given: Floats) -> None:
        self.given, self.drawn = given, 0

    def __call__(self, like: Any) -> Any:
        drawn = np.zeros(like.shape)
        if self.drawn < len(self.given):
            drawn = self.given[self.drawn].reshape(like.shape)
        self.drawn += 1
        return drawn.astype(like.dtype)


def _moments(initial: Gaussian | None, size: int, sigma: float) -> tuple[Floats, Floats]:
    """Mean, flat, and full covariance of the start."""
    if initial is None:
        return np.zeros(size), sigma**2 * np.eye(size)
    if not isinstance(initial, Gaussian):
        raise TypeError(f"initial must be a Gaussian, got {_checks.shown(initial)}")
    mean, cov = initial.mean.reshape(-1), initial.cov
    if mean.size != size:
        raise ValueError(
            f"initial must have the data's {size} elements, got event shape {initial.event_shape}"
        )
    if cov.shape == (size, size) != initial.event_shape:
        return mean, cov
    return mean, np.diag(np.broadcast_to(cov.reshape(-1), (size,)))
