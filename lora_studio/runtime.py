"""The device: facts about it, its memory and errors, and the lease that lets one job at a time use it."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.errors import DeviceBusy, DeviceLost, OutOfMemory

if TYPE_CHECKING:
    import torch

LOST = re.compile(
    r"CUDA error|CUDA driver|CUBLAS|CUDNN|HIP error|device-side assert|MPS backend|device.{0,20}lost", re.I
)
"""Pattern in messages of a device that has failed."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """`kind` is torch's device type; `memory_bytes` the device's own memory, 0 for the CPU;
    `native_bf16` whether its matrix units compute bfloat16 directly."""

    kind: str
    title: str
    memory_bytes: int
    native_bf16: bool


def find_device() -> Device:
    """The best device that torch sees: CUDA, then Apple's MPS, then the CPU."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Device(
            kind="cuda",
            title=properties.name,
            memory_bytes=properties.total_memory,
            native_bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        )
    if torch.backends.mps.is_available():
        return Device(kind="mps", title="Apple GPU", memory_bytes=0, native_bf16=False)
    return Device(
        kind="cpu",
        title=f"CPU, {torch.get_num_threads()} threads",
        memory_bytes=0,
        native_bf16=_cpu_computes_bf16(),
    )


def count_devices() -> tuple[int, str]:
    """The number of processes that can train side by side, and what each of them takes: a graphics card, or
    without any a core of the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.device_count(), "graphics card"
    if torch.backends.mps.is_available():
        return 1, "graphics card"
    return os.cpu_count() or 1, "processor core"


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Options of glibc's mallopt."""
LARGE, ENDLESS = 1 << 30, 2**31 - 1


@contextmanager
def memory_kept_at_hand() -> Iterator[None]:
    """Keep freed memory in the process inside the block, for its next use, instead of giving it back to the
    system each time, where glibc is the allocator. Each step on the CPU asks for its large buffers anew;
    without the page faults a step takes about 15 % less time and encoding a picture 25 % (SD 1.5 at 256 px),
    and the peak is the same. It is given back at the end, and by `give_memory_back` between two parts of
    the work that need buffers of other sizes."""
    glibc = _glibc()
    if glibc is not None:
        glibc.mallopt(MMAP_THRESHOLD, LARGE)
        glibc.mallopt(TRIM_THRESHOLD, ENDLESS)
    try:
        yield
    finally:
        if glibc is not None:
            gc.collect()
            give_memory_back()


def give_memory_back() -> None:
    """Give what is free in this process back to the system, where glibc is the allocator. Takes some
    milliseconds, and the next use of such memory is slower once."""
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


@contextmanager
def without_collections() -> Iterator[None]:
    """Import large libraries inside the block: nothing of their modules is garbage, so nobody looks for it
    there, now or later."""
    was_on, loaded = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > loaded:  # else only garbage would be kept
            gc.freeze()
        if was_on:
            gc.enable()


TUNABLES, SMALL_PIECES = "GLIBC_TUNABLES", "glibc.malloc.tcache_count"
COMPACT = f"{SMALL_PIECES}=0:glibc.malloc.mxfast=0"
"""Put freed memory together at once, whatever its size."""
WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables that say how OpenMP's threads wait for each other."""
SOON_ASLEEP = {"GOMP_SPINCOUNT": "20000"}
"""Looks of a waiting thread, in libgomp, before it sleeps: by default 300,000."""
BEGUN = "BEGUN_BY_LORA_STUDIO"
"""Variable with the number of the process that began anew, which stays the same."""


def cpu_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for a process that computes on the CPU: these, and, where glibc is the allocator and nobody
    has decided otherwise, two more.

    glibc keeps no small pieces aside: torch asks for its buffers at addresses that are multiples of 64, which
    leaves such a piece before and behind each; kept aside they never join the hole that a buffer leaves, and
    the same buffer finds it too small in the next step. Threads that wait for another sleep soon: else they
    take the cores that it needs, where a browser or another program has one of them."""
    if _glibc() is None:
        return dict(environment)
    given = environment.get(TUNABLES, "")
    heap = {} if SMALL_PIECES in given else {TUNABLES: ":".join(filter(None, (given, COMPACT)))}
    waits = {} if any(name in environment for name in WAITS) else SOON_ASLEEP
    return {**environment, **heap, **waits}


def begin_in_cpu_environment() -> None:
    """Begin this very command anew in `cpu_environment`, if it isn't in it: glibc and OpenMP read their
    variables at the start alone. To be called before anything else was done. A notebook's process is left
    alone, which would lose all that it holds, and so is a debugged one."""
    wanted = cpu_environment(os.environ)
    is_theirs = "IPython" in sys.modules or sys.gettrace() is not None
    # A Python with privileges of its own loses the variable at its start, and would begin for ever.
    is_second = os.environ.pop(BEGUN, "") == str(os.getpid())
    if wanted != dict(os.environ) and sys.executable and not (is_theirs or is_second):
        with suppress(OSError):
            again = {**wanted, BEGUN: str(os.getpid())}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], again)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def _cpu_computes_bf16() -> bool:
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(
        capabilities.get("avx512_bf16")
        or capabilities.get("amx_bf16")
        or capabilities.get("amx_tile")
        or capabilities.get("bf16")
    )


HEADROOM = 0.9
"""Share of the free memory that a picture may be planned with: it comes in pieces."""
CONTAINER = Path("/sys/fs/cgroup")
"""The folder in which Linux shows the memory limit of this container."""


def find_memory(device: Device) -> tuple[int, int]:
    """Free and total bytes of the memory where `device` keeps weights: its own, or the machine's (the
    container's, if it has less)."""
    if device.kind == "cuda":
        import torch

        free, whole = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated(), whole
    import psutil  # type: ignore[import-untyped]

    machine = psutil.virtual_memory()
    limit, free = _container_memory(machine.total)
    return min(machine.available, free), min(machine.total, limit)


