"""The golden space of the classes that are not in `space`: options, and cases drawn from them.

The cases are drawn from the product of the options by `random.Random`, whose stream is fixed.
"""

import random

INF = float("inf")
BETAS = ["linear", "scaled_linear", "squaredcos_cap_v2"]
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
SPACINGS = ["linspace", "leading", "trailing"]
BOTH = [False, True]
BY_SIGMA = [None, "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
STEPS = [1, 2, 3, 4, 5, 7, 10, 14, 15, 20, 33]

_EXPONENTIAL = {
    "beta_schedule": BETAS,
    "prediction_type": PREDICTIONS,
    "thresholding": BOTH,
    "lower_order_final": BOTH,
    "spaced_by": [*BY_SIGMA, "use_flow_sigmas"],
    "flow_shift": [1.0, 3.0],
}
_SPACED = {"timestep_spacing": SPACINGS, "steps_offset": [0, 1]}
_SOLVER = {"solver_type": ["midpoint", "heun"], "lambda_min_clipped": [-INF, -5.1]}
_FINAL = {"final_sigmas_type": ["zero", "sigma_min"]}
_K = {
    "beta_schedule": BETAS,
    "prediction_type": ["epsilon", "v_prediction"],
    "spaced_by": BY_SIGMA,
    **_SPACED,
}
_DISTILLED = {
    "beta_schedule": BETAS,
    "original_inference_steps": [50, 40],
    "clip_sample": BOTH,
    "clip_sample_range": [1.0, 0.5],
    "set_alpha_to_one": [True, False],
    "prediction_type": PREDICTIONS,
    "thresholding": BOTH,
    "timestep_scaling": [10.0, 0.01],
    "rescale_betas_zero_snr": BOTH,
}
_EDM = {
    "sigma_min": [0.002, 0.1],
    "sigma_max": [80.0, 20.0],
    "sigma_data": [0.5, 1.0],
    "sigma_schedule": ["karras", "exponential"],
    "prediction_type": ["epsilon", "v_prediction"],
    "rho": [7.0, 3.0],
    **_FINAL,
}
_EDM_SOLVER = {
    "solver_order": [1, 2],
    "solver_type": ["midpoint", "heun"],
    "lower_order_final": BOTH,
    "euler_at_final": BOTH,
}
SPACE = {
    "DPMSolverMultistepScheduler": {
        **_EXPONENTIAL,
        **_SPACED,
        **_SOLVER,
        **_FINAL,
        "solver_order": [1, 2],
        "algorithm_type": ["dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"],
        "euler_at_final": BOTH,
        "spaced_by": [*BY_SIGMA, "use_lu_lambdas", "use_flow_sigmas"],
    },
    "DPMSolverMultistepInverseScheduler": {
        **_EXPONENTIAL,
        **_SPACED,
        **_SOLVER,
        "solver_order": [1, 2],
        "algorithm_type": ["dpmsolver++", "dpmsolver"],
        "euler_at_final": BOTH,
        "spaced_by": BY_SIGMA,
    },
    "DPMSolverSinglestepScheduler": {
        **_EXPONENTIAL,
        **_SOLVER,
        **_FINAL,
        "solver_order": [1, 2, 3],
        "algorithm_type": ["dpmsolver++", "dpmsolver", "sde-dpmsolver++"],
    },
    "UniPCMultistepScheduler": {
        **_EXPONENTIAL,
        **_SPACED,
        **_FINAL,
        "solver_order": [1, 2, 3, 4],
        "predict_x0": BOTH,
        "solver_type": ["bh1", "bh2"],
        "disable_corrector": [[], [0], [0, 1, 3]],
    },
    "DEISMultistepScheduler": {**_EXPONENTIAL, **_SPACED, "solver_order": [1, 2, 3]},
    "SASolverScheduler": {
        **_EXPONENTIAL,
        **_SPACED,
        "predictor_order": [1, 2, 3],
        "corrector_order": [1, 2, 3],
        "lambda_min_clipped": [-INF, -5.1],
    },
    "DDIMInverseScheduler": {
        "beta_schedule": BETAS,
        "clip_sample": BOTH,
        "clip_sample_range": [1.0, 0.5],
        "set_alpha_to_one": [True, False],
        "prediction_type": PREDICTIONS,
        "steps_offset": [0, 1],
        "timestep_spacing": ["leading", "trailing"],
        "rescale_betas_zero_snr": BOTH,
    },
    "LCMScheduler": _DISTILLED,
    "TCDScheduler": _DISTILLED,
    "LMSDiscreteScheduler": {**_K, "prediction_type": PREDICTIONS},
    "KDPM2DiscreteScheduler": _K,
    "KDPM2AncestralDiscreteScheduler": _K,
    "EDMEulerScheduler": _EDM,
    "EDMDPMSolverMultistepScheduler": {
        **_EDM,
        **_EDM_SOLVER,
        "thresholding": BOTH,
        "algorithm_type": ["dpmsolver++", "sde-dpmsolver++"],
    },
    "CosineDPMSolverMultistepScheduler": {**_EDM, **_EDM_SOLVER, "sigma_max": [500, 80.0]},
    "FlowMatchEulerDiscreteScheduler": {
        "shift": [1.0, 3.0],
        "use_dynamic_shifting": BOTH,
        "invert_sigmas": BOTH,
        "shift_terminal": [None, 0.1],
        "time_shift_type": ["exponential", "linear"],
        "stochastic_sampling": BOTH,
        "spaced_by": BY_SIGMA,
    },
    "FlowMatchHeunDiscreteScheduler": {"shift": [1.0, 3.0]},
    "LTXEulerAncestralRFScheduler": {"eta": [0.0, 0.5, 1.0], "s_noise": [1.0, 0.9]},
}


def case(name, draw, steps):
    """A case whose options `draw` takes from their values; flows with what a flow predicts."""
    config = {option: draw(values) for option, values in SPACE[name].items()}
    of_noise = config.get("algorithm_type", "").endswith("dpmsolver")
    if config.get("spaced_by") == "use_flow_sigmas" and config["prediction_type"] == "v_prediction":
        data = config.get("predict_x0", True) and not of_noise
        config["prediction_type"] = "flow_prediction" if data else "epsilon"
    set_up = {"mu": 0.7} if config.get("use_dynamic_shifting") else {}
    made = {"scheduler": name, "config": config, "steps": steps, "step": {}}
    return made | ({"set_up": set_up} if set_up else {})


def outside(case):
    """Which documented difference a case meets, or None: then the samples agree."""
    config, steps = case["config"], case["steps"]
    name = case["scheduler"]
    spaced_by = config.get("spaced_by")
    if config.get("rescale_betas_zero_snr") and spaced_by and spaced_by != "use_flow_sigmas":
        return "rounding decides which time the last, cut sigma has"
    third = config.get("solver_order") == 3 and config.get("solver_type") == "heun"
    if third and config.get("algorithm_type") == "sde-dpmsolver++":
        return "diffusers has a sign wrong"
    cosine = config.get("beta_schedule") == "squaredcos_cap_v2"
    if name == "DPMSolverMultistepInverseScheduler" and cosine and spaced_by:
        return "diffusers leaves out times that repeat, but not their sigmas"
    if name.startswith("KDPM2") and (cosine or steps < 10):
        return "diffusers' times between levels are those of logarithms in float32"
    if config.get("invert_sigmas") and config["stochastic_sampling"]:
        return "diffusers takes the noise's share for the data's"
    if config.get("sigma_schedule") == "exponential" and steps == 1:
        return "diffusers begins at sigma_min"
    if name == "DDIMInverseScheduler" and config["prediction_type"] == "sample":
        return "at the clean level the data says nothing of the noise"
    zero = config.get("rescale_betas_zero_snr") and config["prediction_type"] == "epsilon"
    if zero and name in ("LCMScheduler", "TCDScheduler"):
        return "where alpha is 0, the noise says nothing of x_0"
    if name == "FlowMatchEulerDiscreteScheduler" and config["shift_terminal"] and steps == 1:
        return "no schedule of one step ends at both"
    return None


def cases(count=20, seed=0):
    """Cases of each class."""
    rng = random.Random(seed)
    for name in SPACE:
        found = 0
        while found < count:
            made = case(name, rng.choice, rng.choice(STEPS))
            if outside(made) is None:
                found += 1
                yield made
