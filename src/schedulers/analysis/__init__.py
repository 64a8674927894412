"""Exact answers: the law of a scheduler's output where the data is Gaussian, without sampling.

A Gaussian's denoiser is affine, a scheduler's rows are weighted sums, so what comes out of a run is
Gaussian, with a mean and a covariance that follow from the tableau. `output_law` is that Gaussian,
`error_budget` says where its distance from the data comes from, `convergence_order` how it falls
with the number of steps, and `compare` puts schedulers beside one another.
"""

from schedulers.analysis.comparison import Comparison as Comparison, compare as compare
from schedulers.analysis.distances import (
    kl_divergence as kl_divergence,
    wasserstein2 as wasserstein2,
)
from schedulers.analysis.errors import (
    Convergence as Convergence,
    ErrorBudget as ErrorBudget,
    convergence_order as convergence_order,
    error_budget as error_budget,
)
from schedulers.analysis.law import (
    TransferFunction as TransferFunction,
    output_law as output_law,
    transfer_function as transfer_function,
)
from schedulers.analysis.spectra import power_law as power_law

__all__ = [
    "Comparison",
    "Convergence",
    "ErrorBudget",
    "TransferFunction",
    "compare",
    "convergence_order",
    "error_budget",
    "kl_divergence",
    "output_law",
    "power_law",
    "transfer_function",
    "wasserstein2",
]
