"""PEFT adapters: what they add to a base model, under the names that the model has within PEFT's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from thetascope.checkpoints.hugging_face import trainer_state
from thetascope.checkpoints.json_files import read_json
from thetascope.checkpoints.opened import Format, How, Opened, check_inside, listed, shortened
from thetascope.checkpoints.pickled import PICKLED
from thetascope.checkpoints.safetensors_alone import SAFETENSORS
from thetascope.errors import CheckpointError
from thetascope.state import TensorSource, TensorSpec
from thetascope.state.states import Renamed, origin_of

CONFIGURATION = "adapter_config.json"
WEIGHTS = {"adapter_model.safetensors": SAFETENSORS, "adapter_model.bin": PICKLED}
WRAPPED, ADAPTER = "base_model.model.", "default"
"""What PEFT puts before the names of a model, and what it calls the one adapter of a model."""
_LOW_RANK = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector")


class Overlaid:
    """One source over another: a tensor that both have is the upper one's."""

    def __init__(self, upper: TensorSource, lower: TensorSource) -> None:
        self._upper, self._lower = upper, lower
        self.specs: Mapping[str, TensorSpec] = {**lower.specs, **upper.specs}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors `names`, each from where it lies."""
        above = [name for name in names if name in self._upper.specs]
        below = [name for name in names if name not in self._upper.specs]
        found = (self._upper.read(above) if above else {}) | (self._lower.read(below) if below else {})
        return {name: found[name] for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor."""
        return (self._upper if name in self._upper.specs else self._lower).piece(name, start, stop)

    def origin(self, name: str) -> Hashable:
        """As `origin_of`: what is below is one for all that lie over it."""
        return origin_of(self._upper if name in self._upper.specs else self._lower, name)


def on_base(opened: Opened, base: TensorSource) -> TensorSource:
    """An adapter on its base model: all tensors of PEFT's model, by its names.

    Raises:
        CheckpointError: the adapter does not fit the base, or is of another kind than LoRA.
    """
    config, path = opened.adapter or {}, opened.path
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(
            f'"{path}" is an adapter of the kind {shortened(str(kind))}; LoRA alone is read. Save the whole model: '
            "model.merge_and_unload().save_pretrained(folder)"
        )
    names = {name.removeprefix(WRAPPED): name for name in base.specs}
    below, above, strange = _names_within_peft(opened.source.specs, names, base.specs)
    if strange:
        raise CheckpointError(
            f'"{path}" is an adapter of another model than base=: {listed(strange)} {_fits_nothing(strange)}. '
            f'It was made for "{shortened(str(config.get("base_model_name_or_path")))}"'
        )
    return Overlaid(Renamed(opened.source, above, {}), Renamed(base, below, {}))


def _fits_nothing(names: Sequence[str]) -> str:
    return f"{'fits' if len(names) == 1 else 'fit'} nothing in it"


def _names_within_peft(
    added: Mapping[str, TensorSpec], base: Mapping[str, str], specs: Mapping[str, TensorSpec]
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """What the tensors of the base, and those of the adapter, are called within PEFT's model; and which of these fit nothing."""
    adapted, saved, above, strange = set[str](), set[str](), dict[str, str](), list[str]()
    for name, spec in added.items():
        plain = name.removeprefix(WRAPPED)
        cut = next((cut for cut in _LOW_RANK if cut in f"{plain}."), None)
        if cut is not None:
            module = plain[: f"{plain}.".index(cut)]
            adapted.add(module)
            if not _fits(cut, spec, specs.get(base.get(f"{module}.weight", ""))):
                strange.append(name)
            above[WRAPPED + _with_adapter(plain, module)] = name
        elif plain in base and specs[base[plain]].shape == spec.shape:
            module, _, last = plain.rpartition(".")
            saved.add(module)
            above[f"{WRAPPED}{module}.modules_to_save.{ADAPTER}.{last}"] = name
        else:
            strange.append(name)
    below = {}
    for plain, name in base.items():
        module, _, last = plain.rpartition(".")
        middle = "base_layer." if module in adapted else "original_module." if module in saved else ""
        below[f"{WRAPPED}{module}{'.' if module else ''}{middle}{last}"] = name
    return below, above, strange


def _with_adapter(plain: str, module: str) -> str:
    """``q.lora_A.weight`` as ``q.lora_A.default.weight``; what is no module of its own gets the adapter's name behind it."""
    kind, _, rest = plain[len(module) + 1 :].partition(".")
    rest = "weight" if kind == "lora_magnitude_vector" else rest
    return f"{module}.{kind}.{ADAPTER}" + (f".{rest}" if rest else "")


def _fits(kind: str, spec: TensorSpec, weight: TensorSpec | None) -> bool:
    """Whether a part of an adapter can belong to a weight: A ``[r, in]``, B ``[out, r]``; of embeddings ``[r, rows]``, ``[width, r]``."""
    if weight is None or not spec.shape:
        return False
    shape = weight.shape
    if kind == ".lora_A.":
        return len(spec.shape) > 1 and len(shape) > 1 and spec.shape[1] in shape[:2]  # transformers' Conv1D keeps weights as [in, out]
    if kind == ".lora_B.":
        return spec.shape[0] in shape[:2]
    if kind == ".lora_embedding_A":
        return spec.shape[-1] == shape[0]
    return kind != ".lora_embedding_B" or spec.shape[0] == shape[-1]


def weights_in(folder: Path) -> Path | None:
    """The weights of the adapter in a folder."""
    if not (folder / CONFIGURATION).is_file():
        return None
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def _folder(path: Path) -> Path:
    """Where an adapter lies, of its folder or its file of weights."""
    return path if path.is_dir() or path.name not in WEIGHTS else path.parent


def _opened(path: Path, how: How) -> Opened:
    folder = _folder(path)
    weights = weights_in(folder)
    assert weights is not None
    for file in (weights, folder / CONFIGURATION):
        check_inside(folder, file)
    config, found = read_json(folder / CONFIGURATION), WEIGHTS[weights.name].open(weights, how)
    moment, metrics = trainer_state(folder)
    return Opened(folder, found.source, "PEFT adapter", 1, moment, metrics, config)


ADAPTERS = Format("a PEFT adapter", lambda path: weights_in(_folder(path)) is not None, _opened)
