"""Schedulers beside one another: exact errors against the number of model evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    from numpy.typing import NDArray

    from schedulers.analytic import Gaussian

    Floats = NDArray[np.float64]


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
        rows = [["steps", *map(str, self.steps)]]
        for name, errors, nfe in zip(self.names, self.errors, self.nfe, strict=True):
            rows.append([name, *(f"{error:.4g}" for error in errors)])
            if list(nfe) != list(self.steps):
                rows.append(["  evaluations", *map(str, nfe.tolist())])
        return "\n".join(table(rows, names=True))

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

    def plot(self, ax: Any = None) -> Any:
        """Draw the errors against the number of evaluations, on logarithmic axes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure's by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
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
            ax.loglog(nfe, errors, marker=marker, markersize=5, label=name)
        ax.set(xlabel="model evaluations", ylabel="2-Wasserstein distance to the data")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
        return ax


def compare(
    schedulers: Mapping[str, Scheduler] | Sequence[Scheduler],
    data: Gaussian,
    steps: Sequence[int] = (5, 10, 20, 50),
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
    """
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
    laws = [[output_law(scheduler, data, n) for n in counts] for scheduler in named.values()]
    return Comparison(
        tuple(named),
        counts,
        np.array([[scheduler.tableau(n).nfe for n in counts] for scheduler in named.values()]),
        np.array([[wasserstein2(law, data) for law in row] for row in laws]),
    )
