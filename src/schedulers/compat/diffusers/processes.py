"""The processes that configurations are of, and what to take for classes that are not here.

A configuration of one process in a class of another gives a scheduler that runs, and samples that
are wrong by orders of magnitude. The process is told by the class that the configuration names,
and by those of its arguments that only one process has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schedulers import _checks

BETAS = "a process of betas"
FLOW = "a rectified flow"
EDM = "EDM's models, told log(sigma) / 4"
COSINE = "EDM's models, told arctan(sigma)"
CONTINUOUS = "a process of betas whose model is told log(sigma) / 4"
V_OF_COSINE = "a model of v at a cosine's times"
SHIFTED = "a process of betas whose signal-to-noise ratio is shifted"
CASCADE = "a cosine process in continuous time"
CONSISTENCY = "a consistency model of EDM's"
OTHER = "a process that no class here has"

_HERE = {
    BETAS: (
        *("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"),
        *("EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"),
        *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler"),
        *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler"),
        *("DEISMultistepScheduler", "SASolverScheduler", "LCMScheduler", "TCDScheduler"),
        *("DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler"),
    ),
    FLOW: (
        *("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"),
        "LTXEulerAncestralRFScheduler",
    ),
    EDM: ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"),
    COSINE: ("CosineDPMSolverMultistepScheduler",),
    V_OF_COSINE: ("IPNDMScheduler",),
}
_ELSEWHERE = {
    BETAS: (
        *("DDIMParallelScheduler", "DDPMParallelScheduler", "RePaintScheduler", "UnCLIPScheduler"),
    ),
    FLOW: ("FlowMatchLCMScheduler",),
    SHIFTED: ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"),
    CASCADE: ("DDPMWuerstchenScheduler",),
    CONSISTENCY: ("CMStochasticIterativeScheduler",),
    OTHER: (
        *("AmusedScheduler", "BlockRefinementScheduler", "DiscreteDDIMScheduler"),
        *("EntropyBoundScheduler", "FlowMapEulerDiscreteScheduler", "HeliosDMDScheduler"),
        *("HeliosScheduler", "KarrasVeScheduler", "MiniMaxH3Scheduler", "PiflowScheduler"),
        *("RFD4ProteinaScheduler", "SCMScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler"),
        "VQDiffusionScheduler",
    ),
}
_OF_CLASS = {
    name: process
    for table in (_HERE, _ELSEWHERE)
    for process, names in table.items()
    for name in names
}
# Classes of betas that step flows, too, where they are told to.
_ALSO_FLOWS = (
    *("UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"),
    *("DEISMultistepScheduler", "SASolverScheduler", "DPMSolverMultistepInverseScheduler"),
)
# Arguments that one process alone has, for configurations that name no class.
_OF_ARGUMENTS = (
    ({"snr_shift_scale"}, SHIFTED),
    ({"beta_start"}, BETAS),
    ({"beta_schedule"}, BETAS),
    ({"clip_denoised", "sigma_data"}, CONSISTENCY),
    ({"sigma_schedule"}, EDM),
    ({"sigma_data", "sigma_max"}, EDM),
    ({"scaler", "s"}, CASCADE),
    ({"snr", "sampling_eps"}, OTHER),
    ({"base_shift"}, FLOW),
    ({"eta", "s_noise"}, FLOW),
    ({"shift"}, FLOW),
)
# What to take where the classes here do not do.
_ADVICE = {
    FLOW: "FlowMatchEulerDiscreteScheduler, or UniPCMultistepScheduler with use_flow_sigmas=True "
    "and prediction_type='flow_prediction'",
    CONTINUOUS: "EulerDiscreteScheduler",
    SHIFTED: "DDIMScheduler, and assign the shifted levels to its alphas_cumprod",
    CASCADE: "the core's schedulers.DDPM with schedulers.CosineSchedule",
    CONSISTENCY: "the core's schedulers.VESchedule with schedulers.denoisers.Preconditioned",
}
_ADVICE_FOR_CLASS = {
    "CMStochasticIterativeScheduler": _ADVICE[CONSISTENCY],
    "CogVideoXDDIMScheduler": _ADVICE[SHIFTED],
    "CogVideoXDPMScheduler": _ADVICE[SHIFTED],
    "DDPMWuerstchenScheduler": _ADVICE[CASCADE],
    "DDIMParallelScheduler": "DDIMScheduler",
    "DDPMParallelScheduler": "DDPMScheduler",
    "FlowMatchLCMScheduler": "the core's schedulers.LCM with schedulers.FlowSchedule",
    "KarrasVeScheduler": "EDMEulerScheduler, or the core's schedulers.Heun with VESchedule",
    "RePaintScheduler": "the core's schedulers.editing.inpaint",
    "ScoreSdeVeScheduler": "the core's schedulers.EulerAncestral with schedulers.VESchedule",
    "ScoreSdeVpScheduler": "the core's schedulers.DDPM with schedulers.VPSchedule",
    "UnCLIPScheduler": "DDPMScheduler(beta_schedule='squaredcos_cap_v2')",
}


def plain(name: object) -> str | None:
    """Return the name of a class without the mark of diffusers' former JAX ones."""
    return name.removeprefix("Flax") if isinstance(name, str) else None


