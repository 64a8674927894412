"""k-diffusion's interface: its samples, its promises, and where it is right and theirs is not."""

import math
import sys
from importlib.util import find_spec
from inspect import signature
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

import schedulers as sc
from compat.k_diffusion.cases import (
    CASES,
    GRIDS,
    MULTISTEP,
    OPTIONS,
    OWN_LEVELS,
    SHAPE,
    SIGMAS,
    first_sigma,
    in_order,
    inputs,
    is_peers,
    model,
    record,
)
from kit import relative_error, seeds, sigma_grids
from schedulers.analytic import Gaussian
from schedulers.compat import k_diffusion as kd

with np.load(Path(__file__).parents[2] / "golden" / "k_diffusion.npz") as file:
    GOLDEN = dict(file)
SAMPLERS = sorted(OPTIONS)
NOISY = [name for name in SAMPLERS if "eta" in signature(getattr(kd, name)).parameters]
# Agreement in float32. Long steps of third order multiply rounding; and an adaptive run knows a
# step's error from two samples whose rounding, 1e-6, is 1e-4 of what is allowed.
SINGLE = {"sample_dpm_fast": 2e-5, "sample_dpm_adaptive": 2e-4}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


def levels_for(sampler, sigmas):
    """Return levels, or the arguments of a sampler that chooses its own between their ends."""
    if sampler not in OWN_LEVELS:
        return sigmas
    ends = float(sigmas[-1] or sigmas[-2]), float(sigmas[0])
    return (*ends, 7) if sampler == "sample_dpm_fast" else ends


def sampled(sampler, model, x, sigmas, **options):
    """Return a sampler's sample, by noise_sampler if it takes one."""
    sample, levels = getattr(kd, sampler), levels_for(sampler, sigmas)
    if "noise_sampler" not in signature(sample).parameters:
        options.pop("noise_sampler", None)
    levels = levels if isinstance(levels, tuple) else (levels,)
    return sample(model, x, *levels, **{"disable": True, **options})


def run(sampler, x, levels, options, noise, dtype="float32"):
    sample = getattr(kd, sampler)
    if not isinstance(levels, tuple):
        levels = np.array(levels, dtype)
    noises = in_order(noise) if "noise_sampler" in signature(sample).parameters else None
    return record(sample, x.astype(dtype), levels, options, noises)


@pytest.mark.parametrize("case", CASES)
def test_samples_are_k_diffusions(case):
    sampler, levels, options = CASES[case]
    x = first_sigma(levels) * GOLDEN["x"]
    result = run(sampler, x, levels, options, GOLDEN["noise"], "float64")
    assert relative_error(result.x, GOLDEN[case]) < 1e-10
    np.testing.assert_allclose(result.sigma_hat, GOLDEN[f"{case}/sigma_hat"], rtol=1e-10)
    assert result.i == list(range(len(result.sigma_hat)))
    result = run(sampler, x, levels, options, GOLDEN["noise"], "float32")
    assert result.x.dtype == np.float32
    assert relative_error(result.x, GOLDEN[case]) < SINGLE.get(sampler, 1e-5)


@pytest.mark.parametrize("name", SIGMAS)
def test_sigmas_are_k_diffusions(name):
    function, arguments = SIGMAS[name]
    sigmas = getattr(kd, function)(*arguments)
    assert sigmas.dtype == np.float32
    np.testing.assert_allclose(sigmas, GOLDEN[f"sigmas/{name}"], rtol=2e-7)


