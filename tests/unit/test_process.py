"""What commands set for their own process, and what importing the package does not."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import pytest

from thriftune.process import STARTING, WAIT, WAITING

pytestmark = pytest.mark.unit
IMPORTED = """
import gc, json, os, sys
import thriftune.cli, thriftune.project.hooks, thriftune.pipeline_registry, thriftune.process
def state():
    frozen = gc.get_freeze_count() > 0
    return {"environment": dict(os.environ), "thresholds": gc.get_threshold(), "frozen": frozen}
found = [state()]
for deed in sys.argv[1:]:
    getattr(thriftune.process, deed)()
    found.append(state())
print(json.dumps(found))
"""


def states(*deeds: str, **environment: str) -> list[dict[str, object]]:
    """What a fresh process has set once the package is imported, and after each deed; of the environment what
    says how threads wait."""
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *deeds],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    for state in found:
        state["environment"] = {k: v for k, v in state["environment"].items() if k in WAITING}
    return list(found)


def test_only_an_entry_point_sets_up_the_process() -> None:
    """Importing sets nothing; prepare does; finish_startup restores the collector."""
    imported, prepared, settled = states("prepare", "finish_startup")
    assert (imported["environment"], imported["frozen"]) == ({}, False)
    assert (prepared["environment"], prepared["thresholds"]) == (WAIT, list(STARTING))
    assert (settled["thresholds"], settled["frozen"]) == (imported["thresholds"], True)
    assert imported["thresholds"] == list(gc.get_threshold())


def test_without_an_entry_point_the_collector_is_left_alone() -> None:
    """Who calls the core from a program of their own keeps their collector."""
    imported, settled = states("finish_startup")
    assert settled == imported


@pytest.mark.parametrize("name", WAITING)
def test_a_user_s_own_way_of_waiting_is_left_alone(name: str) -> None:
    """Whichever of the variables says it, nothing is added to it."""
    _, prepared = states("prepare", **{name: "7"})
    assert prepared["environment"] == {name: "7"}
