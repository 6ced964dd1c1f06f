"""Results: labelled arrays with provenance, and their store. No torch."""

from thetascope.results.result import Result
from thetascope.results.stored import load_result

__all__ = ["Result", "load_result"]
