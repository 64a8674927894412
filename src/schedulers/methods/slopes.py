"""Methods that weigh slopes dy/ds = e, with y = x / alpha and s Karras's sigma."""

from __future__ import annotations

from schedulers.schedules.base import Level


def stretch(now: Level, then: Level) -> float:
    """Return alpha' (s' - s): a step's length in s, at the scale of the sample that it ends at."""
    return then.sigma - then.alpha * now.karras


def check_finite_slope(method: str, now: Level) -> None:
    """Refuse a step that begins at alpha = 0, where s is infinite and the step would be."""
    if now.alpha == 0.0:
        raise ValueError(
            f"{method}'s step from alpha = 0 is infinite: begin at a level with alpha > 0, such as "
            f"by sigmas= or timesteps=, or use DDIM, Euler, EulerAncestral, DDPM or "
            f"PLMS(startup='lower_order')"
        )
