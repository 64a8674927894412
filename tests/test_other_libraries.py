"""PyTorch's tensors and JAX's arrays: in and out, with NumPy's results. Skipped without them."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import schedulers as sc
from compat.k_diffusion.cases import GRIDS, inputs, model as denoised_model
from kit import ALL, DETERMINISTIC, SCHEDULES, STOCHASTIC, relative_error
from schedulers.compat import k_diffusion as kd
from schedulers.denoisers import EDM, Guided, GuidedBatch, Preconditioned, Trained, per_sample

VP = SCHEDULES["vp"]
TIMES = [0.9, 0.7, 0.4, 0.1]


def torch_library():
    torch = pytest.importorskip("torch")
    return SimpleNamespace(
        kind=torch.Tensor,
        array=lambda x, dtype="float32": torch.tensor(x, dtype=getattr(torch, dtype)),
        numpy=lambda x: x.detach().double().numpy(),
        dtypes=["float16", "bfloat16", "float32", "float64"],
        integer=torch.long,
    )


def jax_library():
    jax = pytest.importorskip("jax")
    return SimpleNamespace(
        kind=jax.Array,
        array=lambda x, dtype="float32": jax.numpy.asarray(x, dtype),
        numpy=lambda x: np.asarray(x.astype("float32"), np.float64),
        dtypes=["float16", "bfloat16", "float32"],
        integer="int32",
    )


@pytest.fixture(params=[torch_library, jax_library], ids=["torch", "jax"])
def library(request):
    return request.param()


def model(x, t):
    return x / (1.0 + abs(x)) + 0.1 * t


def start(shape=(3, 4)):
    return np.random.default_rng(0).standard_normal(shape)


def as_numpy_has_it(scheduler, x, **options):
    return scheduler.sample(model, x.astype(np.float32), timesteps=TIMES, **options)


@pytest.mark.parametrize("name", ALL)
def test_samples_are_numpys_with_the_same_seed(library, name):
    scheduler, x = ALL[name](VP), start()
    x_0 = scheduler.sample(model, library.array(x), timesteps=TIMES, rng=5)
    assert isinstance(x_0, library.kind)
    assert relative_error(library.numpy(x_0), as_numpy_has_it(scheduler, x, rng=5)) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_step_and_update_and_iterate_are_sample(library, name):
    scheduler, x = ALL[name](VP), library.array(start())
    x_0 = library.numpy(scheduler.sample(model, x, timesteps=TIMES, rng=5))
    stepped = updated = scheduler.init(x, timesteps=TIMES, rng=5)
    while not stepped.done:
        stepped = scheduler.step(model, stepped, rng=5)
    while not updated.done:
        updated = scheduler.update(model(updated.x, updated.t), updated, rng=5)
    *_, last = scheduler.iterate(model, x, timesteps=TIMES, rng=5)
    for state in (stepped, updated, last):
        np.testing.assert_array_equal(library.numpy(state.x), x_0)
        assert isinstance(state.denoised, library.kind)


@pytest.mark.parametrize("name", ALL)
def test_dtypes_stay_what_they_were(library, name):
    for dtype in library.dtypes:
        x, seen = library.array(start(), dtype), []

        def watched(x, t, seen=seen):
            seen.append(x.dtype)
            return model(x, t)

        x_0 = ALL[name](VP).sample(watched, x, timesteps=TIMES, rng=0)
        assert {x_0.dtype, *seen} == {x.dtype}
        np.testing.assert_array_equal(
            library.numpy(x), library.numpy(library.array(start(), dtype))
        )


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_comes_from_the_callers_function(library, name):
    scheduler, x, z = ALL[name](VP), start(), start()[::-1].copy()
    got = scheduler.sample(
        model, library.array(x), timesteps=TIMES, rng=lambda like: library.array(z)
    )
    exact = as_numpy_has_it(scheduler, x, rng=lambda like: z)
    assert relative_error(library.numpy(got), exact) < 1e-5


@pytest.mark.parametrize("name", ["DDIM", "Heun", "DPMSolverPP2"])
def test_jax_compiles_a_run_and_differentiates_it(name):
    jax = pytest.importorskip("jax")
    scheduler, x = ALL[name](VP), jax.numpy.asarray(start(), "float32")

    def run(x):
        return scheduler.sample(model, x, timesteps=TIMES)

    compiled = jax.jit(run)(x)
    assert relative_error(np.asarray(compiled), as_numpy_has_it(scheduler, start())) < 1e-5
    slope = jax.grad(lambda x: run(x).sum())(x).sum()
    ends = (as_numpy_has_it(scheduler, start() + h) for h in (1e-2, -1e-2))
    assert float(slope) == pytest.approx(np.subtract(*ends).sum() / 2e-2, rel=1e-2)


def test_torchs_own_generator_draws():
    torch = pytest.importorskip("torch")
    scheduler, x = sc.DDPM(VP), torch.tensor(start())
    runs = []
    for _ in range(2):
        torch.manual_seed(4)
        runs.append(scheduler.sample(model, x, timesteps=TIMES, rng=torch.randn_like))
    assert torch.equal(*runs)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_gradients_flow_through_a_run_in_torch(name):
    torch = pytest.importorskip("torch")
    scheduler = ALL[name](VP)
    x = torch.tensor(start(), requires_grad=True)
    gain = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss(x, gain):
        return (scheduler.sample(lambda x, t: gain * model(x, t), x, timesteps=TIMES) ** 2).sum()

    assert torch.autograd.gradcheck(loss, (x, gain))  # against finite differences


@pytest.mark.parametrize(
    "sampler", ["sample_euler", "sample_euler_ancestral", "sample_heun", "sample_dpmpp_sde"]
)
@pytest.mark.parametrize("given", ["numpy", "own", "list"])
def test_k_diffusions_samplers_take_them(library, sampler, given):
    x, noise = inputs()
    x, levels, seen = 12.0 * x, GRIDS["clean"], []
    options = {"s_churn": 3.0} if sampler in ("sample_euler", "sample_heun") else {}
    exact = getattr(kd, sampler)(
        denoised_model, x, levels, **options, noise_sampler=lambda *_: noise[0]
    )
    convert = {"numpy": np.array, "own": library.array, "list": list}[given]

    def watched(x, sigma):
        seen.append((type(sigma), tuple(sigma.shape), sigma.dtype))
        return denoised_model(x, sigma)

    x = library.array(x)
    got = getattr(kd, sampler)(
        watched, x, convert(levels), **options, noise_sampler=lambda *_: library.array(noise[0])
    )
    assert isinstance(got, library.kind)
    assert relative_error(library.numpy(got), exact) < 1e-5
    assert set(seen) == {(type(x), (3,), x.dtype)}
    fresh = getattr(kd, sampler)(denoised_model, x, convert(levels), **options)
    assert isinstance(fresh, library.kind)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_k_diffusions_adaptive_sampler_takes_them(library, eta):
    x, noise = inputs()
    exact, got = (
        kd.sample_dpm_adaptive(
            denoised_model, convert(12.0 * x), 0.1, 12.0, eta=eta, noise_sampler=sampler
        )
        for convert, sampler in [
            (np.array, lambda *_: noise[0]),
            (library.array, lambda *_: library.array(noise[0])),
        ]
    )
    assert isinstance(got, library.kind)
    assert relative_error(library.numpy(got), exact) < 2e-4


@pytest.mark.parametrize(
    ("sampler", "levels"),
    [("sample_heun", (GRIDS["clean"],)), ("sample_dpm_adaptive", (0.1, 12.0))],
)
def test_k_diffusions_samplers_cut_gradients_in_torch(sampler, levels):
    torch = pytest.importorskip("torch")
    gain = torch.tensor(1.0, requires_grad=True)
    x = torch.tensor(12.0 * inputs()[0])
    x_0 = getattr(kd, sampler)(lambda x, s: gain * denoised_model(x, s), x, *levels)
    assert not x_0.requires_grad
    assert torch.is_grad_enabled()


def test_networks_are_wrapped_for_them(library):
    def network(x, c_noise):
        return x / (1.0 + abs(x)) + 0.1 * c_noise.reshape(-1, 1)

    flow = sc.FlowSchedule()
    for scales in (EDM(), Trained(VP, "v_prediction")):
        denoiser = Preconditioned(network, scales, flow)
        guided = Guided(denoiser, lambda x, t: 0.5 * x, 3.0)
        scheduler = sc.Heun(flow, prediction_type="sample")
        x_0 = scheduler.sample(guided, library.array(start()), timesteps=TIMES)
        assert isinstance(x_0, library.kind)
        exact = scheduler.sample(guided, start(), timesteps=TIMES)
        assert relative_error(library.numpy(x_0), exact) < 1e-5
    x = library.array(start(), "bfloat16")
    assert per_sample(0.5, x).dtype == x.dtype
    times = per_sample(999, x, library.integer)
    assert times.tolist() == [999] * 3
    assert type(times) is type(x)


class Bare:
    """An array that can be scaled and added, and no more."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, "bare"

    def __mul__(self, factor):
        return Bare(self.values * factor)

    def __add__(self, other):
        return Bare(self.values + other.values)

    def __sub__(self, other):
        return Bare(self.values - other.values)

    def sum(self):
        return self.values.sum()


