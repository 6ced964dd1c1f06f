"""Results: labelled arrays with provenance, and their store. No torch."""

from thetascope.results.loading import load_result
from thetascope.results.result import Result

__all__ = ["Result", "load_result"]
