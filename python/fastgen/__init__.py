"""Fastgen: high-throughput inference from dense transformers, as a server that belongs to this process."""

from .answers import Choice, Completion, Piece, Result, WeightSpan
from .async_client import AsyncFastgen
from .client import Fastgen
from .errors import FastgenError, RequestError, StartError, StoppedError
from .executable import find_executable
from .server import Server

__all__ = [
    "AsyncFastgen",
    "Choice",
    "Completion",
    "Fastgen",
    "FastgenError",
    "Piece",
    "RequestError",
    "Result",
    "Server",
    "StartError",
    "StoppedError",
    "WeightSpan",
    "find_executable",
]
