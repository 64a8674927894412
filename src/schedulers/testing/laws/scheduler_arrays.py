"""Laws of a `Scheduler`'s arrays: any array goes in, comes out as it should, and is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.testing.cases import Normal
from schedulers.testing.failures import Check, expect, expect_close, expect_same
from schedulers.testing.models import nonlinear
from schedulers.testing.scheduler_cases import SchedulerCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHAPES = ((), (1,), (5,), (0,), (0, 3, 4), (2, 0), (2, 3), (2, 3, 4, 4))
DTYPES = ("float64", "float32", "float16", "longdouble", ">f8", ">f4")


@Check
def check_any_array(case: SchedulerCase) -> None:
    """An array of any shape, dtype and byte order comes out as one like it, at every step.

    A failure means weights with a dtype of their own, or a number of axes taken for granted.
    """
    kinds = [(shape, "float64") for shape in SHAPES] + [((3, 2), dtype) for dtype in DTYPES]
    for shape, dtype in kinds:
        x, seen = _noise(case, shape).astype(dtype), set()

        def model(y: Any, t: float) -> Any:
            seen.add((y.shape, y.dtype))  # noqa: B023
            return nonlinear(y, t)

        arrays = []
        for state in case.scheduler.iterate(model, x, **_levels(case, 4), rng=0):
            arrays += [state.x, state.denoised]
        expected, look_at = {(x.shape, x.dtype)}, "arrays that are made anew, and their dtype"
        got = {(a.shape, a.dtype) for a in arrays if isinstance(a, np.ndarray)}
        whole = all(isinstance(a, np.ndarray) for a in arrays)
        expect(whole, "arrays", f"{[type(a).__name__ for a in arrays]}", look_at)
        expect(got == expected, f"x and D of {expected}", f"{got}", look_at)
        expect(seen == expected, f"a model that sees {expected}", f"{seen}", look_at)


@Check
def check_half_precision(case: SchedulerCase) -> None:
    """float16 samples are stepped in float32 and rounded once, at the end.

    To a model of constant output a float16 run is float32's, rounded. A failure means that what is
    carried from step to step has the caller's dtype.
    """
    x = (0.2 * _noise(case, (200,))).astype(np.float16)
    for constant in (0.0, 0.37109375):
        half, single = (
            list(
                case.scheduler.iterate(
                    lambda y, t: np.full_like(y, constant),  # noqa: B023
                    start,
                    **_levels(case, 40),
                    rng=0,
                )
            )
            for start in (x, x.astype(np.float32))
        )
        for one, other in zip(half, single, strict=True):
            expect_same(
                one.x,
                other.x.astype(np.float16),
                what="float32's sample, rounded",
                where=f"at t={one.t:g}",
                look_at="the dtype of what a State carries",
            )


@Check
def check_own_memory(case: SchedulerCase) -> None:
    """The run writes to no array of its caller, and no result shares memory with one.

    The sample and the model's outputs are read-only here; then the model returns one buffer every
    time, as compiled models do, and writes to its argument. A failure means an operation in place,
    or an estimate that is kept without a copy.
    """
    x, outputs = _noise(case, (3, 2)), []
    x.flags.writeable = False

    def model(y: Any, t: float) -> Any:
        out = nonlinear(y, t)
        out.flags.writeable = False
        outputs.append((out, out.copy()))
        return out

    states = list(case.scheduler.iterate(model, x, **_levels(case, 6), rng=0))
    look_at = "operations in place, and arrays that are kept or returned without a copy"
    for given, before in outputs:
        expect_same(given, before, what="outputs left alone", where="after a run", look_at=look_at)
    for state in states:
        for array in (state.x, state.denoised):
            shared = any(np.shares_memory(array, given) for given in (x, *(o for o, _ in outputs)))
            expect(
                not shared, "memory of their own for x and D", f"shared at t={state.t:g}", look_at
            )

    buffer = np.empty_like(x)

    def reuses(y: Any, t: float) -> Any:
        buffer[...] = nonlinear(y, t)
        y[...] = np.nan
        return buffer

    again = list(case.scheduler.iterate(reuses, x, **_levels(case, 6), rng=0))
    buffer[...] = np.nan
    for one, other in zip(again, states, strict=True):
        where = f"at t={one.t:g}, of a model that reuses its buffer"
        expect_same(one.x, other.x, what="the same x", where=where, look_at=look_at)
        expect_same(one.denoised, other.denoised, what="the same D", where=where, look_at=look_at)


@Check
def check_layout(case: SchedulerCase) -> None:
    """The layout of a sample in memory does not matter.

    A failure means a view that is taken for an array in C order.
    """
    x = _noise(case, (4, 6))
    expected = case.scheduler.sample(nonlinear, x, **_levels(case, 3), rng=0)
    for name, laid in (
        ("in Fortran's order", np.asfortranarray(x)),
        ("strided", np.repeat(x, 2, axis=1)[:, ::2]),
        ("reversed", x[::-1].copy()[::-1]),
    ):
        got = case.scheduler.sample(nonlinear, laid, **_levels(case, 3), rng=0)
        expect_same(got, expected, what="the same samples", where=name, look_at="reshape, ravel")


class Foreign:
    """An array of another library: it is scaled by floats, added, summed, and that is all."""

    dtype = "foreign.float"

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, dtype=np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return self.values.shape

    def __mul__(self, factor: Any) -> Foreign:
        if type(factor) is not float:
            raise TypeError(f"scaled by {type(factor).__name__}, not by a Python float")
        return Foreign(self.values * factor)

    def __add__(self, other: Any) -> Foreign:
        if type(other) is not Foreign:
            raise TypeError(f"added to {type(other).__name__}, not to an array of its own library")
        return Foreign(self.values + other.values)

    def __sub__(self, other: Foreign) -> Foreign:
        with np.errstate(invalid="ignore"):
            return Foreign(self.values - other.values)

    def sum(self) -> Any:
        """Sum."""
        return self.values.sum()


@Check
def check_foreign_arrays(case: SchedulerCase) -> None:
    """Arrays of other libraries are only scaled by Python floats and added.

    A failure means a weight that is a NumPy scalar or an array, or a NumPy function on the sample.
    """
    x, levels = _noise(case, (3, 2)), _levels(case, 5)
    foreign, own = Normal(case.rng("noise")), Normal(case.rng("noise"))
    got = case.scheduler.sample(
        lambda y, t: Foreign(nonlinear(y.values, t)),
        Foreign(x),
        **levels,
        rng=lambda like: Foreign(foreign(np.empty(like.shape))),
    )
    expect_close(
        got.values,
        case.scheduler.sample(nonlinear, x, **levels, rng=own),
        1e-12 * max(1.0, float(np.abs(x).max())),
        what="the samples of NumPy arrays",
        where="for an array that can only be scaled and added",
        look_at="what is done to the sample outside `weighted_sum`",
    )


def _levels(case: SchedulerCase, steps: int) -> dict[str, Any]:
    """Levels at which no estimate is too large for float16."""
    high = min(8.0, case.sigma_max)
    low = max(high / 16.0, case.sigma_min)
    return {"sigmas": np.append(np.geomspace(high, low, steps), 0.0)}


def _noise(case: SchedulerCase, shape: tuple[int, ...]) -> Floats:
    return np.asarray(case.rng("arrays").standard_normal(shape))
