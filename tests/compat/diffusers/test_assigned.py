"""Attributes that people assign or write into: steps follow them, or an error says why not."""

import numpy as np
import pytest

from schedulers.compat import diffusers as ours

X = np.random.default_rng(0).standard_normal((2, 3))
VP = ["DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LCMScheduler", "TCDScheduler"]
READ_BY_SET_TIMESTEPS = [
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
]
SIGMAS = [
    *READ_BY_SET_TIMESTEPS,
    "EulerAncestralDiscreteScheduler",
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "SASolverScheduler",
]


def made(name, steps=6, **config):
    options = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
    if name in ("DDIMScheduler", "DDPMScheduler"):
        options["clip_sample"] = False
    scheduler = getattr(ours, name)(**options, **config)
    if steps:
        scheduler.set_timesteps(steps)
    return scheduler


def set_to(scheduler, steps):
    scheduler.set_timesteps(steps)
    return scheduler


def run(scheduler, timesteps=None, x=X):
    times = scheduler.timesteps if timesteps is None else timesteps
    more = {}
    if "generator" in scheduler.step.__code__.co_varnames:
        more["generator"] = np.zeros_like
    for t in times:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(0.3 * seen + 0.1, t, x, **more).prev_sample
    return x


def shifted(products):
    return products / (3.0 - 2.0 * products)


