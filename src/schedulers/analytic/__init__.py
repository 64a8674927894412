"""Data distributions whose denoiser is known in closed form.

If x_0 has one of these distributions, the distribution of x_t = alpha x_0 + sigma eps (its
*marginal*) is known, too, and the posterior mean E[x_0 | x_t], which a perfect model would learn,
is a formula. The denoiser computes it in float64 and returns the dtype of `x`.
"""

from schedulers.analytic.distribution import Distribution
from schedulers.analytic.empirical import Empirical
from schedulers.analytic.gaussian import Gaussian
from schedulers.analytic.mixture import GaussianMixture

__all__ = ["Distribution", "Empirical", "Gaussian", "GaussianMixture"]
