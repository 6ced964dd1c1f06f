"""Scoring: what is scored, the oracle that does it slowly and plainly, the runner that goes through points."""
