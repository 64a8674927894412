"""Every public callable of the package: what its modules' `__all__` name, and their methods."""

import functools
import importlib
import inspect
import pkgutil
import re

import schedulers

# Results that a function returns, and what names no callable: nobody makes them.
RESULTS = {
    *("Comparison", "Convergence", "ErrorBudget", "TransferFunction"),
    *("VariationalBound", "FlowLikelihood", "State", "Level", "SchedulerOutput"),
    *("Fit", "Report"),
}
# Base classes; their methods are called on those that are derived from them.
BASES = {"NoiseSchedule", "Scheduler", "Distribution", "Scales"}
# Methods by which the conformance kit's checks ask a case what to run.
CASE = (
    *("SamplerCase.rng", "SamplerCase.sigmas", "SamplerCase.fine_sigmas", "SamplerCase.run"),
    *("SamplerCase.uneven_sigmas", "SamplerCase.rounding", "SamplerCase.middle_sigmas"),
    *("SamplerCase.with_noise_of_the_path", "SamplerCase.bounded"),
    *("SchedulerCase.step_counts", "SchedulerCase.levels"),
)
LEFT_OUT = {
    **dict.fromkeys(RESULTS, "a result, which a function makes"),
    **dict.fromkeys(BASES, "a base class; its methods are called"),
    "SPACINGS": "a table",
    "Spacing": "a type",
    **dict.fromkeys(("check_sampler", "check_scheduler"), "runs a sampler for minutes"),
    **dict.fromkeys(("Check", "CheckFailed", "ChecksFailed"), "what a check is, and raises"),
    **dict.fromkeys(CASE, "a check calls it, with what it has made"),
    "Input": "a result, what an ONNX file takes",
    **dict.fromkeys(
        ("OnnxDenoiser", "OnnxDenoiser()", "OnnxDenoiser.__call__", "inputs_of"),
        "needs onnxruntime and a file; tests/test_sample_command.py",
    ),
    **dict.fromkeys(("Factory()", "Factory.__call__"), "calls what make made"),
    "from_torch": "needs PyTorch; tests/testing/test_claims.py",
    "Comparison.plot": "draws, with matplotlib",
}


def modules():
    """Yield the public modules: packages with an `__all__`, and the top's own modules."""
    yield schedulers
    for found in pkgutil.walk_packages(schedulers.__path__, "schedulers."):
        own = found.name.removeprefix("schedulers.")
        if any(part.startswith("_") for part in own.split(".")) or own == "scheduler":
            continue
        module = importlib.import_module(found.name)
        if hasattr(module, "__all__") or ("." not in own and not found.ispkg):
            yield module


def names(module):
    return getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


@functools.cache
def public():
    """Return what is public by name: functions, classes and tables."""
    made = {name: getattr(module, name) for module in modules() for name in names(module)}
    # Two functions of one name, in k_diffusion and elsewhere.
    for name in names(schedulers.compat.k_diffusion):
        made.pop(name)
        made[f"k_diffusion.{name}"] = getattr(schedulers.compat.k_diffusion, name)
    made["log_likelihood"] = schedulers.likelihood.log_likelihood
    return made


@functools.cache
def targets():
    """Return every callable by name; a method, once, by the class that defines it."""
    found = {}
    for name, value in public().items():
        if inspect.isclass(value):
            found[name] = value
            for base in value.__mro__:
                if base.__module__.startswith("schedulers"):
                    for method, _function in vars(base).items():
                        if callable(getattr(base, method)) and (
                            not method.startswith("_") or method == "__call__"
                        ):
                            found.setdefault(f"{base.__name__}.{method}", (value, method))
        else:
            found[name] = value
    return found


def documented(function, section):
    """Return a section of a callable's documentation, by its numpydoc heading."""
    text = inspect.getdoc(function) or ""
    found = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", text, re.S | re.M)
    return found[1] if found else ""


def promised(function):
    """Return the exceptions that a callable's documentation names besides the usual two."""
    return re.findall(r"\b[A-Z]\w*Error\b", documented(function, "Raises"))
