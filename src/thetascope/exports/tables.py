"""Results as tables and as arrays."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.errors import ResultError
from thetascope.exports.selection import only_variable
from thetascope.files import file_name
from thetascope.results.dataframes import to_dataframe, without_formulas
from thetascope.shown import encoded

if TYPE_CHECKING:
    import xarray as xr


def table(data: xr.Dataset, suffix: str, variable: str | None, *, verbatim: bool = False) -> bytes:
    """The table of `to_dataframe` as UTF-8. Numbers have as many digits as tell them apart from every other.

    `verbatim` leaves texts that a spreadsheet would run as they are.
    """
    made = to_dataframe(only_variable(data, variable))
    return encoded((made if verbatim else without_formulas(made)).to_csv(index=False, na_rep="nan", lineterminator="\n"))


def arrays(data: xr.Dataset, suffix: str, variable: str | None) -> bytes:
    """Each variable and coordinate by its name, a slash in it as ``%2F``; ``attrs`` and each array's ``dims`` as JSON. Nothing is pickled.

    Written entry by entry, because `numpy.savez` takes names as keywords, and not every name may be one.
    """
    data = only_variable(data, variable)
    dims = {str(name): list(map(str, array.dims)) for name, array in data.variables.items()}
    told = {"attrs": np.array(_json(data.attrs)), "dims": np.array(_json(dims))}
    for name in told.keys() & dims.keys():
        raise ResultError(f'an .npz keeps its own notes under "{name}", and so is a variable called; choose .csv, or rename it')
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in {**{str(name): array.values for name, array in data.variables.items()}, **told}.items():
            with archive.open(f"{file_name(name)}.npy", "w", force_zip64=True) as entry:
                plain = np.array(values.tolist(), str).reshape(values.shape) if values.dtype.kind in "OT" else values
                np.lib.format.write_array(entry, plain, allow_pickle=False)
    return content.getvalue()


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, default=lambda value: np.asarray(value).tolist())
