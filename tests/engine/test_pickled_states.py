"""A state that is pickled on one processor goes on, and shows its D, on another."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import schedulers as sc

HERE = """
import pickle, sys
import numpy as np
import schedulers as sc
scheduler = sc.{name}(sc.VPSchedule(), prediction_type="v_prediction")
x = np.random.default_rng(0).standard_normal((3, 1000)).astype("float32")
state = scheduler.update(0.5 * x, scheduler.init(x, steps=4), rng=1)
sys.stdout.buffer.write(pickle.dumps(state))
"""
THERE = """
import pickle, sys
import schedulers as sc
state = pickle.load(sys.stdin.buffer)
denoised = state.denoised.copy()
scheduler = sc.{name}(sc.VPSchedule(), prediction_type="v_prediction")
while not state.done:
    state = scheduler.update(0.25 * state.x, state, rng=1)
sys.stdout.buffer.write(pickle.dumps((denoised, state.x)))
"""


def run(code, core, given=b""):
    environment = {**os.environ, "OPENBLAS_CORETYPE": core}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, input=given, capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", ["DDIM", "PLMS", "DDPM"])
def test_a_state_goes_on_under_another_kind_of_processor(name):
    scheduler = getattr(sc, name)(sc.VPSchedule(), prediction_type="v_prediction")
    pickled = run(HERE.format(name=name), "Prescott")
    denoised, x = pickle.loads(run(THERE.format(name=name), "Haswell", pickled))
    state = pickle.loads(pickled)
    np.testing.assert_array_equal(denoised, state.denoised)
    while not state.done:
        state = scheduler.update(0.25 * state.x, state, rng=1)
    np.testing.assert_array_equal(x, state.x)
