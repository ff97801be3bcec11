"""Where the posts and their annotations come from, and how they are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from thriftune.config.base import Section, Text, TextList


class FilesConfig(Section):
    """Local tables: CSV, JSONL or Parquet, told apart by their suffix."""

    posts: Text | None = None
    """Path of the posts table."""
    annotations: Text | None = None
    """Path of the annotations table."""
    splits: Text | None = None
    """Optional table of post_id and split (train, validation or test)."""


class ColumnsConfig(Section):
    """Column names of the two tables."""

    post_id: Text = "post_id"
    text: Text = "text"
    sentence: Text = "sentence_text"
    criterion: Text = "DSM5_symptom"
    status: Text = "status"


class SplitConfig(Section):
    """The seeded stratified split, used where the data bring none."""

    seed: int = Field(default=0, ge=0)
    validation_share: float = Field(default=0.15, gt=0, lt=0.5)
    test_share: float = Field(default=0.15, gt=0, lt=0.5)


class CorpusConfig(Section):
    """The corpus: source, columns, criteria, split and alignment."""

    source: Literal["sample", "files"] = "sample"
    """sample: the synthetic corpus that ships with the project; files: the user's own tables."""
    root: Text = "data/03_primary"
    """Directory that holds a folder per ingested corpus."""
    cache: Text = "data/05_model_input"
    """Directory of tokenizers and tokenised splits; what is in it can be made again."""
    files: FilesConfig = FilesConfig()
    columns: ColumnsConfig = ColumnsConfig()
    criteria: TextList | None = None
    """The labels to learn, in order; None: every label found but those set aside, sorted."""
    set_aside: TextList = ("SPECIAL_CASE",)
    """Labels that are known but are no criterion: counted, then left out."""
    split: SplitConfig = SplitConfig()
    alignment_threshold: float = Field(default=70.0, ge=0, le=100)
    """Least rapidfuzz similarity (0 to 100) at which a fuzzy place counts as the sentence's."""

    @model_validator(mode="after")
    def _files_are_named(self) -> CorpusConfig:
        if self.source == "files":
            for name in ("posts", "annotations"):
                if getattr(self.files, name) is None:
                    raise ValueError(
                        f"corpus.source is 'files' but corpus.files.{name} is not set; "
                        f"pass the path of the {name} table"
                    )
        if self.criteria is not None and len(set(self.criteria)) != len(self.criteria):
            raise ValueError("corpus.criteria names a label twice")
        if self.criteria is not None and not self.criteria:
            raise ValueError("corpus.criteria is empty; null means every label found")
        return self
