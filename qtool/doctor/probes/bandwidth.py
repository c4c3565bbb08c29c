"""How fast this machine reads memory, in some 30 ms: the limit of decoding on a CPU."""

import ctypes
import threading
import time

from qtool.doctor.snapshot import UNKNOWN, Unknown

BLOCK_BYTES = 16 * 1024 * 1024
DURATION_S = 0.02
MAX_THREADS = 16


def measure_bandwidth(n_threads: int) -> float | Unknown:
    """Return the bytes per second that ``n_threads`` move together by copying.

    Copying a byte reads and writes it, so each counts twice. ctypes releases the interpreter's
    lock meanwhile. Two blocks a thread are larger than most caches; on a processor with a very
    large last-level cache the result is too high. A thread's figure is its lower-quartile copy:
    what other programs take from the machine for a moment does not count.
    """
    workers = [_Worker() for _ in range(max(1, min(n_threads, MAX_THREADS)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    total = sum(worker.bytes_per_s for worker in workers)
    return total or UNKNOWN


class _Worker(threading.Thread):
    """Copies one block onto another until its time is up."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes_per_s = 0.0

    def run(self) -> None:
        try:
            source, target = ctypes.create_string_buffer(BLOCK_BYTES), None
            target = ctypes.create_string_buffer(BLOCK_BYTES)
        except MemoryError:
            return
        copy = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(
            ctypes.cast(ctypes.memmove, ctypes.c_void_p).value or 0
        )
        copy(ctypes.addressof(target), ctypes.addressof(source), BLOCK_BYTES)
        began = time.perf_counter()
        took_s: list[float] = []
        while not took_s or time.perf_counter() - began < DURATION_S:
            before = time.perf_counter()
            copy(ctypes.addressof(target), ctypes.addressof(source), BLOCK_BYTES)
            took_s.append(time.perf_counter() - before)
        self.bytes_per_s = 2 * BLOCK_BYTES / sorted(took_s)[len(took_s) // 4]