class TestAlphasCumprod:
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("name", VP)
    def test_steps_read_it(self, name, when):
        """The same as with the betas of those products."""
        scheduler = made(name, steps=0)
        products = shifted(scheduler.alphas_cumprod.astype(np.float64))
        betas = 1.0 - products / np.concatenate([[1.0], products[:-1]])
        twin = made(name, trained_betas=betas)
        if when == "after":
            scheduler.set_timesteps(6)
            run(scheduler)
        scheduler.alphas_cumprod = shifted(scheduler.alphas_cumprod)
        if when == "before":
            scheduler.set_timesteps(6)
        if hasattr(scheduler, "final_alpha_cumprod"):  # which stays, as in diffusers
            scheduler.final_alpha_cumprod = twin.final_alpha_cumprod
        np.testing.assert_allclose(run(scheduler), run(twin), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", VP)
    def test_what_is_written_into_it_counts(self, name):
        for warm in (False, True):
            scheduler, twin = made(name), made(name)
            if warm:
                run(scheduler)
            scheduler.alphas_cumprod[500:] *= np.float32(0.5)
            changed = twin.alphas_cumprod.copy()
            changed[500:] *= np.float32(0.5)
            twin.alphas_cumprod = changed
            np.testing.assert_array_equal(run(scheduler), run(twin))
            assert np.abs(run(scheduler) - run(made(name))).max() > 1e-3

    @pytest.mark.parametrize("name", READ_BY_SET_TIMESTEPS)
    def test_set_timesteps_reads_it(self, name):
        scheduler = made(name)
        before = run(scheduler)
        scheduler.alphas_cumprod = shifted(scheduler.alphas_cumprod)
        np.testing.assert_array_equal(run(scheduler), before)  # as in diffusers
        scheduler.set_timesteps(6)
        sigma = np.sqrt(3.0 * (1.0 / made(name).alphas_cumprod[999] - 1.0))
        if scheduler.timesteps[0] == 999:
            assert float(scheduler.sigmas[0]) == pytest.approx(sigma, rel=1e-5)
        assert np.abs(run(scheduler) - before).max() > 1e-2

    def test_zero_at_the_end(self):
        for name in ("DDIMScheduler", "DDPMScheduler"):
            options = {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}
            scheduler, twin = made(name, **options), made(name, **options)
            scheduler.alphas_cumprod[-1] = 0.0
            assert np.isfinite(run(scheduler)).all()
            assert np.abs(run(scheduler) - run(twin)).max() > 1e-4
        scheduler = made("EulerDiscreteScheduler")
        scheduler.alphas_cumprod[-1] = 0.0
        with pytest.raises(ValueError, match="alphas_cumprod must be above 0"):
            scheduler.set_timesteps(5)

    @pytest.mark.parametrize("wrong", [[1.5, 0.2], [0.5, -0.1], [0.5, np.nan], [[0.5]], ["a"]])
    def test_bad_values(self, wrong):
        with pytest.raises((TypeError, ValueError), match="alphas_cumprod must"):
            made("DDIMScheduler").alphas_cumprod = wrong

    def test_the_ends(self):
        for name in ("DDIMScheduler", "PNDMScheduler", "TCDScheduler"):
            scheduler, twin = made(name), made(name)
            scheduler.final_alpha_cumprod = np.float32(0.9)
            assert np.abs(run(scheduler) - run(twin)).max() > 1e-4 or name == "TCDScheduler"
        scheduler = made("DDIMInverseScheduler", clip_sample=False)
        before = run(scheduler)
        scheduler.initial_alpha_cumprod = 0.9
        assert np.abs(run(scheduler) - before).max() > 1e-4
        with pytest.raises(ValueError, match="final_alpha_cumprod must be"):
            made("DDIMScheduler").final_alpha_cumprod = 1.5


class TestTimesteps:
    @pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "LCMScheduler"])
    @pytest.mark.parametrize("kind", [list, np.asarray])
    def test_a_step_leads_to_the_next_of_them(self, name, kind):
        scheduler, twin = made(name), made(name)
        scheduler.timesteps = kind([801, 555, 130, 3])
        if name == "DDIMScheduler":
            twin = made("DDPMScheduler")
            twin.set_timesteps(timesteps=[801, 555, 130, 3])
            assert [scheduler._next_time(t) for t in (801, 555, 130, 3)] == [555, 130, 3, -1]
            return
        twin.set_timesteps(timesteps=[801, 555, 130, 3])
        np.testing.assert_array_equal(run(scheduler), run(twin))

    @pytest.mark.parametrize("name", SIGMAS)
    def test_cut_off_at_the_beginning(self, name):
        """With its sigmas or without, in either order, it is a run from there."""
        start = 2  # where a step begins, be it of one evaluation or of two
        for parts in ((), ("sigmas",), ("sigmas", "timesteps"), ("timesteps", "sigmas")):
            scheduler, twin = made(name), made(name)
            for part in parts or ("timesteps",):
                setattr(scheduler, part, getattr(scheduler, part)[start:])
            if parts == ("sigmas",):
                with pytest.raises(ValueError, match="timesteps and sigmas must go together"):
                    run(scheduler)
                continue
            if name == "DPMSolverSinglestepScheduler" and len(parts) == 2:
                continue  # whose orders are those of the new number of steps
            np.testing.assert_allclose(
                run(scheduler), run(twin, twin.timesteps[start:]), rtol=1e-12, atol=1e-12
            )

    @pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "LMSDiscreteScheduler"])
    def test_they_are_what_the_model_is_told(self, name):
        scheduler, twin = made(name), made(name)
        scheduler.timesteps = np.round(scheduler.timesteps * 0.5) + 0.25
        np.testing.assert_array_equal(run(scheduler), run(twin))
        with pytest.raises(ValueError, match="timestep must be one of"):
            run(scheduler, twin.timesteps)

    def test_tensors(self):
        torch = pytest.importorskip("torch")
        scheduler, twin = made("DDIMScheduler"), made("DDIMScheduler")
        scheduler.timesteps = torch.from_numpy(scheduler.timesteps[::2].copy())
        twin.timesteps = twin.timesteps[::2]
        assert isinstance(scheduler.timesteps, torch.Tensor)
        np.testing.assert_array_equal(run(scheduler), run(twin))

    @pytest.mark.parametrize(
        ("name", "wrong", "message"),
        [
            ("DDIMScheduler", [3, 5], "strictly decreasing"),
            ("DDIMScheduler", [1000, 5], "between 0 and 999"),
            ("DDPMScheduler", [99.5, 5], "integers"),
            ("EulerDiscreteScheduler", [5.0, 5.0], "timesteps must differ"),
            ("EulerDiscreteScheduler", [5.0, 3.0], "timesteps and sigmas must go together"),
            ("PNDMScheduler", [5, 3], "the last ones of those that set_timesteps set"),
            ("IPNDMScheduler", [0.5, 0.2], "the last ones of those that set_timesteps set"),
            ("HeunDiscreteScheduler", [5.0, 3.0], "timesteps and sigmas must go together"),
        ],
    )
    def test_those_that_no_step_can_follow(self, name, wrong, message):
        def call(scheduler):
            scheduler.timesteps = wrong
            run(scheduler)

        with pytest.raises(ValueError, match=message):
            call(made(name))


