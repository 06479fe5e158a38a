"""An event loop in a thread, for callers that have none."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any, AsyncGenerator, Coroutine, Iterator, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for any thread. After os.fork() the child gets a loop of its own: threads are not copied."""

    def __init__(self) -> None:
        #: The process that the loop's thread belongs to; 0 = there is none.
        self._owner = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. What interrupts the wait, such as Ctrl-C, cancels the coroutine."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, generator: AsyncGenerator[T, None]) -> Iterator[T]:
        """The generator's items. It is closed with the iterator."""

        async def take() -> tuple[bool, Any]:
            # StopAsyncIteration cannot be a future's result.
            try:
                return True, await generator.__anext__()
            except StopAsyncIteration:
                return False, None

        try:
            while True:
                more, item = self.run(take())
                if not more:
                    return
                yield item
        finally:
            # While Python ends, its threads stand still: to wait for one would be to wait for ever.
            if not sys.is_finalizing():
                self.run(generator.aclose())

    def stop(self) -> None:
        """Ends the thread. A later run() starts another."""
        with self._lock:
            if self._owner == os.getpid():
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._owner = 0

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.stop()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._owner == os.getpid():
            return self._loop
        with self._lock:
            if self._owner != os.getpid():
                self._loop = asyncio.new_event_loop()
                self._owner = os.getpid()
                threading.Thread(target=_run, args=[self._loop], name="fastgen", daemon=True).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
