"""Posts and annotations: reading, checking, aligning, splitting, tokenising."""
