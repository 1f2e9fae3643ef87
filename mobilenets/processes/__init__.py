"""Processes: children that measure and convert, OpenMP."""
