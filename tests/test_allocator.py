from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
import thetascope.cli  # as in the process of a command
from thetascope.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for round in range(21):
    if round == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives them back")
def test_pages_are_kept_from_one_value_to_the_next() -> None:
    new, kept = (
        int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True).stdout)
        for how in ("as it is", "kept")
    )
    assert kept < new / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from thetascope import allocator

    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("it was asked for"))
    allocator.keep_freed_memory()
