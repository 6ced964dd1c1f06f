"""Results as files for ParaView: VTK XML with inline base64, as "VTK File Formats" (docs.vtk.org, "XML File Formats") describes it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError
from thetascope.exports.selection import only_variable

if TYPE_CHECKING:
    import xarray as xr

VTK_TYPES = {"f": ("Float64", "<f8"), "b": ("Int8", "i1"), "i": ("Int64", "<i8"), "u": ("Int64", "<i8")}
"""What VTK calls what arrays of each kind become, and numpy's name of it. An int8, such as a status, stays one byte ("b")."""
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may hold, escaped or not."""
UNEVEN = 1e-6
"""Coordinates may be off an even grid by this share of a step."""


def image_data(data: xr.Dataset, suffix: str, variable: str | None) -> bytes:
    """The grid: point i + nx · j is the cell (``y`` j, ``x`` i). Floating variables as Float64, each status as Int8."""
    data = only_variable(data, variable)
    if not _has_grid(data):
        raise _unfit(data, suffix, "holds a grid over y and x")
    (x_origin, x_step), (y_origin, y_step) = _axis(data, "x"), _axis(data, "y")
    extent = f"0 {data.sizes['x'] - 1} 0 {data.sizes['y'] - 1} 0 0"
    root, image = _document("ImageData", data)
    image.attrib |= {"WholeExtent": extent, "Origin": f"{x_origin!r} {y_origin!r} 0", "Spacing": f"{x_step!r} {y_step!r} 1"}
    piece = ElementTree.SubElement(image, "Piece", Extent=extent)
    _point_data(piece, {name: values.ravel() for name, values in _numbers(data, ("y", "x")).items()}, variable or "loss")
    return _xml(root)


def poly_data(data: xr.Dataset, suffix: str, variable: str | None) -> bytes:
    """The states as points (``path_x``, ``path_y``, 0) and a line a training; a training of one state is a vertex."""
    data = only_variable(data, variable)
    if not _has_path(data):
        raise _unfit(data, suffix, "holds the way of a training through its plane (path_x, path_y)")
    values = _numbers(data, ("state",))
    points = np.column_stack([values["path_x"], values["path_y"], np.zeros(data.sizes["state"])])
    owner = values.get("training", np.zeros(len(points)))
    ways = [np.flatnonzero(owner == training) for training in dict.fromkeys(owner.tolist())]
    cells = {"Verts": [way for way in ways if len(way) == 1], "Lines": [way for way in ways if len(way) > 1]}
    root, poly = _document("PolyData", data)
    piece = ElementTree.SubElement(poly, "Piece", NumberOfPoints=str(len(points)))
    _point_data(piece, values, f"path_{variable or 'loss'}")
    ElementTree.SubElement(piece, "Points").append(_array("Points", points))
    for kind, members in cells.items():
        piece.set(f"NumberOf{kind}", str(len(members)))
        element = ElementTree.SubElement(piece, kind)
        element.append(_array("connectivity", np.concatenate([np.empty(0, np.int64), *members])))
        element.append(_array("offsets", np.cumsum([len(way) for way in members], dtype=np.int64)))
    return _xml(root)


def _has_grid(data: xr.Dataset) -> bool:
    return {"x", "y"} <= set(data.coords) and bool(_numbers(data, ("y", "x")))


def _has_path(data: xr.Dataset) -> bool:
    return {"path_x", "path_y"} <= set(_numbers(data, ("state",)))


def _numbers(data: xr.Dataset, dims: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The numeric variables over exactly these dimensions, in this order of them."""
    return {
        str(name): variable.transpose(*dims).values
        for name, variable in data.data_vars.items()
        if set(variable.dims) == set(dims) and variable.dtype.kind in VTK_TYPES
    }


def _axis(data: xr.Dataset, name: str) -> tuple[float, float]:
    """Where an axis begins and its step, 1 where it has one value."""
    values = np.asarray(data[name].values, np.float64)
    if len(values) == 1:
        return float(values[0]), 1.0
    step = float((values[-1] - values[0]) / (len(values) - 1))
    off = np.abs(values - (values[0] + step * np.arange(len(values)))).max()
    if not (step > 0 and off <= UNEVEN * step + 8 * np.spacing(np.abs(values).max())):
        raise ResultError(f"a .vti holds a grid whose {name} rises in even steps; this one's does not: choose .csv or .npz")
    return float(values[0]), step


def _unfit(data: xr.Dataset, suffix: str, holds: str) -> ResultError:
    fits = [name for name, fit in ((".vti", _has_grid), (".vtp", _has_path)) if fit(data)]
    return ResultError(
        f'a {suffix} file {holds}; the result of "{data.attrs["experiment"]}" has none. '
        f"Choose {', '.join([*fits, '.csv'])} or .npz, or a picture (.png, .svg, .pdf, .html)"
    )


def _document(kind: str, data: xr.Dataset) -> tuple[ElementTree.Element, ElementTree.Element]:
    """A VTK file's root and its data set, which says where it comes from in the field ``provenance``."""
    root = ElementTree.Element("VTKFile", type=kind, version="1.0", byte_order="LittleEndian", header_type="UInt64")
    dataset = ElementTree.SubElement(root, kind)
    text = ElementTree.SubElement(ElementTree.SubElement(dataset, "FieldData"), "DataArray")
    text.attrib = {"type": "String", "Name": "provenance", "NumberOfTuples": "1", "format": "binary"}
    text.text = _base64(_provenance(data).replace("\0", "\ufffd").encode(errors="replace") + b"\0")
    return root, dataset


def _provenance(data: xr.Dataset) -> str:
    attrs = data.attrs
    said = {
        "experiment": attrs["experiment"],
        "title": attrs.get("title", attrs["experiment"]),
        "subtitle": attrs.get("subtitle"),
        **{f"{axis} axis": label for axis, label in attrs.get("axis_labels", {}).items()},
        "samples scored": attrs.get("samples_scored"),
        "created": attrs.get("created"),
        **{f"{name} version": version for name, version in attrs.get("versions", {}).items()},
    }
    return "\n".join(f"{name}: {text}" for name, text in said.items() if text not in (None, ""))


def _point_data(piece: ElementTree.Element, arrays: Mapping[str, NDArray[Any]], shown_first: str) -> None:
    element = ElementTree.SubElement(piece, "PointData", {"Scalars": _xml_text(shown_first)} if shown_first in arrays else {})
    element.extend(_array(name, values) for name, values in arrays.items())


def _array(name: str, values: NDArray[Any]) -> ElementTree.Element:
    """An array ``[n]`` or ``[n, components]``; every number as it is, not finite ones too."""
    vtk_type, dtype = VTK_TYPES["b" if values.dtype == np.int8 else values.dtype.kind]
    element = ElementTree.Element("DataArray", type=vtk_type, Name=_xml_text(name), format="binary")
    if values.ndim == 2:
        element.set("NumberOfComponents", str(values.shape[1]))
    element.text = _base64(values.astype(dtype).tobytes())
    return element


def _base64(content: bytes) -> str:
    """The number of bytes, then the bytes, as one base64 text."""
    return base64.b64encode(len(content).to_bytes(8, "little") + content).decode("ascii")


def _xml_text(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)


def _xml(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written
