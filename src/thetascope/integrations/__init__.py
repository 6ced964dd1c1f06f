"""Other tools that people train with. Each is imported where its module is imported, or its objects are handed over."""
