"""A study of a hundred trials by the command, killed on the way; a thousand by `tests.many_trials`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.many_trials import check, live

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3600)]

SECONDS = "the highest median of ten trials"
"""The one limit in seconds: it depends on what else the machine does."""


def test_a_hundred_trials_cost_what_the_first_cost(tmp_path: Path) -> None:
    """Killed three times; every trial once, no figure grown over the trials, and
    the time left within 30 %. How many seconds a trial costs is measured by `make bench`."""
    story = live(tmp_path, 100, 3)
    found = check(story)
    ratios = [each for each in found["checks"] if not each["name"].endswith(SECONDS)]
    assert len(ratios) == len(found["checks"]) - 1
    assert all(each["ok"] for each in ratios), ratios
    ratios = story.time_left()
    print(f"killed in {story.killed_after}; time left {min(ratios):.2f} to {max(ratios):.2f}")
    assert all(0.7 <= ratio <= 1.3 for ratio in ratios)
