"""What goes wrong, as exceptions. They pass whole between processes."""

from __future__ import annotations

from typing import Any


class FastgenError(Exception):
    """Any error of this package."""


class StartError(FastgenError):
    """The server did not start. `log` is what it wrote, its last lines."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.log)


class RequestError(FastgenError):
    """The server refused a request, or failed at it.

    `status` is the HTTP status. `param` names the field that is wrong, `code` is a word for programs; either may be None.
    """

    def __init__(self, message: str, status: int, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.status, self.param, self.code)


class StoppedError(FastgenError):
    """The server is not there: it was stopped, has ended, or cannot be reached."""
