"""The law of levels: those that are visited are those that were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.testing.cases import SamplerCase
from schedulers.testing.failures import Check, CheckFailed, expect, shown
from schedulers.testing.models import nonlinear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# By how much a level is moved, in units of itself.
MOVE = 1e-5
# What a level may be off by where it is told, in units of itself.
ROUNDING = 1e-6
LEFT_OUT = "how the levels are gone through: one is left out"
OWN = "a grid of its own between the ends, or levels rounded to levels of its own"


@Check
def check_levels(case: SamplerCase) -> None:
    """The levels that are visited are the ones given, all of them, and as they are.

    What the denoiser is told moves with each of them. A deterministic sampler tells it every level
    between the ends, or none of them, and the levels that it tells have float64's digits. A failure
    means a grid of the sampler's own, a
    level that is left out, levels that are kept from an earlier call, or rounded ones.
    """
    rng = case.rng("levels")
    few, close, many = (
        case.sigmas(rng, steps, False) for steps in (case.min_steps + 5, case.min_steps + 7, 33)
    )
    if case.grid is None:
        close[3] = 0.99 * close[2]
        few[-1] = 0.0
        for sigmas in (few, close, many):
            sigmas[0] *= rng.uniform(0.99, 1.0)  # ends that no other check has
    for sigmas, moves in ((few, 5 if case.stochastic else 3), (close, 1), (many, 2)):
        x = sigmas[0] * rng.normal(size=(2, 3))
        told = _told(case, x, sigmas)
        inner = sigmas[1:-1]
        if not case.stochastic:
            _expect_all_told(sigmas, told)
        _expect_digits(case, told, sigmas)
        for i in rng.permutation(len(inner))[:moves] + 1:
            moved = sigmas.copy()
            moved[i] *= 1.0 - MOVE
            if _told(case, x, moved) == told:
                _fail(int(i), sigmas, moved, told)


def _told(case: SamplerCase, x: Any, sigmas: Floats) -> list[float]:
    """The levels that the denoiser is told."""
    told: list[float] = []

    def model(y: Any, s: float) -> Any:
        told.append(s)
        return nonlinear(y, s)

    case.run(model, x, sigmas)
    return told


def _expect_all_told(sigmas: Floats, told: list[float]) -> None:
    inner = _between(sigmas)
    missing = [s for s in inner if not _among(s, told)]
    expect(
        len(missing) in (0, len(inner)),
        "the denoiser to be told every level between the ends, or, by a method that asks between "
        "them, none",
        f"{len(missing)} of {len(inner)} never told, such as {missing[:1]}, for {shown(sigmas)}",
        LEFT_OUT if 2 * len(missing) <= len(inner) else OWN,
    )


def _between(sigmas: Floats) -> list[float]:
    """The levels that a method is free to ask at: a step that ends clean asks where it begins."""
    between: list[float] = (sigmas[1:-2] if sigmas[-1] == 0.0 else sigmas[1:-1]).tolist()
    return between


def _among(s: float, told: list[float]) -> bool:
    """Whether it was told, but for the rounding of a model's time."""
    return bool(np.any(np.abs(np.array(told) - s) <= ROUNDING * s))


def _expect_digits(case: SamplerCase, told: list[float], sigmas: Floats) -> None:
    rounded = case.precision == "float64" and all(float(np.float32(s)) == s for s in told)
    expect(
        not rounded or all(float(np.float32(s)) == s for s in sigmas[1:-1]),
        "the denoiser to be told levels as they were given, in float64",
        f"levels rounded to float32, such as {told[-1:]}, for {shown(sigmas)}",
        "where a sigma is turned into float32, or the claim (precision='float32')",
    )


def _fail(i: int, sigmas: Floats, moved: Floats, told: list[float]) -> None:
    """Say what became of level i, whose move did nothing."""
    if _among(sigmas[i], told):
        look_at = "levels that are kept from an earlier call, by their number or their ends"
    elif any(_among(s, told) for s in _between(sigmas)):
        look_at = LEFT_OUT
    else:
        look_at = OWN
    raise CheckFailed(
        f"levels told to the denoiser that depend on every level given, on the {i + 1}. of "
        f"{shown(sigmas)}, too",
        f"the same ones with {moved[i]:.9g} in place of {sigmas[i]:.9g}",
        look_at,
    )
