"""Metrics of both agents, thresholds, and the reports made of them."""
