"""Measures what SPEC 14 promises: ratios against a baseline of the same run (`make bench`)."""
