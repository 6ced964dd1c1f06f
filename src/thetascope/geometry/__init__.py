"""Pure arithmetic on coefficient tables: points, paths. No model, no files."""
