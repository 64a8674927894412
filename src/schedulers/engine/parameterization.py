"""Parameterizations: what a model's output says of the data and of the noise.

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

from typing import TYPE_CHECKING, Any, NamedTuple

from schedulers import _checks

if TYPE_CHECKING:
    from schedulers.schedules.base import Level

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction", "score", "flow")
# What these predict says nothing of x_0 where alpha is 0.
UNDEFINED_AT_ALPHA_0 = ("epsilon", "score")


def check_defined(prediction_type: str, level: Level) -> None:
    """Refuse a level at which what the model predicts says nothing of x_0."""
    if level.alpha == 0.0 and prediction_type in UNDEFINED_AT_ALPHA_0:
        raise ValueError(
            f"prediction_type must be 'v_prediction', 'sample' or 'flow' where alpha is 0, here at "
            f"time {level.t:g}: noise says nothing of x_0 there; got {prediction_type!r}"
        )


class Coefficients(NamedTuple):
    """Weights of x and of the model's output in D and in e."""

    denoised_x: float
    denoised_output: float
    noise_x: float
    noise_output: float


def coefficients(prediction_type: str, alpha: float, sigma: float) -> Coefficients:
    """Weights that make D and e of x and the model's output, from the module's table.

    Parameters
    ----------
    prediction_type : str
        One of `PREDICTION_TYPES`.
    alpha, sigma : float
        The level's scales; sigma is positive, and so is alpha for "epsilon" and "score".

    Returns
    -------
    Coefficients

    Raises
    ------
    ValueError
        If `prediction_type` is none of them.

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
    """Denoised and noise estimates of a model's output.

    Parameters
    ----------
    prediction_type : str
        One of `PREDICTION_TYPES`.
    x, output : array
        The sample that the model saw and what it returned, of one shape.
    alpha, sigma : float
        The level's scales, as for `coefficients`.

    Returns
    -------
    denoised, noise : array
        D and e, new arrays, with x = alpha D + sigma e.

    Raises
    ------
    ValueError
        If `prediction_type` is none of them.

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
    """Return what a model of this prediction type puts out for the estimates D and e.

    Parameters
    ----------
    prediction_type : str
        One of `PREDICTION_TYPES`.
    denoised, noise : array
        D and e, of one shape.
    alpha, sigma : float
        The level's scales.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If `prediction_type` is none of them.

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
