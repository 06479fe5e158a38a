"""Follows a server's KV events with pyzmq and msgspec, in the types of vLLM 0.26, and foretells from them what its prefix cache finds."""

import json
import random
import sys
import time
import urllib.request
from typing import Any

import msgspec
import zmq

url, model, endpoint, replay_endpoint = sys.argv[1:5]
PAGE = 64


class Event(msgspec.Struct, omit_defaults=True, gc=False, tag=True, forbid_unknown_fields=True):
    pass


class BlockStored(Event):
    block_hashes: list[bytes | int]
    parent_block_hash: bytes | int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    extra_keys: list[tuple[Any, ...] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None
    kv_cache_spec_sliding_window: int | None = None
    locality: str | None = None


class BlockRemoved(Event):
    block_hashes: list[bytes | int]
    medium: str | None
    group_idx: int | None = None
    locality: str | None = None


class AllBlocksCleared(Event):
    pass


class Batch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    ts: float
    events: list[BlockStored | BlockRemoved | AllBlocksCleared]
    data_parallel_rank: int | None = None


decoder = msgspec.msgpack.Decoder(type=Batch)
context = zmq.Context()
events = context.socket(zmq.SUB)
events.setsockopt(zmq.SUBSCRIBE, b"kv@")
events.connect(endpoint)
replay = context.socket(zmq.DEALER)
replay.RCVTIMEO = 10_000
replay.connect(replay_endpoint)

received: list[tuple[int, bytes]] = []
seen: dict[str, int] = {}
# Pages of before the subscription are not known: what becomes of them is, once all of them are gone.
knows = False
# By hash: in which memories. By parent, tokens and salt: the hash.
media: dict[bytes | int, set[str]] = {}
chain: dict[tuple[bytes | int | None, tuple[int, ...], str | None], bytes | int] = {}


def apply(event: BlockStored | BlockRemoved | AllBlocksCleared) -> None:
    global knows
    name = type(event).__name__
    knows = knows or isinstance(event, AllBlocksCleared)
    if not knows:
        return
    seen[name] = seen.get(name, 0) + 1
    if isinstance(event, AllBlocksCleared):
        media.clear()
        return
    assert event.medium in ("GPU", "CPU", "FS") and event.group_idx == 0, event
    seen[f"{name} {event.medium}"] = seen.get(f"{name} {event.medium}", 0) + 1
    if isinstance(event, BlockRemoved):
        for one in event.block_hashes:
            media[one].remove(event.medium)
        return
    assert event.block_size == PAGE and len(event.token_ids) == PAGE * len(event.block_hashes), event
    assert event.extra_keys is not None and len(event.extra_keys) == len(event.block_hashes), event
    parent = event.parent_block_hash
    for i, one in enumerate(event.block_hashes):
        keys = event.extra_keys[i]
        salt = keys[0] if keys else None
        chain[parent, tuple(event.token_ids[i * PAGE : (i + 1) * PAGE]), salt] = one
        media.setdefault(one, set()).add(event.medium)
        parent = one


def read(patience: float) -> None:
    """Takes what has come; waits so many seconds for more."""
    while events.poll(int(patience * 1000)):
        topic, number, payload = events.recv_multipart()
        assert topic == b"kv@pod-0@tiny", topic
        received.append((int.from_bytes(number, "big"), payload))
        batch = decoder.decode(payload)
        assert abs(batch.ts - time.time()) < 60 and batch.data_parallel_rank == 0, batch
        for event in batch.events:
            apply(event)


def foretold(prompt: list[int], salt: str | None) -> int:
    """Tokens of a prompt that the cache has: at least one is always computed."""
    parent = None
    for page in range((len(prompt) - 1) // PAGE):
        tokens = tuple(prompt[page * PAGE : (page + 1) * PAGE])
        parent = chain.get((parent, tokens, salt if page == 0 else None))
        if not media.get(parent):
            return page * PAGE
    return (len(prompt) - 1) // PAGE * PAGE


def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        text = reply.read()
    return json.loads(text) if text else {}


def cached(prompt: list[int], salt: str | None = None) -> int:
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0}
    usage = post("/v1/completions", {**body, **({"cache_salt": salt} if salt else {})})["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"]


# A subscription takes effect when the server has it: until then nothing comes.
probe = random.Random(1)
deadline = time.monotonic() + 20
while not received:
    assert time.monotonic() < deadline, "no event comes"
    cached([probe.randrange(10, 200) for _ in range(PAGE + 1)])
    read(0.1)
post("/reset_prefix_cache", {})
while not knows:
    assert time.monotonic() < deadline, "nothing tells that the cache is empty"
    read(0.1)

draw = random.Random(0)
documents = [[draw.randrange(10, 200) for _ in range(PAGE * 5)] for _ in range(6)]
hits = 0
for _ in range(60):
    document = draw.choice(documents)
    prompt = document[: draw.randrange(PAGE, len(document))] + [draw.randrange(10, 200) for _ in range(20)]
    salt = draw.choice([None, None, "tenant"])
    read(0.02)
    expected = foretold(prompt, salt)
    got = cached(prompt, salt)
    assert got == expected, (got, expected, seen)
    hits += got
read(0.5)
assert hits > 0, "nothing was found"
everything = ["BlockStored GPU", "BlockStored CPU", "BlockRemoved GPU", "BlockRemoved CPU"]
assert all(seen.get(name) for name in everything), seen

post("/reset_prefix_cache", {})
read(0.5)
assert seen.get("AllBlocksCleared") == 2 and not media, (seen, media)
assert foretold(documents[0], None) == cached(documents[0]) == 0
read(0.5)
assert foretold(documents[0], None) == cached(documents[0]) == PAGE * 4

# Numbers have no gaps, and what was missed before the subscription can be asked for.
numbers = [number for number, _ in received]
assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
read(0.5)
replay.send_multipart([b"", (0).to_bytes(8, "big")])
repeated: list[tuple[int, bytes]] = []
while True:
    empty, number, payload = replay.recv_multipart()
    assert empty == b""
    if int.from_bytes(number, "big", signed=True) == -1:
        break
    repeated.append((int.from_bytes(number, "big"), payload))
assert repeated[0][0] == 0 and repeated[received[0][0] :] == received, (len(repeated), len(received))
print(json.dumps(seen))
