"""Distributions of data whose denoiser is known in closed form.

If x_0 has one of these distributions, so has x_t = alpha x_0 + sigma eps (its *marginal*), and the
exact posterior mean E[x_0 | x_t], which a perfect model would learn, is a formula. Each is computed
in float64 and returned in the dtype of `x`.
"""

from schedulers.analytic.distribution import Distribution
from schedulers.analytic.empirical import Empirical
from schedulers.analytic.gaussian import Gaussian
from schedulers.analytic.mixture import GaussianMixture

__all__ = ["Distribution", "Empirical", "Gaussian", "GaussianMixture"]
