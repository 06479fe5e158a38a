"""Tensors on a GPU as new weights: on paper with a driver made up here, and in earnest where there is a GPU."""

from __future__ import annotations

import base64
import ctypes
from contextlib import contextmanager
from typing import Any, Iterator

import pytest

from fastgen import Fastgen
from fastgen.cuda_ipc import SharedTensors, is_on_gpu

from .conftest import MODEL
from .test_weights import hello, model_weights, other_weights


class Tensor:
    """What is asked of PyTorch's tensors."""

    is_cuda = True
    dtype = "torch.bfloat16"

    def __init__(self, pointer: int, shape: tuple[int, ...], in_one_piece: bool = True) -> None:
        self.pointer, self.shape, self.in_one_piece = pointer, shape, in_one_piece

    def data_ptr(self) -> int:
        return self.pointer

    def detach(self) -> Tensor:
        return self

    def contiguous(self) -> Tensor:
        return self if self.in_one_piece else Tensor(self.pointer + 0x100000, self.shape)


class PaperDriver:
    """Allocations of 0x1000 bytes at every multiple of that; a handle says which it is of."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @contextmanager
    def context_of(self, tensor: str, pointer: int) -> Iterator[None]:
        yield

    def base_of(self, tensor: str, pointer: int) -> int:
        return pointer // 0x1000 * 0x1000

    def handle_of(self, tensor: str, base: int) -> bytes:
        self.calls.append(f"handle {base:#x}")
        return base.to_bytes(64, "little")

    def check(self, tensor: str, function: str) -> None:
        self.calls.append(f"{function} {tensor}")


def test_tensors_become_handles_and_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = PaperDriver()
    monkeypatch.setattr("fastgen.cuda_ipc._Driver", lambda: driver)
    tensors = {"a": Tensor(0x1000, (2, 3)), "b": Tensor(0x1010, (4,)), "c": Tensor(0x2000, (1,), in_one_piece=False)}
    shared = SharedTensors(tensors.items())
    assert [(entry["name"], entry["dtype"], entry["shape"], entry["offset"]) for entry in shared.entries] == [
        ("a", "bfloat16", [2, 3], 0),
        ("b", "bfloat16", [4], 0x10),
        ("c", "bfloat16", [1], 0),
    ]
    handles = [int.from_bytes(base64.b64decode(entry["ipc_handle"]), "little") for entry in shared.entries]
    assert handles == [0x1000, 0x1000, 0x102000]
    # One handle for each allocation; every tensor is written before the server reads.
    synchronised = [f"cuCtxSynchronize {name}" for name in tensors]
    assert driver.calls == ["handle 0x1000", "handle 0x102000", *synchronised]
    with pytest.raises(ValueError, match="no tensors"):
        SharedTensors([])


class MemoryOfGpu:
    """Memory of the first GPU, by its driver alone."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        context = ctypes.c_void_p()
        for function, *args in (
            ("cuInit", 0),
            ("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0),
            ("cuCtxPushCurrent_v2", context),
        ):
            self.call(function, *args)

    def call(self, function: str, *args: Any) -> None:
        assert getattr(self.library, function)(*args) == 0, function

    def tensors(self, arrays: dict[str, Any]) -> dict[str, Tensor]:
        """All arrays in one allocation, one after the other."""
        base = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(base), ctypes.c_size_t(sum(array.nbytes for array in arrays.values())))
        end = base.value
        tensors = {}
        for name, array in arrays.items():
            data = array.tobytes()
            self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(end), data, ctypes.c_size_t(len(data)))
            tensors[name] = Tensor(end, array.shape)
            end += len(data)
        return tensors


def has_gpu() -> bool:
    try:
        return bool(ctypes.CDLL("libcuda.so.1").cuInit(0) == 0)
    except OSError:
        return False


def torch_tensors(arrays: dict[str, Any]) -> dict[str, Any]:
    """PyTorch's tensors: several in one of its allocator's blocks, and half of them not in one piece."""
    torch = pytest.importorskip("torch")
    tensors = {}
    for i, (name, array) in enumerate(arrays.items()):
        tensor = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.bfloat16).reshape(array.shape).cuda()
        tensors[name] = tensor.T.contiguous().T if i % 2 and tensor.dim() == 2 else tensor
    return tensors


@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
@pytest.mark.parametrize("library", ["driver", "torch"])
def test_a_server_reads_the_gpu_s_memory_of_this_process(library: str) -> None:
    make = MemoryOfGpu().tensors if library == "driver" else torch_tensors
    with Fastgen(device="cuda", progress=None) as own:
        original = hello(own)
        own.update_weights(other_weights())
        other = hello(own)
        assert other != original
        tensors = make(model_weights())
        assert all(is_on_gpu(tensor) for tensor in tensors.values())
        assert own.update_weights(tensors, weight_version="from the GPU") == "from the GPU"
        assert hello(own) == original
        own.update_weights(make(dict(other_weights())))
        assert hello(own) == other
        own.update_weights(MODEL)
        assert hello(own) == original
        with pytest.raises(ValueError, match="'w' cannot be shared"):
            own.update_weights({"w": Tensor(0x1000, (1,))})
