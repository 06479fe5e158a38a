"""Tensors on a GPU, as the server takes them from another process: handles of the memory that they lie in (CUDA IPC).

Everything is asked of CUDA's driver, so no library of arrays is needed: a tensor is what has PyTorch's `is_cuda`, `data_ptr`, `dtype`, `shape`,
`detach` and `contiguous`.
"""

from __future__ import annotations

import base64
import ctypes
from contextlib import contextmanager
from typing import Any, Iterable, Iterator

#: Bytes of a handle.
HANDLE_BYTES = 64

_CONTEXT_OF_POINTER = 1


class SharedTensors:
    """`entries` are the `tensors` of /update_weights. What they stand for is kept for as long as this object is."""

    def __init__(self, tensors: Iterable[tuple[str, Any]]) -> None:
        driver = _Driver()
        #: A tensor that is not in one piece is copied: the copy belongs to nobody else.
        self._kept: list[Any] = []
        self.entries: list[dict[str, Any]] = []
        handles: dict[int, str] = {}
        for name, tensor in tensors:
            kept = (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().contiguous()
            self._kept.append(kept)
            pointer = int(kept.data_ptr())
            with driver.context_of(name, pointer):
                base = driver.base_of(name, pointer)
                if base not in handles:
                    handles[base] = base64.b64encode(driver.handle_of(name, base)).decode()
            entry = {"name": name, "dtype": str(kept.dtype).removeprefix("torch."), "shape": list(kept.shape)}
            self.entries.append({**entry, "ipc_handle": handles[base], "offset": pointer - base})
        if not self.entries:
            raise ValueError("there are no tensors")
        # The server reads what is written: what the streams still have to write comes first.
        for name, kept in zip((entry["name"] for entry in self.entries), self._kept):
            with driver.context_of(name, int(kept.data_ptr())):
                driver.check(name, "cuCtxSynchronize")


def is_on_gpu(tensor: Any) -> bool:
    """Whether a tensor lies in the memory of an NVIDIA GPU."""
    return bool(getattr(tensor, "is_cuda", False))


class _Driver:
    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def check(self, tensor: str, function: str, *args: Any) -> None:
        status = getattr(self._library, function)(*args)
        if status == 0:
            return
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        reason = text.value.decode() if text.value else f"error {status}"
        cure = ""
        if function == "cuIpcGetMemHandle":
            cure = "; memory of PyTorch's expandable_segments cannot be shared: turn them off, or give the tensor's .cpu()"
        raise ValueError(f"the tensor '{tensor}' cannot be shared with the server: {function}: {reason}{cure}")

    @contextmanager
    def context_of(self, tensor: str, pointer: int) -> Iterator[None]:
        """Within it the memory's context is the thread's own, whichever thread it is."""
        context = ctypes.c_void_p()
        attribute = ctypes.c_int(_CONTEXT_OF_POINTER)
        self.check(tensor, "cuPointerGetAttribute", ctypes.byref(context), attribute, ctypes.c_uint64(pointer))
        self.check(tensor, "cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self.check(tensor, "cuCtxPopCurrent_v2", ctypes.byref(context))

    def base_of(self, tensor: str, pointer: int) -> int:
        """Where the allocation begins that the pointer leads into."""
        base, size = ctypes.c_uint64(), ctypes.c_size_t()
        arguments = (ctypes.byref(base), ctypes.byref(size), ctypes.c_uint64(pointer))
        self.check(tensor, "cuMemGetAddressRange_v2", *arguments)
        return base.value

    def handle_of(self, tensor: str, base: int) -> bytes:
        handle = ctypes.create_string_buffer(HANDLE_BYTES)
        self.check(tensor, "cuIpcGetMemHandle", handle, ctypes.c_uint64(base))
        return handle.raw
