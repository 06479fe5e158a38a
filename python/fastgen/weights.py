"""Named tensors as the server reads them: safetensors files that are memory of this process, or handles of memory on a GPU.

NumPy arrays (also bfloat16 and float8 of ml_dtypes), PyTorch's tensors, and what NumPy makes an array of. Neither library is needed.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Iterable, Mapping, Union

#: Names of safetensors.
DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}

NamedTensors = Union[Mapping[str, Any], Iterable["tuple[str, Any]"]]

#: Bytes of tensors in one file, at least, but for the last one: this much is held twice while it is written.
SHARD_BYTES = 1 << 28


def pairs(tensors: NamedTensors) -> Iterable[tuple[str, Any]]:
    """The names and tensors of a mapping, or of an iterable of pairs."""
    return tensors.items() if isinstance(tensors, Mapping) else tensors


class StagedWeights:
    """A folder of safetensors files for the server to read; use it with `with`.

    The files are links to memory of this process (memfd): nothing is written to a disk, /dev/shm's size is no bound, and the
    memory is free again when the block ends or the process is killed. The server must run on this machine, as the same user.
    Tensors are taken one after the other, so an iterable may make each when it is asked for.
    """

    def __init__(self, tensors: NamedTensors, shard_bytes: int = SHARD_BYTES) -> None:
        self._stack = ExitStack()
        try:
            self.folder: str = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fastgen-weights-"))
            self._write(tensors, shard_bytes)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> StagedWeights:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _write(self, tensors: NamedTensors, shard_bytes: int) -> None:
        weight_map: dict[str, str] = {}
        shard: dict[str, tuple[str, list[int], memoryview]] = {}
        size = 0

        def flush() -> None:
            nonlocal size
            file = f"model-{len(set(weight_map.values())) + 1:05}.safetensors"
            self._write_shard(file, shard)
            weight_map.update(dict.fromkeys(shard, file))
            shard.clear()
            size = 0

        for name, tensor in pairs(tensors):
            if name in weight_map or name in shard:
                raise ValueError(f"the tensor '{name}' is given twice")
            shard[name] = tensor_bytes(name, tensor)
            size += shard[name][2].nbytes
            if size >= shard_bytes:
                flush()
        if shard:
            flush()
        if not weight_map:
            raise ValueError("there are no tensors")
        with open(os.path.join(self.folder, "model.safetensors.index.json"), "w") as index:
            json.dump({"metadata": {}, "weight_map": weight_map}, index)

    def _write_shard(self, file: str, shard: Mapping[str, tuple[str, list[int], memoryview]]) -> None:
        header: dict[str, Any] = {}
        end = 0
        for name, (dtype, shape, data) in shard.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + data.nbytes]}
            end += data.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        memory = open(os.memfd_create(file), "wb", buffering=0)
        self._stack.callback(memory.close)
        parts = [memoryview(struct.pack("<Q", len(text)) + text), *(data for _, _, data in shard.values())]
        for rest in parts:
            while rest.nbytes > 0:
                rest = rest[memory.write(rest) :]
        os.symlink(f"/proc/{os.getpid()}/fd/{memory.fileno()}", os.path.join(self.folder, file))


def tensor_bytes(name: str, tensor: Any) -> tuple[str, list[int], memoryview]:
    """A tensor's type, shape and bytes, row by row. Raises TypeError for what is no tensor of numbers."""
    if hasattr(tensor, "full_tensor"):  # PyTorch's DTensor: the parts of all ranks.
        tensor = tensor.full_tensor()
    if hasattr(tensor, "detach"):
        return _torch_bytes(name, tensor)
    try:
        import numpy
    except ImportError as error:
        raise TypeError(f"the tensor '{name}' is no tensor of PyTorch; for other arrays NumPy must be installed") from error
    array = numpy.asarray(tensor)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    dtype = _dtype(name, array.dtype.name)
    flat = numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8)
    return dtype, list(array.shape), flat.data


def _torch_bytes(name: str, tensor: Any) -> tuple[str, list[int], memoryview]:
    import torch

    dtype = _dtype(name, str(tensor.dtype).removeprefix("torch."))
    shape = list(tensor.shape)
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    try:
        return dtype, shape, flat.numpy().data
    except RuntimeError:  # PyTorch without NumPy: its storage, byte by byte, is slow but right.
        return dtype, shape, memoryview(bytes(flat.untyped_storage()))


def _dtype(name: str, dtype: str) -> str:
    try:
        return DTYPES[dtype]
    except KeyError:
        raise TypeError(f"the tensor '{name}' is of type {dtype}; take one of {', '.join(DTYPES)}") from None