@pytest.mark.live
@pytest.mark.skipif(not find_spec("k_diffusion"), reason="k-diffusion is not installed")
@settings(max_examples=200)
@given(
    case=st.sampled_from([(name, key) for name in SAMPLERS for key in OPTIONS[name]]),
    sigmas=sigma_grids(low=0.02, high=30.0),
    seed=seeds,
)
def test_samples_are_the_live_peers(case, sigmas, seed):
    from golden.make_k_diffusion import run_peer

    sampler, name = case
    options = OPTIONS[sampler][name]
    assume(is_peers(sampler, sigmas, options))
    x, noise = inputs(seed)
    x, sigmas = (sigmas[0] * x).astype(np.float32), sigmas.astype(np.float32)
    levels = levels_for(sampler, sigmas)
    ours = run(sampler, x, levels, options, noise, "float64")
    exact = run_peer(sampler, x, levels, options, noise, "float64")
    assert ours.i == exact.i
    # In a long step theirs loses digits of s_down, the root of a difference of two squares.
    for name in ("x", "sigma", "sigma_hat", "seen", "denoised"):
        assert relative_error(getattr(ours, name), getattr(exact, name)) < 1e-8
    if sampler == "sample_dpm_adaptive":  # in float32 rounding changes the steps
        return
    # Where a step is very long, rounding alone is more than 1e-5 in either.
    rounded = relative_error(run_peer(sampler, x, levels, options, noise, "float32").x, exact.x)
    ours = run(sampler, x, levels, options, noise, "float32")
    assert relative_error(ours.x, exact.x) < SINGLE.get(sampler, 1e-5) + rounded


@pytest.mark.live
@pytest.mark.skipif(not find_spec("k_diffusion"), reason="k-diffusion is not installed")
@pytest.mark.parametrize("options", [{}, {"s_churn": 4.0, "s_tmin": 0.5, "s_tmax": 3.0}])
def test_a_seed_of_torchs_draws_what_it_draws_there(options):
    import torch

    from golden.make_k_diffusion import peer

    churned = ["sample_euler", "sample_heun", "sample_dpm_2"]
    ancestral = ["sample_euler_ancestral", "sample_dpm_2_ancestral", "sample_dpmpp_2s_ancestral"]
    x, sigmas = torch.tensor(12.0 * inputs()[0]), torch.tensor(GRIDS["clean"])
    for sampler in churned if options else churned + ancestral:
        runs = []
        for module in (kd, peer()):
            torch.manual_seed(3)
            runs.append(getattr(module, sampler)(model, x, sigmas, disable=True, **options))
        torch.testing.assert_close(*runs, rtol=1e-5, atol=1e-5)


def test_the_last_vp_level_keeps_its_digits():
    # s**2 = exp(19.9 t**2 / 2 + 0.1 t) - 1 by its series at t = 1e-3; in float32 it is 2e-4 off.
    u = 19.9e-6 / 2 + 1e-4
    exact = math.sqrt(u + u**2 / 2 + u**3 / 6)
    assert kd.get_sigmas_vp(10)[-2] == np.float32(exact)


def exact_model(std, mean=0.0):
    """Denoiser of N(mean, std**2)."""
    return lambda x, sigma: (
        (std**2 * x + sigma[:, None] ** 2 * mean) / (std**2 + sigma[:, None] ** 2)
    )


@pytest.mark.parametrize(("sampler", "order"), [("sample_euler", 1), ("sample_heun", 2)])
@pytest.mark.parametrize("ends", [(20.0, 0.3), (0.3, 20.0)], ids=["falling", "rising"])
def test_ends_other_than_zero_are_those_of_the_exact_flow(sampler, order, ends):
    flow = Gaussian(mean=2.0, cov=0.5).flow(sc.VESchedule(), np.array([[5.0], [-3.0]]), *ends)
    errors = []
    for steps in (160, 320):
        sigmas = np.geomspace(*ends, steps + 1)
        x_0 = getattr(kd, sampler)(
            exact_model(math.sqrt(0.5), 2.0), np.array([[5.0], [-3.0]]), sigmas, disable=True
        )
        errors.append(np.abs(x_0 - flow).max())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def ancestral_variance(steps, eta, std=0.7):
    """Variance in which a run on N(0, std**2) from 20 to 0.5 ends, exactly.

    The model is linear, so row k of the batch is the response to the noise of step k alone, and row
    0 to the starting one's; their squares add up.
    """
    sigmas = np.geomspace(20.0, 0.5, steps + 1)
    x = np.zeros((steps + 1, 1))
    x[0] = math.hypot(20.0, std)
    impulses = iter(np.eye(steps + 1)[1:, :, None])
    x_0 = kd.sample_euler_ancestral(
        exact_model(std), x, sigmas, eta=eta, noise_sampler=lambda *_: next(impulses)
    )
    return float((x_0**2).sum())


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.5, 3.0])
def test_ancestral_noise_of_any_amount_converges_to_the_data(eta):
    errors = [abs(ancestral_variance(steps, eta) - (0.49 + 0.25)) for steps in (800, 1600)]
    assert errors[1] < 0.02
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("sampler", sorted({*SAMPLERS} - {*MULTISTEP} - {*OWN_LEVELS}))
def test_a_repeated_level_changes_nothing(sampler):
    x = 3.0 * inputs()[0]
    once, twice = (
        sampled(sampler, model, x, sigmas, noise_sampler=lambda s, t: np.full(SHAPE, t))
        for sigmas in ([3.0, 1.0, 0.2], [3.0, 1.0, 1.0, 0.2])
    )
    np.testing.assert_allclose(twice, once, rtol=1e-12)


