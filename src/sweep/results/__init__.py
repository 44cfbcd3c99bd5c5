"""Counts and what is said of them, with NumPy alone: records, metrics, intervals."""
