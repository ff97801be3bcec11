"""Optuna's storage on a PostgreSQL that may be started again in the middle of a search."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DBAPIError

from thriftune.databases.health import is_silence
from thriftune.databases.postgres import KEEPALIVE, SERVER_KEEPALIVE, brief, nothing, patiently, turn

PATIENT = (
    "get_study_id_from_name", "get_study_name_from_id", "get_study_directions", "get_study_user_attrs",
    "get_study_system_attrs", "get_all_studies", "_get_trials", "get_trial",
    "get_trial_id_from_study_id_trial_number", "_get_best_trial_id", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr", "set_trial_state_values",
)  # fmt: skip
"""What Optuna's cache in front of the storage asks of it. Not the adding of a trial: see
OptunaStudy.next_trial."""


class SilentError(Exception):
    """The server did not answer."""


class PatientStorage(RDBStorage):
    """Optuna's storage on a server that may be started again, or be cut off, in the middle of a search: what
    can be said twice without harm (PATIENT) is said again until it answers."""

    def __init__(self, url: str, waiting: Callable[[], None] = nothing) -> None:
        self.waiting = waiting
        settings = {**KEEPALIVE, "options": SERVER_KEEPALIVE}
        with turn(url, "optuna tables", waiting):  # one process makes them
            super().__init__(url, engine_kwargs={"pool_pre_ping": True, "connect_args": settings})


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    def asked(*words: Any, **named: Any) -> Any:
        try:
            return method(*words, **named)
        except (StorageInternalError, DBAPIError) as error:
            if is_silence(error):
                raise SilentError(brief(error.__cause__ or error)) from error
            raise

    @wraps(method)
    def patient(storage: PatientStorage, *words: Any, **named: Any) -> Any:
        call = partial(asked, storage, *words, **named)
        return patiently(call, SilentError, storage.url, storage.waiting)

    return patient


for _name in PATIENT:
    setattr(PatientStorage, _name, _patient(_name))
