"""Drift statistics and the monitor process."""
