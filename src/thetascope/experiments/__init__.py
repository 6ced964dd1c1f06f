"""One module an experiment: it builds points, calls the engine, adds what is derived."""
