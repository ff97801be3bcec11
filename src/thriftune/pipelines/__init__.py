"""The pipelines `ingest`, `train`, `hpo` and `evaluate`: data flow that Kedro-Viz shows.

Every node is a few lines over the core; what it saves, the catalog saves.
"""
