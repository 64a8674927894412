"""Parameterizations: from a model's output to estimates of the data and of the noise.

At a level (alpha, sigma), a model's output gives a *denoised* estimate D of x_0 and a *noise*
estimate e of eps, with x = alpha D + sigma e. A model predicts a weighted sum p D + q e. These two
equations give D and e:

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

from typing import TYPE_CHECKING, NamedTuple

from schedulers import _checks

if TYPE_CHECKING:
    from schedulers.schedules.base import Level

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction", "score", "flow")
# At alpha = 0 these predictions do not determine x_0.
UNDEFINED_AT_ALPHA_0 = ("epsilon", "score")


def check_defined(prediction_type: str, level: Level) -> None:
    """Refuse a level at which what the model predicts says nothing of x_0."""
    if level.alpha == 0.0 and prediction_type in UNDEFINED_AT_ALPHA_0:
        raise ValueError(
            f"prediction_type must be 'v_prediction', 'sample' or 'flow' where alpha is 0, here at "
            f"time {level.t:g}: noise says nothing of x_0 there; got {prediction_type!r}"
        )


class Coefficients(NamedTuple):
    """Weights of x and of the model's output in D ("denoised") and in e ("noise")."""

    denoised_x: float
    denoised_output: float
    noise_x: float
    noise_output: float


def predicted(prediction_type: str, alpha: float, sigma: float) -> tuple[float, float]:
    """Return p and q: a model of this prediction type returns p D + q e.

    Parameters
    ----------
    prediction_type : str
        One of `PREDICTION_TYPES`.
    alpha, sigma : float
        The level's scales; sigma is positive.

    Returns
    -------
    p, q : float

    Raises
    ------
    ValueError
        If `prediction_type` is none of them.

    Examples
    --------
    >>> predicted("v_prediction", alpha=0.6, sigma=0.8)
    (-0.8, 0.6)
    """
    match prediction_type:
        case "epsilon":
            return 0.0, 1.0
        case "sample":
            return 1.0, 0.0
        case "v_prediction":
            return -sigma, alpha
        case "score":
            return 0.0, -1.0 / sigma
        case "flow":
            return -1.0, 1.0
    names = ", ".join(map(repr, PREDICTION_TYPES))
    raise ValueError(
        f"prediction_type must be one of {names}, got {_checks.shown(prediction_type)}"
    )


def coefficients(prediction_type: str, alpha: float, sigma: float) -> Coefficients:
    """Weights that make D and e of x and the model's output.

    They solve x = alpha D + sigma e and output = p D + q e, and are those of the module's table.

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
    p, q = predicted(prediction_type, alpha, sigma)
    determinant = alpha * q - sigma * p
    return Coefficients(
        q / determinant, -sigma / determinant, -p / determinant, alpha / determinant
    )
