"""The files that ``thetascope init`` writes."""
