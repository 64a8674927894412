"""Tableaus as files, and their fingerprints."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, SCHEDULES

FINITE = st.floats(allow_nan=False, allow_infinity=False)
LEVELS = st.builds(
    sc.Level, st.one_of(FINITE, st.integers(0, 999)), st.floats(0.0, 1e9), st.floats(1e-9, 1e9)
)


@st.composite
def tableaus(draw):
    rows = draw(st.integers(1, 4))
    stages = [
        sc.Stage(
            draw(LEVELS),
            draw(st.lists(FINITE, min_size=1, max_size=i + 1)),
            draw(st.lists(FINITE, min_size=1, max_size=i + 1)),
            draw(FINITE),
        )
        for i in range(rows)
    ]
    levels = tuple(draw(LEVELS) for _ in range(rows + 1))
    return sc.Tableau(draw(st.text()), levels, tuple(stages), (draw(FINITE), draw(FINITE)))


@given(tableaus())
def test_what_is_loaded_is_what_was_saved_to_the_bit(tmp_path_factory, tableau):
    file = tmp_path_factory.mktemp("tableau") / "t.json"
    tableau.save(file)
    loaded = sc.Tableau.load(file)
    assert repr(loaded) == repr(tableau)  # and so the zeros' signs, and ints that are ints
    assert loaded.fingerprint == tableau.fingerprint


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_every_schedulers_table_can_be_kept(make, tmp_path):
    tableau = make(SCHEDULES["vp"]).tableau(5)
    tableau.save(tmp_path / "t.json")
    assert sc.Tableau.load(tmp_path / "t.json") == tableau


def test_a_fingerprint_is_of_the_content_alone():
    tableau = sc.PLMS(sc.VESchedule()).tableau(sigmas=[4.0, 2.0, 1.0, 0.0])
    # written down once: it must be the same on every machine and in every release
    assert sc.DDIM(sc.VESchedule()).tableau(sigmas=[4.0, 2.0, 0.0]).fingerprint == (
        "a5a068a3e14fc814232d4ec81e0dd6678347ee61e94767df62cd00d3333197c4"
    )
    assert replace(tableau, method="other").fingerprint == tableau.fingerprint
    stage = tableau.stages[1]
    changes = [
        replace(tableau, entry=(1.0, 1e-300)),
        replace(tableau, levels=(*tableau.levels[:-1], sc.Level(0.0, 1.0, 5e-324))),
        *(
            replace(tableau, stages=(tableau.stages[0], other, *tableau.stages[2:]))
            for other in (
                sc.Stage(stage.level, np.nextafter(stage.a, 9.0), stage.b),
                sc.Stage(stage.level, stage.a, [*stage.b, 0.0]),
                sc.Stage(stage.level, stage.a, stage.b, 1.0),
                sc.Stage(stage.level._replace(t=7.0), stage.a, stage.b),
            )
        ),
    ]
    prints = {change.fingerprint for change in changes}
    assert len(prints) == len(changes)
    assert tableau.fingerprint not in prints


def test_a_table_written_by_hand_is_read(tmp_path):
    level = {"t": 999, "alpha": 0.1, "sigma": 0.9}
    stage = {**level, "a": [1], "b": [0], "c": 0, "ends_step": True}
    document = {
        "schema": "schedulers.tableau",
        "version": 1,
        "method": "printed",
        "entry": [1, 0],
        "levels": [level, {"t": -1, "alpha": 1, "sigma": 0}],
        "stages": [stage],
    }
    (tmp_path / "t.json").write_text(json.dumps(document))
    table = sc.Tableau.load(tmp_path / "t.json")
    assert table.stages == (sc.Stage(sc.Level(999, 0.1, 0.9), a=[1.0], b=[0.0]),)
    assert type(table.levels[0].t) is int
    document["levels"][0] = {"t": 0, "alpha": 0, "sigma": 0}
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"levels\[0\] must have alpha or sigma above 0"):
        sc.Tableau.load(tmp_path / "t.json")
