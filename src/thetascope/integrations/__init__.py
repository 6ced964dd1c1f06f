"""Libraries that people train with, and thetascope in them. Each module imports its library when it is imported itself."""
