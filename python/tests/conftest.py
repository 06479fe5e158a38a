"""All tests run the real fgserve with the built-in model: FASTGEN_EXECUTABLE, or the one of this checkout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterator

import pytest

from fastgen import Fastgen

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "fastgen-tiny"

os.environ.setdefault("FASTGEN_EXECUTABLE", str(ROOT / "fgserve"))
os.environ["PYTHONPATH"] = str(ROOT / "python")


@pytest.fixture(scope="session")
def fastgen() -> Iterator[Fastgen]:
    """One server for all tests that change nothing about it."""
    with Fastgen(device="cpu", progress=None) as running:
        yield running


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.02)
