"""Laws of symmetry: data moved, turned, large or in other units, and a batch in other company."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.analytic import Gaussian
from schedulers.testing.cases import Normal, SamplerCase, zeros
from schedulers.testing.failures import Check, expect_close, shown
from schedulers.testing.models import exact, nonlinear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Of the batch whose parts are run by themselves: larger than the pieces that batches are cut into.
ROWS = 65


@Check
def check_rigid_motion(case: SamplerCase) -> None:
    """Data that is moved and turned gives samples that are moved and turned, and nothing else.

    With y = Q x + b, Q orthogonal, the denoiser of the moved data is Q D(Q' (y - b)) + b, at the
    same sigma: x_0 + sigma eps moves with x_0, and normal noise has no direction. A failure means a
    sum of weights that is not what it should be, or something that is done to single elements, such
    as clipping.
    """
    rng = case.rng("motion")
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    move = rng.normal(size=3)

    def moved(y: Any, s: float) -> Any:
        return nonlinear((y - move) @ turn.T, s) @ turn + move

    for _ in range(3):
        sigmas = case.sigmas(rng)
        x = sigmas[0] * rng.normal(size=(4, 3))
        expected = case.run(nonlinear, x, sigmas)
        plain = Normal(case.rng("noise"))
        got = case.run(moved, x @ turn + move, sigmas, lambda like: plain(like) @ turn)  # noqa: B023
        expect_close(
            got,
            expected @ turn + move,
            case.rounding(moved, x @ turn + move, sigmas),
            what="the samples of the data as it was, moved and turned",
            where=f"for {shown(sigmas)}",
            look_at="weights whose sum depends on the data, and what acts on elements singly",
        )


@Check
def check_scale(case: SamplerCase) -> None:
    """Data in other units gives the samples in those units, at sigmas in those units.

    The denoiser of data k times as large is k D(y / k, s / k), and x_0 + sigma eps has one unit. A
    failure means a constant with a unit in the sampler: a bound for sigma, an epsilon that is
    added, a clipped value, or a variance that is right for data of variance 1 alone.
    """
    rng = case.rng("scale")
    for _ in range(3):
        sigmas = case.sigmas(rng, case.min_steps + 7)
        # A power of 2 leaves no rounding of its own; the units stay within the sigmas allowed.
        k = 0.5
        sigmas = np.where(sigmas > 0.0, np.maximum(sigmas, 2.0 * case.sigma_min), 0.0)
        sigmas = np.unique(sigmas)[::-1]
        if len(sigmas) <= case.min_steps:
            continue

        def scaled(y: Any, s: float) -> Any:
            return 0.5 * nonlinear(2.0 * y, 2.0 * s)

        x = sigmas[0] * rng.normal(size=(4, 3))
        expected, bound = case.bounded(nonlinear, x, sigmas)
        expect_close(
            case.run(scaled, k * x, k * sigmas),
            k * expected,
            k * bound,
            what="the samples of the data as it was, in the other unit",
            where=f"for {shown(sigmas)} halved",
            look_at="constants that have the unit of the data or of sigma",
        )


@Check
def check_large(case: SamplerCase) -> None:
    """Data that is far away, or large, or small, is treated as any other.

    With sigmas as they are, data 2**17 times as large, x and noise likewise, gives samples 2**17
    times as large: every update is a weighted sum, of weights that do not know the data. A point at
    a distance of 1e5 is reached as a point near 0 is. A failure means a constant of the sampler's
    that data can exceed: D, a slope or a sample that is clipped, a threshold, an epsilon.
    """
    rng = case.rng("large")
    sigmas = case.sigmas(rng, case.min_steps + 5)
    x = sigmas[0] * rng.normal(size=(4, 3))
    expected, bound = case.bounded(nonlinear, x, sigmas)
    look_at = "a constant: a bound that clips D or a sample, a threshold, an epsilon that is added"
    # Where steps are chosen, an absolute tolerance is a constant below which nothing counts.
    for k in (2.0**17,) if case.tolerance else (2.0**17, 2.0**-17):
        plain = Normal(case.rng("noise"))
        got = case.run(
            lambda y, s: k * nonlinear(y / k, s),  # noqa: B023
            k * x,
            sigmas,
            lambda like: (k * plain(like)).astype(like.dtype),  # noqa: B023
        )
        size = "large" if k > 1.0 else "small"
        expect_close(
            got / k,
            expected,
            bound,
            what=f"the samples of data 2**17 times as {size}, in that unit",
            where=f"for {shown(sigmas)}",
            look_at=look_at,
        )
    point = 1e5 * rng.choice([-1.0, 1.0], size=3)
    far = exact(Gaussian(point, 0.0))
    if case.stochastic:
        got, bound = case.bounded(far, np.tile(point, (4, 1)), sigmas, zeros)
        expected = np.tile(point, (4, 1))
    else:
        got, bound = case.bounded(far, point + x, sigmas)
        expected = point + sigmas[-1] / sigmas[0] * x
    what, where = "data that is one point, at a distance of 1e5", f"for {shown(sigmas)}"
    expect_close(got, expected, bound, what=what, where=where, look_at=look_at)


@Check
def check_batch(case: SamplerCase) -> None:
    """A sample is the same in any company: alone, among others, in any order, in any number.

    Given its own noise, what happens to one row of the batch does not depend on the others. A
    failure means a statistic over the batch, noise that is shared or shuffled, rows mixed up, or a
    batch that is taken in pieces which do not fit together.
    """
    rng = case.rng("batch")
    sigmas = case.sigmas(rng, case.min_steps + 5)
    x = sigmas[0] * rng.normal(size=(ROWS, 3))
    together, bound = case.bounded(nonlinear, x, sigmas)
    for count in (1, 2, 3, 8, 17, 32, 64):
        rows = rng.permutation(ROWS)[:count]
        noise = Normal(case.rng("noise"), rows=rows, batch=ROWS)
        expect_close(
            case.run(nonlinear, x[rows], sigmas, noise),
            together[rows],
            bound,
            what=f"{count} rows of a batch of {ROWS} to be by themselves what they are in it",
            where=f"for {shown(sigmas)}",
            look_at="means, norms and extremes that are taken over axis 0, and batches in pieces",
        )
