"""Optuna's storage on a PostgreSQL server that may be restarted, or be cut off, in the middle of a search."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import update_wrapper
from typing import Concatenate, ParamSpec, TypeVar

from optuna._typing import JSONSerializable
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue
from sqlalchemy.exc import DBAPIError

from thriftune.databases.health import is_connection_error
from thriftune.databases.postgres import (
    KEEPALIVE,
    SERVER_KEEPALIVE,
    advisory_lock,
    retry_until_available,
)
from thriftune.errors import first_line
from thriftune.search.storage_errors import ServerSilentError

P = ParamSpec("P")
T = TypeVar("T")


def open_postgres(url: str, waiting: Callable[[], None]) -> RDBStorage:
    """Return Optuna's storage on a server; one process at a time makes the tables.

    Args:
        url: SQLAlchemy's URL.
        waiting: Called several times a second while the server is waited for; may raise.
    """
    return _RetryingStorage(url, waiting)


def _retried(
    method: Callable[Concatenate[_RetryingStorage, P], T],
) -> Callable[Concatenate[_RetryingStorage, P], T]:
    """Repeat a call until the server answers."""

    def retried(storage: _RetryingStorage, /, *args: P.args, **kwargs: P.kwargs) -> T:
        def call() -> T:
            try:
                return method(storage, *args, **kwargs)
            except (StorageInternalError, DBAPIError) as error:
                if is_connection_error(error):
                    raise ServerSilentError(first_line(error.__cause__ or error)) from error
                raise

        return retry_until_available(call, ServerSilentError, storage.url, storage.waiting)

    return update_wrapper(retried, method)


class _RetryingStorage(RDBStorage):
    """Optuna's storage that repeats a call until the server answers, where repeating does no harm.

    These are the calls of Optuna's cache in front of it (two of them private, so a test compares their
    signatures). Adding a trial is not repeated: see `OptunaStudy.next_trial`.
    """

    def __init__(self, url: str, waiting: Callable[[], None]) -> None:
        self.waiting = waiting
        settings = {**KEEPALIVE, "options": SERVER_KEEPALIVE}
        with advisory_lock(url, "optuna tables", waiting):
            super().__init__(url, engine_kwargs={"pool_pre_ping": True, "connect_args": settings})

    @_retried
    def get_study_id_from_name(self, study_name: str) -> int:
        return super().get_study_id_from_name(study_name)

    @_retried
    def get_study_name_from_id(self, study_id: int) -> str:
        return super().get_study_name_from_id(study_id)

    @_retried
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return super().get_study_directions(study_id)

    @_retried
    def get_study_user_attrs(self, study_id: int) -> dict[str, JsonValue]:
        return super().get_study_user_attrs(study_id)

    @_retried
    def get_study_system_attrs(self, study_id: int) -> dict[str, JsonValue]:
        return super().get_study_system_attrs(study_id)

    @_retried
    def get_all_studies(self) -> list[FrozenStudy]:
        return super().get_all_studies()

    @_retried
    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)

    @_retried
    def get_trial(self, trial_id: int) -> FrozenTrial:
        return super().get_trial(trial_id)

    @_retried
    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return super().get_trial_id_from_study_id_trial_number(study_id, trial_number)

    @_retried
    def _get_best_trial_id(self, study_id: int, direction: StudyDirection) -> int:
        return super()._get_best_trial_id(study_id, direction)

    @_retried
    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    @_retried
    def set_trial_user_attr(self, trial_id: int, key: str, value: JsonValue) -> None:
        super().set_trial_user_attr(trial_id, key, value)

    @_retried
    def set_trial_system_attr(self, trial_id: int, key: str, value: JSONSerializable) -> None:
        super().set_trial_system_attr(trial_id, key, value)

    @_retried
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        return super().set_trial_state_values(trial_id, state, values)
