from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.recording.tiny import Tiny, assert_same
from thetascope.checkpoints.formats import open_checkpoint
from thetascope.checkpoints.opened import How
from thetascope.errors import CheckpointError, ThetascopeError

ZIP, LEGACY = "zip", "legacy"
FORMATS = [ZIP, LEGACY]
TENSORS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2, dtype=torch.bfloat16), "count": torch.tensor(3)}


def save(content: Any, path: Path, kind: str = ZIP) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=kind == ZIP)
    return path


def read(path: Path, *, key: str | None = None, prefix: str | None = None, allow: Sequence[str | type] = ()) -> dict[str, Tensor]:
    source = open_checkpoint(path, How(key, prefix, tuple(allow))).source
    return source.read(list(source.specs))


def refusal(path: Path, allow: Sequence[str | type] = ()) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path, allow=allow)
    return str(caught.value)


# --- what is read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".tar"])
def test_pickled_files_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    assert_same(read(save(TENSORS, tmp_path / f"a{suffix}", kind)), TENSORS)


def test_safetensors_files_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    source = open_checkpoint(tmp_path / "a.safetensors", How()).source
    assert {name: (spec.shape, spec.dtype) for name, spec in source.specs.items()} == {
        "fc.weight": ((2, 3), "float32"),
        "fc.bias": ((2,), "bfloat16"),
        "count": ((), "int64"),
    }
    assert_same(source.read(["fc.bias"]), {"fc.bias": TENSORS["fc.bias"]})


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net"])
def test_a_state_dict_is_found_under_the_usual_keys(tmp_path: Path, kind: str, key: str) -> None:
    content = {"epoch": 3, "best": torch.tensor(0.9), key: TENSORS, "optimizer": {"lr": 0.1, "momentum": [torch.zeros(1)]}}
    assert_same(read(save(content, tmp_path / "a.pt", kind)), TENSORS)


@pytest.mark.parametrize("kind", FORMATS)
def test_key_says_where_it_lies(tmp_path: Path, kind: str) -> None:
    path = save({"state_dict": {"other": torch.zeros(1)}, "ema": TENSORS}, tmp_path / "a.pt", kind)
    assert_same(read(path, key="ema"), TENSORS)
    with pytest.raises(CheckpointError, match=r'has nothing under key="teacher"; it holds: "state_dict", "ema"'):
        read(path, key="teacher")


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({"nets": {"G": TENSORS, "D": TENSORS}, "epoch": 3}, 'it holds: "nets", "epoch"'),
        ({"state_dict": {"a": 1.0}}, 'it holds: "state_dict"'),
        ({}, "it holds: "),
        ([torch.zeros(1)], "it holds: a list"),
        (torch.zeros(1), "it holds: a Tensor"),
    ],
)
def test_what_holds_no_state_dict_is_said(tmp_path: Path, content: object, held: str) -> None:
    message = refusal(save(content, tmp_path / "a.pt"))
    assert "holds no state dict at its top or under state_dict, model, model_state_dict, net, module; " + held in message
    assert ("Say where it lies with key=…" in message) or 'under "nets.G", "nets.D": say which with key=' in message


@pytest.mark.parametrize("kind", FORMATS)
def test_keys_nest(tmp_path: Path, kind: str) -> None:
    content = {"nets": {"G": TENSORS, "D": {"other": torch.zeros(1)}}, "a.b": {"c": TENSORS}, "optimizer": {"state": {"w": torch.ones(1)}}}
    path = save(content, tmp_path / "a.pt", kind)
    assert_same(read(path, key="nets.G"), TENSORS)
    assert_same(read(path, key="a.b.c"), TENSORS)
    with pytest.raises(CheckpointError, match=r'nothing under key="nets\.E".* State dicts lie under "nets\.G", "nets\.D", "a\.b\.c": say'):
        read(path, key="nets.E")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_only_network_is_found_wherever_it_lies(tmp_path: Path, kind: str) -> None:
    content = {"run": {"weights": TENSORS}, "optimizer_state": {"momentum": {"w": torch.zeros(1)}}, "epoch": 3}
    assert_same(read(save(content, tmp_path / "a.pt", kind)), TENSORS)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_modules_own_state_dict_and_parameters_are_read(tmp_path: Path, kind: str) -> None:
    model = Tiny()
    assert_same(read(save(model.state_dict(), tmp_path / "a.pt", kind)), model.state_dict())
    assert_same(read(save(dict(model.named_parameters()), tmp_path / "b.pt", kind)), dict(model.named_parameters()))


