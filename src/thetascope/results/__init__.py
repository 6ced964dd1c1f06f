"""Results: labelled arrays with provenance, and their store. No torch."""

from thetascope.results.result import Result
from thetascope.results.store import load_result

__all__ = ["Result", "load_result"]
