"""The golden space: configurations, a model and noise that every peer is run with.

Nothing here draws from a generator whose stream may change, and nothing imports a scheduler.
"""

import numpy as np

SHAPE = (2, 3, 2, 2)
BETAS = ["linear", "scaled_linear", "squaredcos_cap_v2"]
TRAINED = np.linspace(1e-4, 0.03, 1000).tolist()
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
SPACINGS = ["leading", "linspace", "trailing"]
THRESHOLDS = {
    "clip_sample": [False, True],
    "clip_sample_range": [1.0, 0.5],
    "thresholding": [False, True],
    "dynamic_thresholding_ratio": [0.995, 0.7],
    "sample_max_value": [1.0, 1.5],
}
STEPS = [1, 2, 3, 4, 7, 9, 10, 27, 50, 100, 300, 640, 999, 1000]

# Each option's values, the base configuration's first.
SPACE = {
    "DDPMScheduler": {
        "beta_schedule": [*BETAS, "sigmoid", "laplace"],
        "prediction_type": PREDICTIONS,
        "variance_type": [
            "fixed_small",
            "fixed_small_log",
            "fixed_large",
            "learned",
            "learned_range",
        ],
        **THRESHOLDS,
        "timestep_spacing": SPACINGS,
        "steps_offset": [0, 1],
        "rescale_betas_zero_snr": [False, True],
        "trained_betas": [None, TRAINED],
    },
    "DDIMScheduler": {
        "beta_schedule": BETAS,
        "prediction_type": PREDICTIONS,
        "set_alpha_to_one": [True, False],
        **THRESHOLDS,
        "timestep_spacing": SPACINGS,
        "steps_offset": [0, 1],
        "rescale_betas_zero_snr": [False, True],
        "trained_betas": [None, TRAINED],
    },
    "EulerDiscreteScheduler": {
        "beta_schedule": BETAS,
        "prediction_type": PREDICTIONS,
        "interpolation_type": ["linear", "log_linear"],
        "spaced_by": [None, "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"],
        "sigma_min": [None, 0.05],
        "sigma_max": [None, 12.0],
        "timestep_spacing": SPACINGS,
        "timestep_type": ["discrete", "continuous"],
        "steps_offset": [0, 1],
        "rescale_betas_zero_snr": [False, True],
        "final_sigmas_type": ["zero", "sigma_min"],
        "trained_betas": [None, TRAINED],
    },
    "EulerAncestralDiscreteScheduler": {
        "beta_schedule": BETAS,
        "prediction_type": ["epsilon", "v_prediction"],
        "timestep_spacing": SPACINGS,
        "steps_offset": [0, 1],
        "rescale_betas_zero_snr": [False, True],
        "trained_betas": [None, TRAINED],
    },
    "HeunDiscreteScheduler": {
        "beta_schedule": [*BETAS, "exp"],
        "prediction_type": PREDICTIONS,
        "spaced_by": [None, "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"],
        "clip_sample": [False, True],
        "clip_sample_range": [1.0, 0.5],
        "timestep_spacing": SPACINGS,
        "steps_offset": [0, 1],
        "trained_betas": [None, TRAINED],
    },
    "PNDMScheduler": {
        "beta_schedule": BETAS,
        "skip_prk_steps": [False, True],
        "set_alpha_to_one": [False, True],
        "prediction_type": ["epsilon"],  # diffusers combines outputs at different levels for v
        "timestep_spacing": SPACINGS,
        "steps_offset": [0, 1],
        "trained_betas": [None, TRAINED],
    },
}
# Arguments of `step`.
STEP_SPACE = {
    "DDIMScheduler": {"eta": [0.0, 0.5, 1.0], "use_clipped_model_output": [False, True]},
    "EulerDiscreteScheduler": {
        "s_churn": [0.0, 10.0],
        "s_tmin": [0.0, 0.5],
        "s_tmax": [1e9, 50.0],
        "s_noise": [1.0, 1.01],
    },
}


def arguments(case):
    """The constructor's arguments of a case."""
    config = dict(case["config"])
    spaced_by = config.pop("spaced_by", None)
    return config | ({spaced_by: True} if spaced_by else {})


