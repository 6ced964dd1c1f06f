"""What all figures share: colours that colour-blind readers tell apart (Okabe and Ito 2008), names of quantities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F",
)  # fmt: skip

LOG_RATIO = 30.0
"""A positive quantity that spans more than this is drawn on a logarithmic axis."""


def wants_log(*series: NDArray[np.float64]) -> bool:
    """Whether a logarithmic axis shows these values better: all positive, and far apart."""
    values = np.concatenate([np.ravel(part) for part in series])
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > LOG_RATIO)


def ink() -> str:
    """The colour of texts and frames, for marks that must show on the user's ground, light or dark."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


class Named(Protocol):
    """A panel of a figure, as far as choosing one goes."""

    @property
    def name(self) -> str:
        """Of the variable that it shows."""
        ...


P = TypeVar("P", bound=Named)


def panel_of(panels: Sequence[P], variable: str) -> P:
    """The panel that shows `variable`.

    Raises:
        ResultError: there is none.
    """
    for panel in panels:
        if panel.name == variable:
            return panel
    raise ResultError(f'there is no variable "{variable}"; there are: {", ".join(panel.name for panel in panels)}')


def panels_of(panels: Sequence[P], variable: str | None) -> tuple[P, ...]:
    """The panel that shows `variable`, alone, or all of them where none is named.

    Raises:
        ResultError: there is none.
    """
    return tuple(panels) if variable is None else (panel_of(panels, variable),)


def quantity_label(name: str, loss_name: str = "") -> str:
    """How an axis calls a variable."""
    if name != "loss":
        return name.replace("_", " ")
    plain = loss_name.replace("_", "-") if loss_name in ("cross_entropy", "nll", "mse") else ""
    units = {
        "cross-entropy": "loss (cross-entropy, nats)",
        "nll": "loss (NLL, nats)",
        "mse": "loss (mean squared error)",
    }
    return units.get(plain, "loss")


def buffers_note(attrs: Mapping[str, Any]) -> str:
    """What a subtitle says of buffers; of those that move along only where the model has any."""
    moving = ", running statistics move too" if attrs.get("floating_buffers") else ""
    return {"path": moving, "final": ", buffers of the last state", "recalibrate": ", buffers recalibrated"}[attrs["buffers"]]


def html(text: str) -> str:
    """As plotly shows it: it reads tags, entities and templates."""
    return escape(text, quote=False).replace("%{", "&#37;{")
