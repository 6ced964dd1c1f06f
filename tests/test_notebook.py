"""What a user sees in a Jupyter notebook, executed by a kernel."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

CELLS = (
    """
import thetascope as ts
from thetascope.testing.models import case
chosen = case("linear")
objective = ts.Objective(chosen.model(), chosen.data(20))
trajectory = ts.Trajectory.from_states(chosen.states(4))
result = ts.interpolate(objective, trajectory)
""",
    "result",
    "result.plot()",
    "trajectory",
    """
import time
from thetascope.progress import progress_bar, say
say("about to begin [bold]")
with progress_bar("scoring", 1000, shown=True) as advance:
    for _ in range(10):
        time.sleep(0.07)
        advance(100, "loss 0.5")
""",
    "import matplotlib.pyplot as plt; plt.get_fignums()",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_notebook_shows_results_figures_and_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = import_module("nbformat"), import_module("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    def shown(cell: int) -> list[dict[str, Any]]:
        outputs = notebook.cells[cell].outputs
        assert not [output for output in outputs if output.output_type == "error"]
        return [dict(output.get("data", {"stream": output.get("text")})) for output in outputs]

    assert shown(0) == []  # quick work is silent
    (result,) = shown(1)
    assert '<img style="max-width:100%"' in result["text/html"]
    assert "loss" in result["text/plain"]
    (figure,) = shown(2)
    assert figure["image/png"].startswith("iVBOR")
    (trajectory,) = shown(3)
    assert trajectory["text/plain"].startswith("Trajectory: 4 states")
    said, progress = shown(4)
    assert "about to begin [bold]" in said["text/plain"]
    assert progress["text/plain"].startswith("scoring: 1,000 of 1,000 in ")
    assert progress["text/plain"].endswith("loss 0.5")
    (fignums,) = shown(5)
    assert fignums["text/plain"] == "[]"


DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
made: Any = import_module("notebook")


def test_the_quick_start_s_notebook_is_its_page() -> None:
    page = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    assert made.NOTEBOOK.read_text(encoding="utf-8") == made.notebook_of(page), "write it anew: python docs/_ext/notebook.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_quick_start_s_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = import_module("nbformat"), import_module("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(made.NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert (tmp_path / "runs" / "digits" / "report.html").stat().st_size > 100_000
    assert (tmp_path / "runs" / "digits" / "figures" / "interpolate-layer.png").exists()
