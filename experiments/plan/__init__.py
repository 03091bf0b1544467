"""Says what a study will take, and settles what it needs before its first run."""
