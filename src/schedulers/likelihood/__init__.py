"""How likely data is under a model: DDPM's variational bound, and the flow's exact density.

The chain that `DDPM` samples from is a latent-variable model. `variational_bound` gives the terms
of the bound on its likelihood, which are the bits that progressive coding sends, and
`progressive_decoding` what the receiver has decoded on the way. The probability flow is a change of
variables, under which the likelihood is known: `log_likelihood` integrates its divergence. A row
that draws noise has a density: `Scheduler.row_law` returns it as a `RowLaw`.
"""

from schedulers.engine.row_law import RowLaw as RowLaw
from schedulers.likelihood.bound import (
    VariationalBound as VariationalBound,
    progressive_decoding as progressive_decoding,
    variational_bound as variational_bound,
)
from schedulers.likelihood.flow import (
    FlowLikelihood as FlowLikelihood,
    log_likelihood as log_likelihood,
)

__all__ = [
    "FlowLikelihood",
    "RowLaw",
    "VariationalBound",
    "log_likelihood",
    "progressive_decoding",
    "variational_bound",
]
