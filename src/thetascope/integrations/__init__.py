"""Other tools that people train with. Nothing of them is imported here: what a user passes is known by what it can do."""
