"""Why samplers fail checks: the line or the formula, where it is known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

FAULTS = "Faults"
HARMLESS = "Without effect on the samples"
CONVENTIONS = "Conventions, and what the check cannot tell"
UNEXPLAINED = "Not explained"


class Cause(NamedTuple):
    """Why a check fails, and under which heading that belongs."""

    heading: str
    text: str


def fault(text: str) -> Cause:
    """Make a cause that is a fault."""
    return Cause(FAULTS, text)


Explanation = tuple[str, re.Pattern[str], frozenset[str], Cause]
EXPLANATIONS: list[Explanation] = []


def explain(packages: str, names: str, checks: Iterable[str], cause: Cause) -> None:
    """Say why samplers whose names match fail the checks; what is said first holds."""
    for package in packages.split():
        EXPLANATIONS.append((package, re.compile(names), frozenset(checks), cause))


NOISE = ("check_noise",)
SHAPES = ("check_shapes",)
EXACT = ("check_point_mass", "check_rigid_motion", "check_large", "check_point_mass_variance")
ORDERS = ("check_order", "check_order_nonlinear", "check_marginals")
VALUES = (*EXACT, *ORDERS, "check_scale")
ANY = (
    *(*VALUES, *NOISE, *SHAPES, "check_steps", "check_batch", "check_deterministic"),
    *("check_no_state", "check_reentrant", "check_dtype", "check_float32", "check_untouched"),
)

# ---------------------------------------------------------------- k-diffusion

explain(
    "k-diffusion k-samplers",
    "^sample_(euler|heun|dpm_2)$",
    NOISE,
    Cause(
        HARMLESS,
        "`eps = torch.randn_like(x) * s_noise` (sampling.py, lines 124, 165 and 194 of "
        "k-diffusion) is drawn before `if gamma > 0`, so that a run without churn uses up random "
        "numbers",
    ),
)
explain(
    "k-diffusion k-samplers",
    "eta=0$|sample_dpm_(fast|adaptive)",
    NOISE,
    Cause(HARMLESS, "the noise is drawn for any eta and multiplied by sigma_up = 0"),
)
explain(
    "k-diffusion",
    "^sample_dpmpp_[23]m_sde",
    ("check_point_mass", "check_rigid_motion"),
    fault(
        "a schedule of one step, from sigma to 0, takes the branch `if sigmas[i + 1] == 0`, which "
        "sets no `h`, and then runs into `h_last = h` (sampling.py, line 651; in the 3M "
        "`h_1, h_2 = h, h_1`, line 701)"
    ),
)

explain(
    "k-diffusion k-samplers",
    "^sample_dpm_adaptive",
    SHAPES,
    fault(
        "of no samples the error, `torch.linalg.norm((x_low - x_high) / delta) / x.numel() ** 0.5` "
        "(sampling.py, line 463), is 0/0, no step is accepted, and the loop never ends"
    ),
)

# ---------------------------------------------------------------- azula

explain(
    "azula",
    "^DDIMSampler$",
    NOISE,
    Cause(HARMLESS, "`torch.sqrt(tau) * torch.randn_like(x_t)` is drawn for eta = 0 too"),
)
explain(
    "azula",
    "^ItoSampler, eta=0$",
    NOISE,
    Cause(HARMLESS, "`self.eta * ... * torch.randn_like(x_s)` is drawn for eta = 0 too"),
)
explain(
    "azula",
    "^ItoSampler",
    ("check_point_mass_variance",),
    Cause(
        CONVENTIONS,
        "by its formula, which the docstring marks as an approximation (the denoised estimate's "
        "weight is frozen over the step, and the noise is not damped): with eta = 1, at a point, "
        "the sample is multiplied by 2 s'/s - 1 and s**2 - s'**2 is added, a variance of "
        "s'**2 + 2 (s - s')**2. First order, as documented",
    ),
)
explain(
    "azula",
    "^REABSampler, order=[234]",
    ("check_order", "check_order_nonlinear"),
    fault(
        "`torch.sqrt(alpha_s**2 + sigma_t**2) * integral` (sample.py, in `REABSampler.__call__`) "
        "has sigma_t where its docstring's formula, sqrt(1 + e^{2s}), has sigma_s; with sigma_s "
        "there the order of both checks is 2.00"
    ),
)
explain(
    "azula",
    "^REABSampler",
    ("check_point_mass", "check_rigid_motion", "check_scale", "check_large"),
    Cause(
        CONVENTIONS,
        "by construction, with the line of its order corrected too: the linear part that it solves "
        "exactly is that of data N(0, I), a_t = sigma**2 / (alpha**2 + sigma**2), and other data, "
        "a point among them, is only approached as steps grow. Its docstring states it",
    ),
)

# ---------------------------------------------------------------- diffusers

explain(
    "diffusers",
    "^(DDIM|DDIMParallel|CogVideoXDDIM|CogVideoXDPM|PNDM)Scheduler.*(linspace|trailing)",
    VALUES,
    fault(
        "a step ends at `timestep - num_train_timesteps // num_inference_steps` "
        "(scheduling_ddim.py, line 445; scheduling_pndm.py, line 363; scheduling_dpm_cogvideox.py, "
        "line 467), while the next evaluation "
        "is at the spacing's next timestep, which for this spacing is another one: the sample is "
        "at one level, and taken for one of another"
    ),
)
explain(
    "diffusers",
    "^PNDMScheduler.*v_prediction",
    VALUES,
    fault(
        "`model_output = (alpha_prod_t**0.5) * model_output + (beta_prod_t**0.5) * sample` "
        "(scheduling_pndm.py, line 435) turns v into noise after past outputs were combined: "
        "sum_k w_k v_k is taken for a v of this step's sample and level, where each v_k needs the "
        "sample and the level that it was predicted at, e_k = alpha_k v_k + sigma_k x_k"
    ),
)
explain(
    "diffusers",
    "^PNDMScheduler",
    EXACT,
    fault(
        "a Runge-Kutta half step ends at `timestep - r // 2` (line 297), and the model is asked at "
        "`timestep - r + r // 2` (line 218), r = num_train_timesteps // num_inference_steps: for "
        "odd r, as in 8 or 40 steps, the sample is one training timestep from where it is taken "
        "to be"
    ),
)
explain(
    "diffusers",
    "^DDPM(Parallel)?Scheduler",
    SHAPES,
    Cause(
        CONVENTIONS,
        "`model_output.shape[1] == sample.shape[1] * 2` (scheduling_ddpm.py, line 494) asks for an "
        "axis 1, which samples of one dimension have not: it takes batches of images",
    ),
)
explain(
    "diffusers",
    "^UniPC.*float64",
    (set(ANY) | {"check_levels"}) - {"check_shapes"},
    fault(
        "`rks.append(torch.ones((), device=device))` (scheduling_unipc_multistep.py) has PyTorch's "
        "default dtype, and `b`, of `sigmas`, float32: `torch.linalg.solve(R, b)` (lines 940 and "
        "1078) refuses the two, so that with another default there is no run"
    ),
)
explain(
    "diffusers",
    "^(UniPC|HeliosScheduler.*unipc)",
    SHAPES,
    Cause(
        CONVENTIONS,
        '`torch.einsum("k,bkc...->bc...", ...)` (scheduling_unipc_multistep.py, lines 947 to 1091; '
        "scheduling_helios.py, lines 576 to 729) "
        "asks for an axis 1, which samples of one dimension have not: it takes batches of images",
    ),
)
explain(
    "diffusers",
    "^DEISMultistepScheduler.*(karras|exponential|beta)",
    ORDERS,
    fault(
        "`ind_fn` (scheduling_deis_multistep.py, lines 763 and 840) subtracts antiderivatives that "
        "agree in all but the last digits of float32, in which `sigmas` are, where steps are "
        "short: the weights, and so the samples, get worse with more steps. With `sigmas` in "
        "float64 the order of all three checks is 2"
    ),
)
explain(
    "diffusers",
    "^SASolver",
    NOISE,
    Cause(
        HARMLESS,
        "`randn_tensor` is called in every step (scheduling_sasolver.py, line 1322), also where "
        "the default `tau_func` is 0: at timesteps above 800 and below 200",
    ),
)
explain(
    "diffusers",
    "^SASolverScheduler, noise_prediction|sde-dpmsolver,",
    ("check_point_mass_variance",),
    Cause(
        CONVENTIONS,
        "by its formula: the noise estimate is frozen over a step in which fresh noise replaces "
        "part of it. With tau = 1, at a point, the sample is multiplied by 2 s'/s - 1 and "
        "s**2 - s'**2 is added, a variance of s'**2 + 2 (s - s')**2. The form by data prediction "
        "is exact there",
    ),
)
explain(
    "diffusers",
    "^(LCM|FlowMatchLCM|CMStochasticIterative|SCM|HeliosDMD)Scheduler|^TCDScheduler, eta=0.3",
    ("check_marginals",),
    Cause(
        CONVENTIONS,
        "by its formula, made for consistency models, whose D is a sample of the data: noise is "
        "drawn anew in every step around D, and a diffusion model's D is a mean, so that a part of "
        "the data's variance is lost in every step, however short it is",
    ),
)
explain(
    "diffusers",
    "flow, shift=3$",
    ORDERS,
    Cause(
        CONVENTIONS,
        "in 20 steps the first one of this grid leads from sigma = 2997 to 56, and in 320 still to "
        "725: the order comes later. The same two methods of this library have orders 1.00 and "
        "0.78 at first on these levels, 1.87 and 1.85 at 320 steps and 1.98 at 2560",
    ),
)
explain(
    "diffusers",
    "(leading|linspace|trailing|float64 by default|_prediction|sample)$",
    ORDERS,
    Cause(
        CONVENTIONS,
        "the first and last levels of this spacing are rounded to training timesteps and so move "
        "with the number of steps, which disturbs the estimate; on levels that do not move, such "
        "as Karras's, the same method has its order",
    ),
)

explain(
    "diffusers",
    "^UnCLIPScheduler",
    SHAPES,
    Cause(
        CONVENTIONS,
        "`model_output.shape[1] == sample.shape[1] * 2` (scheduling_unclip.py, line 272) asks for "
        "an axis 1, which samples of one dimension have not: it takes batches of images",
    ),
)
explain(
    "diffusers",
    "^(Piflow|RFD4Proteina)Scheduler|^ScoreSdeVe.*step_correct",
    SHAPES,
    Cause(
        CONVENTIONS,
        "of no samples there is no first or largest: `num_substeps.max()` (scheduling_piflow.py, "
        "line 126), `t[0]` (scheduling_rfd4_proteina.py, line 253), `reshape(0, -1)` "
        "(scheduling_sde_ve.py, line 282)",
    ),
)
explain(
    "diffusers",
    "^CogVideoXDPM",
    NOISE,
    Cause(
        HARMLESS,
        "from the second step on, a step of first order is made, with noise, and thrown away "
        "(scheduling_dpm_cogvideox.py, lines 498 and 506): every second draw has no part in the "
        "samples",
    ),
)
explain(
    "diffusers",
    "^KarrasVe",
    NOISE,
    Cause(
        HARMLESS,
        "`randn_tensor` is called in every step (scheduling_karras_ve.py, line 154), also where "
        "gamma is 0: without churn, and outside s_min and s_max. What no check shows: `schedule` "
        "holds squares of sigma (lines 125 to 128), which the steps take for sigma, so that a run "
        "begins at sigma_max**2 = 10,000, and `init_noise_sigma` is sigma_max = 100",
    ),
)
explain(
    "diffusers",
    "^ScoreSdeVe",
    ("check_point_mass_variance",),
    Cause(
        CONVENTIONS,
        "by its formula, the reverse diffusion of Song et al. 2021 (eq. 46): the score's weight is "
        "frozen over a step, and the noise is not damped. At a point the sample is multiplied by "
        "(s'/s)**2 and s**2 - s'**2 is added, a variance of s'**4 / s**2 + s**2 - s'**2. First "
        "order",
    ),
)
explain(
    "diffusers",
    "^ScoreSdeVe.*step_correct",
    ("check_point_mass", "check_batch"),
    Cause(
        CONVENTIONS,
        "by its formula, whose step is 2 (snr |z| / |score|)**2 with means over the batch "
        "(scheduling_sde_ve.py, lines 282 to 284): samples depend on each other, and where the "
        "score is 0, as in the middle of a point's noise, the step is infinite",
    ),
)
explain(
    "diffusers",
    "^ScoreSdeVp",
    VALUES,
    Cause(
        CONVENTIONS,
        "by its formula: Euler's steps are taken in x with its drift, so that a point mass is only "
        "reached as steps grow. What no check shows: `dt = -1.0 / len(self.timesteps)` "
        "(scheduling_sde_vp.py, line 89) is not the distance of the timesteps, "
        "`linspace(1, sampling_eps, num_inference_steps)`: the sample gets up to sampling_eps of "
        "time away from where the model is told that it is, however many steps there are",
    ),
)
explain(
    "diffusers",
    "^RFD4",
    ("check_point_mass_variance",),
    Cause(
        CONVENTIONS,
        "by its formula (scheduling_rfd4_proteina.py, line 271): Euler's step of the stochastic "
        "equation, in which the score's weight is frozen and the noise is not damped. First order",
    ),
)

# ---------------------------------------------------------------- others

DRAWN = "is drawn for an eta, or a gamma, of 0 too"
explain(
    "smalldiffusion",
    "mu=0$",
    NOISE,
    Cause(HARMLESS, f"`eta * model.rand_input(...)` (diffusion.py, line 159) {DRAWN}"),
)
explain(
    "smalldiffusion",
    "gam=2, mu=0.5",
    EXACT,
    Cause(
        CONVENTIONS,
        "two options that its comment names apart: `eps * gam + eps_prev * (1 - gam)` "
        "(diffusion.py, line 156) extrapolates from a noise estimate of which part has since been "
        "replaced by fresh noise, so that the noise of a point is not that of its sample",
    ),
)
explain(
    "denoising-diffusion-pytorch",
    "ElucidatedDiffusion.sample$",
    NOISE,
    Cause(
        HARMLESS,
        f"`eps = self.S_noise * torch.randn(...)` (elucidated_diffusion.py, line 175) {DRAWN}",
    ),
)
explain(
    "nvidia-physicsnemo",
    "S_churn=0",
    NOISE,
    Cause(HARMLESS, f"`noise_scale_bc * torch.randn_like(x)` (edm_stochastic_euler.py) {DRAWN}"),
)
explain(
    "audio-diffusion-pytorch",
    "VSampler",
    SHAPES,
    Cause(
        CONVENTIONS,
        "`sigmas[i + 1, 0]`, for the text of its progress bar, asks for a first sample, which an "
        "empty batch has not",
    ),
)
explain(
    "monai",
    "^DDPMScheduler",
    SHAPES,
    Cause(
        CONVENTIONS,
        "`model_output.shape[1] == sample.shape[1] * 2` (ddpm.py, line 202) asks for an axis 1",
    ),
)
explain(
    "monai",
    "^DDPMScheduler",
    VALUES,
    fault(
        "a step ends at `alphas_cumprod[timestep - 1]` (ddpm.py, line 209), and `set_timesteps` "
        "spaces the timesteps for any number of steps: with fewer steps than training timesteps "
        "the sample stays near the first level, and the model is asked at others"
    ),
)
explain(
    "monai",
    "^DDIMScheduler",
    VALUES,
    fault(
        "the timesteps are `linspace(num_train_timesteps - 1, 0, num_inference_steps)` (ddim.py, "
        "line 124), and a step ends at `timestep - num_train_timesteps // num_inference_steps` "
        "(line 175), which is another one"
    ),
)
explain(
    "monai",
    "^PNDMScheduler, skip_prk_steps",
    VALUES,
    fault(
        "`self.plms_timesteps = self._timesteps[::-1]` (pndm.py, line 146) has each timestep once, "
        "where the second call of `step_plms` (`counter == 1`) goes back to make the first step "
        "again, and needs the second timestep twice: from there on the sample is one step behind "
        "the timestep that the model is told"
    ),
)
explain(
    "monai",
    "^PNDMScheduler",
    VALUES,
    fault(
        "`self.num_inference_steps = len(self.timesteps)` (pndm.py, line 160) counts the "
        "evaluations of the start-up too, so that a step ends at `timestep - num_train_timesteps "
        "// num_inference_steps` (line 251) with another number than the timesteps are spaced by"
    ),
)
explain(
    "monai",
    "^RFlowScheduler, use_discrete_timesteps=False",
    VALUES,
    fault(
        "`next_timestep = int(next_timestep)` (rectified_flow.py, line 308) cuts off the fraction "
        "of a timestep, which the model is then told with it: the sample is up to one timestep in "
        "1000 beyond the level that it is taken for"
    ),
)
explain(
    "refiners",
    "^DDIM, (linspace_rounded|trailing)",
    ANY,
    fault(
        "`max_timestep = num_train_timesteps - 1 + offset` (solver.py, lines 187 and 198) with "
        "DDIM's default offset of 1 is timestep 1000, beyond the 1000 factors"
    ),
)
explain(
    "diffusions",
    "^DDPM",
    SHAPES,
    Cause(
        CONVENTIONS,
        "`model_output.shape[1] == sample.shape[1] * 2` (ddpm.py, line 83) asks for an axis 1",
    ),
)
explain(
    "diffusions",
    "^DDPM",
    VALUES,
    fault(
        "a step ends at `alphas_cumprod[t - 1]` (ddpm.py, line 91) whatever `set_timesteps` was "
        "told: with fewer steps than training timesteps the sample stays near the first level, "
        "and the model is asked at others"
    ),
)

# ---------------------------------------------------------------- deepinv, imagen-pytorch

explain(
    "deepinv",
    "^(Euler|Heun)Solver, alpha=0$",
    NOISE,
    Cause(
        HARMLESS,
        "`dW = self.randn_like(x0) * dt**0.5` (sde_solver.py, in both solvers) is drawn for an "
        "alpha of 0 too, and multiplied by a diffusion of 0",
    ),
)
explain(
    "deepinv",
    "^(Euler|Heun)Solver",
    EXACT,
    Cause(
        CONVENTIONS,
        "by its formula, Euler and Maruyama's, and Heun's for the SDE: the noise of a step has the "
        "diffusion of its ends, 2 alpha s (s - s') at the first, in place of what the step leaves "
        "of it, and with alpha > 0 a point is passed by a single step. First order, as documented",
    ),
)
explain(
    "deepinv",
    "^DDPMSolver, variance=large",
    ("check_point_mass_variance",),
    Cause(
        CONVENTIONS,
        "the larger of the two variances that Ho et al. name (section 3.2), beta in place of the "
        "posterior's: right for data N(0, I), and too much noise for a point",
    ),
)
explain(
    "imagen-pytorch",
    "S_churn=0$",
    NOISE,
    Cause(
        HARMLESS,
        "`eps = hp.S_noise * torch.randn(...)` (elucidated_imagen.py, line 489) is drawn for a "
        "gamma of 0 too",
    ),
)
