"""What the commands show and do: studies, bytes, schemas, flush, doctor."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftune import files
from thriftune.checkpoints.disk import disk_of, human_bytes
from thriftune.config import (
    EncoderFromPackage,
    EncoderSource,
    Parameters,
    parse_parameters,
    suggest,
    without_password,
)
from thriftune.container import in_image, require_mounts
from thriftune.errors import ConfigError, DamageError, StudyError, ThriftuneError, UnavailableError
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import STUDY_PREFIX, study_id
from thriftune.study.marker import remove_marker
from thriftune.study.record import STUDY, read_record, versions

if TYPE_CHECKING:
    from thriftune.tracking.mlflow_store import MlflowSink


@dataclass(frozen=True)
class DamagedStudy:
    """A study whose record cannot be read."""

    name: str
    """As the record says, where that much can be read; else the study's id."""
    folder: Path
    error: DamageError


def handles(root: Path, settings: Parameters) -> list[StudyHandle]:
    """Every study below storage.root; DamageError where one's record cannot be read."""
    found, damaged = find_studies(root, settings)
    if damaged:
        raise damaged[0].error
    return found


def find_studies(root: Path, settings: Parameters) -> tuple[list[StudyHandle], list[DamagedStudy]]:
    """Every study below storage.root, those with a damaged record apart: they hide no other study."""
    found, damaged = list[StudyHandle](), list[DamagedStudy]()
    for path in sorted((root / settings.storage.root).glob(f"study_*/{STUDY}")):
        try:
            record = read_record(path.parent)
        except DamageError as error:
            damaged.append(DamagedStudy(_name_of(path), path.parent, error))
            continue
        if record is not None:  # else it was deleted meanwhile
            found.append(StudyHandle.of(root, settings, record["study_name"]))
    return found, damaged


def _name_of(path: Path) -> str:
    """The name in a damaged record, if it is the one that the folder's name was derived from; else the id."""
    own_id = path.parent.name.removeprefix(STUDY_PREFIX)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        names = [json.loads(found) for found in re.findall(r'"study_name": ("(?:[^"\\]|\\.)*")', text)]
    except (OSError, ValueError):
        return own_id
    return next((name for name in names if study_id(name) == own_id), own_id)


def _handle(root: Path, settings: Parameters, name: str) -> StudyHandle:
    found, damaged = find_studies(root, settings)
    for study in damaged:
        if study.name == name:
            raise study.error
    if name not in (handle.name for handle in found):
        raise no_such_study(root, settings, name)
    return StudyHandle.of(root, settings, name)


def no_such_study(root: Path, settings: Parameters, name: str) -> StudyError:
    """The error for a name that no study below storage.root has."""
    known = [study.name for studies in find_studies(root, settings) for study in studies]
    return StudyError(
        f"there is no study {name!r}{suggest(name, known)}",
        where=str(root / settings.storage.root),
        remedy="`thriftune study list` names them. Where storage.root was given by --params, these commands "
        "need it too.",
    )


def list_studies(root: Path, settings: Parameters) -> list[dict[str, Any]]:
    """A row a study; of a damaged one what can be known, and the problem."""
    from thriftune.reports.summary import listed, listed_damaged, summarise
    from thriftune.search.optuna_study import read_trials

    found, damaged = find_studies(root, settings)
    trials = read_trials(found[0].storage, [handle.id for handle in found]) if found else {}
    return [
        *(listed(summarise(handle, weighing=False, trials=trials[handle.id])) for handle in found),
        *(listed_damaged(study.name, study.folder, str(study.error)) for study in damaged),
    ]


def show_study(root: Path, settings: Parameters, name: str) -> dict[str, Any]:
    """All that is known of one study (see search.summary), and whether a process is at work on it (None where
    that cannot be known here)."""
    from thriftune.reports.summary import summarise

    handle = _handle(root, settings, name)
    return {**summarise(handle), "at_work": _is_at_work(handle)}


def _is_at_work(handle: StudyHandle) -> bool | None:
    try:
        return handle.ownership().is_held()
    except ThriftuneError:
        return None


