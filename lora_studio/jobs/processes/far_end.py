"""The far end of a run: `python -m lora_studio.jobs.processes.far_end FOLDER` trains as the folder says,
alone or as one of the processes that `accelerate launch` started."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.errors import StudioError
from lora_studio.events import Emit, Event, StateSaved, ignore, never_stop, no_commands
from lora_studio.jobs.failure import failure_of
from lora_studio.jobs.processes.run_files import Control, RunFiles
from lora_studio.store.event_spool import EventSpool
from lora_studio.store.process_owner import is_alive
from lora_studio.training_request import RunRequest

if TYPE_CHECKING:
    from lora_studio.training.optimization.process_ranks import Ranks

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LONGEST_WAIT = timedelta(days=7)
"""Longest time that other processes wait for the first one, which draws previews and saves meanwhile."""


def main(arguments: Sequence[str]) -> int:
    """Train; the exit code is 0 when the run ended in order, as by a stop."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    files = RunFiles(Path(arguments[0]))
    control = Control(files)
    rank = int(os.environ.get("RANK", "0"))
    signal.signal(signal.SIGTERM, lambda *_: control.give("pause") if rank == 0 else None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl+C is for the program in front
    return 0 if run_apart(files, control) else 1


def run_apart(files: RunFiles, control: Control) -> bool:
    """Do this process's part of the run in the folder. False when it failed, which the folder then says."""
    try:
        request, owner = files.request()
        ranks = join_ranks(os.environ)
        emit = files.add if ranks.is_first else ignore
        if ranks.is_first and owner:
            emit = OwnerWatch(files, control, owner).emit
        train_request(request, emit, control, ranks)
    except (Exception, SystemExit) as error:  # the worker: the near end wants to know, whatever it was
        trace = traceback.format_exc()
        logger.warning("%s", trace)
        files.fail(failure_of(told_of(error)), type(error).__name__, trace)
        return False
    return True


def told_of(error: BaseException) -> BaseException:
    """The error for people: a connection to another process breaks when that one ends, which is no bug."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and isinstance(error, RuntimeError):
        text = str(error).lower()
        if any(word in text for word in ("gloo", "nccl", "connection closed", "connection reset")):
            return StudioError(
                "One of the training's processes ended unexpectedly, as when the memory runs out.",
                "It can be resumed from its last state.",
            )
    return error


def train_request(request: RunRequest, emit: Emit, control: Control, ranks: Ranks) -> None:
    """Train as the request says, listening to `control`. Raises as the trainer does."""
    from lora_studio.trainer import train

    is_first = ranks.is_first  # alone hears: another that stopped by itself would leave the rest waiting
    train(
        request.config,
        emit,
        control.should_stop if is_first else never_stop,
        resume_from=request.resume_from,
        fork=request.fork,
        commands=control.next_command if is_first else no_commands,
        ranks=ranks,
    )


def join_ranks(environment: Mapping[str, str]) -> Ranks:
    """Take this process's place among those that torch's launcher started, by its variables, with a graphics
    card of its own and the connection to the others. To be called before torch is loaded."""
    count = int(environment.get("WORLD_SIZE", "1"))
    if count > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = own_card(environment)
    import torch

    from lora_studio.training.optimization.process_ranks import ALONE, Ranks

    if count == 1:
        return ALONE
    threading.Thread(target=end_with_launcher, args=(os.getppid(),), name="launcher", daemon=True).start()
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backends, timeout=LONGEST_WAIT)
    return Ranks(rank=int(environment["RANK"]), count=count)


def end_with_launcher(launcher: int) -> None:
    """End this process when the launcher is gone: nobody else would."""
    while os.getppid() == launcher:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def own_card(environment: Mapping[str, str]) -> str:
    """The one graphics card of this process, by number or name; empty where none may be seen."""
    place, visible = int(environment.get("LOCAL_RANK", "0")), environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return str(place)
    cards = [card.strip() for card in visible.split(",")]
    return cards[place] if place < len(cards) else ""


class OwnerWatch:
    """Pauses the run when the program that started it is gone, and keeps the events since then, with the last
    state before, where the next one looks for them."""

    def __init__(self, files: RunFiles, control: Control, owner: str) -> None:
        self._files, self._control, self._owner = files, control, owner
        self._spool = EventSpool(files.folder.parent)
        self._writing = threading.Lock()
        self._alone = False
        self._state: StateSaved | None = None
        threading.Thread(target=self._watch, name="owner", daemon=True).start()

    def emit(self, event: Event) -> None:
        with self._writing:
            self._files.add(event)
            if isinstance(event, StateSaved):
                self._state = event
            if self._alone:
                self._spool.add([(event, time.time())])

    def _watch(self) -> None:
        while is_alive(self._owner, silence=0.0):
            time.sleep(LOOK_SECONDS)
        with self._writing:
            self._alone = True
            keep_printing(self._files.console)
            if self._state:
                self._spool.add([(self._state, time.time())])
        self._control.give("pause")


def keep_printing(console: Path) -> None:
    """Let what is printed go to a file: nobody reads the pipe any more, which would be an error."""
    with console.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
