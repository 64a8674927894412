"""k-diffusion's interface: `sample_*`, `get_sigmas_*`, `log_likelihood`.

A loop that says ``from k_diffusion.sampling import sample_heun, get_sigmas_karras`` runs with
``from schedulers.compat.k_diffusion import ...``, on NumPy arrays, PyTorch's tensors or JAX's
arrays. The names, arguments and defaults are k-diffusion's; the rows are those of `Euler`,
`EulerAncestral`, `Heun`, `DPM2`, `DPM2Ancestral`, `LMS`, `DPMSolver` and `DPMSolverPP` on a
`VESchedule`, and the engine takes them. `sample_dpm_adaptive` is the one whose steps depend on the
data.

A model is a denoiser: ``model(x, sigma, **extra_args)`` returns the denoised sample for x at the
noise level sigma, a vector with an entry for each sample. `sigmas` are the levels in order, the
run's end included.

The page "Swap it in" lists where this differs from k-diffusion 0.1.1, with the reasons.
"""

from schedulers.compat.k_diffusion.dpm_solver import sample_dpm_adaptive, sample_dpm_fast
from schedulers.compat.k_diffusion.dpm_solver_pp import (
    sample_dpmpp_2m,
    sample_dpmpp_2m_sde,
    sample_dpmpp_2s_ancestral,
    sample_dpmpp_3m_sde,
    sample_dpmpp_sde,
)
from schedulers.compat.k_diffusion.grids import (
    get_sigmas_exponential,
    get_sigmas_karras,
    get_sigmas_polyexponential,
    get_sigmas_vp,
)
from schedulers.compat.k_diffusion.likelihood import log_likelihood
from schedulers.compat.k_diffusion.sampling import (
    sample_dpm_2,
    sample_dpm_2_ancestral,
    sample_euler,
    sample_euler_ancestral,
    sample_heun,
    sample_lms,
)

__all__ = [
    "get_sigmas_exponential",
    "get_sigmas_karras",
    "get_sigmas_polyexponential",
    "get_sigmas_vp",
    "log_likelihood",
    "sample_dpm_2",
    "sample_dpm_2_ancestral",
    "sample_dpm_adaptive",
    "sample_dpm_fast",
    "sample_dpmpp_2m",
    "sample_dpmpp_2m_sde",
    "sample_dpmpp_2s_ancestral",
    "sample_dpmpp_3m_sde",
    "sample_dpmpp_sde",
    "sample_euler",
    "sample_euler_ancestral",
    "sample_heun",
    "sample_lms",
]
