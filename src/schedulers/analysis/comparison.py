"""Schedulers beside one another: exact errors against the number of model evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.analysis.distances import wasserstein2
from schedulers.analysis.law import numbers_of_steps, output_law
from schedulers.engine.text import table
from schedulers.scheduler import Scheduler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.analytic import Gaussian

    Floats = NDArray[np.float64]


# Name of the row under a scheduler's that has its numbers of evaluations.
_EVALUATIONS = "  evaluations"
# What has a meaning of its own in LaTeX.
_SPECIAL = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Exact errors of schedulers at numbers of steps; see `compare`. Printing it shows a table.

    Attributes
    ----------
    names : tuple of str
        Of the schedulers.
    steps : tuple of int
        Numbers of steps.
    nfe : ndarray of int, shape (len(names), len(steps))
        Numbers of model evaluations.
    errors : ndarray of float64, shape (len(names), len(steps))
        2-Wasserstein distances of the output to the data, in the units of the data.
    """

    names: tuple[str, ...]
    steps: tuple[int, ...]
    nfe: NDArray[np.int64]
    errors: Floats

    def __str__(self) -> str:
        return "\n".join(table(self._rows(), names=True))

    def to_latex(self) -> str:
        r"""Return the table in LaTeX, a tabular with the rules of the package booktabs.

        Returns
        -------
        str

        Examples
        --------
        >>> from schedulers import DDIM, VESchedule
        >>> from schedulers.analytic import Gaussian
        >>> print(compare([DDIM(VESchedule())], Gaussian(0.0, 1.0), steps=[5, 500]).to_latex())
        \begin{tabular}{lrr}
        \toprule
        steps & 5 & 500 \\
        \midrule
        DDIM & $0.9377$ & $0.06107$ \\
        \bottomrule
        \end{tabular}
        """
        head, *body = (
            " & ".join([_escaped(name), *map(_typeset, cells)]) + r" \\"
            for name, *cells in self._rows()
        )
        columns = "l" + "r" * len(self.steps)
        return "\n".join(
            [
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )

    def _rows(self) -> list[list[str]]:
        """Rows of text: of numbers of steps, of errors, and of evaluations where they differ."""
        rows = [["steps", *map(str, self.steps)]]
        for name, errors, nfe in zip(self.names, self.errors, self.nfe, strict=True):
            rows.append([name, *(f"{error:.4g}" for error in errors)])
            if list(nfe) != list(self.steps):
                rows.append([_EVALUATIONS, *map(str, nfe.tolist())])
        return rows

    def to_dict(self) -> dict[str, dict[int, dict[str, float]]]:
        """Nested dictionaries: name, number of steps, then "nfe" and "error"."""
        return {
            name: {
                steps: {"nfe": nfe, "error": error}
                for steps, nfe, error in zip(self.steps, evaluations, errors, strict=True)
            }
            for name, evaluations, errors in zip(
                self.names, self.nfe.tolist(), self.errors.tolist(), strict=True
            )
        }

    def plot(self, ax: Any = None, *, against: str = "evaluations") -> Any:
        """Draw the errors against the number of evaluations or of steps, on logarithmic axes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure's by default.
        against : str
            "evaluations" or "steps".

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        TypeError, ValueError
            If `against` is none of the two.
        ImportError
            If matplotlib is not installed.
        """
        _checks.choice("against", against, ("evaluations", "steps"))
        if ax is None:
            try:
                from matplotlib import pyplot as plt
            except ImportError:
                raise ImportError(
                    "plot needs the package matplotlib: pip install matplotlib"
                ) from None
            ax = plt.figure(layout="constrained").add_subplot()
        lines = zip(self.names, self.nfe, self.errors, cycle("osD^vPX*"), strict=False)
        for name, nfe, errors, marker in lines:
            numbers = self.steps if against == "steps" else nfe
            ax.loglog(numbers, errors, marker=marker, markersize=5, label=name)
        label = "steps" if against == "steps" else "model evaluations"
        ax.set(xlabel=label, ylabel="2-Wasserstein distance to the data")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
        return ax


def compare(
    schedulers: Mapping[str, Scheduler] | Sequence[Scheduler],
    data: Gaussian,
    steps: Sequence[int] = (5, 10, 20, 50),
    *,
    sigmas: Callable[[int], ArrayLike] | None = None,
    initial: str = "noise",
) -> Comparison:
    """Exact distance between schedulers' outputs and Gaussian data, without sampling.

    Parameters
    ----------
    schedulers : mapping of str to Scheduler, or sequence of Scheduler
        By name; in a sequence, by the name of the class, which is then to be different.
    data : Gaussian
        The data, for example ``Gaussian.fit(samples)``.
    steps : sequence of int
        Rising numbers of steps, each on the scheduler's own spacing, from noise to the clean level.
    sigmas : callable, optional
        ``sigmas(n)`` returns the levels of n steps for all schedulers, in place of their spacings:
        n + 1 of Karras's sigmas, as for `Scheduler.tableau`.
    initial : str
        Law of the sample at the first level, "noise" or "marginal", as for `output_law`. With
        "marginal" no error is left of noise that is not the data's.

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, and as for `output_law`.

    Examples
    --------
    >>> from schedulers import DDIM, DDPM, Heun, VPSchedule
    >>> from schedulers.analytic import Gaussian
    >>> schedule = VPSchedule()
    >>> data = Gaussian(mean=[0.0, 1.0], cov=[4.0, 0.01])
    >>> makes = DDPM(schedule), DDIM(schedule), Heun(schedule, spacing="karras")
    >>> print(compare(makes, data, steps=[10, 20, 40]))
    steps              10       20       40
    DDPM           0.4591   0.2639   0.1448
    DDIM           0.2896   0.1542  0.08046
    Heun           0.3177  0.06376  0.01421
      evaluations      19       39       79

    The same levels for all, from samples of the noised data:

    >>> from schedulers import karras_sigmas
    >>> def levels(n):
    ...     return karras_sigmas(n, 0.01, 50.0)
    >>> print(compare(makes[1:], data, [10, 20, 40], sigmas=levels, initial="marginal"))
    steps              10       20        40
    DDIM           0.3932   0.1971   0.09862
    Heun           0.1976  0.04059  0.009199
      evaluations      19       39        79
    """
    _checks.choice("initial", initial, ("noise", "marginal"))
    if sigmas is not None:
        _checks.function("sigmas", sigmas, "(n)")
    if isinstance(schedulers, Mapping):
        named = dict(schedulers)
    elif isinstance(schedulers, Sequence):
        named = {type(scheduler).__name__: scheduler for scheduler in schedulers}
        if len(named) != len(schedulers):
            raise ValueError(
                f"schedulers must be a dictionary of names where two are of one class, "
                f"got {_checks.shown(schedulers)}"
            )
    else:
        raise TypeError(
            f"schedulers must be a sequence of them or a dictionary, "
            f"got {_checks.shown(schedulers)}"
        )
    if not named:
        raise ValueError(f"schedulers must be at least one, got {_checks.shown(schedulers)}")
    for name, scheduler in named.items():
        if not isinstance(scheduler, Scheduler):
            raise TypeError(f"schedulers must be Schedulers, got {_checks.shown(scheduler)}")
        if not isinstance(name, str):
            raise TypeError(
                f"schedulers must have names that are strings, got {_checks.shown(name)}"
            )
    counts = numbers_of_steps(steps)
    of_steps: list[dict[str, Any]] = [
        {"steps": n} if sigmas is None else {"sigmas": _levels(sigmas, n)} for n in counts
    ]
    laws = [
        [output_law(scheduler, data, **levels, initial=initial) for levels in of_steps]
        for scheduler in named.values()
    ]
    return Comparison(
        tuple(named),
        counts,
        np.array([[s.tableau(**levels).nfe for levels in of_steps] for s in named.values()]),
        np.array([[wasserstein2(law, data) for law in row] for row in laws]),
    )


def _levels(sigmas: Callable[[int], ArrayLike], n: int) -> Floats:
    levels = _checks.vector("sigmas(n)", sigmas(n), infinite=True)
    if len(levels) != n + 1:
        raise ValueError(
            f"sigmas(n) must be n + 1 levels, where each step begins and the last one ends, got "
            f"{len(levels)} for n = {n}"
        )
    return levels


def _escaped(name: str) -> str:
    """Return a name with LaTeX's special characters as text."""
    if name == _EVALUATIONS:
        return rf"\quad {name.strip()}"
    return "".join(_SPECIAL.get(character, character) for character in name)


def _typeset(number: str) -> str:
    """Return a number in LaTeX, in which 1.5e-05 has a power of ten."""
    if number.isdigit():
        return number
    mantissa, _, exponent = number.partition("e")
    power = rf" \times 10^{{{int(exponent)}}}" if exponent else ""
    return f"${mantissa}{power}$"
