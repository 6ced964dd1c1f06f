"""States whose tensors lie in several files, as an index says: ``model.safetensors.index.json``, ``pytorch_model.bin.index.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from thetascope.checkpoints.json_files import read_json
from thetascope.checkpoints.open_files import check_file
from thetascope.checkpoints.opened import Format, How, Opened, inside, listed, quantised_problem
from thetascope.checkpoints.pickled import PickledSource
from thetascope.checkpoints.safetensors_alone import is_safetensors
from thetascope.errors import CheckpointError
from thetascope.recording.safetensors_files import SafetensorsSource
from thetascope.state import TensorSource, TensorSpec

SUFFIX = ".index.json"
MOST_SHARDS = 10_000


class ShardedSource:
    """Tensors that lie in several files, each read from its own."""

    def __init__(self, index: Path, allow: Sequence[str | type]) -> None:
        self.path = index
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise CheckpointError(f'"{index}" has no weight_map, which says in which file each tensor lies; restore it from a copy')
        files = {name: inside(index.parent, name, index) for name in dict.fromkeys(places.values())}
        if len(files) > MOST_SHARDS:
            raise CheckpointError(f'"{index}" names {len(files):,} files; at most {MOST_SHARDS:,} are opened')
        self.parts = {name: _part(file, allow) for name, file in files.items()}
        lacking = [name for name, file in places.items() if name not in self.parts[file].specs]
        if lacking:
            raise CheckpointError(f'"{index}" says where {listed(lacking)} should lie, and nothing lies there; restore these files')
        self._places: dict[str, str] = places
        self.specs: Mapping[str, TensorSpec] = {name: self.parts[file].specs[name] for name, file in places.items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors `names`, each file opened once."""
        by_file: dict[str, list[str]] = {}
        for name in names:
            by_file.setdefault(self._places[name], []).append(name)
        found = {name: tensor for file, own in by_file.items() for name, tensor in self.parts[file].read(own).items()}
        return {name: found[name] for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor."""
        return self.parts[self._places[name]].piece(name, start, stop)


def _part(path: Path, allow: Sequence[str | type]) -> TensorSource:
    check_file(path)
    return SafetensorsSource(path) if is_safetensors(path) else PickledSource(path, key=None, allow=allow)


def _opened(path: Path, how: How) -> Opened:
    source = ShardedSource(path, how.allow)
    problem = quantised_problem(source.specs)
    if problem:
        raise CheckpointError(f'"{path}" {problem}')
    return Opened(path, source, "sharded", files=len(source.parts))


SHARDS = Format("an index of shards", lambda path: path.name.endswith(SUFFIX) and path.is_file(), _opened)
