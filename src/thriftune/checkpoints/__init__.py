"""Checkpoints: what is kept (retention), and how it is written (store)."""