@pytest.mark.parametrize("sampler", sorted(OWN_LEVELS))
def test_a_run_from_a_level_to_itself_gives_the_sample_back(sampler):
    x = inputs()[0]
    np.testing.assert_array_equal(sampled(sampler, model, x, [2.0, 2.0]), x)


def test_noise_is_asked_for_by_the_callers_own_levels():
    x, sigmas, asked = inputs()[0], np.array(GRIDS["clean"], np.float32), []

    def noise_sampler(sigma, sigma_next):
        asked.append((sigma, sigma_next))
        return np.zeros(SHAPE)

    kd.sample_euler_ancestral(model, x, sigmas, noise_sampler=noise_sampler)
    steps = list(pairwise(sigmas[:-1]))
    assert asked == steps
    assert all(type(sigma) is np.float32 for pair in asked for sigma in pair)
    asked.clear()
    kd.sample_heun(
        model, x, sigmas, s_churn=1.0, s_tmax=2.0, s_tmin=0.5, noise_sampler=noise_sampler
    )
    assert asked == steps[:5]  # one a step up to the last that is raised, from 0.6


@pytest.mark.parametrize(
    ("sampler", "options"),
    [*((name, {"eta": 1.0}) for name in NOISY), ("sample_dpm_2", {"s_churn": 5.0})],
)
def test_the_default_noise_is_fresh_every_time(sampler, options):
    x = 12.0 * inputs()[0]
    one, other = (sampled(sampler, model, x, GRIDS["clean"], **options) for _ in range(2))
    assert (one != other).all()


@every_sampler
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_dtypes_and_shapes_are_the_callers(sampler, dtype):
    x, seen = (12.0 * inputs()[0]).astype(dtype), []

    def watched(x, sigma):
        seen.append((x.dtype, sigma.dtype, sigma.shape))
        return model(x, sigma)

    x_0 = sampled(sampler, watched, x, kd.get_sigmas_karras(5, 0.1, 12.0))
    assert x_0.dtype == x.dtype
    assert x_0.shape == x.shape
    assert set(seen) == {(x.dtype, x.dtype, (3,))}


@every_sampler
def test_the_callers_arrays_stay_as_they_are(sampler):
    x, sigmas = 12.0 * inputs()[0], np.array(GRIDS["clean"])
    x.flags.writeable = sigmas.flags.writeable = False
    options = {"noise_sampler": lambda *_: 0.0 * x}
    expected = sampled(sampler, model, x, sigmas, **options)

    def careless(x, sigma):
        output = model(x, sigma)
        x *= 0.0
        return output

    got = sampled(sampler, careless, x, sigmas, **options)
    np.testing.assert_array_equal(got, expected)


def test_a_callback_that_would_change_the_sample_is_told_that_it_cannot():
    def callback(info):
        info["x"][...] = 0.0

    with pytest.raises(ValueError, match="read-only"):
        kd.sample_euler(model, inputs()[0], [3.0, 0.0], callback=callback, disable=True)


