"""What a check is, and what it says when the law that it tests is broken."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np


class Titled(Protocol):
    """A case, by what a failure tells of it."""

    @property
    def title(self) -> str:
        """What the checks are run on."""


class CheckFailed(AssertionError):  # noqa: N818
    """A law is broken: what was expected, what came, and where to look.

    Parameters
    ----------
    expected, got, look_at : str
        In words and numbers.

    Attributes
    ----------
    check : str
        Name of the check that found it; empty where none did.
    law : str
        The law, in a sentence.
    subject : str
        What broke it.
    """

    check = law = subject = ""

    def __init__(self, expected: str, got: str, look_at: str) -> None:
        super().__init__(expected, got, look_at)
        self.expected, self.got, self.look_at = expected, got, look_at

    def named(self, check: Check, case: Titled) -> CheckFailed:
        """Say which check found it, and in what; return itself."""
        self.check, self.law, self.subject = check.name, check.law, case.title
        return self

    def __str__(self) -> str:
        # pytest's summary shows the first line: what came is in it.
        return "\n".join(
            [
                f"{self.check or 'the check'}, of {self.subject or 'a sampler'}: {self.got}",
                f"    law:      {self.law}",
                f"    expected: {self.expected}",
                f"    got:      {self.got}",
                f"    look at:  {self.look_at}",
            ]
        )


class ChecksFailed(AssertionError):  # noqa: N818
    """Several laws are broken, or laws hold that were said to be broken.

    Parameters
    ----------
    failures : sequence of CheckFailed
        One for each check that failed, in the checks' order.

    Attributes
    ----------
    failures : tuple of CheckFailed
    """

    def __init__(self, failures: Sequence[CheckFailed]) -> None:
        super().__init__(tuple(failures))
        self.failures = tuple(failures)

    def __str__(self) -> str:
        n, names = len(self.failures), ", ".join(failure.check for failure in self.failures)
        return "\n\n".join([f"{n} check{'s' * (n > 1)} failed: {names}", *map(str, self.failures)])


# Errors are shown by the names that they are imported by.
CheckFailed.__module__ = ChecksFailed.__module__ = "schedulers.testing"


class Check:
    """One law as a function of a case: returns nothing, or raises `CheckFailed`.

    Parameters
    ----------
    function : callable
        ``function(case)``; the first paragraph of its docstring states the law.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        self.function = function
        functools.update_wrapper(self, function)

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.function.__name__

    @property
    def law(self) -> str:
        """The law, in a sentence."""
        paragraph = (self.function.__doc__ or "").partition("\n\n")[0]
        return " ".join(paragraph.split())

    def __call__(self, case: Titled) -> None:
        """Run the check; whatever is raised is a `CheckFailed` that names it."""
        try:
            with np.errstate(all="ignore"):  # what is not finite is found where it comes out
                self.function(case)
        except CheckFailed as failure:
            failure.named(self, case)
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise CheckFailed(
                expected="a run without an error",
                got=f"{type(error).__name__}: {error}",
                look_at=f"{frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}",
            ).named(self, case) from error

    def __repr__(self) -> str:
        return self.name


def expect(holds: object, expected: str, got: str, look_at: str) -> None:
    """Raise `CheckFailed` unless it holds."""
    if not holds:
        raise CheckFailed(expected, got, look_at)


def expect_close(
    got: Any, expected: Any, tolerance: float, *, what: str, where: str, look_at: str
) -> None:
    """Compare arrays: no element may differ by more than the (absolute) tolerance."""
    got, expected = np.asarray(got), np.broadcast_to(np.asarray(expected), np.shape(got))
    if got.size == 0:
        return
    off = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    off[np.isnan(off)] = np.inf
    if off.max() <= tolerance:
        return
    at = np.unravel_index(int(off.argmax()), off.shape)
    raise CheckFailed(
        expected=f"{what} to {tolerance:.1e}, {float(expected[at]):.12g} in the worst element",
        got=f"{float(got[at]):.12g}, off by {off.max():.2e}, {where}",
        look_at=look_at,
    )


def expect_same(got: Any, expected: Any, *, what: str, where: str, look_at: str) -> None:
    """Compare arrays to the last bit."""
    if np.shape(got) != np.shape(expected):
        raise CheckFailed(
            f"{what}, of shape {np.shape(expected)}", f"shape {np.shape(got)}, {where}", look_at
        )
    if not np.array_equal(got, expected):
        off = np.abs(np.asarray(got, np.float64) - np.asarray(expected, np.float64)).max()
        raise CheckFailed(
            f"{what}, to the last bit", f"values that differ by up to {off:.2e}, {where}", look_at
        )


def shown(sigmas: Any) -> str:
    """Return levels as text, shortened where they are many."""
    values = [f"{float(s):.4g}" for s in sigmas]
    if len(values) > 9:
        values = [*values[:4], "...", *values[-4:]]
    return f"sigmas=[{', '.join(values)}]"
