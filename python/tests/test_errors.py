"""Errors pass whole from one process to another."""

from __future__ import annotations

import pickle

from fastgen import RequestError, StartError, StoppedError


def test_an_error_that_was_pickled_is_the_same() -> None:
    refused = pickle.loads(pickle.dumps(RequestError("too long", 400, "prompt", "context_length_exceeded")))
    assert type(refused) is RequestError
    assert (str(refused), refused.status, refused.param, refused.code) == (
        "too long",
        400,
        "prompt",
        "context_length_exceeded",
    )
    failed = pickle.loads(pickle.dumps(StartError("no model", "its log")))
    assert (type(failed), str(failed), failed.log) == (StartError, "no model", "its log")
    assert str(pickle.loads(pickle.dumps(StoppedError("gone")))) == "gone"
