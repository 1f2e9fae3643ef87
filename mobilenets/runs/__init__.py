"""A run's folder: its stages, whose it is, where it came from."""
