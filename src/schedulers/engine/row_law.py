"""The law of what a row that draws noise makes: a normal distribution for each sample.

Given the run so far, a row's weighted sum is fixed but for its noise, so that

    x_next ~ N(mean, std**2 I),      mean the row with z = 0, std its weight of z.

A model that learned its variance gives each element a std of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.state import State

Array = Any

# Least standard deviation: float64 holds its square, and that of its inverse.
_LEAST = 1e-150


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
        Standard deviation, from 1e-150 to 1e150; an array if the model learned its variance.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, if a number is not finite, or if a std is not positive.

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
        mean = self.mean
        arrays.check_floats("mean", mean)
        if not mean.shape:
            raise ValueError("mean must have samples along axis 0, got that of a state of shape ()")
        arrays.check_finite("mean", mean)
        std = self.std
        if isinstance(std, Real):
            std = _checks.real("std", std, at_least=_LEAST, at_most=1.0 / _LEAST)
        else:
            std = arrays.matching("std", std, mean, tuple(mean.shape))
            if not arrays.is_finite(arrays.apply("log", std)):
                raise ValueError(
                    "the model's variance must be above 0, got std = 0 in the precision of the "
                    "run: it has no density"
                )
        object.__setattr__(self, "std", std)

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
            If `x_next` has another shape than the sample, is not finite floats, or is too far from
            the mean for the precision to hold the square of its distance in units of std.
        """
        x = x_next.carried if isinstance(x_next, State) else x_next
        x = arrays.matching("x_next", x, self.mean, tuple(self.mean.shape))
        return -_distance("x_next", x, self.mean, self._wide_std) - self._log_scale()

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
            If `other` is no law of samples of the same shape, or has too distant a mean, as for
            `log_prob`.
        """
        if not isinstance(other, RowLaw):
            raise TypeError(f"other must be a RowLaw, got {_checks.shown(other)}")
        theirs = arrays.matching("other.mean", other.mean, self.mean, tuple(self.mean.shape))
        ratio = self._wide_std / other._wide_std
        # Both terms are of one rounded ratio, so that what they lose cancels.
        spread = (ratio - 1.0) * (ratio + 1.0) - 2.0 * arrays.apply("log", ratio)
        apart = _distance("other.mean", theirs, self.mean, other._wide_std)
        return apart + _total(0.5 * spread, self.mean)

    @property
    def _wide_std(self) -> float | Array:
        return self.std if isinstance(self.std, float) else arrays.wide(self.std)

    def _log_scale(self) -> Array:
        """Log of the density's denominator, shape (n,)."""
        log_std = arrays.apply("log", self._wide_std)
        return _total(log_std + 0.5 * math.log(2.0 * math.pi), self.mean)


def _distance(name: str, x: Array, mean: Array, std: float | Array) -> Array:
    """Half the square of the distance from x to the mean in units of std, for each sample."""

    def halved_squares() -> Array:
        z = (arrays.wide(x) - arrays.wide(mean)) / std
        return 0.5 * _summed(z * z)

    found = arrays.SILENT.copy().run(halved_squares)
    if not arrays.is_finite(found):
        raise ValueError(
            f"{name} must be so near to the mean that {found.dtype} holds the square of their "
            f"distance in units of std"
        )
    return found


def _total(each: float | Array, like: Array) -> Array:
    """Sum over the elements of each sample; a number is that of every element."""
    if isinstance(each, float):
        none = arrays.wide(_flat(like)[:, :0])  # the sum over no elements: a 0 for each sample
        return none.sum(1) + math.prod(like.shape[1:]) * each
    return _summed(each)


def _summed(values: Array) -> Array:
    """Sum over all axes but the first."""
    return _flat(values).sum(1)


def _flat(values: Array) -> Array:
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))
