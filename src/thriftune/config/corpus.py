"""`corpus`: where the posts and their annotations come from, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from thriftune.config.base import Section, Text, TextList


class FilesConfig(Section):
    """Local tables: CSV, JSONL or Parquet, recognised by their suffix."""

    posts: Text | None = None
    """Path of the posts table; required where corpus.source is files."""
    annotations: Text | None = None
    """Path of the annotations table; null: none, and corpus.columns.labels names a column of the posts."""
    splits: Text | None = None
    """Path of a table of post_id and split (train, validation or test); null: corpus.split cuts the
    splits."""

    @property
    def posts_path(self) -> Path | None:
        """The absolute path of the posts table."""
        return self._path(self.posts)

    @property
    def annotations_path(self) -> Path | None:
        """The absolute path of the annotations table."""
        return self._path(self.annotations)

    @property
    def splits_path(self) -> Path | None:
        """The absolute path of the table of splits."""
        return self._path(self.splits)

    def _path(self, name: str | None) -> Path | None:
        return None if name is None else self.resolve(name)


class HubSplitsConfig(Section):
    """Names of a data set's ready splits."""

    train: Text = "train"
    """Its split to learn from."""
    validation: Text | None = "validation"
    """Its split for validation; null: it has none, and one is cut from its train split."""
    test: Text | None = "test"
    """Its split for the one test evaluation; null: it has none, and one is cut from its train split."""


class HubConfig(Section):
    """A data set on the Hugging Face hub: two tables among its files, or its ready splits."""

    id: Text | None = None
    """owner/name; required where corpus.source is hub."""
    revision: Text = "main"
    """Branch, tag or commit. The commit of a branch is asked for once, and recorded below corpus.root."""
    posts: Text | None = None
    """File of the posts table in the repository; null: the ready splits are the posts."""
    annotations: Text | None = None
    """File of the annotations table in the repository; null: corpus.columns.labels names a column of the
    posts."""
    config: Text | None = None
    """Configuration of the data set; null: its ready splits have only one."""
    splits: HubSplitsConfig = HubSplitsConfig()


class ColumnsConfig(Section):
    """Names of the columns."""

    post_id: Text = "post_id"
    """Column of every table with the post's id."""
    text: Text = "text"
    """Column of the posts table with the post's text."""
    sentence: Text = "sentence_text"
    """Column of the annotations table with the annotated sentence."""
    criterion: Text = "DSM5_symptom"
    """Column of the annotations table with the criterion's label."""
    status: Text = "status"
    """Column of the annotations table: 1 for evidence for the criterion, 0 for explicitly not."""
    labels: Text | None = None
    """Column of the posts table that lists the criteria which a post meets, instead of an annotations table:
    a list, or a text that is split at `;`; null: there is an annotations table."""


class SplitConfig(Section):
    """The stratified split, used where the data bring none."""

    seed: int = Field(default=0, ge=0, lt=2**32 - 1)
    """Seed of the split; independent of study.seed, so that studies of several seeds share it."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of the posts in validation, between 0 and 0.5."""
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of the posts in test, between 0 and 0.5."""


class CorpusConfig(Section):
    """The corpus: source, columns, criteria, split and alignment."""

    source: Literal["sample", "files", "hub"] = "sample"
    """sample: the synthetic corpus that ships with the project; files: the user's own tables; hub: a data set
    on the Hugging Face hub."""
    root: Text = "data/03_primary"
    """Directory with a folder per ingested corpus; relative paths start at the project."""
    cache: Text = "data/05_model_input"
    """Directory of tokenizers and tokenised splits; it can be deleted, and is filled again when needed."""
    files: FilesConfig = FilesConfig()
    hub: HubConfig = HubConfig()
    columns: ColumnsConfig = ColumnsConfig()
    criteria: TextList | None = None
    """Labels to learn, in order; null: every label found except those in set_aside, sorted."""
    set_aside: TextList = ("SPECIAL_CASE",)
    """Labels that are not criteria: they are counted, then left out."""
    split: SplitConfig = SplitConfig()
    alignment_threshold: float = Field(default=70.0, ge=0, le=100)
    """Least percentage of a sentence's words, 0 to 100, that a place in the post must have to be taken for
    the sentence."""

    @property
    def folder(self) -> Path:
        """The absolute path of `root`."""
        return self.resolve(self.root)

    @property
    def cache_folder(self) -> Path:
        """The absolute path of `cache`."""
        return self.resolve(self.cache)

    @model_validator(mode="after")
    def _sources_are_named(self) -> CorpusConfig:
        if self.source == "files":
            self._require("files", "posts")
        if self.source == "hub":
            self._require("hub", "id")
        has_table = self.source == "files" or (self.source == "hub" and self.hub.posts is not None)
        if has_table and self.columns.labels is None:
            self._require(self.source, "annotations")
        if self.source == "hub" and self.hub.posts is None and self.columns.labels is None:
            raise ValueError(
                "for a data set with ready splits, set corpus.columns.labels to the column that lists the "
                "criteria of a post; for one with two tables, set corpus.hub.posts and "
                "corpus.hub.annotations to its files"
            )
        return self

    def _require(self, section: str, name: str) -> None:
        if getattr(getattr(self, section), name) is None:
            raise ValueError(f"corpus.source is {section!r} but corpus.{section}.{name} is not set")

    @model_validator(mode="after")
    def _criteria_are_a_set(self) -> CorpusConfig:
        if self.criteria is not None and len(set(self.criteria)) != len(self.criteria):
            raise ValueError("corpus.criteria names a label twice")
        if self.criteria is not None and not self.criteria:
            raise ValueError("corpus.criteria is empty; null means every label found")
        return self
