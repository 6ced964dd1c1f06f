"""Counts, for each promise, the cases that its tests made, and writes what came out into a table.

A test names its promises by ``@pytest.mark.promise(NAME)`` and counts its cases with the fixture `counted`; without, it is one case.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.faults.promises import PROMISES, Promise

WHOLE = "all tests"
BEGIN, END = "<!-- what the suite found: begin -->", "<!-- what the suite found: end -->"


@dataclass
class Tally:
    """What came out for one promise."""

    tests: int = 0
    cases: int = 0
    failed: int = 0
    skipped: int = 0

    def result(self, promise: Promise) -> str:
        if self.failed:
            return f"{self.failed} of {self.tests} tests failed"
        return promise.held.format(cases=f"{self.cases:,}") + (f" ({self.skipped} skipped)" if self.skipped else "")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "the fault suite")
    group.addoption("--faults-json", metavar="FILE", help="write what the fault suite counted as JSON")
    group.addoption("--faults-add", metavar="FILE", action="append", default=[], help="count what another part of the suite wrote as JSON")
    group.addoption("--faults-table", metavar="FILE", help="put the table of what the fault suite found between the marks in FILE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("promise"):
            assert marker.args[0] in PROMISES, f"{item.nodeid} names no promise of tests/faults/promises.py"
            item.user_properties.append(("promise", marker.args[0]))


class Counting:
    """Sums up the reports, also those of other processes."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.whole = Tally()
        """Of all tests, each counted once also where it is about several promises."""

    def add(self, part: Path) -> None:
        """Count what another part of the suite found."""
        for name, told in json.loads(part.read_text(encoding="utf-8")).items():
            tally = self.whole if name == WHOLE else self.tallies.setdefault(name, Tally())
            for what in ("tests", "cases", "failed", "skipped"):
                setattr(tally, what, getattr(tally, what) + told[what])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        said = [value for key, value in report.user_properties if key == "promise"]
        if not said or (report.when != "call" and report.passed):
            return
        counted = [int(str(value)) for key, value in report.user_properties if key == "cases"]
        for tally in (self.whole, *(self.tallies.setdefault(str(name), Tally()) for name in said)):
            if report.skipped:
                tally.skipped += 1
                continue
            tally.tests += 1
            tally.failed += report.failed
            tally.cases += sum(counted) if counted else 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        for part in config.getoption("--faults-add"):
            self.add(Path(part))
        found = {name: self.tallies[name] for name in PROMISES if name in self.tallies}
        if not found:
            return
        terminalreporter.section("promises under faults")
        width = max(map(len, found))
        for name, tally in found.items():
            terminalreporter.line(f"{name:<{width}}  {tally.cases:>7,} cases  {tally.result(PROMISES[name])}")
        if config.getoption("--faults-json"):
            content = {name: {**asdict(tally), "result": tally.result(PROMISES[name])} for name, tally in found.items()}
            content[WHOLE] = asdict(self.whole)
            Path(config.getoption("--faults-json")).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if config.getoption("--faults-table"):
            _put_table(Path(config.getoption("--faults-table")), found, self.whole)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Counting(), "thetascope-faults")


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Call it with a number of cases that were made."""

    def count(cases: int = 1) -> None:
        request.node.user_properties.append(("cases", cases))

    return count


def _put_table(file: Path, found: dict[str, Tally], whole: Tally) -> None:
    lines = ["| promise | how it is tested | cases | result |", "|---|---|---:|---|"]
    for name, tally in found.items():
        promise = PROMISES[name]
        lines.append(f"| {promise.text} | {promise.tested} | {tally.cases:,} | {tally.result(promise)} |")
    lines.append(f"\n{whole.cases:,} cases in {whole.tests:,} tests; some are about several promises.")
    content = file.read_text(encoding="utf-8")
    before, _, rest = content.partition(BEGIN)
    _, _, after = rest.partition(END)
    file.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")
