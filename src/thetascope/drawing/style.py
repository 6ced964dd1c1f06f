"""What all pictures share: colours that colour-blind readers tell apart (Okabe and Ito 2008), names of quantities, and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.arrays import Floats
from thetascope.errors import ResultError
from thetascope.quantities import is_error

if TYPE_CHECKING:
    import xarray as xr

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F",
)  # fmt: skip

_TEXT = ("#1d2733", "#e6eaee")
SHADES = {
    "#000000": _TEXT, "#333333": _TEXT, BLUE: (BLUE, "#4aa3e0"), GREEN: (GREEN, "#2fbf94"), VERMILION: (VERMILION, "#f0803c"),
}  # fmt: skip
"""What a page with a ground of its own draws colours in, light and dark; the others show on both."""

LOSSES = {"cross_entropy": "loss (cross-entropy, nats)", "nll": "loss (NLL, nats)", "mse": "loss (mean squared error)"}
"""What an axis calls those that have units."""
PAIRED_BAND = "± 2 standard errors, paired with the final state"
"""What a legend calls a band by the errors of differences."""
LOG_RATIO = 30.0
"""A positive quantity that spans more than this is drawn on a logarithmic axis."""


def wants_log(*series: Floats, ratio: float = LOG_RATIO) -> bool:
    """Whether a logarithmic axis shows these values better: all positive, and far apart."""
    values = np.concatenate([np.ravel(part) for part in series])
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > ratio)


def ink() -> str:
    """The colour of texts and frames, for marks that must show on the user's ground, light or dark."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def quantity_label(name: str, loss_name: str = "") -> str:
    """How an axis calls a variable."""
    return LOSSES.get(loss_name, "loss") if name == "loss" else name.replace("_", " ")


def quantities(attrs: Mapping[str, Any], variable: str | None = None) -> dict[str, str]:
    """What was scored, but for standard errors, each with what an axis calls it; only `variable` where one is named.

    Raises:
        ResultError: there is no such variable.
    """
    labels = {name: quantity_label(name, attrs["loss_name"]) for name in attrs["scored"] if not is_error(name)}
    return labels if variable is None else {known_variable(variable, labels): labels[variable]}


def spread_of(data: xr.Dataset, name: str, where: Any = ..., *, prefix: str = "", paired: bool = False) -> dict[str, Any]:
    """The band around the curve of a variable, as a line takes it; nothing where its error is not known.

    Args:
        data: of which ``{prefix}{name}`` is the curve.
        name: the variable.
        where: the curve's place in the variable.
        prefix: of the variables.
        paired: take the error of the difference from the final state, which is less, also where the variable's own is known.
    """
    own = (f"{prefix}{name}_standard_error", "± 2 standard errors")
    called = PAIRED_BAND if paired else f"{name.replace('_', ' ')}: {PAIRED_BAND}"
    difference = (f"{prefix}{'' if name == 'loss' else f'{name}_'}excess_se", called)
    for variable, label in (difference, own) if paired else (own, difference):
        if variable in data:
            return {"spread": 2 * np.asarray(data[variable].values[where], np.float64), "spread_label": label}
    return {}


def known_variable(variable: str, there: Iterable[str]) -> str:
    """The variable, which must be there.

    Raises:
        ResultError: it is not.
    """
    if variable not in (names := list(there)):
        raise ResultError(f'there is no variable "{variable}"; there are: {", ".join(names)}')
    return variable


def one_of(data: xr.Dataset, dim: str, label: str) -> xr.Dataset:
    """Only the curve of that label.

    Raises:
        ResultError: there is none.
    """
    labels = data[dim].values.astype(str).tolist()
    if label not in labels:
        raise ResultError(f'no {dim} "{label}" in this result; there are: {", ".join(labels[:20])}')
    return data.isel({dim: [labels.index(label)]})


def check_holds(data: xr.Dataset, names: Iterable[str], shown: str) -> None:
    """Whether the data hold what the picture needs.

    Raises:
        ResultError: they do not.
    """
    absent = sorted(set(names) - set(map(str, data.variables)))
    if absent:
        raise ResultError(
            f'this figure is of {shown}; the result of "{data.attrs["experiment"]}" lacks {", ".join(absent)}; '
            "if it is not finished, repeat the call with the same out= to go on with it"
        )


def title_of(attrs: Mapping[str, Any]) -> str:
    """The result's title, with a capital letter."""
    title = str(attrs.get("title", attrs["experiment"]))
    return title[:1].upper() + title[1:]


def html(text: str) -> str:
    """As plotly shows it: it reads tags, entities and templates."""
    return escape(text, quote=False).replace("%{", "&#37;{")
