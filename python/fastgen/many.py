"""Many prompts at once, a bounded number of them at a time."""

from __future__ import annotations

import asyncio
from typing import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, TypeVar, Union

from .answers import Completion, Result

T = TypeVar("T")

_END = object()


def require_many(prompts: object, concurrency: object) -> None:
    """Raises TypeError or ValueError for what is no number of prompts, such as one text: its letters would be prompts."""
    if isinstance(prompts, (str, bytes, Mapping)) or not isinstance(prompts, (Iterable, AsyncIterable)):
        kind = "one text" if isinstance(prompts, str) else type(prompts).__name__
        raise TypeError(f"prompts must be an iterable of prompts, not {kind}; one prompt goes to generate() or chat()")
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency must be a whole number of at least 1, not {concurrency!r}")


async def complete_all(
    prompts: Union[Iterable[T], AsyncIterable[T]], concurrency: int, complete: Callable[[T], Awaitable[Completion]]
) -> AsyncGenerator[Result, None]:
    """Results as they come. At most `concurrency` requests run, and as many results wait to be taken: then no more prompts are
    read, so the input may be endless. An error of one prompt is its result. An error of `prompts` itself is raised."""
    source = prompts.__aiter__() if isinstance(prompts, AsyncIterable) else _read(prompts)
    reading = asyncio.Lock()
    results: asyncio.Queue[Result | BaseException | None] = asyncio.Queue(concurrency)
    count = 0
    ended = False

    async def work() -> None:
        nonlocal count, ended
        while True:
            async with reading:
                if ended:
                    break
                try:
                    prompt = await source.__anext__()
                except StopAsyncIteration:
                    ended = True
                    break
                except Exception as error:
                    ended = True
                    await results.put(error)
                    break
                index = count
                count += 1
            try:
                result = Result(index, await complete(prompt), None)
            except Exception as error:
                result = Result(index, None, error)
            await results.put(result)
        await results.put(None)

    workers = [asyncio.ensure_future(work()) for _ in range(concurrency)]
    try:
        running = concurrency
        while running > 0:
            result = await results.get()
            if isinstance(result, Result):
                yield result
            elif result is None:
                running -= 1
            else:
                raise result
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _read(source: Iterable[T]) -> AsyncIterator[T]:
    """The items of an input that may take its time, or call Fastgen itself: it runs in a thread."""
    # What is held in memory is there at once.
    if isinstance(source, (list, tuple)):
        for item in source:
            yield item
        return
    iterator = iter(source)
    while True:
        item = await asyncio.to_thread(next, iterator, _END)
        if item is _END:
            return
        yield item
