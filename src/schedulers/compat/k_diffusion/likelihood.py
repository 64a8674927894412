"""`log_likelihood`: the log density along the probability flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedulers import _checks, likelihood
from schedulers.compat.k_diffusion.arguments import Array, Call, Model, ends
from schedulers.denoisers import per_sample
from schedulers.likelihood.flow import FINEST_TOLERANCE
from schedulers.schedules.continuous import VESchedule


def log_likelihood(
    model: Model,
    x: Array,
    sigma_min: float,
    sigma_max: float,
    extra_args: Mapping[str, Any] | None = None,
    atol: float = 1e-4,
    rtol: float = 1e-4,
) -> tuple[Any, dict[str, int]]:
    """Log density of samples at sigma_min: `schedulers.likelihood.log_likelihood` with one probe.

    Parameters
    ----------
    model, extra_args
        As for `sample_euler`.
    x : array of float32 or float64, shape (n, ...)
        Samples with the noise of `sigma_min`; NumPy's, PyTorch's or one of the array API.
    sigma_min, sigma_max : float
        Level of the samples, and the one at which their density is that of noise alone; positive.
    atol, rtol : float
        The less of them is the tolerance of `schedulers.likelihood.log_likelihood`. At least
        1e-30.

    Returns
    -------
    ndarray of float64, shape (n,)
        Log density in nats, right on average over the probe, which is drawn afresh.
    dict
        Its ``fevals`` is the number of calls of the model. Derivatives are central differences, so
        there are three calls where automatic differentiation has one.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As for `schedulers.likelihood.log_likelihood`.

    Examples
    --------
    >>> import numpy as np
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> log_p, info = log_likelihood(model, np.array([[0.0], [1.0]]), 0.01, 80.0)
    >>> log_p.round(3)
    array([-0.919, -1.419])
    """
    high, low = ends(sigma_min, sigma_max)
    if not low < high:
        raise ValueError(f"sigma_min must be below sigma_max, got {low!r} and {high!r}")
    tolerances = [
        _checks.real(name, given, at_least=FINEST_TOLERANCE)
        for name, given in (("atol", atol), ("rtol", rtol))
    ]
    call = Call(model, x, extra_args, None, True)

    def denoiser(x: Array, t: float) -> Array:
        return call.model(x, per_sample(t, x), **(call.extra_args or {}))

    result = likelihood.log_likelihood(
        VESchedule(),
        denoiser,
        x,
        low,
        high,
        prediction_type="sample",
        probes=1,
        tolerance=min(tolerances),
    )
    return result.log_prob, {"fevals": result.nfe}
