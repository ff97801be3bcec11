"""The handle on one study: its id, its folder, its Optuna record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftune.config import Parameters
from thriftune.errors import StudyError
from thriftune.search.identity import study_folder, study_id

if TYPE_CHECKING:
    from thriftune.search.optuna_study import OptunaStudy

OPTUNA_DATABASE = "optuna.db"


@dataclass(frozen=True)
class StudyHandle:
    """A study by its name; reading creates nothing."""

    name: str
    models_root: Path
    tracking_root: Path

    @property
    def id(self) -> str:
        """The derived id."""
        return study_id(self.name)

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return study_folder(self.models_root, self.name)

    @property
    def database(self) -> Path:
        """Optuna's SQLite file."""
        return (self.tracking_root / OPTUNA_DATABASE).absolute()

    def record(self) -> dict[str, Any] | None:
        """study.json, or None."""
        from thriftune.search.record import read_record

        return read_record(self.folder)

    @property
    def is_known(self) -> bool:
        """Whether Optuna has trials of it."""
        from thriftune.search.optuna_study import trial_count

        return trial_count(self.database, self.id) > 0

    def optuna(self, parameters: Parameters) -> OptunaStudy:
        """The Optuna study, made where it is missing."""
        from thriftune.search.optuna_study import OptunaStudy

        return OptunaStudy(self.database, self.id, parameters)


def require_mounted(study: StudyHandle) -> None:
    """StudyError where Optuna knows the study and the store's root does not (SPEC 6.6.1): most likely a
    volume that is not mounted. Nothing is created and nothing deleted."""
    from thriftune.checkpoints.marker import marker_of

    if study.record() is not None or not study.is_known:
        return
    marker = marker_of(study.models_root, study.id)
    raise StudyError(
        f"the study {study.name!r} has trials on record, but "
        + (
            "its folder is gone"
            if marker.exists()
            else "the store's root has never held it: is its volume mounted?"
        ),
        where=str(marker),
        remedy="mount it, or put it back, and run the same command again. If it was removed on purpose: "
        f"`thriftune study delete {study.name} --yes`.",
    )


def as_single_trial(parameters: Parameters) -> Parameters:
    """The same configuration as a study of one trial, named `<study.name>-train`."""
    return parameters.model_copy(
        update={
            "study": parameters.study.model_copy(
                update={"name": f"{parameters.study.name}-train", "trials": 1}
            ),
            "search": parameters.search.model_copy(update={"space": {}, "baselines": ()}),
        }
    )
