"""Code that runs is code that was named: a run may be a stranger's, and hold modules and settings of any name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.project import SPEC, record_run
from tests.faults.guards import WITHOUT
from thetascope import search_path
from thetascope.recording.run_files import RUN_FILE

TRAP = 'from pathlib import Path\nPath("{mark}").touch()\n'
NAMES = [
    *("rich", "cyclopts", "torch", "numpy", "xarray", "zarr", "plotly", "matplotlib", "jinja2", "orjson", "dask", "cupy", "IPython"),
    *("sklearn", "scipy", "pandas", "safetensors", "usercustomize", "thetascope_user", "mine", "evil"),
]
ROOT = Path(__file__).parents[2]
START = f"""
import os, sys
sys.path.pop(0)
if "{WITHOUT}" in os.environ:
    sys.path.append({str(ROOT)!r})
    import tests.faults
    sys.path.pop()
"""
SCRIPT = f"{START}from thetascope.cli import main\nsys.exit(main())"
"""As an installed command; without a guard where the suite is to do without it."""
STARTS = {"script": ["-c", SCRIPT], "module": ["-m", "thetascope.cli"]}


def trapped(folder: Path, mark: Path) -> None:
    """Modules of many names, and settings, that leave a mark where they are used."""
    for name in NAMES:
        (folder / f"{name}.py").write_text(TRAP.format(mark=mark))
    (folder / "thetascope.toml").write_text('objective = "evil.py:objective"\n')
    (folder / "matplotlibrc").write_text("backend: module://evil\nfigure.dpi: 3\n")


def command(start: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    told = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | environment
    return subprocess.run(
        [sys.executable, *STARTS[start], *arguments], cwd=folder, env=told, capture_output=True, text=True, check=False, timeout=200
    )


@pytest.mark.slow
@pytest.mark.promise("strangers: code")
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("place", [".", "results", "states"])
def test_nothing_of_a_run_is_imported_from_within(tmp_path: Path, start: str, place: str) -> None:
    run, mark = tmp_path / "run", tmp_path / "mark"
    record_run(run)
    (run / "results").mkdir()
    trapped(run, mark)
    trapped(run / place, mark)
    (tmp_path / "mine.py").write_text(SPEC)
    done = command(start, run / place, "interpolate", str(run), "--alphas", "3", "--objective", f"{tmp_path}/mine.py:objective")
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    assert done.stderr.count("thetascope.toml") == 2
    assert "--config thetascope.toml" in done.stderr
    assert command(start, run / place, "report", str(run)).returncode == 0
    assert not mark.exists()
    missing = command(start, run / place, "interpolate", str(run), "--alphas", "3")
    assert missing.returncode == 2
    assert "--objective is missing" in missing.stderr


@pytest.mark.slow
@pytest.mark.promise("strangers: code")
@pytest.mark.parametrize("start", STARTS)
def test_a_folder_that_is_examined_is_not_searched(tmp_path: Path, start: str) -> None:
    mark, folder = tmp_path / "mark", tmp_path / "checkpoints"
    folder.mkdir()
    from tests.cli.project import write_project

    write_project(folder)
    for file in folder.glob("c*.pt"):
        file.unlink()
    (folder / "orjson.py").write_text(TRAP.format(mark=mark))
    (folder / "evil.py").write_text(TRAP.format(mark=mark))
    (tmp_path / "mine.py").write_text(f"try:\n    import evil\nexcept ImportError:\n    pass\n{SPEC}")
    done = command("script", folder, "interpolate", ".", "--alphas", "3", "--objective", "../mine.py:objective")
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    told = command(start, folder, "interpolate", ".", "--alphas", "3", "--objective", "evil:objective")
    assert told.returncode == 2
    assert 'there is no module "evil"' in told.stderr
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.promise("strangers: code")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_settings_that_another_user_owns_are_not_read(tmp_path: Path) -> None:
    record_run(tmp_path / "run")
    (tmp_path / "mine.py").write_text(SPEC)
    settings = tmp_path / "thetascope.toml"
    settings.write_text('objective = "mine.py:objective"\n')
    os.chown(settings, 12345, 12345)
    done = command("script", tmp_path, "interpolate", "run", "--alphas", "3")
    assert done.returncode == 2
    assert "another user owns it" in done.stderr
    assert command("script", tmp_path, "interpolate", "run", "--alphas", "3", "--config", "thetascope.toml").returncode == 0


@pytest.mark.slow
@pytest.mark.promise("strangers: code")
@pytest.mark.parametrize("start", STARTS)
def test_settings_and_neighbours_of_one_s_own_are_read(tmp_path: Path, start: str) -> None:
    """The honest twin: a project with its own settings, an objective in a folder, and modules beside it and in the project's root."""
    record_run(tmp_path / "runs" / "mine")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mine.py").write_text(f"import beside, root\nfrom json import dumps\ndumps([])\n{SPEC}")
    (tmp_path / "conf" / "beside.py").write_text("")
    (tmp_path / "root.py").write_text("")
    (tmp_path / "thetascope.toml").write_text('objective = "conf/mine.py:objective"\n[interpolate]\nalphas = [0.0, 0.5, 1.0]\n')
    done = command(start, tmp_path, "interpolate", "runs/mine")
    assert done.returncode == 0, done.stderr
    assert "alpha 3" in done.stdout or "alpha 5" in done.stdout
    assert done.stderr == "" or "thetascope.toml" not in done.stderr
    (tmp_path / "root_only.py").write_text(SPEC)
    assert command(start, tmp_path, "interpolate", "runs/mine", "--objective", "root_only:objective", "--out", "again").returncode == 0


@pytest.mark.promise("strangers: code")
@pytest.mark.parametrize("name", ["json", "random", "torch", "colorsys", "objective"])
def test_a_file_takes_no_module_s_place(tmp_path: Path, name: str) -> None:
    """An objective file may be called as any module; so may its neighbours, which hide none either."""
    record_run(tmp_path / "run")
    (tmp_path / f"{name}.py").write_text(f"import queue, pickle\n\nclass Own:\n    pass\n\n{SPEC}")
    (tmp_path / "queue.py").write_text("raise RuntimeError('this hides the standard library')")
    code = (
        f"{START}from thetascope.specification import function_named\n"
        f"g = function_named('{name}.py:objective', '--objective')\n"
        f"import {name}, pickle; own = sys.modules[g.__module__]\n"
        "assert pickle.loads(pickle.dumps(own.Own)) is own.Own\n"
        f"assert ({name} is own) == ('{name}' == 'objective'), {name}\n"
        f"g()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.promise("strangers: code")
def test_settings_of_matplotlib_in_a_run_are_not_read(tmp_path: Path) -> None:
    """Some of them are evaluated."""
    record_run(tmp_path / "run")
    for folder, expected in ((tmp_path / "run", "100.0"), (tmp_path, "3.0")):
        (folder / "matplotlibrc").write_text("figure.dpi: 3\n")
        code = "import thetascope.cli, matplotlib, os; print(matplotlib.rcParams['figure.dpi'], os.getcwd())"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [expected, str(folder.resolve())]


@pytest.mark.promise("strangers: code")
def test_a_run_is_known_by_its_header(tmp_path: Path) -> None:
    assert search_path.RUN_FILE == RUN_FILE
    record_run(tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run" / "states")
    assert search_path.run_around(str(tmp_path / "link")) == str((tmp_path / "run").resolve())
    assert search_path.run_around(str(tmp_path)) is None
