"""Samplers of PyTorch's tensors, as the checks call them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.testing.cases import Noise, Sampler
    from schedulers.testing.models import Denoiser

    Floats = NDArray[np.float64]


def from_torch(sampler: Callable[..., Any], *, draws: bool = True) -> Sampler:
    """Make a sampler of PyTorch's tensors one of NumPy's arrays, as the checks call it.

    Parameters
    ----------
    sampler : callable
        ``sampler(denoiser, x, sigmas, noise)`` on tensors of x's dtype, on the CPU. ``denoiser(x,
        sigma)`` takes a tensor and a sigma: a number, or a tensor of one, or one for each sample.
        ``noise(x)`` returns a tensor of normal noise like x.
    draws : bool
        Whether what the sampler draws itself, by `torch.randn` or `torch.randn_like`, is the
        check's noise, too. With False these are PyTorch's own.

    Returns
    -------
    callable
        ``sampler(denoiser, x, sigmas, noise)``, for `check_sampler`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ImportError
        At its first call, if PyTorch is not installed.

    Examples
    --------
    k-diffusion's samplers take a model, a tensor and sigmas, and draw noise by themselves:

    >>> def sample_euler_ancestral(model, x, sigmas):
    ...     import torch
    ...     for s, s_next in zip(sigmas, sigmas[1:]):
    ...         down = s_next**2 / s
    ...         d = (x - model(x, s * x.new_ones([x.shape[0]]))) / s
    ...         x = x + (down - s) * d + (s_next**2 - down**2).sqrt() * torch.randn_like(x)
    ...     return x
    >>> sampler = from_torch(lambda denoiser, x, sigmas, noise: sample_euler_ancestral(
    ...     denoiser, x, sigmas))
    >>> from schedulers.testing import check_sampler
    >>> check_sampler(sampler, order=1, stochastic=True)  # doctest: +SKIP
    """
    _checks.function("sampler", sampler, "(denoiser, x, sigmas, noise)")
    _checks.boolean("draws", draws)

    def converted(denoiser: Denoiser, x: Any, sigmas: Floats, noise: Noise) -> Any:
        import torch

        def tensor(values: Any) -> Any:
            return torch.from_numpy(np.ascontiguousarray(values))

        def model(y: Any, sigma: Any) -> Any:
            told: Any = sigma.detach().numpy() if isinstance(sigma, torch.Tensor) else sigma
            return tensor(denoiser(y.detach().numpy(), told))

        def drawn(like: Any) -> Any:
            return tensor(noise(like.detach().numpy()))

        levels = tensor(sigmas.astype(x.dtype))
        with _noise_from(noise) if draws else nullcontext():
            got = sampler(model, tensor(x), levels, drawn)
        return got.detach().numpy() if isinstance(got, torch.Tensor) else got

    converted.__name__ = getattr(sampler, "__name__", "from_torch")
    return converted


def _noise_from(noise: Noise) -> Any:
    """A context in which PyTorch's normal numbers are those of `noise`."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Noisy(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if function not in (torch.randn, torch.randn_like):
                return function(*args, **kwargs)
            kwargs.pop("generator", None)
            empty = torch.empty if function is torch.randn else torch.empty_like
            like = empty(*args, **kwargs)
            return torch.from_numpy(np.asarray(noise(like.numpy()))).to(like)

    return Noisy()
