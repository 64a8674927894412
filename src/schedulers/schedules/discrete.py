"""The noise schedule of a model that was trained at integer times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.schedules import tables
from schedulers.schedules.base import NoiseSchedule
from schedulers.schedules.elementary import exp, expm1, log, log1p

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# A Karras sigma this near to a training level's counts as that level's: the difference is rounding.
_LEVEL_RTOL = 1e-12


class DiscreteSchedule(NoiseSchedule):
    r"""Variance-preserving schedule of a model trained at N integer times.

    Time t = i is the i-th training level, alpha = sqrt(alphas_cumprod[i]) and
    sigma = sqrt(1 - alphas_cumprod[i]) (Ho et al. 2020, eq. 4, where it is called t = i + 1).
    Between two of them log(sigma / alpha) is linear in t. The clean level is not a training level.
    Its time is -1; no model is evaluated there.

    Parameters
    ----------
    betas : array_like, shape (N,)
        Variances of the steps of the forward process, in (0, 1). The last may be 1, which makes
        the terminal signal-to-noise ratio zero.

    Attributes
    ----------
    betas, alphas_cumprod, sigmas : ndarray of float64, shape (N,), read-only
        Variances, their running product prod(1 - beta), and Karras's sigma
        sqrt((1 - alphas_cumprod) / alphas_cumprod), which increases with the index.
    num_train_timesteps : int
        N.

    Raises
    ------
    TypeError, ValueError
        If `betas` has the wrong type, shape or values, or if float64 cannot tell the levels apart.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> schedule = DiscreteSchedule(linear_betas(1000))
    >>> schedule
    DiscreteSchedule(1000 levels, sigmas from 0.0100005 to 157.407)
    >>> round(schedule.timestep(1.0), 3)
    258.093
    """

    t_clean = -1
    _betas: Floats
    _alphas_cumprod: Floats
    _alphas: Floats
    _noise_scales: Floats
    _sigmas: Floats
    _log_sigmas: Floats

    def __init__(self, betas: ArrayLike) -> None:
        variances = _checks.vector("betas", betas)
        if not (variances.min() > 0.0 and variances[:-1].max(initial=0.0) < 1.0 >= variances[-1]):
            raise ValueError(
                f"betas must lie between 0 and 1 (only the last may be 1), got values from "
                f"{variances.min():g} to {variances.max():g}"
            )
        products = np.cumprod(1.0 - variances, dtype=np.float64)
        with np.errstate(divide="ignore"):  # a last beta of 1
            logs = np.cumsum(log1p(-variances))
        # 1 - alphas_cumprod from the logs: small betas keep their digits.
        self.__setstate__((variances, products, np.sqrt(-expm1(logs))))
        self._check_apart("betas")

    def _check_apart(self, name: str) -> None:
        if not np.all(self._sigmas[1:] > self._sigmas[:-1]):
            raise ValueError(
                f"{name} must give levels that differ in float64, got some that are too small or "
                f"too many"
            )

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: ArrayLike) -> DiscreteSchedule:
        """Make the schedule from alphas_cumprod instead of betas.

        Parameters
        ----------
        alphas_cumprod : array_like, shape (N,)
            Strictly decreasing, in (0, 1). The last may be 0.

        Returns
        -------
        DiscreteSchedule

        Raises
        ------
        TypeError, ValueError
            If `alphas_cumprod` has the wrong type, shape or values.

        Examples
        --------
        >>> DiscreteSchedule.from_alphas_cumprod([0.9, 0.5, 0.1]).num_train_timesteps
        3
        """
        products = _checks.vector("alphas_cumprod", alphas_cumprod) + 0.0  # -0.0 is 0.0
        _checks.decreasing("alphas_cumprod", products)
        if not products[0] < 1.0 or products[-1] < 0.0:
            raise ValueError(
                f"alphas_cumprod must lie between 0 and 1 (only the last may be 0), got values "
                f"from {products.max():g} to {products.min():g}"
            )
        schedule = cls.__new__(cls)
        betas = 1.0 - products / np.append(1.0, products[:-1])
        schedule.__setstate__((betas, products, np.sqrt(1.0 - products)))
        schedule._check_apart("alphas_cumprod")
        return schedule

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | str | os.PathLike[str]) -> DiscreteSchedule:
        """Make the schedule that a scheduler_config.json of diffusers names.

        The levels are diffusers' own, from tables in float32.

        Parameters
        ----------
        config : mapping, str or path
            The configuration: a dict, the file, or the folder that the file is in. Its keys
            num_train_timesteps, beta_schedule, beta_start, beta_end, trained_betas and
            rescale_betas_zero_snr are read.

        Returns
        -------
        DiscreteSchedule

        Raises
        ------
        TypeError, ValueError
            If a key is missing or not as described, or if the file holds no JSON object.
        OSError
            If there is no such file.

        Examples
        --------
        >>> config = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
        >>> DiscreteSchedule.from_config(config)  # Stable Diffusion
        DiscreteSchedule(1000 levels, sigmas from 0.0291675 to 14.6146)
        """
        betas = tables.betas(tables.configuration(config))
        return cls.from_alphas_cumprod(tables.alphas_cumprod(betas))

    def __getstate__(self) -> tuple[Floats, Floats, Floats]:
        return self._betas, self._alphas_cumprod, self._noise_scales

    def __setstate__(self, state: tuple[Floats, Floats, Floats]) -> None:
        self._betas, self._alphas_cumprod, self._noise_scales = state
        self._alphas = np.sqrt(self._alphas_cumprod)
        with np.errstate(divide="ignore"):
            self._sigmas = self._noise_scales / self._alphas
        self._log_sigmas = log(self._sigmas)
        for array in (self._betas, self._alphas_cumprod, self._sigmas):
            array.flags.writeable = False

    @property
    def t_min(self) -> int:  # type: ignore[override]
        """The first index, 0."""
        return 0

    @property
    def t_max(self) -> int:  # type: ignore[override]
        """The last index, N - 1."""
        return len(self._betas) - 1

    @property
    def t_end(self) -> int:  # type: ignore[override]
        """The last index, N - 1."""
        return self.t_max

    @property
    def betas(self) -> Floats:
        """Variances of the steps of the forward process."""
        return self._betas

    @property
    def alphas_cumprod(self) -> Floats:
        """Running product of 1 - betas."""
        return self._alphas_cumprod

    @property
    def sigmas(self) -> Floats:
        """Karras's sigma at every training level."""
        return self._sigmas

    @property
    def num_train_timesteps(self) -> int:
        """Number of training levels."""
        return len(self._betas)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DiscreteSchedule):
            return NotImplemented
        return np.array_equal(self._betas, other._betas) and np.array_equal(
            self._alphas_cumprod, other._alphas_cumprod
        )

    def __hash__(self) -> int:
        return hash(self._alphas_cumprod.tobytes())

    def __repr__(self) -> str:
        low, high = self._sigmas[[0, -1]]
        return (
            f"DiscreteSchedule({self.num_train_timesteps} levels, sigmas from {low:g} to {high:g})"
        )

    def _karras_range(self) -> tuple[float, float]:
        finite = self._sigmas[np.isfinite(self._sigmas)]
        # A single level at alpha = 0 has no finite sigma.
        return (float(finite[0]), float(finite[-1])) if finite.size else (math.inf, 0.0)

    def _checked(self, t: ArrayLike, name: str = "t") -> Floats:
        times = super()._checked(t, name)
        between = times[times != np.floor(times)]
        if not np.all(np.isfinite(self._sigmas[np.ceil(between).astype(int)])):
            raise ValueError(
                f"{name} must not lie between the last two training levels, {self.t_end - 1} and "
                f"{self.t_end}, of a schedule with zero terminal SNR, got {float(between.max())!r}"
            )
        return times

    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        below = np.floor(t).astype(int)
        above = np.ceil(t).astype(int)
        own = below == above
        with np.errstate(invalid="ignore"):  # inf - inf at an own level, whose s is not used
            log_s = self._log_sigmas
            s = exp(log_s[below] + (t - below) * (log_s[above] - log_s[below]))
            alpha = np.where(own, self._alphas[below], 1.0 / np.hypot(1.0, s))
            sigma = np.where(own, self._noise_scales[below], s / np.hypot(1.0, s))
        return alpha, sigma

    def _time(self, sigmas: Floats) -> Floats:
        finite = self._log_sigmas[np.isfinite(self._sigmas)]
        times = np.interp(log(sigmas), finite, np.arange(len(finite)))
        nearest = np.rint(times)
        own = np.abs(sigmas / self._sigmas[nearest.astype(int)] - 1.0) <= _LEVEL_RTOL
        return np.where(own, nearest, times)

    def _python(self, times: Floats) -> list[float]:
        return [int(t) if t.is_integer() else t for t in times.tolist()]
