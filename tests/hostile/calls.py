"""A valid call of every public callable, in which a hostile one replaces arguments."""

import atexit
import inspect
import shutil
import tempfile
from pathlib import Path

import numpy as np

import schedulers as sc
from schedulers import (
    analysis,
    analytic,
    denoisers,
    editing,
    fitting,
    generation,
    grids,
    interpolate,
    likelihood,
    testing,
)

FOLDER = Path(tempfile.mkdtemp(prefix="hostile"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
VE, FLOW = sc.VESchedule(), sc.FlowSchedule()
TRAINED = sc.DiscreteSchedule(sc.linear_betas(100))
SIGMAS = [4.0, 2.0, 0.0]
DDIM = sc.DDIM(VE, prediction_type="sample")
ANCESTRAL = sc.EulerAncestral(VE, prediction_type="sample")
PAIR = np.array([0.5, 0.25])


def halved(x, t):
    return x * 0.5


def calls():
    """Return (callable, valid arguments) by name."""
    made = dict(_constructors())
    made.update(_grids())
    made.update(_methods())
    made.update(_functions())
    made.update(_tables())
    made.update(_many())
    made.update(_checks())
    return made


def _constructors():
    betas = {"num_train_timesteps": 10, "beta_start": 0.01, "beta_end": 0.1}
    for name in ("linear_betas", "scaled_linear_betas", "sigmoid_betas"):
        yield name, (getattr(sc, name), betas)
    yield "cosine_betas", (sc.cosine_betas, {"num_train_timesteps": 10, "s": 0.1, "max_beta": 0.9})
    yield (
        "laplace_betas",
        (sc.laplace_betas, {"num_train_timesteps": 10, "mu": 0.1, "b": 0.5, "max_beta": 0.9}),
    )
    yield "rescale_zero_terminal_snr", (sc.rescale_zero_terminal_snr, {"betas": [0.1, 0.2]})
    yield "DiscreteSchedule", (sc.DiscreteSchedule, {"betas": [0.1, 0.2]})
    yield (
        "DiscreteSchedule.from_alphas_cumprod",
        (sc.DiscreteSchedule.from_alphas_cumprod, {"alphas_cumprod": [0.9, 0.5]}),
    )
    yield "VPSchedule", (sc.VPSchedule, {"beta_min": 0.1, "beta_max": 20.0, "t_min": 1e-3})
    yield "VESchedule", (sc.VESchedule, {"sigma_min": 0.1, "sigma_max": 2.0})
    yield "FlowSchedule", (sc.FlowSchedule, {"t_min": 1e-3})
    yield "CosineSchedule", (sc.CosineSchedule, {"s": 0.008, "t_min": 1e-3})
    yield "StaticThreshold", (sc.StaticThreshold, {"limit": 1.0, "rederive_noise": True})
    yield (
        "DynamicThreshold",
        (sc.DynamicThreshold, {"quantile": 0.9, "limit": 1.0, "rederive_noise": True}),
    )
    yield "BrownianPath", (sc.BrownianPath, {"seeds": 1})
    level = sc.Level(2.0, 1.0, 2.0)
    stage = sc.Stage(level, [1.0], [0.0])
    yield "Stage", (sc.Stage, {"level": level, "a": [1.0], "b": [0.5], "c": 0.0, "ends_step": True})
    yield (
        "Tableau",
        (
            sc.Tableau,
            {"method": "m", "levels": (level, VE.clean), "stages": (stage,), "entry": (1.0, 0.0)},
        ),
    )
    yield "Gaussian", (analytic.Gaussian, {"mean": [1.0, 2.0], "cov": [1.0, 2.0]})
    yield "Gaussian.fit", (analytic.Gaussian.fit, {"samples": [[1.0], [2.0]], "shrinkage": 0.5})
    yield (
        "GaussianMixture",
        (analytic.GaussianMixture, {"means": [[1.0], [2.0]], "std": 0.5, "weights": [0.5, 0.5]}),
    )
    yield "Empirical", (analytic.Empirical, {"points": [[1.0], [2.0]]})
    yield (
        "Guided",
        (_used(denoisers.Guided), {"conditional": halved, "unconditional": halved, "scale": 2.0}),
    )
    yield (
        "CFGPlusPlus",
        (
            denoisers.CFGPlusPlus,
            {
                "conditional": halved,
                "unconditional": halved,
                "scale": 0.5,
                "tableau": DDIM.tableau(sigmas=SIGMAS),
            },
        ),
    )
    in_one = {"network": lambda x, t: 0.5 * x, "scale": 2.0}
    yield "GuidedBatch", (_used(denoisers.GuidedBatch), in_one)
    yield "ReversedFlow", (denoisers.ReversedFlow, {"network": halved})
    yield "EDM", (denoisers.EDM, {"sigma_data": 0.5})
    yield "VE", (denoisers.VE, {})
    yield "Trained", (denoisers.Trained, {"schedule": TRAINED, "prediction_type": "epsilon"})
    yield (
        "Preconditioned",
        (
            denoisers.Preconditioned,
            {"network": halved, "scales": denoisers.EDM(), "schedule": VE},
        ),
    )
    for name, cls in _classes():
        options = {
            field: parameter.default
            for field, parameter in inspect.signature(cls).parameters.items()
            if parameter.default is not parameter.empty
        }
        if cls is sc.FittedScheduler:
            options["tables"] = (sc.DDIM(VE).tableau(sigmas=[4.0, 2.0, 1.0, 0.5]),)
        yield name, (_tableau_of(cls), {"schedule": VE, **options})


def _classes():
    for name in sc.__all__:
        cls = getattr(sc, name)
        if inspect.isclass(cls) and issubclass(cls, sc.Scheduler) and cls is not sc.Scheduler:
            yield name, cls


def _tableau_of(cls):
    def made(**options):
        scheduler = cls(**options)
        if isinstance(options["schedule"], sc.VESchedule):
            scheduler.tableau(sigmas=[4.0, 2.0, 1.0, 0.5])
        return scheduler

    return made


def _used(cls):
    def made(**options):
        return cls(**options)(PAIR, 1.0)

    return made


def _grids():
    sigmas = {"n": 3, "sigma_min": 0.1, "sigma_max": 10.0}
    yield "karras_sigmas", (sc.karras_sigmas, dict(**sigmas, rho=7.0))
    yield "exponential_sigmas", (sc.exponential_sigmas, sigmas)
    yield "polyexponential_sigmas", (sc.polyexponential_sigmas, dict(**sigmas, rho=1.0))
    yield "vp_sigmas", (sc.vp_sigmas, dict(**sigmas, beta_d=19.9, beta_min=0.1))
    yield "beta_sigmas", (sc.beta_sigmas, dict(**sigmas, alpha=0.6, beta=0.6))
    yield "kl_optimal", (grids.kl_optimal, dict(**sigmas, data_std=1.0))
    yield "align_your_steps", (grids.align_your_steps, {"n": 3, "model": "sd15"})
    for schedule in (TRAINED, FLOW):
        of = " of " + type(schedule).__name__
        times = {"schedule": schedule, "steps": 3}
        for name in ("trailing", "linspace", "quadratic", "simple", "normal", "sgm_uniform"):
            yield name + of, (getattr(grids, name), times)
        yield "ddim_uniform" + of, (grids.ddim_uniform, times)
        yield "leading" + of, (grids.leading, dict(**times, offset=0))
        yield "beta_times" + of, (grids.beta_times, dict(**times, alpha=0.6, beta=0.6))
        flow = dict(**times, grid=sc.karras_sigmas, end=0.1)
        yield "by_flow_time" + of, (grids.by_flow_time, flow)
        quadratic = dict(**times, threshold_noise=0.025, linear_steps=1)
        yield "linear_quadratic" + of, (grids.linear_quadratic, quadratic)
    yield "whole", (grids.whole, {"schedule": TRAINED, "steps": 3, "spacing": "karras"})
    shift = {"schedule": FLOW, "steps": 3, "spacing": "trailing", "shift_terminal": 0.1}
    yield "shifted", (grids.shifted, dict(**shift, shift=3.0))
    dynamic = dict(
        **shift,
        seq_len=1024,
        base_shift=0.5,
        max_shift=1.15,
        base_seq_len=256,
        max_seq_len=4096,
        time_shift="exponential",
    )
    yield "dynamic_shift", (grids.dynamic_shift, dynamic)


def _methods():
    run = {"steps": None, "timesteps": None, "sigmas": SIGMAS}
    state = ANCESTRAL.init(np.array([8.0, 4.0]), sigmas=SIGMAS)
    x_T = np.array([8.0, 4.0])
    yield "Scheduler.tableau", (DDIM.tableau, run)
    yield "Scheduler.init", (DDIM.init, dict(x_T=x_T, rng=0, **run))
    update = {"output": PAIR, "state": state, "rng": 0, "keep_denoised": True}
    yield "Scheduler.update", (ANCESTRAL.update, update)
    asked = dict(update, rng=0, log_prob=True)
    yield "Scheduler.update with log_prob", (ANCESTRAL.update, asked)
    row = {"output": PAIR, "state": state}
    yield "Scheduler.log_prob", (ANCESTRAL.log_prob, dict(**row, x_next=PAIR))
    yield "Scheduler.row_law", (lambda **k: ANCESTRAL.row_law(**k).mean, row)
    yield "Scheduler.step", (ANCESTRAL.step, {"denoiser": halved, "state": state, "rng": 0})
    full = dict(denoiser=halved, x_T=x_T, rng=0, **run)
    yield "Scheduler.iterate", (lambda **k: list(ANCESTRAL.iterate(**k)), full)
    more = dict(full, callback=None, progress=False)
    yield "Scheduler.sample", (ANCESTRAL.sample, more)
    yield "Scheduler.invert", (DDIM.invert, dict(denoiser=halved, x_0=PAIR, **run))
    noise = dict(shape=(2,), rng=0, dtype=np.float64, **run)
    yield "Scheduler.initial_noise", (DDIM.initial_noise, noise)
    added = {"x_0": PAIR, "t": 1.0, "noise": PAIR, "rng": None}
    yield "Scheduler.add_noise", (DDIM.add_noise, added)
    yield "Scheduler.add_noise by rng", (DDIM.add_noise, dict(added, noise=None, rng=0))
    for schedule in (TRAINED, VE, FLOW, sc.VPSchedule(), sc.CosineSchedule()):
        of = type(schedule).__name__
        for name in ("alpha", "sigma", "karras_sigma", "log_snr"):
            yield f"{of}.{name}", (getattr(schedule, name), {"t": 1.0})
        yield f"{of}.timestep", (schedule.timestep, {"sigmas": 1.0})
        yield f"{of}.level", (schedule.level, {"sigma": 1.0})
        yield f"{of}.levels", (schedule.levels, {"timesteps": [1.0, 0.5]})
    mixture = analytic.GaussianMixture([1.0, 2.0], std=0.5)
    gaussian = analytic.Gaussian([1.0, 2.0], cov=[1.0, 2.0])
    for data in (mixture, gaussian):
        of = type(data).__name__
        denoiser = {"schedule": FLOW, "prediction_type": "flow"}
        yield f"{of}.denoiser", (data.denoiser, denoiser)
        yield f"{of}.denoiser()", (data.denoiser(**denoiser), {"x": PAIR, "t": 0.5})
        yield f"{of}.marginal", (data.marginal, {"schedule": FLOW, "t": 0.5})
        yield f"{of}.log_prob", (data.log_prob, {"x": PAIR})
        yield f"{of}.score", (data.score, {"x": PAIR})
        yield f"{of}.sample", (data.sample, {"n": 2, "rng": 0})
    yield "Gaussian.flow", (gaussian.flow, {"schedule": VE, "x": PAIR, "t_from": 1.0, "t_to": 0.5})
    yield "StaticThreshold()", (sc.StaticThreshold(), {"denoised": PAIR})
    yield "DynamicThreshold()", (sc.DynamicThreshold(), {"denoised": PAIR})
    yield "EDM()", (denoisers.EDM(), {"sigma": 1.0})
    yield "VE()", (denoisers.VE(), {"sigma": 1.0})
    yield "Trained()", (denoisers.Trained(TRAINED), {"sigma": 1.0})
    guided = denoisers.Guided(halved, halved, 2.0)
    yield "Guided()", (guided, {"x": PAIR, "t": 1.0})
    yield "GuidedBatch()", (denoisers.GuidedBatch(halved, 2.0), {"x": PAIR, "t": 1.0})
    yield "ReversedFlow()", (denoisers.ReversedFlow(halved), {"x": PAIR, "t": 1.0})
    for name in ("conditional", "unconditional"):
        networks = {"conditional": halved, "unconditional": halved}

        def returned(output, name=name, networks=networks):
            return denoisers.Guided(**{**networks, name: lambda x, t: output}, scale=2.0)(PAIR, 1.0)

        yield f"Guided() of a {name}", (returned, {"output": PAIR})
    yield (
        "Preconditioned()",
        (denoisers.Preconditioned(halved, denoisers.EDM()), {"x": PAIR, "t": 1.0}),
    )
    plus = denoisers.CFGPlusPlus(halved, halved, 0.5, DDIM.tableau(sigmas=SIGMAS))
    yield "CFGPlusPlus()", (plus, {"x": PAIR, "t": 4.0})
    yield "CFGPlusPlus.guidance", (plus.guidance, {"t": 4.0})
    # What a network, a source of noise and a spacing return.
    yield (
        "denoiser that returns",
        (lambda output: DDIM.sample(lambda x, t: output, x_T, sigmas=SIGMAS), {"output": PAIR}),
    )
    yield (
        "network that returns",
        (
            lambda output: denoisers.Preconditioned(lambda x, c: output, denoisers.EDM())(x_T, 1.0),
            {"output": PAIR},
        ),
    )
    yield (
        "rng that returns",
        (
            lambda noise: ANCESTRAL.sample(halved, x_T, sigmas=SIGMAS, rng=lambda like: noise),
            {"noise": PAIR},
        ),
    )
    yield (
        "spacing that returns",
        (
            lambda spacing: sc.DDIM(VE, spacing=lambda schedule, n: spacing).tableau(2),
            {"spacing": [2.0, 1.0]},
        ),
    )


def _functions():
    run = {"steps": None, "timesteps": None, "sigmas": SIGMAS}
    gaussian = analytic.Gaussian([1.0, 2.0], cov=[1.0, 2.0])
    other = analytic.Gaussian([1.0, 2.0], cov=[[2.0, 1.0], [1.0, 2.0]])
    yield "wasserstein2", (analysis.wasserstein2, {"p": gaussian, "q": other})
    yield "kl_divergence", (analysis.kl_divergence, {"p": gaussian, "q": other})
    yield "power_law", (analysis.power_law, {"side": 2, "variance": 0.25})
    law = dict(scheduler=DDIM, data=gaussian, **run)
    yield "output_law", (analysis.output_law, dict(**law, initial="noise"))
    yield "error_budget", (analysis.error_budget, law)
    transfer = dict(scheduler=DDIM, variances=[1.0, 2.0], **run)
    yield "transfer_function", (analysis.transfer_function, transfer)
    compare = {"schedulers": [DDIM], "data": gaussian, "steps": (2, 3)}
    levels = {"sigmas": _few_levels, "initial": "marginal"}
    yield "compare", (analysis.compare, compare | levels)
    yield "Comparison.to_latex", (analysis.compare(**compare).to_latex, {})
    order = {
        "scheduler": DDIM,
        "data": gaussian,
        "steps": (5, 10),
        "sigma_min": 0.4,
        "sigma_max": 60.0,
        "rho": 7.0,
    }
    yield "convergence_order", (analysis.convergence_order, order)
    pair = {"x": PAIR, "y": PAIR[::-1], "weight": 0.5}
    yield "linear", (interpolate.linear, pair)
    yield "spherical", (interpolate.spherical, pair)
    x_T = np.array([8.0, 4.0])
    edit = dict(scheduler=ANCESTRAL, denoiser=halved, callback=None, rng=0, **run)
    yield "image_to_image", (editing.image_to_image, dict(**edit, x_0=PAIR, strength=0.5))
    inpaint = dict(**edit, x_T=x_T, known=PAIR, mask=np.array([1.0, 0.0]))
    yield "inpaint", (editing.inpaint, inpaint)
    yield "per_sample", (denoisers.per_sample, {"t": 1.0, "x": PAIR, "dtype": None})
    ddpm = sc.DDPM(VE, prediction_type="sample")
    bound = dict(scheduler=ddpm, denoiser=halved, x_0=PAIR, rng=0, **run)
    yield "progressive_decoding", (likelihood.progressive_decoding, bound)
    more = dict(**bound, draws=1, decoder_std=0.5, bins=None)
    yield "variational_bound", (likelihood.variational_bound, more)
    law = likelihood.RowLaw(PAIR, 0.5)
    yield "RowLaw", (likelihood.RowLaw, {"mean": PAIR, "std": 0.5})
    yield "RowLaw.log_prob", (law.log_prob, {"x_next": PAIR[::-1]})
    yield "RowLaw.entropy", (law.entropy, {})
    yield "RowLaw.kl_divergence", (law.kl_divergence, {"other": likelihood.RowLaw(PAIR, 0.25)})
    flow = {
        "schedule": VE,
        "denoiser": _posterior,
        "x": PAIR,
        "t_from": 1.0,
        "t_to": 2.0,
        "prediction_type": "sample",
        "probes": None,
        "jvp": None,
        "rng": 0,
        "tolerance": 1e-3,
    }
    yield "log_likelihood", (likelihood.log_likelihood, flow)


def _tables():
    tableau = DDIM.tableau(sigmas=SIGMAS)
    fitted = sc.FittedScheduler(VE, tables=[tableau])
    for name, saved in (("Tableau", tableau), ("FittedScheduler", fitted)):
        file = FOLDER / f"{name}.json"
        saved.save(file)
        yield f"{name}.save", (saved.save, {"path": FOLDER / "again.json"})
        yield f"{name}.load", (type(saved).load, {"path": file})
    yield "Tableau.to_dict", (tableau.to_dict, {})
    yield "Tableau.from_dict", (sc.Tableau.from_dict, {"document": tableau.to_dict()})
    data = analytic.Gaussian([1.0, 2.0], cov=[1.0, 2.0])
    euler = sc.Euler(FLOW, prediction_type="flow")
    yield (
        "levels",
        (fitting.levels, {"scheduler": euler, "data": data, "steps": 3, "nearest": "w2"}),
    )
    x_T = np.random.default_rng(0).standard_normal((16, 2))
    fit = {"scheduler": euler, "denoiser": data.denoiser(FLOW, "flow"), "x_T": x_T, "steps": 2}
    more = {"levels": False, "reach": 2, "held_out": 0.25, "fine_steps": 20, "progress": False}
    yield "fit", (fitting.fit, {**fit, **more})


def _many():
    states = [ANCESTRAL.init(np.array([x, 4.0]), sigmas=SIGMAS) for x in (8.0, 2.0)]
    yield "Batch", (lambda states: sc.Batch(states).x, {"states": states})
    update = {"output": np.array([0.5, 0.25, 0.5, 0.25]), "rng": 0, "keep_denoised": True}
    yield "Batch.update", (lambda **k: sc.Batch(states).update(**k).x, update)
    yield "Factory", (lambda make: generation.Factory(make, 0.5)(PAIR, 1.0), {"make": _network})
    work = {"scheduler": DDIM, "denoiser": halved, "shape": (2,), "seeds": range(4), "steps": 2}
    more = {"batch_size": 2, "conditions": None, "dtype": np.float32}
    parts = {**work, **more, "out": None, "executor": None, "progress": False}
    yield "generate", (generation.generate, parts)
    kept = str(FOLDER / "samples.npy")
    generation.generate(**{**work, **more, "out": kept})
    again = {**work, **more, "out": kept, "batches": 1, "rng": 0}
    yield "verify", (generation.verify, again)


def _network(factor):
    return lambda x, t: x * factor


def _few_levels(n):
    return sc.karras_sigmas(n, 0.1, 10.0)


def _checks():
    numbers = {"order": 1, "uneven_order": 1.0, "seed": 0, "grid": None}
    more = {"stochastic": False, "any_sigmas": True, "sigma_min": 0.02, "sigma_max": 80.0}
    case = {**numbers, **more, "min_steps": 1, "precision": "float64", "name": "at once"}
    yield "SamplerCase", (testing.SamplerCase, {"sampler": _at_once, **case})
    of_scheduler = {"sampler": _at_once, "scheduler": DDIM, **case}
    yield "SchedulerCase", (testing.SchedulerCase, of_scheduler)
    scheduled = {"scheduler": DDIM, **numbers, "name": "DDIM"}
    yield "scheduler_case", (testing.scheduler_case, scheduled)
    yield "as_sampler", (testing.as_sampler, {"scheduler": DDIM})
    made = testing.SamplerCase(_at_once, order=1)
    yield "checks_for", (testing.checks_for, {"case": made})
    wanted = {"cases": [made, DDIM], "expected_failures": None}
    yield "parametrize_with_checks", (testing.parametrize_with_checks, wanted)
    law = {"sampler": _at_once, "data": analytic.Gaussian([1.0, 2.0], cov=[1.0, 2.0])}
    more = {"sigmas": SIGMAS, "initial": None, "precision": "float64"}
    yield "black_box_law", (testing.black_box_law, {**law, **more})
    report = fitting.Report("DDIM", 12, 4, 100, (fitting.Fit(2, 2, 0.2, 0.1, 0.1, True),))
    yield "Report.from_dict", (fitting.Report.from_dict, {"document": report.to_dict()})


def _at_once(denoiser, x, sigmas, noise):
    return denoiser(x, float(sigmas[0]))


def _posterior(x, t):
    return x / (1.0 + t * t)


CALLS = calls()
