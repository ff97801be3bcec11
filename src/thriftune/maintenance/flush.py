"""Send what MLflow has not got yet, of every study."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from thriftune import databases, tracking
from thriftune.config import Parameters, without_password
from thriftune.databases.location import mlflow_uri
from thriftune.errors import DamageError, StudyError, ThriftuneError, UnavailableError, first_line
from thriftune.observe.sanitiser import Sanitiser
from thriftune.study.handle import StudyHandle, find_studies
from thriftune.study.record import StudyRecord
from thriftune.tracking.cursor import read_cursor
from thriftune.tracking.records import KILLED

if TYPE_CHECKING:
    from thriftune.tracking import MlflowSink


def with_store_of(settings: Parameters, record: StudyRecord) -> Parameters:
    """Return the settings with the MLflow store that a study's rows belong in.

    It is the one that tracking.mlflow_uri names now, else the one that the study was run with last (by a
    `--params` of that run, for instance).

    Args:
        settings: The project's parameters.
        record: The study's record.
    """
    run_with = record.parameters(settings.project_folder).tracking
    if settings.tracking.mlflow_uri is not None or run_with.mlflow_uri is None:
        return settings
    store = {"mlflow_uri": run_with.mlflow_uri, "experiment": run_with.experiment}
    return settings.model_copy(update={"tracking": settings.tracking.model_copy(update=store)})


def flush_all(
    settings: Parameters, *, owned: bool = False, say: Callable[[str], None] = lambda line: None
) -> int:
    """Send what the journals of all studies hold and MLflow does not have.

    Each study's rows go to its own store (see with_store_of). A study that a process works on is left to that
    process. The first DamageError of a record or journal, UnavailableError of a store, or StudyError of a
    study that others keep or have just started is raised once all others were sent.

    Args:
        settings: The project's parameters.
        owned: The caller holds the studies' locks.
        say: Called with a line for every study whose store is not the configured one.

    Returns:
        The number of rows that were sent.
    """
    found, damaged = find_studies(settings)
    sent, failures = 0, list[ThriftuneError](study.error for study in damaged)
    sinks: dict[str, MlflowSink] = {}
    for handle in found:
        try:
            if not owned and handle.ownership().is_held():
                continue
            with nullcontext() if owned else handle.ownership(exclusive=True):
                record = handle.record()
                if record is None:  # deleted meanwhile
                    continue
                own = with_store_of(settings, record)
                uri = mlflow_uri(own.tracking)
                if uri not in sinks:
                    sinks[uri] = _open_store(own, uri)
                count, problems = _flush(handle, record, uri, sinks[uri])
        except (StudyError, DamageError, UnavailableError) as error:
            failures.append(error)
            continue
        sent, failures = sent + count, failures + problems
        if note := _store_note(settings, own, record):
            say(f"study {handle.name}: {count} rows sent to {note}")
    if failures:
        raise failures[0]
    return sent


def _flush(
    handle: StudyHandle, record: StudyRecord, uri: str, sink: MlflowSink
) -> tuple[int, list[ThriftuneError]]:
    """Return how many rows of one study were sent, and what is wrong with its journals."""
    count, damage = 0, list[ThriftuneError]()
    for delivery, status in tracking.pending_deliveries(handle, record, uri, sink, running=True):
        try:
            count += tracking.PendingJournal(
                delivery, read_cursor(delivery.journal, uri), status=status
            ).send(sink)
        except DamageError as error:
            damage.append(error)
    count += tracking.deliver_evaluation(handle, sink, uri)
    over = (handle.folder / "evaluation.json").exists()
    sink.finish(sink.parent_run(handle.id, handle.name), "FINISHED" if over else KILLED)
    return count, damage


def _store_note(settings: Parameters, own: Parameters, record: StudyRecord) -> str:
    """Return where a study's rows went, if configuration and record name different stores; else nothing."""
    run_with = record.parameters(settings.project_folder).tracking
    configured, recorded, taken = (
        without_password(mlflow_uri(each)) for each in (settings.tracking, run_with, own.tracking)
    )
    if configured == recorded:
        return ""
    clean = Sanitiser(settings.observe.redact).clean
    if taken == recorded:
        return clean(f"{recorded}, which it was run with")
    option = f"tracking.mlflow_uri={run_with.mlflow_uri}"
    if run_with.mlflow_uri is None:
        option = f"tracking.root={run_with.root}"
    return clean(f'{configured}; it was run with {recorded}: --params "{option}" sends them there')


def _open_store(settings: Parameters, uri: str) -> MlflowSink:
    """Connect to MLflow's store; UnavailableError with the reason where it cannot be used."""
    found = databases.unavailable_reason(uri)
    if found is None:
        try:
            return tracking.connect(settings)
        except Exception as error:
            found = first_line(error)
    raise UnavailableError(
        f"MLflow's store cannot be used: {found}",
        where="tracking",
        remedy="make it available and run the same command again; `thriftune tracking rebuild` recreates a "
        "damaged SQLite file. Every row is in the journals.",
    )
