"""Patterns of single parameters: their picture and their words."""
