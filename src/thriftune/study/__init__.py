"""A study on disk: its record, its identity, its folders, and who owns it."""
