"""Weights: as files that are this process's memory, and new ones in a server that goes on answering."""

from __future__ import annotations

import json
import os
import struct
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest

from fastgen import Fastgen, RequestError
from fastgen.weights import StagedWeights

from .conftest import MODEL, until

numpy = pytest.importorskip("numpy")
ml_dtypes = pytest.importorskip("ml_dtypes")

HELLO = [{"role": "user", "content": "hello"}]


def read_safetensors(file: Path) -> dict[str, tuple[str, list[int], bytes]]:
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length :]
    assert sum(end - start for start, end in (entry["data_offsets"] for entry in header.values())) == len(data)
    return {
        name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]) for name, entry in header.items()
    }


def model_weights() -> dict[str, Any]:
    """The built-in model's, as NumPy arrays."""
    return {
        name: numpy.frombuffer(data, ml_dtypes.bfloat16).reshape(shape)
        for name, (_, shape, data) in read_safetensors(MODEL / "model.safetensors").items()
    }


def other_weights() -> Iterator[tuple[str, Any]]:
    """Weights of the same shapes that answer otherwise: the layers add nothing."""
    for name, array in model_weights().items():
        yield name, array * 0 if "down_proj" in name else array


def hello(fastgen: Fastgen) -> list[int]:
    return fastgen.chat(HELLO, temperature=0, max_tokens=12).token_ids


