"""Measured comparisons: what is fast, and what it costs. Numbers are printed, never asserted."""
