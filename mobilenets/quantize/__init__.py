"""Fewer bits: 8-bit integers, calibrated on images."""