@pytest.fixture
def own() -> Iterator[Fastgen]:
    """A server whose weights a test may change."""
    with Fastgen(device="cpu", progress=None) as running:
        yield running


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])
def test_arrays_of_every_kind_become_safetensors(shard_bytes: int) -> None:
    matrix = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    arrays = {
        "plain": matrix,
        "columns first": numpy.asfortranarray(matrix),
        "every second": matrix[:, ::2],
        "big-endian": matrix.astype(">f4"),
        "half": matrix.astype(numpy.float16),
        "bfloat16": matrix.astype(ml_dtypes.bfloat16),
        "fp8": matrix.astype(ml_dtypes.float8_e4m3fn),
        "a number": numpy.float32(7),
        "empty": matrix[:0],
    }
    before = set(os.listdir("/proc/self/fd"))
    with StagedWeights(arrays, shard_bytes) as staged:
        folder = Path(staged.folder)
        index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        assert (len(set(index.values())) > 1) == (shard_bytes == 1)
        read = {name: read_safetensors(folder / file)[name] for name, file in index.items()}
    assert not folder.exists() and set(os.listdir("/proc/self/fd")) <= before
    assert read == {
        "plain": ("F32", [2, 3], matrix.tobytes()),
        "columns first": ("F32", [2, 3], matrix.tobytes()),
        "every second": ("F32", [2, 2], matrix[:, ::2].tobytes()),
        "big-endian": ("F32", [2, 3], matrix.tobytes()),
        "half": ("F16", [2, 3], matrix.astype(numpy.float16).tobytes()),
        # These numbers are exact in bfloat16: the upper halves of their bits.
        "bfloat16": ("BF16", [2, 3], (matrix.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()),
        "fp8": ("F8_E4M3", [2, 3], bytes([0x00, 0x38, 0x40, 0x44, 0x48, 0x4A])),
        "a number": ("F32", [], numpy.float32(7).tobytes()),
        "empty": ("F32", [0, 3], b""),
    }


def test_what_cannot_be_staged_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    one = numpy.zeros(1, numpy.float32)
    with pytest.raises(TypeError, match="'text' is of type"):
        StagedWeights({"fine": one, "text": numpy.array(["a"])}, 1)
    with pytest.raises(ValueError, match="'w' is given twice"):
        StagedWeights([("w", one), ("w", one)], 1)
    with pytest.raises(ValueError, match="no tensors"):
        StagedWeights({})
    assert set(os.listdir("/proc/self/fd")) == before


def test_new_weights_answer_and_old_ones_come_back(own: Fastgen) -> None:
    original = hello(own)
    assert own.weight_version() == "0"
    assert own.update_weights(other_weights()) == "1"
    other = hello(own)
    assert other != original
    assert own.update_weights(MODEL, weight_version="as built") == "as built"
    answer = own.chat(HELLO, temperature=0, max_tokens=12)
    assert (answer.token_ids, answer.weight_version) == (original, "as built")
    assert own.update_weights(dict(other_weights())) != "1"
    assert hello(own) == other


def test_pytorch_s_tensors_are_weights_too(own: Fastgen) -> None:
    torch = pytest.importorskip("torch")
    original = hello(own)
    own.update_weights(other_weights())
    other = hello(own)
    weights = {
        name: torch.frombuffer(bytearray(array.tobytes()), dtype=torch.bfloat16).reshape(array.shape)
        for name, array in model_weights().items()
    }
    own.update_weights(weights.items())
    assert hello(own) == original
    # Transposed twice they are no longer in one piece, and gradients belong to the trainer.
    for name in weights:
        if "down_proj" in name:
            weights[name] = torch.nn.Parameter((weights[name] * 0).T.contiguous().T)
    own.update_weights(weights)
    assert hello(own) == other


def test_weights_that_do_not_fit_change_nothing(own: Fastgen) -> None:
    original = hello(own)
    missing = dict(other_weights())
    name, _ = missing.popitem()
    with pytest.raises(RequestError, match=name.split(".")[-2]) as refused:
        own.update_weights(missing)
    assert refused.value.status == 400
    with pytest.raises(RequestError, match="no/such/folder"):
        own.update_weights("/no/such/folder")
    with pytest.raises(LookupError):
        own.update_weights(iter_that_fails())
    assert (hello(own), own.weight_version()) == (original, "0")


def iter_that_fails() -> Iterator[tuple[str, Any]]:
    yield next(other_weights())
    raise LookupError("the trainer has lost it")


def test_a_pause_keeps_requests_and_new_weights_finish_them(own: Fastgen) -> None:
    answers: list[Any] = []
    stream = own.stream("Once upon a time", max_tokens=900, ignore_eos=True, temperature=0)
    # So much is computed before the pause that it is not over by then.
    pieces = [next(stream) for _ in range(3)]
    own.pause("keep")
    assert own.is_paused()
    asking = threading.Thread(target=lambda: answers.append(own.chat(HELLO, temperature=0, max_tokens=12)))
    asking.start()
    own.update_weights(other_weights())
    assert not answers
    own.resume()
    assert not own.is_paused()
    asking.join(60)
    assert answers[0].weight_version == "1"
    pieces += list(stream)
    assert sum(len(piece.token_ids) for piece in pieces) == 900
    assert pieces[1].weight_version == "0" and pieces[-1].weight_version == "1"


def test_an_abort_ends_requests_with_what_they_have(own: Fastgen) -> None:
    for end in (lambda: own.pause("abort"), lambda: own.abort("mine"), own.abort):
        stream = own.stream("Once upon a time", max_tokens=900, ignore_eos=True, request_id="mine")
        pieces = [next(stream)]
        assert end() in (None, 1)
        pieces += list(stream)
        assert pieces[-1].finish_reason == "abort"
        assert 0 < sum(len(piece.token_ids) for piece in pieces) < 900
        own.resume()
    assert own.abort("nobody's") == 0


@pytest.mark.parametrize("level", [1, 2])
def test_sleep_and_wake_up(own: Fastgen, level: Any) -> None:
    original = hello(own)
    own.sleep(level)
    assert own.is_sleeping()
    own.wake_up(["weights"])
    own.wake_up()
    assert not own.is_sleeping()
    if level == 2:
        own.update_weights(MODEL)
    assert hello(own) == original


def test_the_prefix_cache_is_forgotten(own: Fastgen) -> None:
    prompt = "word " * 200

    def cached() -> int:
        usage = own.generate(prompt, max_tokens=1).raw["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert cached() == 0
    until(lambda: cached() > 0)
    own.reset_prefix_cache()
    assert cached() == 0


def test_an_admin_key_is_the_only_one_for_what_changes_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGEN_ADMIN_API_KEY", "of another server")
    with Fastgen(device="cpu", progress=None) as own:
        own.pause()
        own.resume()
    with Fastgen(device="cpu", progress=None, admin_api_key="secret") as own:
        assert own.server is not None
        own.pause()
        own.resume()
        user = Fastgen(url=own.url, api_key=own.server.api_key)
        assert user.generate("hello", max_tokens=1).token_ids
        with pytest.raises(RequestError) as refused:
            user.pause()
        assert refused.value.status == 401
