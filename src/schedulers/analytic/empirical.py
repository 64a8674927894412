"""The distribution of a data set: its points, each equally likely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulers.analytic.mixture import GaussianMixture, many

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Empirical(GaussianMixture):
    """Uniform distribution over the points of a data set.

    Its denoiser is that of a model that memorized the data set: the mean of the points, each
    weighted by its probability given x. It generates the points themselves.

    Parameters
    ----------
    points : array_like, shape ``(k, *event_shape)``
        The data set; axis 0 counts the points.

    Raises
    ------
    TypeError, ValueError
        If `points` has the wrong type, shape or values.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers import DDIM, VESchedule
    >>> data, schedule = Empirical([[-1.0], [2.0]]), VESchedule()
    >>> scheduler = DDIM(schedule, spacing="karras")
    >>> scheduler.sample(data.denoiser(schedule), np.array([[-50.0], [70.0]]), steps=20).round(6)
    array([[-1.],
           [ 2.]])
    """

    def __init__(self, points: ArrayLike) -> None:
        super().__init__(many("points", points), std=0.0)
