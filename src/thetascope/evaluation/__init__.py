"""Scoring: the objective, the engine that plans the work, the backends that do it."""
