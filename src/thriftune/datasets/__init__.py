"""Catalog adapters over the core; each translates and decides nothing."""