def of(name: object, arguments: Mapping[str, Any]) -> str | None:
    """Return the process of a configuration, None where nothing tells it."""
    name = plain(name)
    of_class = _OF_CLASS.get(name or "")
    process = of_class or next(
        (kind for keys, kind in _OF_ARGUMENTS if keys <= set(arguments)), None
    )
    predicts = arguments.get("prediction_type")
    if process == SHIFTED and arguments.get("snr_shift_scale", 3.0) == 1.0:
        return BETAS
    if process != BETAS:
        return process
    of_flow = arguments.get("use_flow_sigmas") or predicts == "flow_prediction"
    if of_flow and (of_class is None or name in _ALSO_FLOWS):
        return FLOW
    continuous = arguments.get("timestep_type") == "continuous" and predicts == "v_prediction"
    if continuous and (of_class is None or name == "EulerDiscreteScheduler"):
        return CONTINUOUS
    return BETAS


def known(name: object) -> bool:
    """Whether a class's process is known by its name."""
    return plain(name) in _OF_CLASS


def mismatch(
    name: object, arguments: Mapping[str, Any], own_name: str, own: Mapping[str, Any]
) -> str | None:
    """Return what is wrong with a configuration for a class, which takes `own` of it; or None."""
    theirs, ours = of(name, arguments), of(own_name, own)
    if theirs is None or ours is None or theirs == ours:
        return None
    by = f", as its _class_name {name!r} says" if known(name) else ""
    return f"config is one of {theirs}{by}, and {own_name} steps {ours}. Take {fitting(theirs)}"


def lost_shift(arguments: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """Return what to say where a flow's shift goes by another name in a class; or None."""
    for name, other in (("shift", "flow_shift"), ("flow_shift", "shift")):
        value = arguments.get(name)
        given = isinstance(value, (int, float)) and value != 1.0
        if given and name not in own and other in own and other not in arguments:
            shown = _checks.shown(value)
            return f"{name}={shown} is {other} here, and was not taken over: give {other}={shown}"
    return None


def fitting(process: str) -> str:
    """Return what to take for a process."""
    if process in _ADVICE:
        return _ADVICE[process]
    return _some(_HERE.get(process, ())) or "diffusers itself: nothing here steps it"


def compatible(name: str) -> tuple[str, ...]:
    """Return the names of the classes here that take a class's configurations."""
    process = _OF_CLASS.get(name, BETAS)
    return tuple(other for other in _HERE.get(process, ()) if other != name)


def missing(name: str) -> str:
    """Return what to take for a class of diffusers' that is not here."""
    bare = str(plain(name))
    advice = _ADVICE_FOR_CLASS.get(bare)
    if advice is None and any(bare in names for names in _HERE.values()):
        advice = bare
    if advice is None and _OF_CLASS.get(bare) == OTHER:
        advice = fitting(OTHER)
    if advice is None:
        classes = [names for process in _HERE for names in _HERE[process]]
        advice = f"one of {_some(classes)} (all are in schedulers.compat.diffusers.__all__)"
    return f"compat.diffusers has no {name}: take {advice}"


def _some(names: Sequence[str]) -> str:
    """Return a few names."""
    return ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])])