def delete_study(root: Path, settings: Parameters, name: str, *, really: bool, tracking: bool) -> str:
    """Delete checkpoints and folder, then the Optuna study; a dry run unless `really`."""
    from thriftune.search.optuna_study import delete_optuna_study, is_known

    handle = StudyHandle.of(root, settings, name)
    # One whose folder is gone, or whose record is damaged, can still be deleted.
    if not (is_known(handle) or (handle.folder / STUDY).exists()):
        handle = _handle(root, settings, name)
    try:
        record = handle.record()
    except DamageError:
        record = None
    own = settings if record is None else with_store_of(settings, record)
    size = human_bytes(files.directory_bytes(handle.folder))
    runs = " and its MLflow runs" if tracking else "; its MLflow runs stay (--tracking)"
    if not really:
        return f"would delete {handle.folder} ({size}) and its Optuna study{runs}; add --yes"
    with handle.ownership(alone=True):
        files.remove_tree(handle.folder)
    remove_marker(handle.models_root, handle.id)
    delete_optuna_study(handle.storage, handle.id)
    if tracking:
        from thriftune.tracking.parent import connect

        connect(own, root).delete_runs(handle.id)
    return f"deleted {handle.folder} ({size}) and its Optuna study{runs}"


def storage_rows(root: Path, settings: Parameters) -> list[dict[str, Any]]:
    """Who holds which bytes, against the budget. What studies share counts in full for each."""
    places = (settings.corpus.root, settings.corpus.cache, settings.tracking.root)
    shared = files.directory_bytes(*(root / place for place in places))
    rows = []
    found, damaged = find_studies(root, settings)
    for handle in found:
        checkpoints = sum(files.directory_bytes(path) for path in handle.folder.glob("trials/*/checkpoints"))
        total = files.directory_bytes(handle.folder)
        record = handle.record() or {}
        budget = int(record["config"]["storage"]["max_total_size"])
        rows.append(
            {
                "study": handle.name,
                "checkpoint_bytes": checkpoints,
                "other_bytes": total - checkpoints,
                "shared_bytes": shared,
                "budget_bytes": budget,
                "share": f"{(total + shared) / budget:.1%}",
            }
        )
    for study in damaged:
        total = files.directory_bytes(study.folder)
        rows.append(
            {
                "study": study.name,
                "checkpoint_bytes": None,
                "other_bytes": total,
                "shared_bytes": shared,
                "budget_bytes": None,
                "share": f"damaged: {study.error}",
            }
        )
    return rows


def json_schema(name: str) -> Any:
    """The JSON Schema of evaluation, trial, manifest or parameters."""
    if name == "manifest":
        from thriftune.checkpoints.manifest import manifest_schema

        return manifest_schema()
    if name == "parameters":
        return Parameters.model_json_schema()
    from thriftune.evaluation.schema import load_schema

    return load_schema(name)


def with_store_of(settings: Parameters, record: dict[str, Any]) -> Parameters:
    """The settings with the MLflow store that a study's rows belong in: the one that tracking.mlflow_uri
    names now, else the one that the study was run with last (a `--params` of that run, for instance)."""
    run_with = parse_parameters(record["config"]).tracking
    if settings.tracking.mlflow_uri is not None or run_with.mlflow_uri is None:
        return settings
    store = {"mlflow_uri": run_with.mlflow_uri, "experiment": run_with.experiment}
    return settings.model_copy(update={"tracking": settings.tracking.model_copy(update=store)})


def flush_all(
    root: Path, settings: Parameters, *, owned: bool = False, say: Callable[[str], None] = lambda line: None
) -> int:
    """Send what the journals of all studies hold and MLflow has not; rows sent.

    Each study's go to its own store (see with_store_of); `say` hears of every study whose store is not the
    configured one. A study that a process is working on is left to that process's own sender. owned: the
    caller holds the studies' locks. The first DamageError of a record or a journal, UnavailableError of a
    store or StudyError of a study that others keep or have just started is raised once all others were sent.
    """
    from thriftune.databases.location import mlflow_uri

    found, damaged = find_studies(root, settings)
    sent, failures = 0, list[ThriftuneError](study.error for study in damaged)
    sinks: dict[str, MlflowSink] = {}
    for handle in found:
        try:
            if not owned and handle.ownership().is_held():
                continue
            with nullcontext() if owned else handle.ownership(alone=True):
                record = handle.record()
                if record is None:  # deleted meanwhile
                    continue
                own = with_store_of(settings, record)
                uri = mlflow_uri(own.tracking, root)
                if uri not in sinks:
                    sinks[uri] = _open_store(own, root, uri)
                count, problems = _flush(handle, record, uri, sinks[uri])
        except (StudyError, DamageError, UnavailableError) as error:
            failures.append(error)
            continue
        sent, failures = sent + count, failures + problems
        if note := _store_note(settings, own, record, root):
            say(f"study {handle.name}: {count} rows sent to {note}")
    if failures:
        raise failures[0]
    return sent


