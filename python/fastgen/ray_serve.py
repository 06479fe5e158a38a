"""An app of Ray Serve: OpenAI's and Anthropic's APIs over replicas that each own a server."""

from __future__ import annotations

import os
import secrets
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, AsyncIterator, Mapping

import httpx
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from .errors import StoppedError
from .ray_worker import WorkerFastgen
from .server import Flag

#: Headers of each connection alone (RFC 9110, 7.6.1); those that are said anew to the server; and those that Serve adds.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
NOT_SENT = HOP_BY_HOP | {"host", "content-length", "expect"}
NOT_RETURNED = HOP_BY_HOP | {"date", "x-request-id"}

#: Headers that may carry a key.
KEYS = {"authorization", "x-api-key"}

#: Paths whose files and jobs would be in one replica alone.
OF_ONE_SERVER = ("/files", "/batches")


class FastgenReplica(WorkerFastgen):
    """One replica: passes HTTP on to its server, and has the methods of AsyncFastgen for other deployments' handles."""

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        api_key: str | None = None,
        **flags: Any,
    ) -> None:
        self._is_open = api_key is None
        # Without a key of the caller's, everybody may ask: but no web page of somebody else's, and nobody may change the server.
        origins: dict[str, Flag] = {"allowed_origins": "[]"} if self._is_open else {}
        super().__init__(model, api_key=api_key, admin_api_key=secrets.token_urlsafe(32), **{**origins, **flags})

    async def __call__(self, request: Request) -> Response:
        path = request.url.path.removeprefix(request.scope.get("root_path", "")) or "/"
        if path.removeprefix("/v1").startswith(OF_ONE_SERVER):
            return refusal(404, f"{path}: files and batches would be in one replica alone; use Ray Data for many prompts")
        headers = [(name, value) for name, value in request.headers.items() if name not in NOT_SENT]
        if self._is_open:
            headers = [(name, value) for name, value in headers if name not in KEYS]
            headers.append(("authorization", f"Bearer {self._own_server().api_key}"))
        target = f"{path}?{request.url.query}" if request.url.query else path
        return Forwarded(self._forward(request.method, target, headers, await request.body()))

    @asynccontextmanager
    async def _forward(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> AsyncIterator[httpx.Response]:
        # A replica without a server that answered at once would soon get all requests, being the least busy one.
        async with self._after_the_end(), self._open().forward(method, path, headers, body) as reply:
            yield reply

    async def check_health(self) -> None:
        """Raises where the server does not serve: Serve then replaces the replica."""
        await self.request("GET", "/health")

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Takes the deployment's `user_config`: {"weight_dir": a folder, "weight_version": ...}, new weights for every replica,
        also for those that Serve adds later."""
        if "weight_dir" in config:
            await self.update_weights(config["weight_dir"], weight_version=config.get("weight_version"))


class Forwarded(Response):
    """The server's reply, piece by piece. When the client goes away, Serve cancels this, and the sequences end."""

    def __init__(self, reply: AbstractAsyncContextManager[httpx.Response]) -> None:
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            try:
                reply = await stack.enter_async_context(self._reply)
            except StoppedError as error:
                await refusal(503, str(error))(scope, receive, send)
                return
            headers = [(name, value) for name, value in reply.headers.raw if name.lower().decode() not in NOT_RETURNED]
            await send({"type": "http.response.start", "status": reply.status_code, "headers": headers})
            async for piece in reply.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def refusal(status: int, message: str) -> Response:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


#: `FastgenDeployment.options(ray_actor_options={"num_gpus": 1}, autoscaling_config={...}).bind(model, max_model_len=4096)`: an
#: app for serve.run(). Serve adds replicas where more than `target_ongoing_requests` run in each, and takes them away again.
FastgenDeployment = serve.deployment(
    name="fastgen",
    max_ongoing_requests=1024,
    autoscaling_config={"min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": 128},
)(FastgenReplica)


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """The app for a file of `serve deploy`: `import_path: fastgen.ray:build_app`, and the arguments of FastgenReplica as `args`."""
    return FastgenDeployment.bind(**args)
