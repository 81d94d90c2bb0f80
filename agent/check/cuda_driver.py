"""The few calls of libcuda that a check needs, without any package: this runs in whatever Python is given to it."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

_LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76
THREADS = 256


# Before there is a context, what is not the GPU's fault. Of the installation: a stub library, no device, another one,
# not supported, a driver or library of another version. Of others: no memory left, a GPU that somebody has for himself.
_NONE_OF_ITS_FAULT = frozenset({34, 100, 101, 801, 803, 804, 2, 46})


class NoCuda(Exception):
    """There is no CUDA driver here, or it serves no GPU to this process."""


class CudaError(Exception):
    """A call failed: by the GPU, its driver, or for want of memory. ``code`` is CUDA's; 0: it has no such call."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Cuda:
    """The first GPU that this process may see, with a context on it."""

    def __init__(self) -> None:
        """Raises NoCuda, and CudaError where the GPU is there and no program can use it."""
        self._library = _load()
        try:
            self._call("cuInit", c_uint(0))
            device, context = c_int(), c_void_p()
            self._call("cuDeviceGet", byref(device), c_int(0))
            self.multiprocessors = self._attribute(device, _MULTIPROCESSORS)
            self.capability = (self._attribute(device, _MAJOR), self._attribute(device, _MINOR))
            self._call("cuDevicePrimaryCtxRetain", byref(context), device)
            self._call("cuCtxSetCurrent", context)
        except CudaError as error:
            if error.code and error.code not in _NONE_OF_ITS_FAULT:
                raise
            raise NoCuda(str(error)) from None

    def _attribute(self, device: c_int, number: int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", byref(value), c_int(number), device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            code = getattr(self._library, name)(*arguments)
        except AttributeError:
            raise CudaError(f"libcuda has no {name}: it is too old") from None
        if code:
            text = c_char_p()
            known = self._library.cuGetErrorName(c_int(code), byref(text)) == 0 and text.value
            raise CudaError(f"{name} failed: {known.decode() if known else f'error {code}'}", code)

    # --- memory -----------------------------------------------------------------------------------------------------

    def free_memory(self) -> int:
        """In bytes."""
        free, total = c_size_t(), c_size_t()
        self._call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """An address of so many bytes on the GPU."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), c_size_t(size))
        return address.value

    def release(self, address: int) -> None:
        """Give it back."""
        self._call("cuMemFree_v2", c_uint64(address))

    def read(self, address: int, size: int) -> bytes:
        """What is there; waits for what was launched."""
        buffer = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoH_v2", buffer, c_uint64(address), c_size_t(size))
        return buffer.raw

    def write(self, address: int, data: bytes) -> None:
        """Put it there."""
        self._call("cuMemcpyHtoD_v2", c_uint64(address), c_char_p(data), c_size_t(len(data)))

    # --- work -------------------------------------------------------------------------------------------------------

    def load(self, ptx: str) -> Module:
        """Translate a program for this GPU. Raises CudaError where its driver or the card is too old for it."""
        module = c_void_p()
        self._call("cuModuleLoadData", byref(module), c_char_p(ptx.encode()))
        return Module(self, module)

    def launch(self, function: c_void_p, blocks: int, *arguments: Any) -> None:
        """Run it in so many blocks of ``THREADS``, and wait for its end."""
        places = (c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        shape = (c_uint(size) for size in (blocks, 1, 1, THREADS, 1, 1, 0))
        self._call("cuLaunchKernel", function, *shape, c_void_p(), places, c_void_p())
        self._call("cuCtxSynchronize")


class Module:
    """A program on a GPU."""

    def __init__(self, cuda: Cuda, handle: c_void_p) -> None:
        self._cuda = cuda
        self._handle = handle

    def run(self, name: str, blocks: int, *arguments: Any) -> None:
        """Run one of its kernels to its end."""
        function = c_void_p()
        self._cuda._call("cuModuleGetFunction", byref(function), self._handle, c_char_p(name.encode()))
        self._cuda.launch(function, blocks, *arguments)


def _load() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise NoCuda("libcuda.so.1 was not found: the NVIDIA driver is not installed, or not let into this container")
