"""The server's life: it starts in words, and ends with Python however that ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastgen import AsyncFastgen, Fastgen, StartError, find_executable
from fastgen.server import command_line

from .conftest import is_alive, until

START = "from fastgen import Fastgen; f = Fastgen(device='cpu'); print(f.server.pid, flush=True); "


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def pid_of(child: subprocess.Popen[str]) -> int:
    assert child.stdout is not None and child.stderr is not None
    line = child.stdout.readline()
    assert line, child.stderr.read()
    pid = int(line)
    assert is_alive(pid)
    return pid


@pytest.mark.parametrize(
    "end",
    [
        "",
        "raise ValueError('mine')",
        "import sys; sys.exit(3)",
        "stream = f.stream('Once', max_tokens=900, ignore_eos=True); next(stream)",
    ],
)
def test_a_script_that_ends_or_raises_leaves_no_server(end: str) -> None:
    child = python(START + end)
    pid = pid_of(child)
    _, errors = child.communicate(timeout=60)
    assert not is_alive(pid)
    assert child.returncode == (1 if "raise" in end else 3 if "exit" in end else 0)
    assert ("ValueError: mine" in errors) == ("raise" in end)
    assert "Exception ignored" not in errors


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_script_that_is_killed_leaves_no_server(number: signal.Signals) -> None:
    child = python(START + "import time; time.sleep(600)")
    pid = pid_of(child)
    child.send_signal(number)
    child.wait(60)
    until(lambda: not is_alive(pid))


def test_a_script_that_is_killed_while_the_model_loads_leaves_no_server(tmp_path: Path) -> None:
    # The start waits for as long as /health says nothing.
    code = "import fastgen.server as s; s.Server._is_ready = lambda *_: print(next(iter(s._servers)).pid, flush=True) or False; "
    child = python(code + START)
    pid = pid_of(child)
    child.kill()
    child.wait(60)
    until(lambda: not is_alive(pid))


def test_a_child_of_fork_neither_ends_the_server_nor_keeps_it() -> None:
    # The child lives on, with all that it inherited, when its parent is killed.
    code = (
        "import os, time\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    assert f.generate('hello', max_tokens=1).token_ids\n"
        "    f.stop()\n"
        "    print('asked', flush=True)\n"
        "    time.sleep(600)\n"
        "print(child, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = python(START.replace("; ", "\n") + code)
    pid = pid_of(parent)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip() for _ in range(2)}
    assert "asked" in lines
    child = int((lines - {"asked"}).pop())
    try:
        assert is_alive(pid)
        parent.kill()
        parent.wait(60)
        until(lambda: not is_alive(pid))
        assert is_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_an_interactive_session_keeps_its_server_after_ctrl_c() -> None:
    # As a terminal does it: the signal goes to the whole group, where nobody ignores it, as what runs in the background does.
    child = subprocess.Popen(
        [sys.executable, "-i", "-q"],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdin is not None
    child.stdin.write(START.replace("; ", "\n") + "import time\n")
    child.stdin.flush()
    pid = pid_of(child)
    child.stdin.write("print('begun', flush=True); f.generate('Once', n=20, max_tokens=1000, ignore_eos=True)\n")
    child.stdin.flush()
    assert child.stdout is not None and child.stdout.readline() == "begun\n"
    time.sleep(0.2)
    os.killpg(child.pid, signal.SIGINT)
    out, errors = child.communicate("print(f.chat([{'role': 'user', 'content': 'hello'}], temperature=0).text)\n", timeout=60)
    assert "KeyboardInterrupt" in errors
    assert out.startswith("Hello")
    assert not is_alive(pid)


def test_a_dropped_object_ends_its_server() -> None:
    own = Fastgen(device="cpu", progress=None)
    assert own.server is not None
    pid = own.server.pid
    assert pid is not None and is_alive(pid)
    del own
    gc.collect()
    until(lambda: not is_alive(pid))


def test_asyncio_starts_and_stops() -> None:
    async def ask() -> int:
        async with AsyncFastgen(device="cpu", progress=None, max_model_len=128) as own:
            assert own.server is not None and own.server.pid is not None
            assert (await own.request("GET", "/v1/models"))["data"][0]["max_model_len"] == 128
            return own.server.pid

    assert not is_alive(asyncio.run(ask()))


def test_asyncio_may_give_up_a_start() -> None:
    async def ask() -> int:
        own = AsyncFastgen(device="cpu", progress=None)
        assert own.server is not None
        starting = asyncio.ensure_future(own.start())
        while own.server.pid is None:
            await asyncio.sleep(0.001)
        pid = own.server.pid
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        return pid

    pid = asyncio.run(ask())
    until(lambda: not is_alive(pid))


def test_errors_of_the_start_are_the_server_s_words() -> None:
    with pytest.raises(StartError, match="no/such/folder is neither a directory nor"):
        Fastgen("no/such/folder")
    with pytest.raises(StartError, match="Did you mean --max-model-len"):
        Fastgen(max_modl_len=5)
    with pytest.raises(StartError, match="exit code 2") as wrong:
        Fastgen("--help", max_model_len="many")
    assert "--max-model-len" in wrong.value.log
    with pytest.raises(StartError, match="no fgserve|no file that can be run"):
        Fastgen(executable="/etc/passwd")


def test_a_start_that_takes_too_long() -> None:
    with pytest.raises(StartError, match="not ready after 0.0 seconds"):
        Fastgen(device="cpu", start_timeout=0.0)


def test_progress_and_log_are_heard(tmp_path: Path) -> None:
    lines: list[str] = []
    said: list[str] = []
    with Fastgen(device="cpu", progress=said.append, log=lines.append, disable_log_requests=False) as own:
        assert own.server is not None
        own.generate("hello", max_tokens=1)
        until(lambda: any('"path":"/v1/completions"' in line for line in lines))
        assert own.server.log.split("\n")[0] == lines[0]
        # The key is in no command line, and so not in what `ps` shows.
        command = Path(f"/proc/{own.server.pid}/cmdline").read_text()
        assert own.server.api_key not in command and "--port=0" in command
    assert said[-1] == ""


def test_the_command_line() -> None:
    args = command_line(
        Path("a/folder"),
        {"max_model_len": 5, "trust_request_chat_template": True, "allow_credentials": False, "revision": None,
         "enable_prefix_caching": False, "allowed_hosts": ["a", "b"], "port": 80, "disable_log_requests": False},
    )  # fmt: skip
    assert args == [
        "--stop-with-stdin", "--host=127.0.0.1", "--port=80", "--max-model-len=5", "--trust-request-chat-template",
        "--no-enable-prefix-caching", "--allowed-hosts=a,b", "--", "a/folder",
    ]  # fmt: skip


def test_where_the_executable_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, named, in_path = (tmp_path / name / "fgserve" for name in ("given", "named", "path"))
    for file in (given, named, in_path):
        file.parent.mkdir()
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    monkeypatch.setenv("FASTGEN_EXECUTABLE", str(named))
    monkeypatch.setenv("PATH", str(in_path.parent))
    monkeypatch.setattr("fastgen.executable.CARRIED", tmp_path / "none")
    assert find_executable(given) == str(given)
    assert find_executable() == str(named)
    monkeypatch.delenv("FASTGEN_EXECUTABLE")
    assert find_executable() == str(in_path)
    monkeypatch.setattr("fastgen.executable.CARRIED", given)
    assert find_executable() == str(given)
    monkeypatch.setattr("fastgen.executable.CARRIED", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match="npm run wheel"):
        find_executable()
    monkeypatch.setenv("FASTGEN_EXECUTABLE", str(tmp_path))
    with pytest.raises(StartError, match="FASTGEN_EXECUTABLE"):
        find_executable()
