"""Logs, the sanitiser of all that leaves the process, and the terminal progress."""
