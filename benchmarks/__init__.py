"""Measures ratios against a baseline of the same run (`make bench`)."""

from thriftune.project.environment import set_library_options

set_library_options()
