"""What the law of a row is, against SciPy's, against draws, and in libraries with gradients."""

import math
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

import schedulers as sc
from kit import PREDICTIONS, SCHEDULES, STOCHASTIC, as_prediction, predictions, seeds, sigma_grids
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian
from schedulers.likelihood import RowLaw

VP, VE, FLOW = SCHEDULES["vp"], SCHEDULES["ve"], SCHEDULES["flow"]
SIGMAS = [8.0, 3.0, 1.0, 0.3]


def model(x, t):
    return x / (1.0 + abs(x)) + 0.1 * t


def rows(scheduler, x, seed=0, denoiser=model, **levels):
    """Yield the state before and after each row that draws noise, and the model's output."""
    state = scheduler.init(x, rng=seed, **levels)
    while not state.done:
        output = denoiser(state.x, state.t)
        after = scheduler.update(output, state, seed)
        if state.tableau.stages[state.index].c:
            yield state, output, after
        state = after


def summed(values):
    return values.reshape(len(values), -1).sum(axis=1)


@given(st.sampled_from(sorted(STOCHASTIC)), predictions, sigma_grids(), seeds)
def test_the_density_is_scipys_at_the_rows_mean_and_c(name, prediction, sigmas, seed):
    """The mean is that of the same row, with noise that is 0."""
    scheduler = STOCHASTIC[name](VP, prediction_type=prediction)
    x = np.random.default_rng(seed).normal(size=(3, 2, 2))
    for state, output, after in rows(scheduler, x, seed, sigmas=sigmas):
        mean = scheduler.update(output, state, np.zeros_like).x
        c = abs(state.tableau.stages[state.index].c)
        want = summed(stats.norm(mean, c).logpdf(after.x))
        got = scheduler.log_prob(output, state, after.x)
        assert got.shape == (3,)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
        entropy = scheduler.row_law(output, state).entropy()
        np.testing.assert_allclose(entropy, 4 * stats.norm(0.0, c).entropy(), rtol=1e-12)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_sum_over_the_rows_is_the_density_of_the_noise(name):
    """A change of variables from the noise of all rows, by their c."""
    scheduler = STOCHASTIC[name](VP)
    x, drawn = np.random.default_rng(1).normal(size=(2, 3)), []

    def noise(like):
        drawn.append(np.random.default_rng(len(drawn)).normal(size=like.shape))
        return drawn[-1]

    state = scheduler.init(x, sigmas=SIGMAS, rng=noise)
    entered, total, changed = len(drawn), 0.0, 0.0
    while not state.done:
        output, c = model(state.x, state.t), state.tableau.stages[state.index].c
        after = scheduler.update(output, state, noise, log_prob=bool(c))
        if c:
            total = total + after.log_prob
            changed += 3 * math.log(abs(c))
        else:
            assert after.log_prob is None
        state = after
    want = sum(summed(stats.norm.logpdf(z)) for z in drawn[entered:]) - changed
    np.testing.assert_allclose(total, want, rtol=1e-10)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_many_draws_of_a_row_have_the_density(name):
    """The share of draws in bins is the density's integral: counts to five standard errors."""
    n = 40_000
    scheduler = STOCHASTIC[name](VE)
    state = scheduler.init(np.full(n, 2.0), sigmas=[4.0, 1.0, 0.0], rng=0)
    same = np.full(n, state.x[0])  # also where churn has raised it
    state = scheduler.init(same, sigmas=[4.0, 1.0, 0.0], rng=np.zeros_like)
    while not state.tableau.stages[state.index].c:
        state = scheduler.update(model(state.x, state.t), state)
    output = model(state.x, state.t)
    draws = scheduler.update(output, state, rng=3).x
    edges = np.linspace(draws.min() - 1e-9, draws.max() + 1e-9, 21)
    grid = np.linspace(edges[0], edges[-1], n)
    density = np.exp(scheduler.log_prob(output, state, grid))
    inside = np.digitize(grid, edges) - 1
    width = grid[1] - grid[0]
    want = np.bincount(inside.clip(0, 19), density, 20) * width
    got = np.histogram(draws, edges)[0] / n
    assert np.abs(got - want).max() < 5.0 * math.sqrt(want.max() / n) + 2.0 * width * density.max()
    assert want.sum() == pytest.approx(1.0, abs=1e-3)
    # And it is no other density's: of one with a mean that is off by a fifth of c.
    c = state.tableau.stages[state.index].c
    off = np.exp(scheduler.log_prob(output, state, grid + 0.2 * c))
    off = np.bincount(inside.clip(0, 19), off, 20) * width
    assert np.abs(got - off).max() > 5.0 * math.sqrt(want.max() / n)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_entropy_and_divergence_are_means_of_the_log_densities(name):
    """Quadratic functions of the noise: its means over all signs are exact."""
    scheduler = STOCHASTIC[name](VP)
    x = np.random.default_rng(2).normal(size=(4, 2))
    for state, output, _ in rows(scheduler, x, sigmas=SIGMAS):
        law, other = (scheduler.row_law(out, state) for out in (output, 0.9 * output + 0.1))
        signs = [np.array(s) for s in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        samples = [law.mean + law.std * s for s in signs]
        mine = np.mean([law.log_prob(s) for s in samples], axis=0)
        theirs = np.mean([other.log_prob(s) for s in samples], axis=0)
        np.testing.assert_allclose(law.entropy(), -mine, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(law.kl_divergence(other), mine - theirs, rtol=1e-8, atol=1e-8)
        np.testing.assert_array_equal(law.kl_divergence(law), 0.0)


REMEMBERING = {
    "DPMSolverPP2-SDE": partial(sc.DPMSolverPP, eta=1.0),
    "DPMSolverPP2-SDE2": partial(sc.DPMSolverPP, singlestep=True, eta=0.7, sde=True),
    "SEEDS2": sc.SEEDS,
    "ERSDE3": partial(sc.ERSDE, order=3),
    "DPM2Ancestral": sc.DPM2Ancestral,
}


def given_noise(z):
    return lambda like: z


def replayed(scheduler, denoiser, path, x_T, **levels):
    """Log-probability of a path under a model whose own estimates the later rows weigh."""
    state, total = scheduler.init(x_T, **levels), 0.0
    for after in path:
        output, noise = denoiser(state.x, state.t), None
        if state.tableau.stages[state.index].c:
            law = scheduler.row_law(output, state)
            total = total + law.log_prob(after.x)
            noise = given_noise((after.x - law.mean) / law.std)
        state = scheduler.update(output, state, noise)
    return total


@pytest.mark.parametrize("name", REMEMBERING)
def test_the_policy_gradient_is_exact_where_rows_weigh_earlier_estimates(name):
    """Of the mean of the last sample, whose law is known; to 4 standard errors, of 1 % or so."""
    scheduler, n, levels = REMEMBERING[name](VP), 40_000, {"sigmas": SIGMAS}
    models = [Gaussian(0.3 + h, 0.25).denoiser(VP) for h in (0.0, 0.5, -0.5)]
    x_T = scheduler.initial_noise(n, rng=1, **levels)
    state, path = scheduler.init(x_T, **levels), []
    while not state.done:
        state = scheduler.update(models[0](state.x, state.t), state, 2)
        path.append(state)
    ends = (replayed(scheduler, model, path, x_T, **levels) for model in models[1:])
    each = (state.x - state.x.mean()) * np.subtract(*ends)
    laws = (output_law(scheduler, Gaussian(0.3 + h, 0.25), **levels) for h in (0.5, -0.5))
    exact = float(np.subtract(*(law.mean for law in laws)))
    error = each.std() / math.sqrt(n)
    assert error < 0.03 * exact
    assert abs(each.mean() - exact) < 4.0 * error


def test_a_negative_weight_of_noise_has_the_density_of_its_size():
    """A table from elsewhere may have one: -z is standard normal noise, too."""
    level, then = VE.level(2.0), VE.level(1.0)
    schedulers = [
        sc.FittedScheduler(
            VE,
            tables=[sc.Tableau("given", (level, then), (sc.Stage(level, [1.0], [0.5], c=c),))],
        )
        for c in (0.8, -0.8)
    ]
    x, x_next = np.random.default_rng(11).normal(size=(2, 3, 4))
    ends = (s.log_prob(0.1 * x, s.init(x, steps=1), x_next) for s in schedulers)
    np.testing.assert_array_equal(*ends)


# Learned variances, thresholds, precisions.

stds = st.floats(0.01, 10.0)


@given(stds, stds, st.floats(-2.0, 2.0))
def test_the_divergence_of_learned_variances_is_the_full_one(std, other_std, apart):
    shape = (2, 3)
    mine = RowLaw(np.zeros(shape), np.full(shape, std))
    other = RowLaw(np.full(shape, apart), np.full(shape, other_std))
    ratio = (std / other_std) ** 2
    want = 1.5 * (ratio - 1.0 - math.log(ratio) + (apart / other_std) ** 2)
    np.testing.assert_allclose(mine.kl_divergence(other), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_learned_variance_is_the_densitys(variance, prediction):
    scheduler = sc.DDPM(VP, variance=variance, prediction_type=prediction)
    prediction_of = as_prediction(VP, lambda y, s: np.tanh(y), prediction)
    v = np.random.default_rng(4).uniform(-1.0, 1.0, (3, 2, 4))

    def denoiser(x, t):
        return np.concatenate([prediction_of(x, t), v], axis=1)

    x = np.random.default_rng(5).normal(size=(3, 2, 4))
    for state, output, after in rows(scheduler, x, denoiser=denoiser, sigmas=SIGMAS):
        now, then = state.tableau.levels[state.index : state.index + 2]
        r = now.alpha / then.alpha
        beta = now.sigma**2 - (r * then.sigma) ** 2
        small = beta * then.sigma**2 / now.sigma**2
        variances = np.exp(v)
        if variance == "learned_range":
            variances = beta ** (0.5 * (v + 1.0)) * small ** (0.5 * (1.0 - v))
        d = np.tanh(state.x / now.alpha)
        mean = then.alpha * beta / now.sigma**2 * d + r * then.sigma**2 / now.sigma**2 * state.x
        want = summed(stats.norm(mean, np.sqrt(variances)).logpdf(after.x))
        np.testing.assert_allclose(scheduler.log_prob(output, state, after.x), want, rtol=1e-9)
        entropy = summed(stats.norm(0.0, np.sqrt(variances)).entropy())
        law = scheduler.row_law(output, state)
        np.testing.assert_allclose(law.entropy(), entropy, rtol=1e-9)


@pytest.mark.parametrize("threshold", [sc.StaticThreshold(0.2), sc.DynamicThreshold(0.5, 0.2)])
def test_a_threshold_is_part_of_the_mean(threshold):
    scheduler = sc.DDIM(VE, eta=1.0, threshold=threshold)
    plain = sc.DDIM(VE, eta=1.0, prediction_type="sample")
    x = np.random.default_rng(6).normal(size=(3, 5))
    for state, output, after in rows(scheduler, x, sigmas=SIGMAS):
        d = threshold(state.x - state.t * output)
        seen = plain.init(state.x, sigmas=[*state.tableau.sigmas[state.index :]])
        got = scheduler.log_prob(output, state, after.x)
        np.testing.assert_allclose(got, plain.log_prob(d, seen, after.x), rtol=1e-10)
        bare = sc.DDIM(VE, eta=1.0)
        assert np.abs(got - bare.log_prob(output, seen_by(bare, state), after.x)).min() > 1e-3


def seen_by(scheduler, state):
    return scheduler.init(state.x, sigmas=[*state.tableau.sigmas[state.index :]])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_low_precision_is_stepped_in_float32_and_summed_in_float64(dtype):
    scheduler = sc.DDPM(VP)
    x = np.random.default_rng(7).normal(size=(2, 3, 64, 64)).astype(dtype)
    for state, output, after in rows(scheduler, x, sigmas=SIGMAS):
        got = scheduler.log_prob(output, state, after)
        assert got.dtype == np.float64
        law = scheduler.row_law(output, state)
        assert law.mean.dtype == np.float32
        exact = stats.norm(law.mean.astype(np.float64), law.std).logpdf(after.carried)
        np.testing.assert_allclose(got, summed(exact), rtol=1e-12)


def test_a_state_has_what_its_rounded_sample_lacks():
    """In float16 the run goes on from a sample that x rounds."""
    scheduler = sc.DDPM(VP)
    x = np.random.default_rng(8).normal(size=(2, 4096)).astype(np.float16)
    state = scheduler.init(x, timesteps=[0.012, 0.01])
    output = model(state.x, state.t)
    after = scheduler.update(output, state, 0, log_prob=True)
    np.testing.assert_array_equal(after.log_prob, scheduler.log_prob(output, state, after))
    assert np.abs(after.log_prob - scheduler.log_prob(output, state, after.x)).max() > 1e-3


# Gradients.


def torch_library():
    torch = pytest.importorskip("torch")

    def grad(function, output):
        leaf = torch.tensor(output, requires_grad=True)
        function(leaf).sum().backward()
        return leaf.grad.numpy()

    return SimpleNamespace(array=torch.tensor, grad=grad, exp=torch.exp, cat=torch.cat)


def jax_library():
    jax = pytest.importorskip("jax")

    def grad(function, output):
        return np.asarray(jax.jit(jax.grad(lambda out: function(out).sum()))(output))

    return SimpleNamespace(
        array=jax.numpy.asarray, grad=grad, exp=jax.numpy.exp, cat=jax.numpy.concatenate
    )


@pytest.fixture(params=[torch_library, jax_library], ids=["torch", "jax"])
def library(request):
    return request.param()


@pytest.mark.parametrize("variance", ["fixed_small", "learned", "learned_range"])
@pytest.mark.parametrize("what", ["log_prob", "entropy", "kl_divergence"])
def test_gradients_are_those_of_finite_differences(library, variance, what):
    scheduler = sc.DDPM(VP, variance=variance, threshold=sc.StaticThreshold(3.0))
    rng = np.random.default_rng(9)
    x, x_next = rng.normal(size=(2, 2, 2, 3)).astype(np.float32)
    output, other = 0.5 * rng.normal(size=(2, 2, 2 + 2 * (variance != "fixed_small"), 3))

    def value(output, of):
        state = scheduler.init(of(x), sigmas=[2.0, 1.0])
        law = scheduler.row_law(output, state)
        if what == "log_prob":
            return scheduler.log_prob(output, state, of(x_next))
        if what == "entropy":
            return law.entropy()
        return law.kl_divergence(scheduler.row_law(of(other), state))

    output, other = (a[:, : 2 if variance == "fixed_small" else 4] for a in (output, other))
    got = library.grad(
        lambda out: value(out, lambda a: library.array(a.astype(np.float32))),
        output.astype(np.float32),
    )
    h, want = 1e-6, np.zeros_like(output)
    for i in np.ndindex(output.shape):
        step = np.zeros_like(output)
        step[i] = h
        ends = (value(output + s * step, lambda a: a.astype(np.float64)) for s in (1.0, -1.0))
        want[i] = np.subtract(*(end.sum() for end in ends)) / (2.0 * h)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def test_torch_differentiates_through_both_rows_of_a_step():
    """DPM2 has no noise in its first row: the middle depends on the model, too."""
    torch = pytest.importorskip("torch")
    scheduler = sc.DPM2Ancestral(VP)
    x, x_next = torch.tensor(np.random.default_rng(10).normal(size=(2, 3, 2)))
    gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def log_prob(gain):
        state = scheduler.init(x, sigmas=[2.0, 1.0])
        state = scheduler.update(gain * model(state.x, state.t), state)
        return scheduler.log_prob(gain * model(state.x, state.t), state, x_next)

    assert torch.autograd.gradcheck(log_prob, gain)


# What is refused.


def doubled(x, t):
    return np.concatenate([x, np.full_like(x, -2000.0)], axis=1)


STATE = sc.DDPM(VE).init(np.ones((2, 3)), sigmas=[4.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: sc.DDIM(VE).log_prob(
                np.ones(2), sc.DDIM(VE).init(np.ones(2), sigmas=[4.0, 2.0]), np.ones(2)
            ),
            ValueError,
            "state must be before a row that draws noise, which alone has a density, got "
            "State(DDIM, 0 of 1 evaluations, t=4, shape=(2,)), whose row has none",
        ),
        (
            lambda: sc.DDPM(VE).update(
                np.ones((2, 3)), sc.DDPM(VE).update(np.ones((2, 3)), STATE, 0), log_prob=True
            ),
            ValueError,
            "state must be before a row that draws noise",
        ),
        (
            lambda: sc.DDPM(VE).log_prob(np.ones((2, 2)), STATE, np.ones((2, 3))),
            ValueError,
            "the model's output at t=4 must have shape (2, 3), got (2, 2)",
        ),
        (
            lambda: sc.DDPM(VE).log_prob(np.ones((2, 3)), STATE, np.ones(3)),
            ValueError,
            "x_next must have shape (2, 3), got (3,)",
        ),
        (
            lambda: sc.DDPM(VE).log_prob(np.ones((2, 3)), STATE, np.full((2, 3), np.nan)),
            ValueError,
            "x_next must be finite",
        ),
        (
            lambda: sc.DDPM(VE).log_prob(np.ones((2, 3)), STATE, "x"),
            TypeError,
            "x_next must be an array of floats, got 'x'",
        ),
        (
            lambda: sc.DDPM(VE).log_prob(np.ones((2, 3)), STATE, STATE),
            ValueError,
            "x_next must be the state after the row of State(DDPM, 0 of 2 evaluations, t=4",
        ),
        (
            lambda: sc.DDPM(VE).update(np.ones((2, 3)), STATE, log_prob=1),
            TypeError,
            "log_prob must be True or False, got 1",
        ),
        (
            lambda: sc.DDIM(VE, eta=1.0).log_prob(np.ones((2, 3)), STATE, np.ones((2, 3))),
            ValueError,
            "state must be of a run of DDIM, got one of DDPM",
        ),
        (
            lambda: sc.DDPM(VE).row_law(
                np.ones(()), sc.DDPM(VE).init(np.ones(()), sigmas=[4.0, 2.0])
            ),
            ValueError,
            "mean must have samples along axis 0, got that of a state of shape ()",
        ),
        (
            lambda: sc.DDPM(VE, variance="learned").row_law(
                doubled(np.ones((2, 3)), 0.0),
                sc.DDPM(VE, variance="learned").init(np.ones((2, 3)), sigmas=[4.0, 2.0]),
            ),
            ValueError,
            "the model's variance must be above 0",
        ),
        (
            lambda: sc.DDPM(VE).row_law(np.ones((2, 3)), STATE).kl_divergence(3),
            TypeError,
            "other must be a RowLaw, got 3",
        ),
        (
            lambda: (
                sc.DDPM(VE)
                .row_law(np.ones((2, 3)), STATE)
                .kl_divergence(RowLaw(np.ones((3, 2)), 1.0))
            ),
            ValueError,
            "other.mean must have shape (2, 3), got (3, 2)",
        ),
        (lambda: RowLaw(np.ones(2), 0.0), ValueError, "std must be at least 1e-150"),
        (
            lambda: RowLaw(np.ones(2), 1.0).log_prob(np.array([1.0, 1e200])),
            ValueError,
            "x_next must be so near to the mean that float64 holds the square of their distance",
        ),
        (
            lambda: RowLaw(np.ones(2), 1.0).kl_divergence(RowLaw(np.full(2, 1e200), 1.0)),
            ValueError,
            "other.mean must be so near to the mean",
        ),
        (lambda: RowLaw([1.0], 1.0), TypeError, "mean must be an array of floats, got [1.0]"),
        (
            lambda: RowLaw(np.ones((2, 3)), np.ones(2)),
            ValueError,
            "std must have shape (2, 3), got (2,)",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
