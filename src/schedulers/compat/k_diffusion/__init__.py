"""k-diffusion's interface: `sample_euler`, `sample_euler_ancestral`, `sample_heun`, `get_sigmas_*`.

A loop that says ``from k_diffusion.sampling import sample_heun, get_sigmas_karras`` runs with
``from schedulers.compat.k_diffusion import ...``, on NumPy arrays, PyTorch's tensors or JAX's
arrays. The names, arguments and defaults are k-diffusion's; the rows are those of `Euler`,
`EulerAncestral` and `Heun` on a `VESchedule`, and the engine takes them.

A model is a denoiser: ``model(x, sigma, **extra_args)`` returns the denoised sample for x at the
noise level sigma, a vector with an entry for each sample. `sigmas` are the levels in order, the
run's end included.

Where this differs from k-diffusion 0.1.1:

- Weights are computed in float64, so a difference of close levels loses no digits; there the last
  of ``get_sigmas_vp(n)`` is off by 2e-4 of itself in float32.
- `get_sigmas_*` return NumPy arrays, in float32 as there. They go beside any kind of x.
- What ends in NaN there is refused: levels that are 0 before the end, or that rise where noise is
  added; and a model that returns NaN, infinity or another shape.
- The callback's `x` is read-only where it is NumPy's: a run is not changed by writing to it.
- Half precision in NumPy is stepped in float32.
- `sample_euler` and `sample_heun` take a `noise_sampler`, too. No noise is drawn after the last
  step that needs some.
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
