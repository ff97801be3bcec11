"""Which group of moments an end belongs to, and which group a life aims at."""

from __future__ import annotations

import random

import pytest
from tests.torture.groups import (
    AIMS,
    EARLY,
    FIRST,
    GROUPS,
    PRUNING,
    RESUME,
    SAVE,
    SIGNAL,
    STORES,
    TORN,
    End,
    aim,
    groups_of,
    next_group,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("end", "groups"),
    [
        (End("append metrics.jsonl", "trial_N_N"), set()),
        (End("append metrics.jsonl", "trial_N_N", torn=True), {TORN}),
        (End("mkdir .tmp-epoch_N", "checkpoints"), {SAVE}),
        (End("write optimizer.safetensors", ".tmp-epoch_N", torn=True), {SAVE, TORN}),
        (End("fsync_directory .tmp-epoch_N", "checkpoints"), {SAVE}),
        (End("rename epoch_N", "checkpoints"), {SAVE}),
        (End("fsync_directory epoch_N", "checkpoints"), set()),
        (End("rename .tmp-deleted-epoch_N", "checkpoints"), {PRUNING}),
        (End("unlink model.safetensors", ".tmp-deleted-epoch_N"), {PRUNING}),
        (End("unlink optimizer.safetensors", "epoch_N"), {PRUNING}),
        (End("write manifest.json.tmp", "epoch_N"), {PRUNING}),
        (End("write manifest.json.tmp", ".tmp-epoch_N"), {SAVE}),
        (End("unlink tracking.json", "trial_N_N"), set()),
        (End("mlflow.db insert metrics", committed="optuna.db"), {STORES}),
        (End("optuna.db update trials", committed="mlflow.db"), {STORES}),
        (End("optuna.db update trials", committed="optuna.db"), set()),
        (End("optuna.db update trials"), set()),
        (End("mlflow.db commit", committed="optuna.db"), set()),
        (End(".new-mlflow.db insert alembic_version", committed="optuna.db"), set()),
    ],
    ids=lambda given: f"{given.kind} in {given.folder}" if isinstance(given, End) else None,
)
def test_an_end_belongs_to_the_groups_of_what_was_under_way(end: End, groups: set[str]) -> None:
    """A save goes from its folder's making to its name, pruning covers strips, stores are databases."""
    end = End(**{**vars(end), "operations": EARLY + 1})
    assert groups_of(end, resumes=True, has_checkpoint=True) == groups


def test_the_first_checkpoint_a_resume_and_a_signal_depend_on_the_life() -> None:
    """Only a start that follows a kill is a resume; what a signal asks for, the process answers later."""
    early, late = (
        End("append metrics.jsonl", operations=EARLY),
        End("append metrics.jsonl", operations=EARLY + 1),
    )
    assert groups_of(late, resumes=False, has_checkpoint=False) == {FIRST}
    assert groups_of(early, resumes=False, has_checkpoint=True) == set()
    assert groups_of(early, resumes=True, has_checkpoint=True) == {RESUME}
    asked = End("rename epoch_N", operations=1, by_signal=True)
    assert groups_of(asked, resumes=True, has_checkpoint=False) == {SIGNAL}


def test_a_life_aims_at_a_group_that_it_can_meet() -> None:
    """Each once: those of a study's start in its first life, a resume after a kill, the others in any."""
    assert set(AIMS) == set(GROUPS)
    met: set[str] = set()
    order = []
    while group := next_group(met, fresh=not order, resumes=bool(order)):
        order.append(group)
        met |= {group, FIRST}
    assert order == [TORN, RESUME, SAVE, SIGNAL, PRUNING, STORES]
    assert next_group({FIRST, TORN}, fresh=False, resumes=False) == SAVE
    assert next_group(set(GROUPS) - {FIRST}, fresh=False, resumes=True) is None


def test_a_moment_of_a_group_is_of_one_of_its_kinds() -> None:
    """Only a torn write is torn, and only a signal is not SIGKILL."""
    drawn = random.Random(0)
    for group in GROUPS:
        moments = [aim(group, drawn) for _ in range(20)]
        assert {moment.kind for moment in moments} == set(AIMS[group])
        assert {moment.torn for moment in moments} == {group == TORN}
        assert {9 in moment.signals for moment in moments} == {group != SIGNAL}
