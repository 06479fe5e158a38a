"""Fastgen: AsyncFastgen for programs without asyncio. Each method waits for its twin there, which says what it does."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Callable, Iterable, Iterator, Literal, Mapping, Sequence

from .answers import Completion, Piece, Result
from .async_client import CONCURRENCY, AnyPrompt, AsyncFastgen
from .background import BackgroundLoop
from .bodies import Conversation, Prompt
from .many import require_many
from .server import STOP_SECONDS, Flag, Server, print_progress
from .weights import NamedTensors


class Fastgen:
    """A model that answers. `with Fastgen(model, max_model_len=4096) as fastgen: ...`

    Returns once the server serves. It ends with stop() or the block, when the object is dropped, and when Python ends or is
    killed. The arguments are those of AsyncFastgen. Methods may be called from several threads.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        admin_api_key: str | None = None,
        executable: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        progress: Callable[[str], None] | None = print_progress,
        log: Callable[[str], None] | None = None,
        start_timeout: float | None = None,
        **flags: Flag,
    ) -> None:
        self._loop = BackgroundLoop()
        self._async = AsyncFastgen(
            model,
            url=url,
            api_key=api_key,
            admin_api_key=admin_api_key,
            executable=executable,
            env=env,
            progress=progress,
            log=log,
            start_timeout=start_timeout,
            **flags,
        )
        self._loop.run(self._async.start())

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ends the server, if it was started here; running requests have `seconds` to finish."""
        self._loop.run(self._async.stop(seconds))
        self._loop.stop()

    def __enter__(self) -> Fastgen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def server(self) -> Server | None:
        """The server that was started here; None where `url` named one."""
        return self._async.server

    @property
    def url(self) -> str:
        """The server's address."""
        return self._async.url

    def generate(self, prompt: Prompt, **params: Any) -> Completion:
        return self._loop.run(self._async.generate(prompt, **params))

    def chat(self, messages: Conversation, **params: Any) -> Completion:
        return self._loop.run(self._async.chat(messages, **params))

    def stream(self, prompt: AnyPrompt, **params: Any) -> Iterator[Piece]:
        return self._loop.iterate(self._async.stream(prompt, **params))

    def generate_all(
        self, prompts: Iterable[AnyPrompt], *, concurrency: int = CONCURRENCY, **params: Any
    ) -> Iterator[Result]:
        # Here too, so that what is wrong is said by this call and not when the first result is asked for.
        require_many(prompts, concurrency)
        return self._loop.iterate(self._async.generate_all(prompts, concurrency=concurrency, **params))

    def update_weights(
        self,
        weights: str | os.PathLike[str] | NamedTensors,
        *,
        weight_version: str | None = None,
        clear_cache: bool | None = None,
    ) -> str:
        return self._loop.run(
            self._async.update_weights(weights, weight_version=weight_version, clear_cache=clear_cache)
        )

    def weight_version(self) -> str:
        return self._loop.run(self._async.weight_version())

    def pause(self, mode: Literal["abort", "wait", "keep"] = "abort", *, clear_cache: bool = True) -> None:
        self._loop.run(self._async.pause(mode, clear_cache=clear_cache))

    def resume(self) -> None:
        self._loop.run(self._async.resume())

    def is_paused(self) -> bool:
        return self._loop.run(self._async.is_paused())

    def reset_prefix_cache(self) -> None:
        self._loop.run(self._async.reset_prefix_cache())

    def sleep(self, level: Literal[1, 2] = 1, *, mode: Literal["abort", "wait", "keep"] = "abort") -> None:
        self._loop.run(self._async.sleep(level, mode=mode))

    def wake_up(self, tags: Sequence[Literal["weights", "kv_cache"]] | None = None) -> None:
        self._loop.run(self._async.wake_up(tags))

    def is_sleeping(self) -> bool:
        return self._loop.run(self._async.is_sleeping())

    def abort(self, request_id: str | None = None) -> int:
        return self._loop.run(self._async.abort(request_id))

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._loop.run(self._async.request(method, path, body))


# help() shows what a method does here, too.
for _name, _method in vars(Fastgen).items():
    if callable(_method) and not _name.startswith("_") and _method.__doc__ is None:
        _method.__doc__ = getattr(AsyncFastgen, _name).__doc__