def test_extra_state_is_passed_over(tmp_path: Path) -> None:
    assert_same(read(save({**TENSORS, "fc._extra_state": {"scale": 1}}, tmp_path / "a.pt")), TENSORS)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_prefix_selects_and_is_left_out(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    content = {"student.w": torch.ones(1), "teacher.w": torch.zeros(1)}
    save_file(content, path) if suffix == ".safetensors" else save(content, path)
    assert_same(read(path, prefix="student."), {"w": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r'no name in .* starts with prefix="pupil\."; there are: student\.w, teacher\.w'):
        read(path, prefix="pupil.")


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_read_is_a_copy_of_its_own(tmp_path: Path, kind: str) -> None:
    path = save(TENSORS, tmp_path / "a.pt", kind)
    source = open_checkpoint(path, How()).source
    source.read(["fc.weight"])["fc.weight"].fill_(99)
    assert_same(source.read(list(TENSORS)), TENSORS)
    assert_same(read(path), TENSORS)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_read_does_not_change_with_the_file(tmp_path: Path, kind: str) -> None:
    path = save(TENSORS, tmp_path / "a.pt", kind)
    found = read(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert_same(found, TENSORS)


def test_a_file_that_was_replaced_by_another_says_so(tmp_path: Path) -> None:
    source = open_checkpoint(save(TENSORS, tmp_path / "a.pt"), How()).source
    save({"fc.weight": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"changed since it was opened: it now lacks fc\.bias"):
        source.read(["fc.weight", "fc.bias"])


# --- what is refused --------------------------------------------------------------------------------------


class Call:
    """Pickles to a call of `function`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def usual(tmp_path: Path) -> Callable[[str], Path]:
    """A training's usual checkpoint: an accuracy of numpy, the command line's options."""
    content = {
        "state_dict": TENSORS,
        "accuracy": np.float64(0.5),
        "loss": np.float32(0.25),
        "epoch": np.int64(3),
        "best": np.bool_(True),
        "args": argparse.Namespace(lr=0.1),
    }
    return lambda kind: save(content, tmp_path / f"{kind}.pt", kind)


ADVICE = 'If the file comes from someone you trust and these are plain data classes, admit them with  allow=["argparse.Namespace"]'


@pytest.mark.parametrize("kind", FORMATS)
def test_a_refusal_names_the_classes_and_the_way_out(usual: Callable[[str], Path], kind: str) -> None:
    path = usual(kind)
    message = refusal(path)
    assert f'"{path}" was refused, nothing in it was run' in message
    assert '"numpy._core.multiarray.scalar"' in message
    assert "admit them with  allow=[" in message
    if kind == ZIP:  # the old format tells one at a time
        assert 'allow=["argparse.Namespace", "numpy._core.multiarray.scalar", "numpy.dtype"]' in message


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "allow",
    [
        ["argparse.Namespace", "numpy._core.multiarray.scalar", "numpy.dtype"],
        ["argparse.Namespace", "numpy._core.multiarray.scalar"],
        [argparse.Namespace, np.dtype],
    ],
)
def test_what_is_admitted_loads(usual: Callable[[str], Path], kind: str, allow: list[str | type]) -> None:
    assert_same(read(usual(kind), allow=allow), TENSORS)


@pytest.mark.parametrize("kind", FORMATS)
def test_following_the_advice_leads_to_the_state(usual: Callable[[str], Path], kind: str) -> None:
    path, allow = usual(kind), list[str | type]()
    for _ in range(5):
        try:
            found = read(path, allow=allow)
        except CheckpointError as error:
            allow += str(error).split("allow=[")[1].rstrip("]").replace('"', "").split(", ")
    assert_same(found, TENSORS)


def test_a_refusal_names_only_what_is_not_admitted_yet(usual: Callable[[str], Path]) -> None:
    assert refusal(usual(ZIP), ["numpy.dtype"]).endswith('besides tensors it holds "argparse.Namespace". ' + ADVICE)


def test_admitting_lasts_for_one_file_only(usual: Callable[[str], Path]) -> None:
    before = set(torch.serialization.get_safe_globals())  # torch keeps a set, and lists it in whatever order
    read(usual(ZIP), allow=["argparse.Namespace", "numpy.dtype"])
    assert set(torch.serialization.get_safe_globals()) == before
    refusal(usual(ZIP))


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_numbers_are_known_by_their_old_and_new_name(tmp_path: Path, module: str) -> None:
    """A file by numpy 1 names numpy.core, one by numpy 2 numpy._core; both are read."""
    path = save({"state_dict": TENSORS, "accuracy": np.float64(0.5)}, tmp_path / "a.pt")
    rewrite(path, lambda pickle: pickle.replace(b"numpy._core.multiarray", module.encode()))
    assert f'"{module}.scalar"' in refusal(path)
    assert_same(read(path, allow=[f"{module}.scalar"]), TENSORS)


@pytest.mark.parametrize("kind", FORMATS)
def test_numpy_arrays_can_be_admitted(tmp_path: Path, kind: str) -> None:
    content = {"state_dict": TENSORS, "random": np.random.default_rng(0).random(5), "order": np.arange(4)}
    path = save(content, tmp_path / "a.pt", kind)
    assert '"numpy._core.multiarray._reconstruct"' in refusal(path)
    assert_same(read(path, allow=["numpy._core.multiarray._reconstruct"]), TENSORS)


def test_a_whole_module_is_refused_by_its_class(tmp_path: Path) -> None:
    assert '"torch.nn.modules.linear.Linear"' in refusal(save(nn.Linear(2, 2), tmp_path / "a.pt"))


@pytest.mark.parametrize(
    ("allow", "reason"),
    [
        (["Namespace"], r'"Namespace", which cannot be imported .*; write it as "module\.Class"'),
        (["argparse.Nonsense"], r'"argparse\.Nonsense", which cannot be imported'),
        (["nonsense_of_mine.Class"], r'"nonsense_of_mine\.Class", which cannot be imported'),
        (["torch.save"], r'"torch\.save", which is a function, not a class; only classes can be admitted'),
    ],
)
def test_an_allow_that_names_no_class_says_why(tmp_path: Path, allow: list[str | type], reason: str) -> None:
    with pytest.raises(CheckpointError, match=f"allow (names )?{reason}"):
        read(save(TENSORS, tmp_path / "a.pt"), allow=allow)


# --- what would run code ----------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the pickle inside a zip checkpoint."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(name, change(content) if name.endswith("data.pkl") else content)


def calling(path: Path, module: str, name: str, *arguments: object) -> Path:
    """A checkpoint whose pickle is ``module.name(*arguments)``, whatever Python calls that function."""
    import pickle

    save(TENSORS, path)
    values = pickle.dumps(arguments, protocol=2)[2:-1]
    rewrite(path, lambda _: b"\x80\x02c" + f"{module}\n{name}\n".encode() + values + b"R.")
    return path


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Path]:
    """A file that is not there, and must not be there after the test either."""
    path = tmp_path / "code-was-run"
    yield path
    assert not path.exists(), "the checkpoint ran its code"


def open_for_writing(path: str) -> None:
    """Stands for a harmless-looking function of a user's module."""
    Path(path).write_text("run")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("allow", [[], ["os.system"], ["posix.system"], ["builtins.eval"]])
def test_code_is_refused_by_name_and_does_not_run(tmp_path: Path, trap: Path, kind: str, allow: list[str | type]) -> None:
    system = save({**TENSORS, "x": Call(os.system, f"touch {trap}")}, tmp_path / "a.pt", kind)
    evaluated = save({**TENSORS, "x": Call(eval, f"open({str(trap)!r}, 'w')")}, tmp_path / "b.pt", kind)
    mine = save({**TENSORS, "x": Call(open_for_writing, str(trap))}, tmp_path / "c.pt", kind)
    if allow:
        for path in (system, evaluated, mine):
            assert f'allow names "{allow[0]}", which' in refusal(path, allow)
            assert "never admits it" in refusal(path, allow)
    else:
        assert '"posix.system"' in refusal(system)
        assert "eval" in refusal(evaluated)
        assert "open_for_writing" in refusal(mine)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_refusal_does_not_advise_to_admit_what_can_run_programs(tmp_path: Path, trap: Path, kind: str) -> None:
    message = refusal(save({**TENSORS, "x": Call(os.system, f"touch {trap}")}, tmp_path / "a.pt", kind))
    assert '"posix.system"' in message
    assert "allow=" not in message


RUNNERS: list[tuple[str, str, tuple[object, ...]]] = [
    ("posix", "system", ("touch {}",)),
    ("os", "system", ("touch {}",)),
    ("builtins", "eval", ("open('{}', 'w')",)),
    ("builtins", "exec", ("open('{}', 'w')",)),
    ("__builtin__", "eval", ("open('{}', 'w')",)),
    ("subprocess", "Popen", (["touch", "{}"],)),
    ("_io", "FileIO", ("{}", "w")),
    ("io", "FileIO", ("{}", "w")),
    ("logging", "FileHandler", ("{}",)),
    ("zipfile", "ZipFile", ("{}", "w")),
    ("sqlite3", "Connection", ("{}",)),
]


def filled_in(argument: Any, trap: Path) -> Any:
    return [filled_in(part, trap) for part in argument] if isinstance(argument, list) else argument.replace("{}", str(trap))


@pytest.mark.parametrize(("module", "name", "arguments"), RUNNERS, ids=[f"{module}.{name}" for module, name, _ in RUNNERS])
def test_nothing_that_runs_or_writes_can_be_admitted(
    tmp_path: Path, trap: Path, module: str, name: str, arguments: tuple[Any, ...]
) -> None:
    path = calling(tmp_path / "a.pt", module, name, *(filled_in(argument, trap) for argument in arguments))
    refusal(path)
    refusal(path, [f"{module}.{name}"])
    function = getattr(__import__(module.replace("__builtin__", "builtins")), name)
    refusal(path, [function])


def test_a_library_cannot_be_loaded(tmp_path: Path) -> None:
    path = calling(tmp_path / "a.pt", "ctypes", "CDLL", "libm.so.6")
    assert 'allow names "ctypes.CDLL", which' in refusal(path, ["ctypes.CDLL"])


def test_another_name_for_the_same_class_does_not_help(tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("mine")
    module.Popen = subprocess.Popen  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", module)
    path = calling(tmp_path / "a.pt", "mine", "Popen", ["touch", str(trap)])
    assert "never admits it" in refusal(path, ["mine.Popen"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "a.pt")  # type: ignore[no-untyped-call]
    message = refusal(tmp_path / "a.pt")
    assert "is a TorchScript archive, which holds code; where the file was made, save the state dict alone" in message


# --- damage -----------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    """One small checkpoint of each format."""
    save({"state_dict": TENSORS, "epoch": 3}, folder / "zip.pt")
    save({"state_dict": TENSORS, "epoch": 3}, folder / "legacy.pt", LEGACY)
    save_file(TENSORS, folder / "whole.safetensors")
    return {name: (folder / name).read_bytes() for name in ("zip.pt", "legacy.pt", "whole.safetensors")}


WHOLE = ["zip.pt", "legacy.pt", "whole.safetensors"]


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_short_anywhere_is_an_error(tmp_path: Path, name: str) -> None:
    whole = contents(tmp_path)[name]
    for length in [*range(0, len(whole) - 1, max(1, len(whole) // 150)), len(whole) - 1]:
        (tmp_path / name).write_bytes(whole[:length])
        message = refusal(tmp_path / name)
        assert message.startswith(f'"{tmp_path / name}"')


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_file_is_never_anything_but_an_error_of_ours(tmp_path: Path, name: str) -> None:
    whole, chance = contents(tmp_path)[name], random.Random(7)
    read_all_the_same = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 3])):
            damaged[chance.randrange(min(len(whole), chance.choice([700, len(whole)])))] = chance.randrange(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            read(tmp_path / name)
            read_all_the_same += 1  # a value, or padding
        except ThetascopeError:
            pass
    assert read_all_the_same < 300


@pytest.mark.parametrize("content", [b"", b"garbage, and no checkpoint", b"PK\x03\x04 garbage", b"\x80\x02}q\x00.", bytes(1000)])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_checkpoint_is_an_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    message = refusal(tmp_path / f"a{suffix}")
    assert "is no whole" in message or "is damaged" in message or "holds no state dict" in message
    assert "allow=" not in message


def test_a_missing_file_or_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    for name in ("nothing.pt", "nothing.safetensors"):
        assert "does not exist or is no file" in refusal(tmp_path / name)
    assert "is a folder that holds no single checkpoint" in refusal(tmp_path / "folder.pt")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["model_300.t7", "epoch1.pkl", "resnet20-12fca82f.th", "epoch1.chkpt", "checkpoint"])
def test_the_content_says_what_a_file_is(tmp_path: Path, name: str, kind: str) -> None:
    assert_same(read(save({"state_dict": TENSORS, "epoch": 300}, tmp_path / name, kind)), TENSORS)


def test_safetensors_are_known_under_any_name(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights")
    assert_same(read(tmp_path / "weights"), TENSORS)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.npz", b"x", "is no file of torch.save or safetensors"),
        ("model.h5", b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        ("model", b"GGUF\3\0\0\0", "is a GGUF file"),
    ],
)
def test_files_of_other_programs_are_told_as_such(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert what in message
    assert "save the model's state dict with torch.save(model.state_dict(), path) or as safetensors" in message
