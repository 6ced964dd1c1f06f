"""Pictures in 3-D at the front of the docs, drawn from recorded numbers, without a model, data or states.

python covers.py                     draws each recorded result into docs/pictures/NAME.png, those of `TOGETHER` side by side
python covers.py NAME=RESULT …       records stored results of surface or trajectory_plane first, five digits of each number
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import thetascope as ts
from thetascope.quantities import is_error

RECORDED = Path(__file__).parent / "recorded" / "covers"
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
TOGETHER = {"resnets": {"ResNet-20": "resnet20", "ResNet-56": "resnet56"}}
"""Pictures of several results, by label."""
LEFT_OUT = ("fingerprint", "platform", "thetascope_seal", "specification", "states", "run", "command")
"""Of the attributes: what is of one machine, or long."""


def record(name: str, path: str) -> None:
    """Keep what a picture needs of a stored result, as text."""
    data = ts.load_result(path).data.load()
    data = data.drop_vars([str(v) for v in data.data_vars if is_error(str(v)) or "excess" in str(v)])
    data = data.drop_attrs().assign_attrs({key: value for key, value in data.attrs.items() if key not in LEFT_OUT})
    told = data.to_dict()
    for variable, part in (*told["coords"].items(), *told["data_vars"].items()):
        if data[variable].dtype.kind == "f":
            part["data"] = np.vectorize(lambda value: float(f"{value:.5g}"))(part["data"]).tolist()
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{name}.json").write_text(json.dumps(told) + "\n", encoding="utf-8")


def recorded(name: str) -> ts.Result:
    """A result again, of its recorded numbers."""
    return ts.Result(xr.Dataset.from_dict(json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))))


def main() -> None:
    """Record what is named, then draw all."""
    for one in sys.argv[1:]:
        record(*one.split("=", 1))
    together = {name for some in TOGETHER.values() for name in some.values()}
    drawn = {file.stem: recorded(file.stem).plot(kind="3d") for file in sorted(RECORDED.glob("*.json")) if file.stem not in together}
    for name, some in TOGETHER.items():
        drawn[name] = ts.panels({label: recorded(one) for label, one in some.items()}, kind="3d", title=" and ".join(some))
    for name, figure in drawn.items():
        assert isinstance(figure, Figure)
        figure.savefig(PICTURES / f"{name}.png", dpi=130)
        print(PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
