"""Distances between Gaussians, for any two forms of their covariances."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.analysis.law import along_axes, matrix
from schedulers.analytic import Gaussian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def wasserstein2(p: Gaussian, q: Gaussian) -> float:
    """2-Wasserstein distance between two Gaussians.

    Between N(m, C) and N(n, F) it is the root of |m - n|**2 + tr(C + F - 2 (C**(1/2) F
    C**(1/2))**(1/2)) (Gelbrich 1990, Theorem 2.1). The trace is taken in the form
    min_U |C**(1/2) - F**(1/2) U|**2 over orthogonal U, which keeps its digits where the two are
    nearly equal; where C and F commute it is the distance between the standard deviations.

    Parameters
    ----------
    p, q : Gaussian
        Of one event shape.

    Returns
    -------
    float
        In the units of the data.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a Gaussian, or if their event shapes differ.

    Examples
    --------
    >>> wasserstein2(Gaussian([0.0, 0.0], 1.0), Gaussian([3.0, 0.0], [1.0, 25.0]))
    5.0
    """
    _check_pair(p, q)
    between_means = float(np.linalg.norm(p.mean - q.mean))
    if _share_axes(p, q):
        apart = np.sqrt(_variances(p)) - np.sqrt(_variances(q))
        return math.hypot(between_means, float(np.linalg.norm(apart)))
    root, other = _root(p), _root(q)
    left, _, right = np.linalg.svd(other.T @ root)
    return math.hypot(between_means, float(np.linalg.norm(root - other @ (left @ right))))


def kl_divergence(p: Gaussian, q: Gaussian) -> float:
    """Kullback-Leibler divergence of q from p, the mean of log p - log q under p.

    It is sum_i (d_i - log(1 + d_i)) / 2 + (m - n)^T F**(-1) (m - n) / 2 with d_i the eigenvalues of
    F**(-1/2) (C - F) F**(-1/2), for p = N(m, C) and q = N(n, F). Where one is confined to fewer
    dimensions than the other, or to other ones, it is infinite.

    Parameters
    ----------
    p, q : Gaussian
        Of one event shape.

    Returns
    -------
    float
        In nats.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a Gaussian, or if their event shapes differ.

    References
    ----------
    Kullback: Information Theory and Statistics, 1959, chapter 9, eq. 1.3.

    Examples
    --------
    >>> print(f"{kl_divergence(Gaussian(0.0, 1.0), Gaussian(2.0, 1.0)):.4f}")
    2.0000
    """
    _check_pair(p, q)
    off = (p.mean - q.mean).reshape(-1)
    if q._basis is not None:
        off = q._basis.T @ off
    own, others = _variances(p), _variances(q)
    inside = others > 0.0
    if _share_axes(p, q):
        outside = own[~inside]
        excess, ratios = (own - others)[inside] / others[inside], own[inside] / others[inside]
    else:
        axes = np.eye(p.mean.size) if q._basis is None else q._basis
        difference = axes.T @ (matrix(p) - matrix(q)) @ axes
        outside = difference[np.ix_(~inside, ~inside)]
        roots = np.sqrt(others[inside])
        excess = np.linalg.eigvalsh(difference[np.ix_(inside, inside)] / np.outer(roots, roots))
        turned = (axes.T @ _root(p))[inside] / roots[:, None]
        ratios = np.sort(np.linalg.svd(turned, compute_uv=False) ** 2)  # as excess is
    # What turning the axes leaves of a 0.
    rounding = 1e-12 * max(own.max(), others.max())
    sideways = np.abs(off[~inside]).max(initial=0.0)
    confined = np.count_nonzero(own) < np.count_nonzero(inside)
    if (
        confined
        or np.abs(outside).max(initial=0.0) > rounding
        or sideways > 1e-12 * np.linalg.norm(p.mean) + 1e-12 * np.linalg.norm(q.mean)
    ):
        return math.inf
    moved = float(np.sum(off[inside] ** 2 / others[inside]))
    return 0.5 * (float(np.sum(_less_its_log(excess, ratios))) + moved)


def _check_pair(p: object, q: object) -> None:
    for name, law in (("p", p), ("q", q)):
        if not isinstance(law, Gaussian):
            raise TypeError(f"{name} must be a Gaussian, got {_checks.shown(law)}")
    if p.event_shape != q.event_shape:  # type: ignore[attr-defined]
        raise ValueError(f"q must have the event shape of p, got {p!r} and {q!r}")


def _share_axes(p: Gaussian, q: Gaussian) -> bool:
    """Whether the covariances are diagonal along the same axes, as they are given."""
    return p._basis is q._basis or any(
        law._basis is None and law._variances.ndim == 0 for law in (p, q)
    )


def _variances(law: Gaussian) -> Floats:
    return along_axes(law, law._variances)


def _root(law: Gaussian) -> Floats:
    """Return a matrix R with R R^T the covariance."""
    roots = np.sqrt(_variances(law))
    return np.diag(roots) if law._basis is None else law._basis * roots


def _less_its_log(d: Floats, ratios: Floats) -> Floats:
    """Return d - log(1 + d), 1 + d being the ratios; by its series where d is small."""
    small = np.abs(d) < 0.1
    d, series = np.where(small, d, 0.0), np.zeros_like(d)
    for k in range(20, 1, -1):  # 0.1**19 / 21 is below half an ulp of the first term
        series = 1.0 / k - series * d
    ratios = np.where(small, 1.0, ratios)
    return np.where(small, series * d * d, ratios - 1.0 - np.log(ratios))