class TestSigmas:
    @pytest.mark.parametrize("name", SIGMAS)
    @pytest.mark.parametrize("how", ["assigned", "in place", "list"])
    def test_runs_that_begin_then_read_them(self, name, how):
        scheduler, twin = made(name), made(name)
        run(scheduler)
        factor = np.float32(0.9)
        if how == "in place":
            scheduler.sigmas[:] *= factor
        else:
            values = scheduler.sigmas * factor
            scheduler.sigmas = values.tolist() if how == "list" else values
        twin.sigmas = twin.sigmas * factor
        np.testing.assert_allclose(run(scheduler), run(twin), rtol=1e-12, atol=1e-12)
        assert np.abs(run(scheduler) - run(made(name))).max() > 1e-4

    def test_doubled_they_are_the_steps_of_twice_the_noise(self):
        scheduler = made("EulerDiscreteScheduler")
        top = scheduler.init_noise_sigma
        scheduler.sigmas *= 2.0
        assert scheduler.init_noise_sigma == 2.0 * top
        t = scheduler.timesteps[0]
        now, then = scheduler.sigmas[:2].astype(float)
        made_ = scheduler.step(0.3 * X, t, X).prev_sample
        np.testing.assert_allclose(made_, X + (then - now) * 0.3 * X, rtol=1e-6)

    def test_the_ends_of_a_flow(self):
        scheduler = ours.FlowMatchEulerDiscreteScheduler()
        scheduler.sigma_max *= 0.5
        scheduler.set_timesteps(5)
        assert float(scheduler.sigmas[0]) == 0.5

    def test_in_the_middle_of_a_step_they_are_the_method_s(self):
        scheduler = made("KDPM2DiscreteScheduler")
        scheduler.sigmas[1] *= 0.5
        with pytest.raises(ValueError, match="must be those of KDPM2DiscreteScheduler's steps"):
            run(scheduler)

    def test_bad_values(self):
        for wrong in ([1.0, -1.0], [np.nan], "x"):
            with pytest.raises((TypeError, ValueError), match="sigmas must"):
                made("EulerDiscreteScheduler").sigmas = wrong

    def test_own_sigmas_that_end_at_the_least_one(self):
        scheduler = made("EulerDiscreteScheduler", final_sigmas_type="sigma_min")
        times, sigmas = scheduler.timesteps.copy(), scheduler.sigmas.copy()
        before = run(scheduler)
        scheduler.set_timesteps(sigmas=sigmas)
        np.testing.assert_array_equal(scheduler.sigmas, sigmas)
        np.testing.assert_allclose(scheduler.timesteps, times, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(run(scheduler), before, rtol=1e-6)
        with pytest.raises(ValueError, match="sigmas must be at least two, the last no more than"):
            scheduler.set_timesteps(sigmas=[5.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("DPMSolverMultistepScheduler", "lower_order_nums"),
        ("UniPCMultistepScheduler", "last_sample"),
        ("HeunDiscreteScheduler", "prev_derivative"),
        ("PNDMScheduler", "ets"),
        ("PNDMScheduler", "counter"),
        ("DDPMScheduler", "variance_type"),
    ],
)
def test_what_steps_do_not_read_is_refused(name, attribute):
    scheduler = made(name)
    with pytest.raises(AttributeError, match=f"{attribute} cannot be assigned"):
        setattr(scheduler, attribute, [X, X])
    if attribute != "variance_type":
        t = scheduler.timesteps[0]
        x = scheduler.step(0.1 * X, t, X).prev_sample
        setattr(scheduler, attribute, None)  # begins anew: as a fresh scheduler from here
        fresh = made(name)
        t = scheduler.timesteps[2]
        other = 2.0 * x
        np.testing.assert_array_equal(
            scheduler.step(0.1 * other, t, other).prev_sample,
            fresh.step(0.1 * other, t, other).prev_sample,
        )


def test_betas_of_another_number_than_times():
    longer = made("DDIMScheduler", trained_betas=np.linspace(1e-4, 0.02, 1200))
    assert len(longer.betas) == 1200
    run(longer)
    for name in (
        "DDIMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
    ):
        scheduler = getattr(ours, name)(trained_betas=[0.1, 0.3])
        assert scheduler.betas.tolist() == pytest.approx([0.1, 0.3])
        with pytest.raises(ValueError, match=r"trained_betas must have|from 0 to 1"):
            run(set_to(scheduler, 5))
    with pytest.raises(ValueError, match="num_inference_steps must be at most 2"):
        ours.DPMSolverMultistepScheduler(trained_betas=[0.1, 0.3]).set_timesteps(5)


def test_pndm_s_two_kinds_of_times():
    scheduler = made("PNDMScheduler")
    assert len(scheduler.prk_timesteps) == 0
    np.testing.assert_array_equal(scheduler.plms_timesteps, scheduler.timesteps)
    scheduler, twin = ours.PNDMScheduler(), ours.PNDMScheduler()
    x = X
    for one in (scheduler, twin):
        one.set_timesteps(10)
    for t in scheduler.prk_timesteps:
        x = scheduler.step_prk(0.3 * x + 0.1, t, x).prev_sample
    for t in scheduler.plms_timesteps:
        x = scheduler.step_plms(0.3 * x + 0.1, t, x).prev_sample
    np.testing.assert_array_equal(x, run(twin))
    assert len(scheduler.prk_timesteps) == 12


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("DPMSolverMultistepScheduler", "model_outputs"),
        ("DEISMultistepScheduler", "model_outputs"),
        ("LMSDiscreteScheduler", "derivatives"),
    ],
)
def test_past_estimates_have_no_weight_at_the_start(name, attribute):
    """As in diffusers, where a run begins with order 1 whatever they are."""
    scheduler = made(name)
    setattr(scheduler, attribute, [X, X])
    np.testing.assert_array_equal(run(scheduler), run(made(name)))
    assert not hasattr(scheduler, attribute)
