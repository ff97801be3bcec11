"""The checkpoint store as a catalog entry: its save is atomic, verified and under the budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from kedro.io import AbstractDataset
from kedro_datasets._typing import PlotlyPreview, TablePreview
from pydantic import JsonValue

from thriftune.checkpoints.hashing import PARALLEL_BYTES
from thriftune.config import StorageConfig, parse_parameters
from thriftune.errors import ConfigError
from thriftune.reports.figures import bytes_over_time
from thriftune.reports.trial_costs import read_trial_costs
from thriftune.study.identity import study_folder, study_id
from thriftune.study.layout import journals_of
from thriftune.study.storage import open_store

if TYPE_CHECKING:
    from thriftune.checkpoints import Checkpoint, CheckpointStore

_stores: "WeakValueDictionary[tuple[object, ...], CheckpointStore]" = WeakValueDictionary()
"""The stores of this process's catalogs, by folder and settings."""


def _store_of(
    root: Path, study: str, storage: StorageConfig, shared: tuple[Path, ...], parallel_bytes: int | None
) -> "CheckpointStore":
    folder = study_folder(root, study)
    key = folder.resolve(), storage.model_dump_json(), shared, parallel_bytes
    store = _stores.get(key)
    if store is None:
        size = PARALLEL_BYTES if parallel_bytes is None else parallel_bytes
        store = _stores[key] = open_store(folder, study_id(study), storage, shared, size)
    return store


class CheckpointDataset(AbstractDataset[Any, Any]):
    """Saves one checkpoint a call; loads the store, as PartitionedDataset gives callables.

    checkpoints:
      type: thriftune.datasets.checkpoint_dataset.CheckpointDataset
      filepath: data/06_models
      study: my-study
      policy: {keep_last_n: 1, keep_best_k: 1, max_total_size: 10GB}
      shared: [data/tracking]  # counted against the budget too
      parallel_bytes: 67108864  # from this size on, two files are written at a time, past the page cache
    """

    def __init__(
        self,
        *,
        filepath: str,
        study: str,
        policy: dict[str, JsonValue] | None = None,
        shared: list[str] | None = None,
        parallel_bytes: int | None = None,
        version: Any = None,
        metadata: dict[str, JsonValue] | None = None,
    ) -> None:
        if version is not None:  # what Kedro makes of `versioned: true`
            raise ConfigError(
                "a checkpoint entry cannot be versioned: its epochs are its versions",
                remedy="remove `versioned: true` from the catalog entry.",
            )
        self._filepath, self._study = Path(filepath), study
        self._policy = policy or {}
        self._shared = tuple(Path(path) for path in shared or ())
        self._parallel_bytes = parallel_bytes
        self.metadata = metadata
        self._store: CheckpointStore | None = None

    def load(self) -> "CheckpointStore":
        """Return the study's store.

        Kedro forbids one dataset as input and output of a node, so the catalog has two entries on one store:
        one that training reads from, one that saves. Both get the same object while either is alive.
        """
        if self._store is None:
            given = {"storage": {"root": str(self._filepath), **dict(self._policy)}}
            storage = parse_parameters(given, where={"storage": "the catalog entry's policy"}).storage
            self._store = _store_of(self._filepath, self._study, storage, self._shared, self._parallel_bytes)
        return self._store

    def save(self, data: "Checkpoint") -> None:
        """Save one checkpoint.

        A failure is raised here. Of a checkpoint that training yielded, which is written while training
        continues, it is raised in the loop instead (see Checkpoint.receipt), where the trial's resources are
        closed.

        Args:
            data: Of the entry's study.
        """
        self.load().submit(data)

    def preview(self, nrows: int = 20) -> TablePreview:
        """Return what is kept, and why, for Kedro-Viz.

        Args:
            nrows: At most so many rows.
        """
        rows = [
            [
                entry.manifest.trial,
                entry.manifest.epoch,
                entry.manifest.value,
                "model and optimizer" if entry.manifest.resumable else "model",
                entry.manifest.total_bytes,
                reason,
            ]
            for entry, reason in self.load().explain()[:nrows]
        ]
        columns = ["trial", "epoch", "value", "holds", "bytes", "why"]
        return TablePreview({"index": list(range(len(rows))), "columns": columns, "data": rows})

    def _exists(self) -> bool:
        return bool(self.load().entries())

    def _describe(self) -> dict[str, JsonValue]:
        return {"filepath": str(self._filepath), "study": self._study, "policy": self._policy}


class SavedCheckpointsDataset(CheckpointDataset):
    """The same store, as what a run leaves; Kedro-Viz shows its bytes over time.

    checkpoints:
      type: thriftune.datasets.checkpoint_dataset.SavedCheckpointsDataset
      filepath: data/06_models
      study: my-study
      policy: {max_total_size: 10GB}
    """

    def preview(self) -> PlotlyPreview:  # type: ignore[override]
        """Return the bytes held at the end of each trial, and the budget."""
        store = self.load()
        found = read_trial_costs(journals_of(store.folder), store.budget.bytes)
        return PlotlyPreview(bytes_over_time(found))
