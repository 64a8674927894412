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

Where this differs from k-diffusion 0.1.1:

- Weights are computed in float64, so a difference of close levels loses no digits; there the last
  of ``get_sigmas_vp(n)`` is off by 2e-4 of itself in float32.
- `get_sigmas_*` return NumPy arrays, in float32 as there. They go beside any kind of x.
- `sample_dpmpp_3m_sde` is of third order: there the estimates' second differences count half, so
  that it is of second. On a Gaussian in 160 steps from sigma 10 to 0.3 with eta = 0 the error is
  6e-7 here and 8e-6 there.
- `sample_dpm_2_ancestral` adds its noise where eta above 1 leaves no other; there it is left out,
  and the sample has less noise than its level.
- `sample_dpmpp_2m_sde` and `sample_dpmpp_3m_sde` can take a single step to the clean level.
- The default noise of the SDE samplers is not a tree in sigma: it is independent from step to step,
  and the two noises of a step of `sample_dpmpp_sde` are those of a Brownian path in 1 / sigma**2,
  as in the exact solution. A seed of PyTorch's leads to other samples there. A given noise_sampler
  leads to k-diffusion's.
- What ends in NaN there is refused: levels that are 0 before the end, that rise where noise is
  added, or that repeat in a multistep method; and a model that returns NaN, infinity or another
  shape.
- `sample_dpm_adaptive` raises an error where its steps become too small, instead of going on
  forever; `sample_dpm_fast` and it tell the callback numbers, where there are tensors there.
- `log_likelihood` takes NumPy arrays, and derivatives are differences, not automatic.
- The callback's `x` is read-only where it is NumPy's, or a copy: a run is not changed by writing to
  it.
- Half precision in NumPy is stepped in float32.
- `sample_euler`, `sample_heun` and `sample_dpm_2` take a `noise_sampler`, too. No noise is drawn
  after the last step that needs some.
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
