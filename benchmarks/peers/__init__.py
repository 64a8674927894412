"""Samplers of other packages, adapted to ``sampler(denoiser, x, sigmas, noise)``."""
