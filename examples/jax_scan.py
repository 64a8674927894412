"""A whole run compiled in JAX
===========================

A whole run as one compiled function in JAX, and the gradient through it.

A scheduler is a table of numbers, so it goes into ``jax.lax.scan`` as arrays, a row for each model
evaluation; the scan carries along the estimates of earlier evaluations, which some rows weigh. The
compiled run gives what `Scheduler.sample` gives, to float32's precision, and can be differentiated:
here by a parameter of the model, checked against the run's exact derivative.

    python examples/jax_scan.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import schedulers
from schedulers.analytic import Gaussian

schedule = schedulers.VPSchedule()
SCHEDULERS = {
    "DDIM": schedulers.DDIM(schedule),
    "DDIM, eta = 1": schedulers.DDIM(schedule, eta=1.0),
    "DDPM": schedulers.DDPM(schedule),
    "Euler": schedulers.Euler(schedule),
    "Euler ancestral": schedulers.EulerAncestral(schedule),
    "Heun": schedulers.Heun(schedule),
    "PLMS": schedulers.PLMS(schedule),
}
STD = 0.5  # of the data, N(mean, STD**2)


def rows(tableau):
    """Return the tableau as arrays, an entry for each evaluation; rows of a and b are padded."""
    longest = max(max(len(stage.a), len(stage.b)) for stage in tableau.stages)

    def padded(weights):
        return np.pad(weights, (0, longest - len(weights)))

    table = {
        "alpha": [stage.level.alpha for stage in tableau.stages],
        "sigma": [stage.level.sigma for stage in tableau.stages],
        "a": [padded(stage.a) for stage in tableau.stages],
        "b": [padded(stage.b) for stage in tableau.stages],
        "c": [stage.c for stage in tableau.stages],
    }
    return {name: jnp.asarray(np.array(column), jnp.float32) for name, column in table.items()}


def noise_estimate(x, alpha, sigma, mean):
    """Return E[eps | x] for data N(mean, STD**2): in place of this, a network."""
    return sigma * (x - alpha * mean) / (alpha**2 * STD**2 + sigma**2)


def run(table, x, noise, mean):
    """Take every row: x_next = sum_k a[k] D[-k] + sum_k b[k] e[-k] + c z."""
    past = jnp.zeros((table["a"].shape[1], *x.shape))

    def stage(carried, row_and_noise):
        x, denoised, noises = carried
        row, z = row_and_noise
        e = noise_estimate(x, row["alpha"], row["sigma"], mean)
        d = (x - row["sigma"] * e) / row["alpha"]
        denoised = jnp.concatenate([d[None], denoised[:-1]])
        noises = jnp.concatenate([e[None], noises[:-1]])
        x = jnp.tensordot(row["a"], denoised, 1) + jnp.tensordot(row["b"], noises, 1)
        return (x + row["c"] * z, denoised, noises), None

    (x, _, _), _ = jax.lax.scan(stage, (x, past, past), (table, noise))
    return x


def run_of_the_library(scheduler, tableau, x, noise, mean):
    """Run in float64 with `Scheduler.sample`, on the same noise."""
    drawn = iter([z for z, stage in zip(noise, tableau.stages, strict=True) if stage.c])
    return scheduler.sample(
        Gaussian(mean, STD**2).denoiser(schedule),
        x.astype(np.float64),
        timesteps=tableau.timesteps,
        rng=lambda like: next(drawn),
    )


@jax.jit
def loss(mean, table, x, noise):
    """Return a function of the samples, to be differentiated through the whole run."""
    return 0.5 * run(table, x, noise, mean).mean() ** 2


def main():
    compiled, gradient = jax.jit(run), jax.jit(jax.grad(loss))
    x = np.random.default_rng(0).standard_normal((64, 16), np.float32)
    print("relative to Scheduler.sample in float64, the error of")
    print(f"{'':16} {'NFE':>3}  samples  gradient")
    for name, scheduler in SCHEDULERS.items():
        tableau = scheduler.tableau(timesteps=np.linspace(0.98, 0.02, 25))
        noise = np.random.default_rng(1).standard_normal((tableau.nfe, *x.shape), np.float32)
        samples = compiled(rows(tableau), x, noise, 3.0)
        slope = gradient(3.0, rows(tableau), x, noise)

        exact, other = (
            run_of_the_library(scheduler, tableau, x, noise, mean) for mean in (3.0, 4.0)
        )
        # The samples are affine in the data's mean, so two runs tell their derivative exactly.
        exact_slope = exact.mean() * (other - exact).mean()
        error = np.abs(samples - exact).max() / np.abs(exact).max()
        slope_error = abs(slope / exact_slope - 1.0)
        print(f"{name:16} {tableau.nfe:3}  {error:7.0e}  {slope_error:8.0e}")
        assert error < 1e-4, "the compiled run must be the library's"
        assert slope_error < 1e-4, "the gradient must be the exact one"


if __name__ == "__main__":
    main()
