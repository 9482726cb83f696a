"""The worker that trains in child processes: one, or several that share each step."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from lora_studio.errors import ConfigError, StudioError
from lora_studio.events import Commands, Emit, Noted, Paused, ShouldStop, Stopped
from lora_studio.files import disk_errors
from lora_studio.jobs.device_turn import HOLDER, with_device
from lora_studio.jobs.failure import error_of_far_end
from lora_studio.jobs.processes.hearing import Hearing
from lora_studio.jobs.processes.run_files import SPOKEN, RunFiles
from lora_studio.jobs.sd_scripts.child_process import Child
from lora_studio.lora.run_states import newest_step, state_folder
from lora_studio.runtime import DeviceLease, count_devices, cpu_environment
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.store.process_owner import this_process
from lora_studio.training_request import RunRequest

FOLDER = "process"
LOOK_SECONDS = 0.1
KEPT_LINES = 40
FAR_END = "lora_studio.jobs.processes.far_end"
NOT_INHERITED = ("LORA_STUDIO_PASSWORD", "LORA_STUDIO_METRICS_TOKEN", "SUPABASE_", "MODAL_")
"""Prefixes of variables that a training has no use for and must not leak."""
RESUME = "It can be resumed from its last state. What the process printed is in {}."


class TrainingEnded(Exception):
    """The traceback of the far end, or the last lines it printed: for the log, not for people."""


class ProcessWorker:
    """A worker that trains in child processes. A generation meanwhile shares the device with them. A child
    that does not answer a stop for `patience_seconds`, or five of its slowest steps, is ended; one that was
    asked to end has `grace_seconds` to save a state."""

    def __init__(
        self,
        settings: Settings,
        lease: DeviceLease,
        *,
        patience_seconds: float = 60.0,
        grace_seconds: float = 45.0,
    ) -> None:
        self._settings, self._lease = settings, lease
        self._patience_seconds, self._grace_seconds = patience_seconds, grace_seconds

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Train until the end, a stop or a pause. Raises StudioError, with the far end's words for an error
        there; ConfigError when there are fewer devices than processes."""
        check_devices(request.config.run.num_processes)
        with_device(
            self._lease,
            request,
            emit,
            should_stop,
            lambda commands: self._run(request, Hearing(emit=emit, should_stop=should_stop), commands),
        )

    def _run(self, request: RunRequest, hearing: Hearing, commands: Commands) -> None:
        folder = request.folder or Path(request.config.output.output_dir).absolute()
        files = RunFiles(folder / FOLDER)
        # What a killed studio left behind is about to pause by itself.
        end(psutil.wait_procs(far_ends(files.folder), timeout=self._grace_seconds)[1])
        files.begin(request, this_process())
        with disk_errors("The training", "started", ""):
            child = Child(
                launch_command(request.config.run.num_processes, files.folder),
                folder=Path.cwd(),
                environment=environment(self._settings),
                log=files.console,
            )
        printed: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            self._follow(child, files, hearing, commands, printed)
        finally:
            # The launcher's processes have sessions of their own: no signal to the child's group finds them.
            ranks = far_ends(files.folder)
            code = child.stop(self._grace_seconds)
            end(ranks)
            hearing.take(files.events())
        self._end(request, files, hearing, code, printed)

    def _follow(
        self, child: Child, files: RunFiles, hearing: Hearing, commands: Commands, printed: deque[str]
    ) -> None:
        """Pass events and commands on until the child has ended, or doesn't answer a stop."""
        while True:
            self._lease.give_way(HOLDER)
            hearing.take(files.events())
            if hearing.should_stop() and not hearing.asked_to_stop:
                hearing.ask()
                files.tell("stop")
            while command := commands():
                files.tell(command)
            if hearing.is_unanswered(self._patience_seconds):
                return
            try:
                line = child.line(LOOK_SECONDS)
            except TimeoutError:
                continue
            if line is None:
                child.wait()
                return
            if line.startswith(SPOKEN):
                hearing.take(files.events())
                hearing.take(files.spoken(line))
            else:
                printed.append(line)

    def _end(
        self, request: RunRequest, files: RunFiles, hearing: Hearing, code: int, printed: Iterable[str]
    ) -> None:
        """Emit the run's last word. Raises StudioError where it has none."""
        step = newest_step(state_folder(request.config.output.output_dir))
        if hearing.last_word:
            if hearing.asked_to_stop and isinstance(hearing.last_word, Paused):
                hearing.emit(Stopped(step=step))
            else:
                hearing.emit(hearing.last_word)
            return
        if found := files.failure():
            failure, kind, trace = found
            raise error_of_far_end(kind, failure) from TrainingEnded(trace)
        if hearing.asked_to_stop:
            note = "The training did not answer the stop in time, so its process was ended."
            hearing.emit(Noted(message=note, level="warning"))
            hearing.emit(Stopped(step=step))
            return
        how = f"by signal {-code}, as when the memory runs out" if code < 0 else f"with exit code {code}"
        raise StudioError(
            f"The training's process ended unexpectedly, {how}.", RESUME.format(files.console)
        ) from TrainingEnded("\n".join(printed))


def check_devices(processes: int) -> None:
    """Refuse more processes than there are devices for. Raises ConfigError."""
    if processes == 1:
        return
    count, device = count_devices()
    if processes > count:
        devices = f"{count} {device}{'s' * (count > 1)}"
        raise ConfigError(
            f"num_processes is {processes}, and this machine has {devices}.",
            f"Set num_processes to {count}.",
            field="num_processes",
        )


def far_ends(folder: Path) -> list[psutil.Process]:
    """The processes that train in a run's folder, whoever their parents are."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if FAR_END in words and str(folder) in words:
                found.append(process)
    return found


def is_at_work(job_folder: Path) -> bool:
    """Whether processes train for a job yet, as they do for a moment after their studio was killed."""
    return bool(far_ends(job_folder / FOLDER))


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill those that still run."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def launch_command(processes: int, folder: Path) -> tuple[str, ...]:
    """The program of the far end in so many processes; `accelerate config` counts for nothing."""
    if processes == 1:
        return (sys.executable, "-m", FAR_END, str(folder))
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // processes))
    options: dict[str, object] = {
        "num_processes": processes,
        "num_machines": 1,
        "machine_rank": 0,
        "main_process_port": 0,  # whichever is free
        "gpu_ids": "all",
        "mixed_precision": "no",  # the trainer sets its own
        "dynamo_backend": "no",
        "num_cpu_threads_per_process": threads,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *words)
    return (*launcher, "--module", FAR_END, str(folder))


def environment(settings: Settings) -> dict[str, str]:
    """The child's environment variables: this studio's places, and this very code."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    paths = [str(CHECKOUT), *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **cpu_environment(inherited),
        "LORA_STUDIO_HOME": str(settings.home),
        "LORA_STUDIO_MODELS": str(settings.models),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        **{"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"},
        **{"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
    }
