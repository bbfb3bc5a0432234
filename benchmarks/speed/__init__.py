"""Measure speed against a stated baseline."""
