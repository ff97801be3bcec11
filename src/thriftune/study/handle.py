"""The handle on one study: its id, its folder, its owner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from thriftune.config import Parameters
from thriftune.config.study import MAX_NAME_LENGTH
from thriftune.databases.location import OPTUNA_DATABASE
from thriftune.errors import ConfigError, DamageError, NewerFormatError
from thriftune.study.identity import STUDY_PREFIX, study_folder, study_id
from thriftune.study.record import STUDY, StudyRecord, read_record

if TYPE_CHECKING:
    from thriftune.study.file_locks import Ownership

SINGLE_TRIAL_SUFFIX = "-train"
"""What the name of a study of one trial ends with; conf/base/catalog.yml has it too."""


@dataclass(frozen=True)
class StudyHandle:
    """A study by its name; reading creates nothing."""

    name: str
    models_root: Path
    tracking_root: Path
    optuna_url: str | None = field(default=None, repr=False)
    """None: SQLite in tracking_root."""
    parallel: bool | None = None
    """Whether several processes may work on it; None: where Optuna's storage is a server."""

    @classmethod
    def from_parameters(cls, settings: Parameters, name: str) -> Self:
        """Return the handle on a study of a project.

        Args:
            settings: The project's parameters.
            name: As study.name has it.

        Returns:
            The handle; there need not be such a study.
        """
        tracking = settings.tracking
        models = settings.storage.folder
        return cls(name, models, tracking.folder, tracking.optuna_url, settings.study.parallel)

    @property
    def id(self) -> str:
        """The derived id."""
        return study_id(self.name)

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return study_folder(self.models_root, self.name)

    @property
    def storage(self) -> str:
        """The URL of Optuna's storage."""
        return self.optuna_url or f"sqlite:///{(self.tracking_root / OPTUNA_DATABASE).absolute()}"

    def ownership(
        self, *, exclusive: bool = False, waiting: Callable[[], None] = lambda: None, moving: bool = False
    ) -> Ownership:
        """Return what owns the study, or a share of it where it is parallel, for a `with` block.

        Args:
            exclusive: Own all of it, also where it is parallel.
            waiting: Called while others are waited for; may raise.
            moving: The record may name another arbiter than the configured one.

        Returns:
            The ownership, not taken yet.
        """
        shared = self.is_parallel and not exclusive
        return ownership(self.folder, self.optuna_url, shared=shared, waiting=waiting, moving=moving)

    @property
    def is_parallel(self) -> bool:
        """Whether several processes may work on it."""
        return self.optuna_url is not None if self.parallel is None else self.parallel

    def record(self) -> StudyRecord | None:
        """Return what study.json has, or None where there is no study yet."""
        return read_record(self.folder)


def ownership(
    folder: Path,
    optuna_url: str | None,
    *,
    shared: bool = False,
    waiting: Callable[[], None] = lambda: None,
    moving: bool = False,
) -> Ownership:
    """Return what owns the study of a folder: locks of one PostgreSQL server, else locks on files.

    Args:
        folder: The study's.
        optuna_url: Of the server; None: there is none.
        shared: Other processes may work on other trials.
        waiting: Called while others are waited for; may raise.
        moving: The record may name another arbiter than the configured one.

    Returns:
        The ownership, not taken yet.
    """
    if optuna_url is None:
        from thriftune.study.file_locks import StudyLock

        return StudyLock(folder, shared=shared, waiting=waiting, moving=moving)
    from thriftune.study.postgres_locks import PostgresLock

    return PostgresLock(optuna_url, folder, shared=shared, waiting=waiting, moving=moving)


def as_single_trial(parameters: Parameters) -> Parameters:
    """Return the same configuration as a study of one trial, named `<study.name>-train`.

    Args:
        parameters: Those of the run.

    Raises:
        ConfigError: With the suffix the name is longer than a study's may be.
    """
    name, longest = parameters.study.name, MAX_NAME_LENGTH - len(SINGLE_TRIAL_SUFFIX)
    if len(name) > longest:
        raise ConfigError(
            f"{name!r} has {len(name)} characters, and the pipeline train adds {SINGLE_TRIAL_SUFFIX!r}: "
            f"expected at most {longest}",
            where="study.name",
            remedy="give a shorter name.",
        )
    study = parameters.study.model_copy(update={"name": name + SINGLE_TRIAL_SUFFIX, "trials": 1})
    search = parameters.search.model_copy(update={"space": {}, "baselines": ()})
    return parameters.model_copy(update={"study": study, "search": search})


@dataclass(frozen=True)
class DamagedStudy:
    """A study whose record is damaged, or of a newer format."""

    name: str
    """As the record says, where that much can be read; else the study's id."""
    folder: Path
    error: DamageError | NewerFormatError


def handles(settings: Parameters) -> list[StudyHandle]:
    """Return every study below storage.root; a record that cannot be read is raised as DamageError.

    Args:
        settings: The project's parameters.
    """
    found, damaged = find_studies(settings)
    if damaged:
        raise damaged[0].error
    return found


def find_studies(settings: Parameters) -> tuple[list[StudyHandle], list[DamagedStudy]]:
    """Return every study below storage.root, those with a damaged record apart: they hide no other study.

    Args:
        settings: The project's parameters.

    Returns:
        The studies, and the damaged ones.
    """
    found, damaged = list[StudyHandle](), list[DamagedStudy]()
    for path in sorted(settings.storage.folder.glob(f"study_*/{STUDY}")):
        try:
            record = read_record(path.parent)
        except (DamageError, NewerFormatError) as error:
            damaged.append(DamagedStudy(_name_of(path), path.parent, error))
            continue
        if record is not None:  # else it was deleted meanwhile
            found.append(StudyHandle.from_parameters(settings, record.study_name))
    return found, damaged


def _name_of(path: Path) -> str:
    """Return the name in a damaged record, if the folder's name was derived from it; else the id."""
    own_id = path.parent.name.removeprefix(STUDY_PREFIX)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        names = [json.loads(found) for found in re.findall(r'"study_name": ("(?:[^"\\]|\\.)*")', text)]
    except (OSError, ValueError):
        return own_id
    return next((name for name in names if study_id(name) == own_id), own_id)
