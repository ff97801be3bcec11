"""Thriftune: hyper-parameter search inside a byte budget, resumable to the same result."""

__version__ = "0.2.0"
