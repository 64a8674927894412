"""Laws of symmetry: data moved, turned or in other units, and a batch in other company."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.testing.cases import Normal, SamplerCase
from schedulers.testing.failures import Check, expect_close, shown
from schedulers.testing.models import nonlinear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


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
        expected = case.run(nonlinear, x, sigmas)
        got = case.run(scaled, k * x, k * sigmas)
        expect_close(
            got,
            k * expected,
            case.rounding(scaled, k * x, k * sigmas),
            what="the samples of the data as it was, in the other unit",
            where=f"for {shown(sigmas)} halved",
            look_at="constants that have the unit of the data or of sigma",
        )


@Check
def check_batch(case: SamplerCase) -> None:
    """A sample is the same in any company: alone, among others, in any order.

    Given its own noise, what happens to one row of the batch does not depend on the others. A
    failure means a statistic over the batch, noise that is shared or shuffled, or rows mixed up.
    """
    rng = case.rng("batch")
    for _ in range(3):
        sigmas = case.sigmas(rng)
        x = sigmas[0] * rng.normal(size=(6, 3))
        rows = rng.permutation(6)[: rng.integers(1, 6)]
        together = case.run(nonlinear, x, sigmas)
        noise = Normal(case.rng("noise"), rows=rows, batch=6)
        expect_close(
            case.run(nonlinear, x[rows], sigmas, noise),
            together[rows],
            case.rounding(nonlinear, x, sigmas),
            what=f"rows {rows.tolist()} by themselves to be what they are in a batch of 6",
            where=f"for {shown(sigmas)}",
            look_at="means, norms and extremes that are taken over axis 0",
        )
