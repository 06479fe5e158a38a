"""The life of a server that this process starts: found, started, waited for, stopped whatever happens."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from typing import IO, Callable, Mapping, Sequence, Union

import httpx

from .errors import StartError
from .executable import find_executable

#: What a flag of fgserve may be given as. True: the flag alone. None: left out. False: --no-FLAG where there is one, else
#: left out.
Flag = Union[str, int, float, bool, None, "os.PathLike[str]", Sequence[str]]

#: Lines of the server's log that are kept, and characters of each.
LOG_LINES = 200
LINE_LENGTH = 4000

#: Seconds that the server has to end by itself before it is killed.
STOP_SECONDS = 10.0

LISTENING = re.compile(r"^fgserve: listening on (http://\S+)$")


def command_line(model: str | os.PathLike[str] | None, flags: Mapping[str, Flag]) -> list[str]:
    """The arguments of fgserve: max_model_len=4096 is --max-model-len=4096."""
    args = ["--stop-with-stdin"]
    for name, value in {"host": "127.0.0.1", "port": 0, "disable_log_requests": True, **flags}.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            args.append(flag)
        elif value is False:
            # The one flag that is on by default.
            if name == "enable_prefix_caching":
                args.append("--no-enable-prefix-caching")
        elif isinstance(value, (str, int, float, os.PathLike)):
            args.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
        elif value is not None:
            args.append(f"{flag}={','.join(value)}")
    return args if model is None else [*args, "--", os.fspath(model)]


class _Output:
    """What the server writes: the last lines, and its address once it has said it. Read by a thread of its own."""

    def __init__(self, stream: IO[bytes], on_line: Callable[[str], None] | None) -> None:
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self.url: str | None = None
        self._stream = stream
        self._on_line = on_line
        self.thread = threading.Thread(target=self._read, name="fgserve's log", daemon=True)
        self.thread.start()

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                chunk = self._stream.read(65536)
            except (OSError, ValueError):
                chunk = b""
            *lines, rest = (rest + (chunk or b"")).split(b"\n")
            if not chunk and rest:
                lines.append(rest)
            elif len(rest) > LINE_LENGTH:
                rest = rest[:LINE_LENGTH]
            for line in lines:
                self._take(line.decode("utf-8", "replace")[:LINE_LENGTH])
            if not chunk:
                break
        # Nobody else closes it: its number could be another file's by the time of the next read.
        self._stream.close()

    def _take(self, line: str) -> None:
        self.lines.append(line)
        listening = LISTENING.match(line)
        if listening:
            self.url = listening[1]
        if self._on_line is not None:
            try:
                self._on_line(line)
            except Exception:  # A log that cannot be written must not leave the server's pipe unread.
                self._on_line = None


def print_progress(text: str) -> None:
    """Shows how far the model is, on one line of the terminal; elsewhere nothing. "" ends the line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _end(process: subprocess.Popen[bytes], owner: int, seconds: float) -> None:
    """Ends the server: as SIGTERM does, and after `seconds` at once. Does nothing in a process that was forked off its owner."""
    if os.getpid() != owner:
        return
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


class Server:
    """A fgserve of this process.

    It ends with stop(), when this object is dropped, when Python ends, and when Python is killed: it watches its standard
    input, a pipe that the system closes with this process.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None,
        flags: Mapping[str, Flag],
        *,
        api_key: str | None = None,
        admin_api_key: str | None = None,
        executable: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        progress: Callable[[str], None] | None = print_progress,
        log: Callable[[str], None] | None = None,
        start_timeout: float | None = None,
    ) -> None:
        self.url = ""
        #: The key that requests must carry: a random one unless another was given.
        self.api_key = api_key or secrets.token_urlsafe(32)
        self._executable = executable
        self._args = command_line(model, flags)
        # Keys travel in the environment: everybody may read command lines. An admin key that this process was given for another
        # server is not for this one.
        keys = {"FASTGEN_API_KEY": self.api_key, "FASTGEN_ADMIN_API_KEY": admin_api_key}
        variables = {**os.environ, **(env or {}), **keys}
        self._env = {name: value for name, value in variables.items() if value is not None}
        self._progress = progress
        self._on_line = log
        self._start_timeout = start_timeout
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: _Output | None = None
        self._finalizer: weakref.finalize | None = None  # type: ignore[type-arg]

    @property
    def pid(self) -> int | None:
        """The server's process, while there is one."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log(self) -> str:
        """The last lines that the server wrote."""
        return "\n".join(self._output.lines) if self._output is not None else ""

    def start(self) -> None:
        """Starts the server and returns once it serves. Raises StartError with the server's own words."""
        if self._process is not None:
            raise StartError("the server has been started before; make a new one")
        path = find_executable(self._executable)
        try:
            process = subprocess.Popen(
                # The name that it is called by says which tool it is.
                ["fgserve", *self._args],
                executable=path,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                # Ctrl-C in the terminal is for Python: the server goes on.
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"'{path}' cannot be run: {error.strerror}") from error
        assert process.stdout is not None
        self._process = process
        self._finalizer = weakref.finalize(self, _end, process, self._owner, STOP_SECONDS)
        _servers.add(self)
        self._output = _Output(process.stdout, self._on_line)
        try:
            self._wait()
        except BaseException:
            self.stop(0)
            raise

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ends the server; running requests have `seconds` to finish. A second call does nothing."""
        if self._process is not None:
            if self._finalizer is not None:
                self._finalizer.detach()
            _end(self._process, self._owner, seconds)

    def wait(self) -> bool:
        """Blocks until the server has ended. Returns whether it has by itself, and nobody called stop()."""
        assert self._process is not None and self._output is not None and self._finalizer is not None
        self._output.thread.join()
        self._process.wait()
        return self._finalizer.alive

    def _wait(self) -> None:
        assert self._process is not None and self._output is not None
        began = time.monotonic()
        pause = 0.01
        with httpx.Client(trust_env=False, verify=False, timeout=5) as client:
            while not self._is_ready(client):
                if self._process.poll() is not None:
                    self._output.thread.join(2)
                    raise StartError(self._reason(f"fgserve ended with exit code {self._process.returncode}"), self.log)
                if self._start_timeout is not None and time.monotonic() - began > self._start_timeout:
                    raise StartError(self._reason(f"fgserve was not ready after {self._start_timeout} seconds"), self.log)
                time.sleep(pause)
                pause = min(pause * 1.2, 0.25)
        if self._progress is not None:
            self._progress("")

    def _is_ready(self, client: httpx.Client) -> bool:
        assert self._output is not None
        if self._output.url is None:
            return False
        self.url = self._output.url
        try:
            reply = client.get(f"{self.url}/health")
            if reply.status_code == 200:
                return True
            message = str(reply.json()["error"]["message"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        if self._progress is not None:
            self._progress(f"fgserve: {message.split(';')[0]}")
        return False

    def _reason(self, what: str) -> str:
        """`what`, with the error that the server named, or else with the end of its log."""
        lines = self.log.split("\n")
        last = max((i for i, line in enumerate(lines) if line.startswith("error: ")), default=None)
        said = lines[last:] if last is not None else lines[-20:]
        return f"{what}: {chr(10).join(said).removeprefix('error: ').strip() or 'it said nothing'}"

    def _forked(self) -> None:
        """In a child of os.fork(): the pipe that the server watches belongs to the parent alone."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()


#: The servers that this process has started.
_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _after_fork() -> None:
    for server in list(_servers):
        server._forked()
    _servers.clear()


os.register_at_fork(after_in_child=_after_fork)
