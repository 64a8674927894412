"""Laws of arrays: shapes and dtypes, precision, and whose memory is written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.testing.cases import Normal, SamplerCase
from schedulers.testing.failures import Check, expect, expect_close, expect_same, shown
from schedulers.testing.models import nonlinear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHAPES = ((1,), (5,), (0,), (0, 3), (2, 0), (2, 3), (2, 3, 4, 4))


@Check
def check_shapes(case: SamplerCase) -> None:
    """A sample of any shape goes in and comes out, and reaches the denoiser as it is.

    A failure means that a number of axes is taken for granted.
    """
    rng = case.rng("shapes")
    sigmas = case.sigmas(rng, case.min_steps + 3)
    for shape in SHAPES:
        case.run(nonlinear, sigmas[0] * rng.normal(size=shape), sigmas)


@Check
def check_dtype(case: SamplerCase) -> None:
    """float32 in, float32 out, and float64 likewise; the denoiser sees the dtype that went in.

    A failure means weights that are arrays, or NumPy scalars, of float64: they turn float32 samples
    into float64 ones, at twice the memory, on their way to a network that does not expect them.
    """
    rng = case.rng("dtype")
    sigmas = case.sigmas(rng, case.min_steps + 4)
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        seen = set()

        def model(y: Any, s: float) -> Any:
            seen.add(y.dtype)  # noqa: B023
            return nonlinear(y, s)

        got = case.run(model, (sigmas[0] * rng.normal(size=(3, 2))).astype(dtype), sigmas)
        look_at = "weights that are NumPy arrays or scalars; Python floats take on x's dtype"
        expect(seen == {dtype}, f"a denoiser that sees {dtype} alone", f"{seen}", look_at)
        expect(got.dtype == dtype, f"samples of {dtype}", f"{got.dtype}", look_at)


@Check
def check_float32(case: SamplerCase) -> None:
    """float32 samples are float64's, to float32's rounding.

    The tolerance is the rounding of each evaluation, carried to the end by a run that is disturbed
    by as much. A failure means weights, or sigmas, of too few digits, or a difference of numbers
    that are nearly equal.
    """
    rng = case.rng("float32")
    for _ in range(2):
        sigmas = case.sigmas(rng)
        x = (sigmas[0] * rng.normal(size=(4, 3))).astype(np.float32)
        exact = case.run(nonlinear, x.astype(np.float64), sigmas)
        unit = float(np.finfo(np.float32).eps)
        expect_close(
            case.run(nonlinear, x, sigmas),
            exact,
            case.rounding(nonlinear, x.astype(np.float64), sigmas, unit),
            what="the samples of a float64 run",
            where=f"in float32, for {shown(sigmas)}",
            look_at="the precision that weights are computed in: float64, whatever the samples'",
        )


@Check
def check_untouched(case: SamplerCase) -> None:
    """The sampler writes to no array of its caller: x, sigmas, what denoiser and `noise` returned.

    Of float64 and float32, and of any number of axes. A failure means an operation in place, such
    as ``x += ...``, on an array that is not the sampler's own.
    """
    rng = case.rng("untouched")
    given = case.sigmas(rng, case.min_steps + 4)
    for shape in ((3, 2), (2, 3, 4), (2, 3, 4, 4)):
        for dtype in (np.float64, np.float32):
            x = (given[0] * rng.normal(size=shape)).astype(dtype)
            _expect_untouched(case, x, given.copy())


def _expect_untouched(case: SamplerCase, x: Any, sigmas: Floats) -> None:
    kept: list[tuple[str, Any, Any]] = [("x", x, x.copy()), ("sigmas", sigmas, sigmas.copy())]

    def model(y: Any, s: float) -> Any:
        out = nonlinear(y, s)
        kept.append(("the denoiser's output", out, out.copy()))
        return out

    normal = Normal(case.rng("noise"))

    def noise(like: Any) -> Any:
        z = normal(like)
        kept.append(("the noise", z, z.copy()))
        return z

    case.run(model, x, sigmas, noise)
    for name, array, before in kept:
        expect_same(
            array,
            before,
            what=f"{name} left as it was",
            where=f"with samples of {x.dtype} and shape {x.shape}, after {shown(kept[1][2])}",
            look_at="operations in place (+=, *=, out=) on it, or on an array that is it",
        )


@Check
def check_reused_output(case: SamplerCase) -> None:
    """A denoiser may return one array every time, and overwrite it at its next call.

    Compiled networks do, and the law is tested where that is claimed (`reused_output`). A failure
    means an estimate that is kept until after another call without a copy of it.
    """
    rng = case.rng("reused output")
    sigmas = case.sigmas(rng, case.min_steps + 5)
    x = sigmas[0] * rng.normal(size=(3, 2))
    buffer = np.empty_like(x)

    def model(y: Any, s: float) -> Any:
        buffer[...] = nonlinear(y, s)
        return buffer

    got = case.run(model, x, sigmas)
    buffer[...] = np.nan
    expect_same(
        got,
        case.run(nonlinear, x, sigmas),
        what="the samples of a denoiser that returns an array of its own every time",
        where=f"for {shown(sigmas)}",
        look_at="estimates that are kept for later steps, or returned, without a copy",
    )
