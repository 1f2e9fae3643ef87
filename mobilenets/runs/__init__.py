"""A run's folder: the names of its files, its stages, whose it is."""