def test_an_array_of_no_known_kind_is_told_what_is_missing():
    x = Bare(np.ones((2, 1)))
    with pytest.raises(TypeError, match="noise_sampler must be given for an array of dtype 'bare'"):
        kd.sample_euler_ancestral(lambda x, sigma: x, x, [2.0, 1.0, 0.0])
    with pytest.raises(TypeError, match="x must be an array of NumPy, PyTorch or the array API"):
        per_sample(1.0, x)


def test_no_framework_is_loaded_and_none_is_needed():
    code = """
import sys
sys.modules["torch"] = sys.modules["jax"] = None  # as if they were not installed
import numpy as np
import schedulers, schedulers.denoisers
from schedulers.compat import k_diffusion as kd
x = np.ones((2, 1))
sigmas = kd.get_sigmas_karras(4, 0.1, 1.0)
kd.sample_heun(lambda x, s: 0.5 * x, x, sigmas)
kd.sample_euler(lambda x, s: 0.5 * x, x, sigmas, s_churn=2.0)
kd.sample_euler_ancestral(lambda x, s: 0.5 * x, x, sigmas)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, schedulers.denoisers, schedulers.compat.k_diffusion; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "jax", "scipy", "tqdm"} & set(out.stdout.split())


def test_half_precision_is_stepped_in_float32(library):
    x = library.array(start(), "float16")
    state = sc.DDIM(VP).init(x, timesteps=TIMES)
    assert "float32" in str(state.carried.dtype)
    assert "float16" in str(state.x.dtype)


def test_an_output_in_another_precision_is_taken(library):
    for name in ("DDIM", "Heun", "PLMS4-heun", "DDPM"):
        for dtype, other in (("float16", "float32"), ("float32", "float16")):
            scheduler = ALL[name](VP, prediction_type="sample")
            x = library.array(start(), dtype)
            flat = library.array(np.full(x.shape, 0.25), other)
            x_0 = scheduler.sample(lambda x, t, flat=flat: flat, x, timesteps=TIMES, rng=0)
            assert x_0.dtype == x.dtype
            np.testing.assert_allclose(library.numpy(x_0), 0.25, rtol=1e-3)


def test_data_is_noised_to_a_time_for_each_sample(library):
    scheduler, x, z = sc.DDIM(VP), start(), start()[::-1].copy()
    times = [0.2, 0.5, 0.9]
    got = scheduler.add_noise(library.array(x), times, noise=library.array(z))
    assert isinstance(got, library.kind)
    expected = scheduler.add_noise(x, times, noise=z)
    assert relative_error(library.numpy(got), expected) < 1e-6


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_a_learned_variance_is_taken(library, variance):
    scheduler = sc.DDPM(VP, variance=variance)
    x, output = start((2, 3, 4)), 0.1 * start((2, 6, 4))
    got = scheduler.sample(
        lambda x, t: library.array(output), library.array(x), timesteps=TIMES, rng=3
    )
    expected = scheduler.sample(
        lambda x, t: output.astype(np.float32), x.astype(np.float32), timesteps=TIMES, rng=3
    )
    assert relative_error(library.numpy(got), expected) < 1e-5


def test_arrays_of_integers_and_of_numpy_are_refused(library):
    scheduler = sc.DDIM(VP)
    with pytest.raises(TypeError, match="x_T must have a floating dtype"):
        scheduler.init(library.array(np.ones((2, 3)), "int32"), steps=2)
    with pytest.raises(TypeError, match="must be of the sample's library"):
        scheduler.sample(lambda x, t: np.zeros((3, 4)), library.array(start()), steps=2)


def test_a_tensor_that_a_denoiser_writes_to_is_a_copy():
    torch = pytest.importorskip("torch")

    def writes(x, t):
        x.mul_(0.5)
        return x.clone()

    x, scheduler = torch.tensor(start()), sc.Heun(VP)
    got = scheduler.sample(writes, x, timesteps=TIMES)
    expected = scheduler.sample(lambda x, t: 0.5 * x, x, timesteps=TIMES)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_initial_noise_is_of_the_library_and_the_dtype(library):
    scheduler = sc.DDIM(VP)
    for dtype in library.dtypes:
        like = library.array(start(), dtype)
        x = scheduler.initial_noise((3, 4), steps=2, rng=5, like=like)
        assert isinstance(x, library.kind)
        assert x.dtype == like.dtype
        kind = "float64" if "float64" in str(dtype) else "float32"
        expected = scheduler.initial_noise((3, 4), steps=2, rng=5, dtype=kind)
        rounding = 0.01 if "16" in dtype else 1e-7
        np.testing.assert_allclose(library.numpy(x), expected, rtol=rounding, atol=rounding)


def test_guidance_in_one_call(library):
    x = library.array(start())
    says = library.array([[0.5]] * 3 + [[2.0]] * 3)
    found = GuidedBatch(lambda x, t: says * x, 3.0)(x, 0.5)
    assert isinstance(found, library.kind)
    np.testing.assert_allclose(library.numpy(found), 5.0 * library.numpy(x), rtol=1e-5)