@pytest.mark.parametrize("sampler", sorted({*SAMPLERS} - {*OWN_LEVELS}))
def test_a_run_of_no_steps_gives_the_sample_back(sampler):
    x = inputs()[0]
    x_0 = getattr(kd, sampler)(model, x, [3.0], disable=True)
    np.testing.assert_array_equal(x_0, x)
    assert not np.shares_memory(x_0, x)


def test_a_bar_is_drawn_where_it_is_asked_for(capsys):
    pytest.importorskip("tqdm")
    kd.sample_euler(model, inputs()[0], [3.0, 1.0, 0.0], disable=False)
    assert "2/2" in capsys.readouterr().err
    kd.sample_euler(model, inputs()[0], [3.0, 1.0, 0.0], disable=True)
    kd.sample_euler(model, inputs()[0], [3.0, 1.0, 0.0])  # by default, for a terminal only
    assert capsys.readouterr().err == ""


def test_without_tqdm_a_bar_is_an_error_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    kd.sample_euler(model, inputs()[0], [3.0, 0.0])
    with pytest.raises(ImportError, match="disable=False needs the package tqdm"):
        kd.sample_euler(model, inputs()[0], [3.0, 0.0], disable=False)


X = np.ones((2, 1, 1))
BAD = [
    (lambda: kd.sample_euler(3, X, [1.0, 0.0]), TypeError, "model must be a callable"),
    (lambda: kd.sample_heun(model, 3.0, [1.0, 0.0]), TypeError, "x must be an array of floats"),
    (lambda: kd.sample_heun(model, np.array(3.0), [1.0, 0.0]), ValueError, "x must have its sampl"),
    (lambda: kd.sample_euler(model, X, [1.0, 0.0, 0.0]), ValueError, "sigmas must be positive"),
    (lambda: kd.sample_euler(model, X, [0.0, 1.0]), ValueError, "sigmas must be positive"),
    (lambda: kd.sample_euler(model, X, [2.0, -1.0]), ValueError, "sigmas must be positive"),
    (lambda: kd.sample_euler(model, X, [math.inf, 1.0]), ValueError, "sigmas must be finite"),
    (lambda: kd.sample_euler(model, X, [[2.0, 1.0]]), ValueError, "sigmas must be a one-dim"),
    (lambda: kd.sample_euler(model, X, []), ValueError, "sigmas must be a one-dim"),
    (lambda: kd.sample_euler(model, X, 10), ValueError, "sigmas must be a one-dim"),
    (lambda: kd.sample_euler_ancestral(model, X, [1.0, 2.0]), ValueError, "must not rise"),
    (lambda: kd.sample_euler_ancestral(model, X, [1.0, 0.0], eta=-1), ValueError, "eta must be at"),
    (lambda: kd.sample_euler(model, X, [1.0, 0.0], s_churn=-1.0), ValueError, "s_churn must be"),
    (lambda: kd.sample_euler(model, X, [1.0, 0.0], s_noise=-1.0), ValueError, "s_noise must be"),
    (lambda: kd.sample_heun(model, X, [1.0, 0.0], s_tmin="a"), TypeError, "s_tmin must be a real"),
    (lambda: kd.sample_euler(model, X, [1.0, 0.0], {"shift": 0.0}, 3), TypeError, "callback must"),
    (lambda: kd.sample_euler(model, X, [1.0, 0.0], disable=1), TypeError, "disable must be True"),
    (lambda: kd.sample_euler(model, X, [1.0, 0.0], [1]), TypeError, "extra_args must be a dict"),
    (
        lambda: kd.sample_euler_ancestral(model, X, [1.0, 0.0], noise_sampler=0),
        TypeError,
        "noise_sampler must be a callable",
    ),
    (
        lambda: kd.sample_euler_ancestral(
            model, X, [2.0, 1.0, 0.0], noise_sampler=lambda *_: np.zeros(3)
        ),
        ValueError,
        r"the noise that noise_sampler returned must have shape \(2, 1, 1\), got \(3,\)",
    ),
    (
        lambda: kd.sample_euler(lambda x, sigma: x[:1], X, [1.0, 0.0]),
        ValueError,
        r"the model's output at t=1 must have shape \(2, 1, 1\)",
    ),
    (
        lambda: kd.sample_euler(lambda x, sigma: x * math.nan, X, [1.0, 0.0]),
        ValueError,
        "the model's output at t=1 must be finite",
    ),
    (lambda: kd.sample_lms(model, X, [1.0, 0.0], order=0), ValueError, "order must be at least 1"),
    (lambda: kd.sample_lms(model, X, [2.0, 1.0, 2.0, 0.0]), ValueError, "sigmas must not repeat"),
    (lambda: kd.sample_dpmpp_2m(model, X, [2.0, 1.0, 1.0, 0.5]), ValueError, "within 2 levels"),
    (lambda: kd.sample_dpmpp_3m_sde(model, X, [1.0, 2.0]), ValueError, "must not rise"),
    (lambda: kd.sample_dpmpp_sde(model, X, [1.0, 2.0]), ValueError, "must not rise"),
    (lambda: kd.sample_dpmpp_sde(model, X, [2.0, 1.0], r=0.0), ValueError, "r must be above 0"),
    (
        lambda: kd.sample_dpmpp_sde(model, X, [2.0, 1.0], r=1.1),
        ValueError,
        "r must be above 0 and at m",
    ),
    (
        lambda: kd.sample_dpmpp_2m_sde(model, X, [2.0, 1.0], solver_type="euler"),
        ValueError,
        "solver_type must be",
    ),
    (
        lambda: kd.sample_dpm_fast(model, X, 0.0, 1.0, 5),
        ValueError,
        "sigma_min must be at least 1e-150",
    ),
    (
        lambda: kd.sample_dpm_fast(model, X, 1.0, -1.0, 5),
        ValueError,
        "sigma_max must be at least 1e-150",
    ),
    (lambda: kd.sample_dpm_fast(model, X, 1.0, 2.0, 0), ValueError, "n must be at least 1"),
    (lambda: kd.sample_dpm_fast(model, X, 2.0, 1.0, 5, eta=1.0), ValueError, "eta must be 0 where"),
    (lambda: kd.sample_dpm_adaptive(model, X, 2.0, 1.0, eta=0.5), ValueError, "eta must be 0 wher"),
    (lambda: kd.sample_dpm_adaptive(model, X, 1.0, 2.0, order=1), ValueError, "order must be"),
    (lambda: kd.sample_dpm_adaptive(model, X, 1.0, 2.0, atol=0.0), ValueError, "atol must be abo"),
    (lambda: kd.sample_dpm_adaptive(model, X, 1.0, 2.0, rtol=-1.0), ValueError, "rtol must be at"),
    (lambda: kd.sample_dpm_adaptive(model, X, 1.0, 2.0, h_init=0), ValueError, "h_init must not"),
    (lambda: kd.sample_dpm_adaptive(model, X, 1.0, 2.0, pcoeff="a"), TypeError, "pcoeff must be"),
    (lambda: kd.log_likelihood(model, X, 2.0, 1.0), ValueError, "sigma_min must be below"),
    (
        lambda: kd.log_likelihood(model, X, 1.0, 2.0, atol=0.0),
        ValueError,
        "atol must be at least 1e-30",
    ),
    (lambda: kd.log_likelihood(3, X, 1.0, 2.0), TypeError, "model must be a callable"),
    (lambda: kd.get_sigmas_karras(5, 1.0, 2.0, device="cuda"), ValueError, "device must be 'cpu'"),
    (lambda: kd.get_sigmas_karras(0, 1.0, 2.0), ValueError, "n must be at least 1"),
    (lambda: kd.get_sigmas_exponential(4, 0.0, 2.0), ValueError, "sigma_min must be"),
    (lambda: kd.get_sigmas_vp(3, eps_s=1.0), ValueError, "eps_s must be below 1"),
    (lambda: kd.get_sigmas_vp(3, eps_s=0.0), ValueError, "eps_s must be above 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_an_error_that_names_it(call, error, message):
    with pytest.raises(error, match=message):
        call()
