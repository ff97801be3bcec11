"""One process at work on one study: trials, limits, failures, and the test evaluation."""
