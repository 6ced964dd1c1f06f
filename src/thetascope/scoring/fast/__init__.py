"""Faster ways to score points; all must equal the oracle within rounding."""