def memory_in_use(device: Device) -> int:
    """Bytes of the memory where `device` keeps weights that this process holds: what torch has taken of a
    graphics card, the resident memory elsewhere. 0 where nobody can tell."""
    import torch

    if device.kind == "cuda":
        return int(torch.cuda.memory_reserved())
    if device.kind == "mps":
        return int(torch.mps.driver_allocated_memory())
    import psutil

    try:
        return int(psutil.Process().memory_info().rss)
    except psutil.Error:
        return 0


def _container_memory(otherwise: int) -> tuple[int, int]:
    """(limit, free) in bytes; twice `otherwise` without a limit. The cache of files counts as free."""
    try:
        limit = int((CONTAINER / "memory.max").read_text())
        used = int((CONTAINER / "memory.current").read_text())
        facts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())
        return limit, max(0, limit - used + int(facts.get("inactive_file", 0)))
    except (OSError, ValueError):
        return otherwise, otherwise


def compute_dtype(mixed_precision: str, device: Device) -> torch.dtype:
    """The autocast dtype for TrainConfig's `mixed_precision` (auto, no, fp16 or bf16)."""
    import torch

    if mixed_precision == "fp16":
        return torch.float16
    wants = mixed_precision == "bf16" or (mixed_precision == "auto" and device.native_bf16)
    return torch.bfloat16 if wants else torch.float32


@contextmanager
def memory_errors(doing: str, hint: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into OutOfMemory. `doing` ends the sentence, as in "training"."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(f"The memory was not enough for {doing}.", hint) from error
    except RuntimeError as error:
        # The CPU's allocator and Apple's have no error class of their own.
        if not re.search(r"not enough memory|can't allocate memory|out of memory", str(error)):
            raise
        raise OutOfMemory(f"The memory was not enough for {doing}.", hint) from error


def lost_device(error: RuntimeError) -> DeviceLost | None:
    """The error for people where a device in failure raised `error`; None for errors of another kind."""
    message = str(error).strip()
    if not LOST.search(message):
        return None
    return DeviceLost(
        f"The device failed in the middle of the work: {message.splitlines()[0][:200]}",
        "Try again; everything is loaded afresh. If that fails too, start the app anew.",
    )


class DeviceLease:
    """The right to use the device. First come, first served; a holder that works in steps gives way between
    them.

    Training holds the lease for its whole run and calls `give_way` once a step, so a waiting generation
    starts within a step; a generation holds it for one request.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[object] = []
        self._holder: str = ""

    @property
    def holder(self) -> str:
        """The present holder; empty when the device is free."""
        return self._holder

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def hold(self, who: str, *, give_up: Callable[[], bool] | None = None) -> Iterator[None]:
        """Wait for the device and hold it inside the block. `give_up` is asked four times a second while
        waiting; when it returns True, DeviceBusy is raised."""
        self._take(who, give_up)
        try:
            yield
        finally:
            self._release()

    def give_way(self, who: str) -> None:
        """Between two steps of the holder: let everybody who waits go first, then take the device back."""
        if not self._waiting:
            return
        self._release()
        self._take(who, None)

    def _take(self, who: str, give_up: Callable[[], bool] | None) -> None:
        ticket = object()
        with self._condition:
            self._waiting.append(ticket)
            try:
                while self._holder or self._waiting[0] is not ticket:
                    if give_up is not None and give_up():
                        raise DeviceBusy(
                            f"The device is still busy with {self._holder or 'other work'}.",
                            "Try again when it is done, or stop it.",
                        )
                    self._condition.wait(timeout=0.25)
            except BaseException:
                self._waiting.remove(ticket)
                self._condition.notify_all()
                raise
            self._waiting.remove(ticket)
            self._holder = who

    def _release(self) -> None:
        with self._condition:
            self._holder = ""
            self._condition.notify_all()
