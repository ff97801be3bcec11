"""Data flow, visible in Kedro-Viz; every node is a few lines over the core."""