def _flush(
    handle: StudyHandle, record: dict[str, Any], uri: str, sink: MlflowSink
) -> tuple[int, list[ThriftuneError]]:
    """(rows of one study that were sent, what is wrong with its journals)."""
    from thriftune.tracking.cursor import read_cursor
    from thriftune.tracking.delivery import deliver_evaluation, undelivered
    from thriftune.tracking.journal import KILLED
    from thriftune.tracking.sender import Parcel

    count, damage = 0, list[ThriftuneError]()
    for delivery, status in undelivered(handle, record, uri, sink, running=True):
        try:
            count += Parcel(delivery, read_cursor(delivery.journal, uri), status=status).send(sink)
        except DamageError as error:
            damage.append(error)
    count += deliver_evaluation(handle, sink, uri)
    over = (handle.folder / "evaluation.json").exists()
    sink.finish(sink.parent_run(handle.id, handle.name), "FINISHED" if over else KILLED)
    return count, damage


def _store_note(settings: Parameters, own: Parameters, record: dict[str, Any], root: Path) -> str:
    """Which store a study's rows went to, where the configuration and the study's record name different ones;
    else empty."""
    from thriftune.databases.location import mlflow_uri
    from thriftune.observe.sanitiser import Sanitiser

    run_with = parse_parameters(record["config"]).tracking
    configured, recorded, taken = (
        without_password(mlflow_uri(tracking, root))
        for tracking in (settings.tracking, run_with, own.tracking)
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


def _open_store(settings: Parameters, root: Path, uri: str) -> MlflowSink:
    """MLflow's store; UnavailableError with the reason where it cannot be used."""
    from thriftune.databases.health import trouble
    from thriftune.tracking.parent import connect

    found = trouble(uri)
    if found is None:
        try:
            return connect(settings, root)
        except Exception as error:
            found = str(error).partition("\n")[0] or type(error).__name__
    raise UnavailableError(
        f"MLflow's store cannot be used: {found}",
        where="tracking",
        remedy="bring it back and give this command again; a damaged SQLite file is made anew by `thriftune "
        "tracking rebuild`. Every row is in the journals.",
    )


def doctor_rows(root: Path, settings: Parameters) -> dict[str, Any]:
    """Versions, device, memory, disk, mounts, stores and caches."""
    import torch

    from thriftune.training.seeding import no_gpu
    from thriftune.training.snapshot import available_memory

    disk = disk_of(root / settings.storage.root)
    stores = {name: (root / settings.tracking.root / name).exists() for name in ("mlflow.db", "optuna.db")}
    low = disk.is_low(settings.storage.free_disk_watermark)
    return {
        **versions(),
        "device": f"cpu ({missing})" if (missing := no_gpu()) else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "memory free": human_bytes(available_memory()),
        "disk free": f"{human_bytes(disk.free_bytes)} of {human_bytes(disk.total_bytes)}"
        + (" (under the watermark: the study goes on a diet)" if low else ""),
        **({"mounts": _mounts_line(root, settings)} if in_image() else {}),
        **{f"store {name}": "there" if found else "not made yet" for name, found in stores.items()},
        "git": shutil.which("git") or "missing: the commit is not recorded",
        "encoders": ", ".join(_encoder_line(*item) for item in sorted(settings.encoders.items())),
    }


def _mounts_line(root: Path, settings: Parameters) -> str:
    try:
        require_mounts(root, settings.roots().values())
    except ConfigError as error:
        return f"{error.message}. {error.remedy}"
    return "there"


def _encoder_line(name: str, source: EncoderSource) -> str:
    from importlib.util import find_spec

    missing = isinstance(source, EncoderFromPackage) and find_spec(source.package) is None
    return f"{name} (not installed: make encoder)" if missing else name
