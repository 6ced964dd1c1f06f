"""What the tests of the report share: making runs, and reading a page without a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from torch import nn

import thetascope as ts
from thetascope.experiments.framework.catalog import entries
from thetascope.experiments.framework.declaration import Call
from thetascope.experiments.framework.examine import Subject
from thetascope.testing.models import case

OPTIONS = {"alphas": 9, "parameters": 2, "draws": 2, "repeats": 2, "grid": 7}
QUIET: dict[str, Any] = {"progress": False}


def network() -> nn.Module:
    """Two named layers on four inputs."""
    model = nn.Sequential()
    model.add_module("hidden", nn.Linear(4, 5))
    model.add_module("relu", nn.ReLU())
    model.add_module("out", nn.Linear(5, 3))
    return model


def runs_of_every_experiment(folder: Path) -> Path:
    """Train, record and examine a small network."""
    data = case("linear").data(20)
    training = ts.Training(network, data, data, lambda p: torch.optim.SGD(p, lr=0.3), epochs=3, batch_size=5)
    model = training.model()
    with ts.Recorder(folder, model) as recorder:
        training.train(model, recorder=recorder, progress=False)
    subject = Subject(ts.Objective(model, data), ts.Trajectory(folder), folder, training, OPTIONS, progress=False)
    for entry in entries().values():
        subject.job(entry).run()
    return folder


def call_of(entry: str) -> Call:
    """The call that the run's result of an entry was made by."""
    nobody: Any = None
    return Subject(nobody, nobody, Path(), options=OPTIONS).call(entries()[entry])


def key_of(entry: str) -> str:
    """What the run's result of an entry is known by: its folder, its article, its picture."""
    return call_of(entry).key


SPECIFICATIONS = """
import torch
import thetascope as ts
from tests.report.pages import network
from thetascope.testing.models import case

def objective():
    return ts.Objective(network(), case("linear").data(20))

def training():
    data = case("linear").data(20)
    return ts.Training(network, data, data, lambda p: torch.optim.SGD(p, lr=0.3), epochs=3, batch_size=5)
"""
"""What the run was scored by, for a command."""


def specified(command: str) -> str:
    """A command of a report, with the functions of `SPECIFICATIONS` for what it leaves open."""
    return command.replace("--objective SPEC", "--objective specs.py:objective").replace("--training SPEC", "--training specs.py:training")


def record(folder: Path, model: nn.Module, metrics: tuple[str, ...] = ()) -> Path:
    """A recording of three states of a model, with metrics of these names."""
    with ts.Recorder(folder, model) as recorder:
        for step in (1, 2):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1)
            recorder.record(step=step, epoch=step, metrics=dict.fromkeys(metrics, 1.0 / step))
    return folder


class Page(HTMLParser):
    """A page's elements, texts and scripts, as a browser takes them apart."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._script: dict[str, str | None] | None = None
        self._parts: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.codes: list[str] = []
        self.feed(self.source)
        self.text = " ".join(" ".join(self._parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs)
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self._parts.append(data)
            if self.elements and self.elements[-1][0] == "code" and not self.codes[-1]:
                self.codes[-1] = data
        elif self.scripts and self.scripts[-1][0] is self._script:
            self.scripts[-1] = (self._script, self.scripts[-1][1] + data)
        else:
            self.scripts.append((self._script, data))

    def figures(self) -> dict[str, Any]:
        """The data of each picture by its name."""
        names = [attrs["data-name"] or "" for tag, attrs in self.elements if tag == "figure"]
        data = [json.loads(text) for attrs, text in self.scripts if attrs.get("type") == "application/json"]
        assert len(names) == len(data), "not every picture is interactive"
        return dict(zip(names, data, strict=True))

    def commands(self) -> list[str]:
        """What runs the experiments that were not run."""
        return [code for code in self.codes if code.startswith("thetascope ") and not code.startswith("thetascope report")]

    def made_again_by(self) -> list[str]:
        """The command of each result, in the order of the page."""
        return re.findall(r"made again by (thetascope .*?) made \d{4}-", self.text)

    def tables(self) -> list[str]:
        """The tables for download."""
        return [gzip.decompress(base64.b64decode(text)).decode() for attrs, text in self.scripts if attrs.get("type") == "text/plain"]


def sorted_export(place: Path, file: Path) -> bytes:
    """A stored result as a table, its variables in the order of their names."""
    data = ts.load_result(place).data
    return ts.Result(data[sorted(map(str, data.data_vars))]).export(file).read_bytes()
