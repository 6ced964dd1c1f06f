"""The README and the docs are true: their code runs, their links and pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from thetascope.testing.models import case

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_s_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    model = case("linear").model()
    test_inputs, test_targets = case("linear").data()

    def train_one_epoch(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.9)

    names = {"model": model, "epochs": 4, "train_one_epoch": train_one_epoch, "test_inputs": test_inputs, "test_targets": test_targets}
    for block in blocks:
        exec(block, names)
    assert Path("line.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_rooms_in_the_docs_are_those_there_are() -> None:
    named = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.MULTILINE))
    rooms = {room for cell in named for room in re.findall(r"\w+", cell)}
    there = {path.stem for path in (ROOT / "src" / "thetascope").iterdir() if path.name[0] not in "_p" or path.stem == "progress"}
    assert rooms == there
