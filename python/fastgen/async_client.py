"""AsyncFastgen: a server and everything that is asked of it, for asyncio."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from types import TracebackType
from typing import Any, AsyncGenerator, AsyncIterable, Callable, Iterable, Literal, Mapping, Sequence, Union

from .answers import Completion, Piece, Result, read_completion, read_piece
from .bodies import Conversation, Prompt, chat_body, generate_body, request_of
from .cuda_ipc import SharedTensors, is_on_gpu
from .errors import StoppedError
from .many import complete_all, require_many
from .remote import server_url, wait_until_ready
from .server import STOP_SECONDS, Flag, Server, print_progress
from .transport import Transport
from .weights import NamedTensors, StagedWeights, pairs

#: A text, token ids, or a conversation.
AnyPrompt = Union[Prompt, Conversation]

#: Requests at a time of generate_all.
CONCURRENCY = 256


class AsyncFastgen:
    """A model that answers. `async with AsyncFastgen(model, max_model_len=4096) as fastgen: ...`

    model: a folder, or a name on the hub; None = the built-in model. Flags are fgserve's with underscores.
    url: use the server at this address, and start none. Where none answers, StartError says so at once. It must be on this machine for
    update_weights().
    api_key: by default a random one for a server that is started here.
    admin_api_key: for what changes the server; by default the same.
    executable: fgserve; by default it is found (see find_executable).
    env: variables that the server gets beside this process's own.
    progress: hears how far the model is; None = nobody. log: hears each line that the server writes.
    start_timeout: seconds until the server must be ready; None = as long as it takes, since a model may be downloaded.

    Parameters of generate, chat, stream and generate_all are the fields of requests (docs/api.md): max_tokens, temperature,
    seed, ... They raise RequestError where the server refuses, StoppedError where it is gone. All methods may run at the
    same time.
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
        self._admin_api_key = admin_api_key
        self._progress = progress
        self._start_timeout = start_timeout
        self._transport: Transport | None = None
        self._server: Server | None = None
        if url is None:
            self._server = Server(
                model,
                flags,
                api_key=api_key,
                admin_api_key=admin_api_key,
                executable=executable,
                env=env,
                progress=progress,
                log=log,
                start_timeout=start_timeout,
            )
        elif model is not None or flags:
            raise TypeError("url names a server that runs already: it takes no model and no flags")
        else:
            self._transport = Transport(server_url(url), api_key, admin_api_key)

    async def start(self) -> None:
        """Starts the server, unless it is somebody else's, and waits until it serves. Raises StartError."""
        if self._server is None:
            try:
                await wait_until_ready(self._open(), self._start_timeout, self._progress)
            except BaseException:
                await self.stop()
                raise
            return
        try:
            await asyncio.to_thread(self._server.start)
        except asyncio.CancelledError:
            self._server.stop(0)
            raise
        self._transport = Transport(self._server.url, self._server.api_key, self._admin_api_key)

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ends the server, if it was started here; running requests have `seconds` to finish."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop, seconds)

    async def __aenter__(self) -> AsyncFastgen:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def server(self) -> Server | None:
        """The server that was started here: its url, api_key, pid and log."""
        return self._server

    @property
    def url(self) -> str:
        """The server's address, such as http://127.0.0.1:41617."""
        return self._open().url

    async def generate(self, prompt: Prompt, **params: Any) -> Completion:
        """Continues a text, or token ids: a sequence of ints, or an array of NumPy or PyTorch."""
        return await self._complete("/v1/completions", generate_body(prompt, params))

    async def chat(self, messages: Conversation, **params: Any) -> Completion:
        """Answers a conversation: messages as mappings with a `role` and a `content`, and what else the chat template reads."""
        return await self._complete("/v1/chat/completions", chat_body(messages, params))

    async def stream(self, prompt: AnyPrompt, **params: Any) -> AsyncGenerator[Piece, None]:
        """The pieces of an answer to a text, token ids or a conversation, as they come. Closing the iterator ends the answer."""
        path, body = request_of(prompt, params)
        async with aclosing(self._open().stream(path, {**body, "stream": True})) as frames:
            async for frame in frames:
                for choice in frame["choices"]:
                    yield read_piece(frame, choice)

    async def generate_all(
        self,
        prompts: Union[Iterable[AnyPrompt], AsyncIterable[AnyPrompt]],
        *,
        concurrency: int = CONCURRENCY,
        **params: Any,
    ) -> AsyncGenerator[Result, None]:
        """Answers many prompts, each a text, token ids or a conversation, and gives results as they finish.

        At most `concurrency` requests run at a time. The input may be endless. An error of one prompt is in its result; the
        others go on.
        """
        require_many(prompts, concurrency)

        async def complete(prompt: AnyPrompt) -> Completion:
            return await self._complete(*request_of(prompt, params))

        async with aclosing(complete_all(prompts, concurrency, complete)) as results:
            async for result in results:
                yield result

    async def update_weights(
        self,
        weights: str | os.PathLike[str] | NamedTensors,
        *,
        weight_version: str | None = None,
        clear_cache: bool | None = None,
    ) -> str:
        """Replaces the model's weights: by those in a folder, or by tensors with the checkpoint's names (a mapping or pairs).

        All tensors must be there, in the shapes of the checkpoint that was loaded, in float32, float16 or bfloat16, or in FP8 with
        its scales where the checkpoint is FP8. They may be changed again once this has returned. What does not fit is refused
        (RequestError) and changes nothing. Requests that run wait meanwhile, and go on with the new weights. Returns the new weights' name:
        `weight_version`, or the next number.
        clear_cache: forget the keys and values that the old ones have computed; by default as the pause in force says, else
        they are forgotten.
        """
        options = {"weight_version": weight_version, "clear_cache": clear_cache}
        body = {name: value for name, value in options.items() if value is not None}
        if isinstance(weights, (str, os.PathLike)):
            return await self._update({"weight_dir": os.path.abspath(weights), **body})
        if await self._takes_handles(weights):
            shared = await asyncio.to_thread(SharedTensors, pairs(weights))
            return await self._update({"tensors": shared.entries, **body})
        with await asyncio.to_thread(StagedWeights, weights) as staged:
            return await self._update({"weight_dir": staged.folder, **body})

    async def weight_version(self) -> str:
        """Names the weights that are in use."""
        return str((await self._admin("GET", "/weight_version"))["weight_version"])

    async def pause(self, mode: Literal["abort", "wait", "keep"] = "abort", *, clear_cache: bool = True) -> None:
        """Stops all generation until resume(). New requests wait in the queue.

        mode: running requests end with what they have (abort), finish (wait), or stay and go on later (keep).
        clear_cache: forget the keys and values of all prompts.
        """
        await self._admin("POST", "/pause", query={"mode": mode, "clear_cache": str(clear_cache).lower()})

    async def resume(self) -> None:
        """Goes on after pause()."""
        await self._admin("POST", "/resume")

    async def is_paused(self) -> bool:
        """Whether pause() holds generation."""
        return bool((await self._admin("GET", "/is_paused"))["is_paused"])

    async def reset_prefix_cache(self) -> None:
        """Forgets the keys and values of earlier prompts."""
        await self._admin("POST", "/reset_prefix_cache")

    async def sleep(self, level: Literal[1, 2] = 1, *, mode: Literal["abort", "wait", "keep"] = "abort") -> None:
        """Gives the device's memory back; `mode` says what becomes of requests, as in pause().

        Level 1 keeps the weights in host memory, level 2 drops them: then update_weights() must follow wake_up().
        """
        await self._admin("POST", "/sleep", query={"level": level, "mode": mode})

    async def wake_up(self, tags: Sequence[Literal["weights", "kv_cache"]] | None = None) -> None:
        """Takes the memory back: all of it, or what `tags` name."""
        await self._admin("POST", "/wake_up", query={} if tags is None else {"tags": list(tags)})

    async def is_sleeping(self) -> bool:
        """Whether weights or KV cache sleep."""
        return bool((await self._admin("GET", "/is_sleeping"))["is_sleeping"])

    async def abort(self, request_id: str | None = None) -> int:
        """Ends the requests that were sent with this `request_id`, or all, with what they have. Returns how many there were."""
        body = {"abort_all": True} if request_id is None else {"request_id": request_id}
        return int((await self._admin("POST", "/abort_request", body=body))["aborted"])

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any other route: the reply's JSON."""
        return await self._open().call(method, path, body)

    def _open(self) -> Transport:
        if self._transport is None:
            raise StoppedError("there is no server: it was not started, or has been stopped")
        return self._transport

    async def _complete(self, path: str, body: Mapping[str, Any]) -> Completion:
        return read_completion(await self._open().call("POST", path, body))

    async def _takes_handles(self, weights: NamedTensors) -> bool:
        """Whether the server can read them from a GPU. An iterator's tensors may exist one after the other: they are copied."""
        if not isinstance(weights, (Mapping, list, tuple)) or not all(is_on_gpu(tensor) for _, tensor in pairs(weights)):
            return False
        return len(weights) > 0 and (await self._open().call("GET", "/health"))["device"] == "cuda"

    async def _update(self, body: Mapping[str, Any]) -> str:
        return str((await self._admin("POST", "/update_weights", body=body))["weight_version"])

    async def _admin(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        return await self._open().call(method, path, body, query=query, admin=True)
