"""Laws of calls: the same call gives the same samples, whatever was called before or meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.testing.cases import Normal, SamplerCase, zeros
from schedulers.testing.failures import Check, expect, expect_close, expect_same, shown
from schedulers.testing.models import nonlinear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Of this many draws of noise each is looked at; of more, every second, third, ...
_LOOKED_AT = 16


@Check
def check_steps(case: SamplerCase) -> None:
    """A run may have any number of steps.

    One step, two, and up to ten all end, with finite samples. A failure means that more earlier
    estimates were taken for granted than there are.
    """
    rng = case.rng("steps")
    for steps in range(case.min_steps, case.min_steps + 10):
        sigmas = case.sigmas(rng, steps)
        case.run(nonlinear, sigmas[0] * rng.normal(size=(2, 3)), sigmas)


@Check
def check_deterministic(case: SamplerCase) -> None:
    """The same arguments give the same samples.

    A failure means randomness from elsewhere than `noise`, or state that a call leaves behind.
    """
    x, sigmas = _problem(case, "deterministic")
    first = case.run(nonlinear, x, sigmas)
    expect_same(
        case.run(nonlinear, x, sigmas),
        first,
        what="a second call with the same arguments to give the same samples",
        where=f"for {shown(sigmas)}",
        look_at="random numbers that are not drawn by `noise`, and state kept between calls",
    )


@Check
def check_noise(case: SamplerCase) -> None:
    """A deterministic sampler draws no noise; a stochastic one uses each draw.

    Where many levels are visited, some noise is drawn; and the output changes with each draw, one
    at a time, while the others stay 0. Of many draws some are looked at. A failure means noise that
    is drawn and not used, or used with a weight of 0.
    """
    x, sigmas = _problem(case, "noise")
    counted = Normal(case.rng("noise"))
    case.run(nonlinear, x, sigmas, counted)
    if not case.stochastic:
        expect(
            counted.draws == 0,
            "a sampler that is said to be deterministic to draw no noise",
            f"{counted.draws} draws for {shown(sigmas)}",
            "the claim (stochastic=True), or what the noise is for",
        )
        return
    if counted.draws == 0:
        fine = case.sigmas(case.rng("many levels"), 320, clean=False)
        x, sigmas = fine[0] * x / sigmas[0], fine
        case.run(nonlinear, x, sigmas, counted)
        expect(
            counted.draws > 0,
            "a sampler that is said to be stochastic to draw noise",
            f"no draw for {shown(sigmas)}",
            "the claim (stochastic=False), or where `noise` should be called",
        )
    silent = case.run(nonlinear, x, sigmas, _Single(-1))
    # A step that ends clean has no room for noise: a draw of weight 0 there is only a waste.
    needed = counted.draws - (sigmas[-1] == 0.0)
    for draw in range(0, needed, max(needed // _LOOKED_AT, 1)):
        expect(
            not np.array_equal(case.run(nonlinear, x, sigmas, _Single(draw)), silent),
            "every draw of noise to have a part in the samples",
            f"none for draw {draw + 1} of {counted.draws}",
            "noise that is drawn and then not added, or overwritten",
        )


@Check
def check_no_state(case: SamplerCase) -> None:
    """A call leaves nothing behind that changes the next one, even if an error ended it.

    A failure means state in the sampler: a history that is not cleared, a default argument or a
    module's variable that is written to.
    """
    look_at = "state that outlives a call: histories, caches, mutable defaults"
    x, sigmas = _problem(case, "state")
    rng = case.rng("between")
    first = case.run(nonlinear, x, sigmas)
    others = case.sigmas(rng)
    case.run(lambda y, s: 0.5 * y, others[0] * rng.normal(size=(5, 2)), others)
    case.run(lambda y, s: 0.5 * y, rng.normal(size=x.shape), sigmas)

    class GoneError(Exception):
        pass

    def fails(y: Any, s: float) -> Any:
        if s <= sigmas[-2]:
            raise GoneError
        return 0.1 * y

    with suppress(GoneError):
        case.run(fails, x, sigmas)
    expect_same(
        case.run(nonlinear, x, sigmas),
        first,
        what="a call to give the same samples after other calls as before them",
        where=f"for {shown(sigmas)}",
        look_at=look_at,
    )
    # What was kept for a denoiser, or a shape, does not fit a batch that is one longer.
    longer = np.concatenate([x, x[:1]])
    expect_close(
        case.run(_other, x, sigmas, zeros),
        case.run(_other, longer, sigmas, zeros)[:-1],
        case.rounding(_other, x, sigmas),
        what="another denoiser's samples to be those of a batch that was never seen",
        where=f"after calls with the first one, for {shown(sigmas)}",
        look_at=look_at,
    )


def _other(y: Any, s: float) -> Any:
    return 0.5 - 0.5 * nonlinear(y, s)


@Check
def check_reentrant(case: SamplerCase) -> None:
    """A run may take place in the middle of another.

    The denoiser here runs the sampler itself on other data, as an interleaved request would. A
    failure means that two runs share what is kept between steps.
    """
    x, sigmas = _problem(case, "reentrant")
    expected = case.run(nonlinear, x, sigmas)
    calls = 0

    def interrupted(y: Any, s: float) -> Any:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            case.run(lambda y, s: 0.25 * y, 2.0 * x, sigmas, Normal(case.rng("inner")))
        return nonlinear(y, s)

    expect_same(
        case.run(interrupted, x, sigmas),
        expected,
        what="a run to be the same with another one in its midst",
        where=f"for {shown(sigmas)}",
        look_at="where estimates of earlier steps are kept: it must belong to one run",
    )


def _problem(case: SamplerCase, purpose: str) -> tuple[Floats, Floats]:
    """A start and its levels, of six steps."""
    rng = case.rng(purpose)
    sigmas = case.sigmas(rng, case.min_steps + 5)
    return sigmas[0] * rng.normal(size=(3, 2)), sigmas


class _Single:
    """Noise that is 0 but for one draw, which is 1."""

    def __init__(self, draw: int) -> None:
        self.draw, self.drawn = draw, 0

    def __call__(self, like: Any) -> Any:
        value = float(self.drawn == self.draw)
        self.drawn += 1
        return np.full(like.shape, value, like.dtype)
