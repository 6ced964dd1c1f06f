"""A training that can be run again: its description, its data, its optimizer."""
