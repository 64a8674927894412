"""Parameterizations: from a model's output to estimates of the data and of the noise.

Whatever a model predicts, at a level (alpha, sigma) its output gives a *denoised* estimate D of x_0
and a *noise* estimate e of eps, with x = alpha D + sigma e. Both are linear in x and the output:

==============  ======================  ==============================  ============================
prediction      output                  D                               e
==============  ======================  ==============================  ============================
epsilon         eps                     (x - sigma out) / alpha         out
sample          x_0                     out                             (x - alpha out) / sigma
v_prediction    alpha eps - sigma x_0   (alpha x - sigma out) / n       (sigma x + alpha out) / n
score           -eps / sigma            (x + sigma**2 out) / alpha      -sigma out
flow            eps - x_0               (x - sigma out) / m             (x + alpha out) / m
==============  ======================  ==============================  ============================

with n = alpha**2 + sigma**2 and m = alpha + sigma. Sources: Ho et al. 2020, eq. 11 and 15 (epsilon,
and D from it); Salimans & Ho 2022, appendix D (v, where n = 1); Song et al. 2021, section 3.3
(score); Lipman et al. 2023, section 4 (flow, where m = 1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from schedulers import _checks

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction", "score", "flow")
# At alpha = 0 these predictions do not determine x_0.
UNDEFINED_AT_ALPHA_0 = ("epsilon", "score")


class Coefficients(NamedTuple):
    """Weights of x and of the model's output in D ("denoised") and in e ("noise")."""

    denoised_x: float
    denoised_output: float
    noise_x: float
    noise_output: float


def coefficients(prediction_type: str, alpha: float, sigma: float) -> Coefficients:
    """Weights that turn x and the model's output into D and e, from the module's table.

    Parameters
    ----------
    prediction_type : str
        One of `PREDICTION_TYPES`.
    alpha, sigma : float
        Scales of the level. sigma is positive; for "epsilon" and "score" alpha is, too.

    Returns
    -------
    Coefficients

    Raises
    ------
    ValueError
        If `prediction_type` is not one of `PREDICTION_TYPES`.

    Examples
    --------
    >>> coefficients("flow", alpha=0.75, sigma=0.25)
    Coefficients(denoised_x=1.0, denoised_output=-0.25, noise_x=1.0, noise_output=0.75)
    """
    match prediction_type:
        case "epsilon":
            return Coefficients(1.0 / alpha, -sigma / alpha, 0.0, 1.0)
        case "sample":
            return Coefficients(0.0, 1.0, 1.0 / sigma, -alpha / sigma)
        case "v_prediction":
            n = alpha**2 + sigma**2
            return Coefficients(alpha / n, -sigma / n, sigma / n, alpha / n)
        case "score":
            return Coefficients(1.0 / alpha, sigma**2 / alpha, 0.0, -sigma)
        case "flow":
            m = alpha + sigma
            return Coefficients(1.0 / m, -sigma / m, 1.0 / m, alpha / m)
    raise _unknown(prediction_type)


def to_denoised_and_noise(
    prediction_type: str, x: Any, output: Any, alpha: float, sigma: float
) -> tuple[Any, Any]:
    """Denoised and noise estimates from a model's output.

    Parameters
    ----------
    prediction_type : str
        One of `PREDICTION_TYPES`.
    x, output : array
        The model's input and output, of the same shape.
    alpha, sigma : float
        Scales of the level, as for `coefficients`.

    Returns
    -------
    denoised, noise : array
        D and e, with x = alpha D + sigma e; new arrays.

    Raises
    ------
    ValueError
        If `prediction_type` is not one of `PREDICTION_TYPES`.

    Examples
    --------
    >>> import numpy as np
    >>> to_denoised_and_noise("epsilon", np.array([2.0]), np.array([1.0]), alpha=0.5, sigma=1.0)
    (array([2.]), array([1.]))
    """
    k = coefficients(prediction_type, alpha, sigma)
    return (
        k.denoised_x * x + k.denoised_output * output,
        k.noise_x * x + k.noise_output * output,
    )


def to_output(prediction_type: str, denoised: Any, noise: Any, alpha: float, sigma: float) -> Any:
    """Return the output of a model of this prediction type for the estimates D and e.

    Parameters
    ----------
    prediction_type : str
        One of `PREDICTION_TYPES`.
    denoised, noise : array
        D and e, of the same shape.
    alpha, sigma : float
        Scales of the level; sigma is positive for "score".

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If `prediction_type` is not one of `PREDICTION_TYPES`.

    Examples
    --------
    >>> import numpy as np
    >>> to_output("v_prediction", np.array([2.0]), np.array([1.0]), alpha=0.6, sigma=0.8)
    array([-1.])
    """
    match prediction_type:
        case "epsilon":
            return noise
        case "sample":
            return denoised
        case "v_prediction":
            return alpha * noise - sigma * denoised
        case "score":
            return noise * (-1.0 / sigma)
        case "flow":
            return noise - denoised
    raise _unknown(prediction_type)


def _unknown(prediction_type: str) -> ValueError:
    names = ", ".join(map(repr, PREDICTION_TYPES))
    return ValueError(
        f"prediction_type must be one of {names}, got {_checks.shown(prediction_type)}"
    )
