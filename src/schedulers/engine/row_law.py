"""The law of what a row that draws noise makes: a normal distribution for each sample.

Given the run so far, a row's weighted sum is fixed but for its noise, so that

    x_next ~ N(mean, std**2 I),      mean the row with z = 0, std its weight of z.

A model that learned its variance gives each element a std of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.state import State

Array = Any


@dataclass(frozen=True, eq=False)
class RowLaw:
    """Normal distribution of the sample that a row makes, given the run so far.

    `Scheduler.row_law` makes one. What it returns has a number for each sample: the sum over all
    axes but the first, in nats. For NumPy's arrays and PyTorch's tensors that is in float64, for
    other arrays in their own precision. It can be differentiated where the array's library can.

    Attributes
    ----------
    mean : array, shape of the sample
        What the row makes without its noise, in the precision that the run steps in.
    std : float or array, shape of the sample
        Standard deviation; an array if the model learned its variance.

    Raises
    ------
    ValueError
        If a std is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> law = RowLaw(np.zeros((2, 3)), 0.5)
    >>> law.log_prob(np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])).round(4)
    array([-0.6774, -2.1774])
    >>> law.entropy().round(4)
    array([2.1774, 2.1774])
    >>> law.kl_divergence(RowLaw(np.ones((2, 3)), 0.5))
    array([6., 6.])
    """

    mean: Array
    std: float | Array

    def __post_init__(self) -> None:
        if isinstance(self.std, float):
            _checks.real("std", self.std, above=0.0)
        elif not arrays.is_finite(arrays.apply("log", self.std)):
            raise ValueError(
                "the model's variance must be above 0 and finite, got one that is 0 or infinite in "
                "the precision of the run: it has no density"
            )

    def log_prob(self, x_next: Array | State) -> Array:
        """Log density of a sample, shape (n,).

        Parameters
        ----------
        x_next : array, shape of the sample, or State
            The sample after the row. A state has it in the precision that the run steps in, which
            matters for float16 and bfloat16.

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        TypeError, ValueError
            If `x_next` has another shape than the sample, or is not finite floats.
        """
        x = x_next.carried if isinstance(x_next, State) else x_next
        x = arrays.matching("x_next", x, self.mean, tuple(self.mean.shape))
        z = (arrays.wide(x) - arrays.wide(self.mean)) / self._wide_std
        return -0.5 * _summed(z * z) - self._log_scale()

    def entropy(self) -> Array:
        """Differential entropy, shape (n,): the mean of -log_prob over the row's noise."""
        return self._log_scale() + 0.5 * math.prod(self.mean.shape[1:])

    def kl_divergence(self, other: RowLaw) -> Array:
        """Kullback-Leibler divergence of this law from another, shape (n,).

        Parameters
        ----------
        other : RowLaw
            Of another model, or of another scheduler, at the same state.

        Returns
        -------
        array, shape (n,)
            The mean over this law of its log density less the other's.

        Raises
        ------
        TypeError, ValueError
            If `other` is no law of samples of the same shape.
        """
        if not isinstance(other, RowLaw):
            raise TypeError(f"other must be a RowLaw, got {_checks.shown(other)}")
        theirs = arrays.matching("other.mean", other.mean, self.mean, tuple(self.mean.shape))
        apart = (arrays.wide(self.mean) - arrays.wide(theirs)) / other._wide_std
        ratio = self._wide_std / other._wide_std
        # Both terms are of one rounded ratio, so that what they lose cancels.
        spread = (ratio - 1.0) * (ratio + 1.0) - 2.0 * arrays.apply("log", ratio)
        return 0.5 * _summed(apart * apart + spread)

    @property
    def _wide_std(self) -> float | Array:
        return self.std if isinstance(self.std, float) else arrays.wide(self.std)

    def _log_scale(self) -> Array:
        """Log of the density's denominator, shape (n,)."""
        size = math.prod(self.mean.shape[1:])
        log_std = arrays.apply("log", self._wide_std)
        constant = 0.5 * math.log(2.0 * math.pi)
        if isinstance(log_std, float):  # the sum over no elements: a 0 for each sample
            none = _flat(self.mean)[:, :0]
            return arrays.wide(none).sum(1) + size * (constant + log_std)
        return _summed(log_std) + size * constant


def _summed(values: Array) -> Array:
    """Sum over all axes but the first."""
    return _flat(values).sum(1)


def _flat(values: Array) -> Array:
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))
