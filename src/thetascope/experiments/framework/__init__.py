"""What every experiment is run by: its declaration, the Job, plans, provenance."""
