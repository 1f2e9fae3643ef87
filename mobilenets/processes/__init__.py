"""Processes: children that measure and convert, those that torchrun starts, OpenMP."""
