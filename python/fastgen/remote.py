"""A server that runs already, started by somebody else: its address, and the wait until it serves."""

from __future__ import annotations

import asyncio
import time
from typing import Callable
from urllib.parse import urlsplit

from .errors import RequestError, StartError, StoppedError
from .transport import Transport

#: Seconds that a server may take to say whether it is ready.
ANSWER_SECONDS = 10.0

#: Seconds between two looks at a server that loads its model.
PAUSE = 0.25


def server_url(url: str) -> str:
    """The server's address, without the /v1 that other clients want in it. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url must be a server's address, such as http://localhost:5678, not {url!r}")
    return url.rstrip("/").removesuffix("/v1")


async def wait_until_ready(
    transport: Transport, seconds: float | None, progress: Callable[[str], None] | None
) -> None:
    """Returns once the server serves; None = as long as its model loads. Raises StartError where none answers."""
    began = time.monotonic()
    shown = False
    while True:
        message = await _why_not(transport)
        if message is None:
            break
        if seconds is not None and time.monotonic() - began > seconds:
            raise StartError(f"{transport.url} was not ready after {seconds} seconds: {message}")
        if progress is not None:
            progress(f"{transport.url}: {message.split(';')[0]}")
            shown = True
        await asyncio.sleep(PAUSE)
    if progress is not None and shown:
        progress("")


async def _why_not(transport: Transport) -> str | None:
    """Why the server does not serve yet, in its own words; None = it does."""
    try:
        await asyncio.wait_for(transport.call("GET", "/health"), ANSWER_SECONDS)
    except RequestError as error:
        # Any other status comes from a server that has no such route, or hides it: requests will show.
        return str(error) if error.status == 503 else None
    except ValueError:
        # So does a reply that is no JSON.
        return None
    except (StoppedError, asyncio.TimeoutError) as error:
        why = str(error) or f"no answer from {transport.url} in {ANSWER_SECONDS:.0f} seconds"
        raise StartError(f"{why}. Start a server there, or leave out url to have one started") from error
    return None
