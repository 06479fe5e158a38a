"""Requests to one server, over httpx: its key, its errors, its streams."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager, contextmanager
from typing import Any, AsyncGenerator, AsyncIterator, Iterator, Mapping

import httpx

from .errors import RequestError, StoppedError

#: An answer may take any time: when the server dies, the connection closes.
TIMEOUT = httpx.Timeout(None, connect=10.0)
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)

#: Requests of one httpx client at a time: with each request it looks at all of its connections, several times.
CLIENT_REQUESTS = 16


class _Client:
    """A client of httpx, and how many requests it has open."""

    def __init__(self, url: str, verify: ssl.SSLContext | bool) -> None:
        # The environment's proxies are for the world outside.
        self.httpx = httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=LIMITS, trust_env=False, verify=verify)
        self.requests = 0


class Transport:
    """Sends requests from whichever event loop calls: connections belong to the loop that opened them."""

    def __init__(self, url: str, api_key: str | None, admin_api_key: str | None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._admin_headers = {"authorization": f"Bearer {admin_api_key}"} if admin_api_key else self._headers
        # Reading the certificates takes longer than a request; without https nobody needs them.
        self._verify = httpx.create_ssl_context() if self.url.startswith("https:") else False
        self._clients: list[_Client] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        admin: bool = False,
    ) -> Any:
        """The reply's JSON, None where it has none. Raises RequestError and StoppedError."""
        try:
            with self._client() as client:
                reply = await client.request(method, path, json=body, params=query, headers=self._headers_of(admin))
        except httpx.HTTPError as error:
            raise self._stopped(error) from error
        if reply.is_error:
            raise _refusal(reply.status_code, reply.content)
        return reply.json() if reply.content else None

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The frames of a stream. Closing the iterator ends the sequences on the server."""
        try:
            with self._client() as client:
                async with client.stream("POST", path, json=body, headers=self._headers) as reply:
                    if reply.is_error:
                        raise _refusal(reply.status_code, await reply.aread())
                    async for line in _lines(reply):
                        if line == b"data: [DONE]":
                            return
                        if line.startswith(b"data: "):
                            frame = json.loads(line[6:])
                            if "error" in frame:
                                raise _error_of(500, frame)
                            yield frame
            raise StoppedError("the stream ended before the answer did: the server has stopped")
        except httpx.HTTPError as error:
            raise self._stopped(error) from error

    @asynccontextmanager
    async def forward(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> AsyncIterator[httpx.Response]:
        """A request of somebody else, with their key, and its reply as it comes. Raises StoppedError."""
        try:
            with self._client() as client:
                async with client.stream(method, path, headers=headers, content=body or None) as reply:
                    yield reply
        except httpx.HTTPError as error:
            raise self._stopped(error) from error

    async def close(self) -> None:
        """Closes the connections of the calling loop."""
        clients, self._clients = self._clients, []
        if self._loop is asyncio.get_running_loop():
            for client in clients:
                await client.httpx.aclose()

    @contextmanager
    def _client(self) -> Iterator[httpx.AsyncClient]:
        """A client with room for one more request."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._clients = loop, []
        client = next((client for client in self._clients if client.requests < CLIENT_REQUESTS), None)
        if client is None:
            client = _Client(self.url, self._verify)
            self._clients.append(client)
        client.requests += 1
        try:
            yield client.httpx
        finally:
            client.requests -= 1

    def _headers_of(self, admin: bool) -> dict[str, str]:
        return self._admin_headers if admin else self._headers

    def _stopped(self, error: httpx.HTTPError) -> StoppedError:
        return StoppedError(f"no answer from {self.url}: {error or type(error).__name__}")


async def _lines(reply: httpx.Response) -> AsyncIterator[bytes]:
    """Lines that end with a line feed. httpx's own lines end at U+2028 and U+0085 too, which stand in texts as they are."""
    rest = b""
    async for chunk in reply.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def _refusal(status: int, content: bytes) -> RequestError:
    try:
        return _error_of(status, json.loads(content))
    except (ValueError, KeyError, TypeError):
        return RequestError(f"status {status}: {content[:500].decode('utf-8', 'replace')}", status)


def _error_of(status: int, reply: Mapping[str, Any]) -> RequestError:
    error = reply["error"]
    return RequestError(str(error["message"]), status, error.get("param"), error.get("code"))
