"""Gaussians with the spectra of data that people have."""

from __future__ import annotations

import numpy as np

from schedulers import _checks
from schedulers.analytic import Gaussian


def power_law(side: int, variance: float = 0.25) -> Gaussian:
    """Gaussian with the spectrum of natural images: variance in proportion to 1 / f**2.

    Its axes are the spatial frequencies of square images, f their absolute value in cycles an
    image; the mean, whose f is 0, has the variance of f = 1.

    Parameters
    ----------
    side : int
        Pixels along a side.
    variance : float
        Mean over the axes, and so of a pixel; 1/4 is about that of images in [-1, 1].

    Returns
    -------
    Gaussian
        With event shape (side * side,), the mean 0 and a diagonal covariance.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Field: Relations between the statistics of natural images and the response properties of
    cortical cells, Journal of the Optical Society of America A 4, 1987.

    Examples
    --------
    >>> power_law(2, variance=1.0).cov.round(3)
    array([1.143, 1.143, 1.143, 0.571])
    """
    side = _checks.between("side", side, 1, 4096)
    variance = _checks.real("variance", variance, above=0.0, at_most=1e290)
    if variance < 1e-290:
        raise ValueError(f"variance must be at least 1e-290, got {variance:g}")
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side, 1.0 / side)] * 2)).reshape(-1)
    spectrum = 1.0 / np.maximum(f, 1.0) ** 2
    return Gaussian(np.zeros(f.size), variance * spectrum / spectrum.mean())
