"""Formats that images come in: each lists what is there."""
