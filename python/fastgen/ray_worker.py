"""A server that belongs to a worker process of Ray: it starts with the process, and neither outlives the other."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Callable, Mapping

import ray

from .answers import Completion
from .async_client import AsyncFastgen
from .background import BackgroundLoop
from .errors import StoppedError
from .server import Flag, Server

#: Seconds that a request waits before it says that the server has stopped: if it has, the process ends sooner.
END_SECONDS = 3.0

#: Seconds between the server's end and this process's.
LAST_SECONDS = 0.5


def resources() -> dict[str, Flag]:
    """The flags that keep a server to what Ray has given this worker: its GPUs, or a CPU thread for each of its CPUs.

    A worker without GPUs serves from the CPU, also where the machine has GPUs: those are other workers'.
    """
    context = ray.get_runtime_context()
    if context.get_accelerator_ids().get("GPU"):
        return {"device": "cuda"}
    cpus = int(context.get_assigned_resources().get("CPU", 0))
    return {"device": "cpu", "threads": cpus} if cpus > 0 else {"device": "cpu"}


class WorkerFastgen(AsyncFastgen):
    """AsyncFastgen in a Ray worker. Its constructor returns once the server serves, and raises StartError.

    model, executable, env, log, start_timeout and flags are those of AsyncFastgen. `device` and `threads` follow from what Ray
    has given the worker, unless they are given.

    When the server ends by itself, so does the process: Ray then starts another, and sends what was not answered to it, as far
    as the options of the actor, the dataset or the deployment say so.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        api_key: str | None = None,
        admin_api_key: str | None = None,
        executable: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        log: Callable[[str], None] | None = None,
        start_timeout: float | None = None,
        **flags: Flag,
    ) -> None:
        super().__init__(
            model,
            api_key=api_key,
            admin_api_key=admin_api_key,
            executable=executable,
            env=env,
            progress=None,
            log=log,
            start_timeout=start_timeout,
            **(flags if "device" in flags else {**resources(), **flags}),
        )
        # The worker's own loop may be running, and what starts must not wait for it.
        loop = BackgroundLoop()
        loop.run(self.start())
        loop.stop()
        threading.Thread(target=self._end_with_server, name="fgserve's end", daemon=True).start()

    async def server_pid(self) -> int | None:
        """The server's process; None once it has ended."""
        return self._own_server().pid

    async def address(self) -> tuple[str, str]:
        """The server's URL and its key, for programs on the same machine."""
        return self.url, self._own_server().api_key

    async def _complete(self, path: str, body: Mapping[str, Any]) -> Completion:
        async with self._after_the_end():
            return await super()._complete(path, body)

    @asynccontextmanager
    async def _after_the_end(self) -> AsyncIterator[None]:
        """Ray repeats calls whose process has ended, and takes an error for their answer: the end comes first."""
        try:
            yield
        except StoppedError:
            await asyncio.sleep(END_SECONDS)
            raise

    def _own_server(self) -> Server:
        assert self._server is not None
        return self._server

    def _end_with_server(self) -> None:
        server = self._own_server()
        if server.wait():
            # A worker that Ray ends loses its server first. There is nothing to say then.
            time.sleep(LAST_SECONDS)
            print(f"fgserve has ended, and this worker with it. Its last lines:\n{server.log}", file=sys.stderr, flush=True)
            os._exit(1)