def outside(name, config, steps):
    """Which documented difference a case meets, or None: then the samples agree."""
    n, offset, spacing = 1000, config["steps_offset"], config["timestep_spacing"]
    stride = n // steps
    if spacing == "leading":
        times = np.arange(steps)[::-1] * stride + offset
    elif spacing == "linspace":
        times = np.linspace(0, n - 1, steps).round()[::-1].astype(int)
    else:
        times = np.round(np.arange(n, 0, -n / steps)).astype(int) - 1
        if len(times) != steps:
            return "diffusers visits a timestep of -1"
    if name in ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"):
        if times[0] >= n:
            return "diffusers leaves its table"
        zero_snr = config.get("rescale_betas_zero_snr")
        if zero_snr and config["prediction_type"] == "epsilon" and times[0] == n - 1:
            return "where alpha is 0, the noise says nothing of x_0"
    if name == "PNDMScheduler":
        if steps < 4 and not config["skip_prk_steps"]:
            return "diffusers fails"
        if (np.diff(times) != -stride).any() or times[-1] >= stride:
            return "diffusers' steps do not lead to the next timestep"
        if not config["skip_prk_steps"] and stride % 2:
            return "diffusers' Runge-Kutta steps do not lead to the next timestep"
    if steps == 1 and config.get("spaced_by"):
        # Both ends are the sigma of the one step, where they are not given.
        low, high = config.get("sigma_min"), config.get("sigma_max")
        if (times[0] <= 1 and low and not high) or (times[0] > 1 and high and not low):
            return "sigma_min is above sigma_max"
    return None


def base(name):
    """The base configuration."""
    return {option: values[0] for option, values in SPACE[name].items()}


def fixed_cases():
    """Cases in which each value of each option is there, in two numbers of steps."""
    cases = []
    for name, options in SPACE.items():
        kwargs = {option: values[0] for option, values in STEP_SPACE.get(name, {}).items()}
        for steps in STEPS:
            for spacing in SPACINGS:
                cases.append((name, base(name) | {"timestep_spacing": spacing}, steps, kwargs))
        for option, values in options.items():
            for value in values:
                for prediction in options["prediction_type"]:
                    config = base(name) | {"prediction_type": prediction, option: value}
                    if option in ("dynamic_thresholding_ratio", "sample_max_value"):
                        config["thresholding"] = True
                    if option == "clip_sample_range":
                        config["clip_sample"] = True
                    if option in ("sigma_min", "sigma_max"):
                        config["spaced_by"] = "use_karras_sigmas"
                    cases.append((name, config, 10, kwargs))
                    if option.endswith(("betas", "_snr", "_schedule", "variance_type")):
                        # From the training's last level, too.
                        last = config | {"timestep_spacing": "trailing"}
                        cases.append((name, last, 10, kwargs))
        for option, values in STEP_SPACE.get(name, {}).items():
            for value in values[1:]:
                for prediction in PREDICTIONS:
                    config = base(name) | {"prediction_type": prediction, "clip_sample": True}
                    if name == "EulerDiscreteScheduler":
                        config.pop("clip_sample")
                        config["interpolation_type"] = "log_linear"  # of one interval more
                    more = {option: value}
                    if option.startswith("s_"):
                        more["s_churn"] = 10.0
                    cases.append((name, config, 10, kwargs | more))
    unique = []
    for name, config, steps, kwargs in cases:
        case = {"scheduler": name, "config": config, "steps": steps, "step": kwargs}
        if outside(name, config, steps) is None and case not in unique:
            unique.append(case)
    return unique


def wave(k):
    """Numbers of mean 0 and variance 1, not random: the noise of draw k; k = 0 begins the run."""
    i = np.arange(np.prod(SHAPE), dtype=np.float64)
    return (
        (np.sqrt(2.0) * np.sin(12.9898 * (i + 1.0) + 78.233 * k)).reshape(SHAPE).astype("float32")
    )


def model(x, t, variance_type=""):
    """A smooth function of x and t, on arrays of any library."""
    output = 0.8 * x - 0.3 * x * x * x / (1.0 + x * x) + 1e-4 * float(t)
    if not variance_type.startswith("learned"):
        return output
    v = 0.3 * abs(output)
    if isinstance(x, np.ndarray):
        return np.concatenate([output, v], axis=1)
    import torch

    return torch.cat([output, v], dim=1)


def run(scheduler, case, array, step_arguments):
    """A case's loop, as diffusers' documentation writes it; the last step's output."""
    scheduler.set_timesteps(case["steps"], **case.get("set_up", {}))
    x = array(wave(0) * np.float32(getattr(scheduler, "init_noise_sigma", 1.0)))
    scaled = getattr(scheduler, "scale_model_input", lambda x, t: x)
    variance_type = case["config"].get("variance_type", "")
    for t in scheduler.timesteps:
        output = model(scaled(x, t), t, variance_type)
        result = scheduler.step(output, t, x, **case["step"], **step_arguments)
        x = result.prev_sample
    return x, result


def waves():
    """The noise of a run's draws, in order."""
    k = 0
    while True:
        k += 1
        yield wave(k)
