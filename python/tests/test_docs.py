"""help() says what each method does, in both clients."""

from __future__ import annotations

import inspect

import pytest

from fastgen import AsyncFastgen, Fastgen


@pytest.mark.parametrize("client", [AsyncFastgen, Fastgen])
def test_every_public_member_is_documented(client: type) -> None:
    members = {name: value for name, value in vars(client).items() if not name.startswith("_")}
    assert {"generate", "stream", "update_weights", "url"} < set(members)
    assert [name for name, value in members.items() if not inspect.getdoc(value)] == []
