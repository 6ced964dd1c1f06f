"""Checkpoints that other programs wrote: one module for each kind, and what they share. Nothing that stands in a file is run."""
