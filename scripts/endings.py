"""Trainings ended at random moments by SIGTERM, SIGKILL and a full disk: python -m scripts.endings --help

Each round trains the starter base, ends the program, looks at what is left, starts again and resumes. What
must hold: the job is resumable or finished and ends with the LoRA of a run that nothing happened to, to the
bit; the database is sound; there is no temporary file, no half checkpoint, and no checkpoint that was there
holds other weights. A full disk is a tmpfs of 64 MB that another file fills, for which one has to be root;
elsewhere it is left out, and that is said. With --worker process a child trains, and its studio is what ends.
Exit code 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
DISK = "64m"
STEPS = 10
PATIENCE = 600.0
KEEP_FREE_GB = "0.001"
ENDINGS = ("SIGTERM", "SIGKILL", "full disk")
CONTEXT = multiprocessing.get_context("forkserver")
LOADED = ["lora_studio.training.start.start_run", "lora_studio.studio"]
"""Modules that the server of processes loads once: torch takes longer than a round."""


def starter_values(name: str, loras: Path, worker: str) -> dict[str, Any]:
    from lora_studio.catalog import STARTER, plan

    return {
        **plan("style", STARTER, 10).values,
        "pretrained_model_name_or_path": "starter",
        "train_data_dir": str(CHECKOUT / "examples" / "ink"),
        "trigger_word": "zwx",
        "output_name": name,
        "output_dir": str(loras / name),
        "max_train_steps": STEPS,
        "sample_every_n_steps": 0,
        "train_batch_size": 1,
        "save_every_n_steps": 3,
        "save_state_every_n_steps": 2,
        "worker": worker,
    }


def program(home: Path, name: str, job_id: str, worker: str, parent: Connection) -> None:
    """The studio without its page: trains `name`, or resumes the job, until that has ended or SIGTERM comes,
    as app.py does. Sends the job's id, then its status before and after."""
    ended: list[int] = []
    logging.disable()  # a full disk is told about at length
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    os.environ |= {
        "LORA_STUDIO_HOME": str(home / "home"),
        "LORA_STUDIO_MODELS": str(home / "models"),
        "LORA_STUDIO_KEEP_FREE_GB": KEEP_FREE_GB,
        "CUDA_VISIBLE_DEVICES": "",
    }
    from lora_studio.config import TrainConfig
    from lora_studio.studio import open_studio

    studio = open_studio()
    if not job_id:
        values = starter_values(name, studio.settings.loras, worker)
        job_id = studio.jobs.submit(TrainConfig.from_values(values)).id
        parent.send(job_id)
    else:
        job = studio.jobs.get(job_id)
        parent.send((str(job.status), job.resumable, job.message))
        if job.resumable:
            studio.jobs.resume(job_id)
    while not ended and studio.jobs.wait(job_id, timeout=0.05).status.active:
        pass
    studio.close()
    with contextlib.suppress(OSError):
        parent.send(str(_status(home, job_id)))


def _status(home: Path, job_id: str) -> str:
    with contextlib.closing(sqlite3.connect(home / "home" / "studio.db")) as database:
        return str(database.execute("SELECT status FROM jobs WHERE id = ?", [job_id]).fetchone()[0])


@dataclass(kw_only=True)
class Round:
    """`wrong` are sentences on what did not hold."""

    number: int
    ending: str
    after: float
    status: str = ""
    resumed: bool = False
    wrong: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Proof:
    """Rounds over one home. `whole` is the hash of the weights that an undisturbed run learns."""

    home: Path
    random: random.Random
    worker: str = "thread"
    whole: str = ""
    seconds: float = 0.0

    def measure(self) -> None:
        """Train undisturbed, twice: the second run is as warm as the rounds."""
        for name in ("first", "second"):
            begun = time.monotonic()
            process, pipe = self._start(name, "")
            pipe.recv()
            assert pipe.recv() == "finished"
            process.join(PATIENCE)
            self.seconds = time.monotonic() - begun
        self.whole = self._hash(self._file("second"))

    def round(self, number: int, ending: str) -> Round:
        made = Round(number=number, ending=ending, after=self.random.uniform(0.0, self.seconds))
        name = f"round-{number}"
        process, pipe = self._start(name, "")
        job_id = pipe.recv()
        time.sleep(made.after)
        filler = self._end(process, made)
        process.join(PATIENCE)
        kept = self._look(made, name, is_full=filler is not None)
        if filler is not None:
            filler.unlink(missing_ok=True)
        self._resume(made, name, job_id)
        self._look(made, name)
        for path, content in kept.items():
            if not path.exists() or self._hash(path) != content:
                made.wrong.append(f"{path.name} was overwritten with other weights")
        return made

    def _end(self, process: Any, made: Round) -> Path | None:
        if made.ending == "SIGKILL":
            process.kill()
            return None
        if made.ending == "SIGTERM":
            process.terminate()
            return None
        filler = self.home / "filler"
        left = self.random.choice([0, 0, self.random.randrange(3_000_000)])
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while (free := shutil.disk_usage(self.home).free) > left:
                file.write(bytes(min(free - left, 1 << 20)))
                file.flush()
        process.join(self.seconds + 5)  # the run notices, or ends before it writes
        process.terminate()
        return filler

    def _resume(self, made: Round, name: str, job_id: str) -> None:
        process, pipe = self._start(name, job_id)
        try:
            made.status, resumable, _ = pipe.recv()
            if made.status != "finished" and not resumable:
                made.wrong.append(f"{made.status} and not resumable")
                return
            made.resumed = resumable
            if (status := pipe.recv()) != "finished":
                made.wrong.append(f"resumed, it is {status}")
            elif self._hash(self._file(name)) != self.whole:
                made.wrong.append("the LoRA is another one")
        except EOFError:
            made.wrong.append("the program ended by itself")
        finally:
            process.join(PATIENCE)

    def _look(self, made: Round, name: str, *, is_full: bool = False) -> dict[Path, str]:
        """Check what lies on the disk. Returns the checkpoints with the hashes of their weights."""
        if not is_full:  # SQLite needs room to look
            with contextlib.closing(sqlite3.connect(self.home / "home" / "studio.db")) as database:
                sound = database.execute("PRAGMA integrity_check").fetchone()[0]
            if sound != "ok":
                made.wrong.append(f"the database: {sound}")
        if made.status:  # the studio was open since: what a killed one left is cleared
            unfinished = [path for path in self.home.rglob("*") if path.name.endswith(".tmp")]
            made.wrong += [f"left: {path.relative_to(self.home)}" for path in unfinished]
        kept = {}
        for path in (self.home / "models" / "lora" / name).rglob("*.safetensors"):
            try:
                content = self._hash(path)
                if path.parent.name == "checkpoints":
                    kept[path] = content
            except Exception as error:  # noqa: BLE001 -- whatever it is, the file is not whole
                made.wrong.append(f"{path.name} is not whole: {error}")
        return kept

    def _start(self, name: str, job_id: str) -> tuple[Any, Connection]:
        receiver, sender = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=program, args=(self.home, name, job_id, self.worker, sender))
        process.start()
        sender.close()
        return process, receiver

    def _file(self, name: str) -> Path:
        return self.home / "models" / "lora" / name / f"{name}.safetensors"

    def _hash(self, path: Path) -> str:
        from lora_studio.lora.file.lora_files import read_header

        return read_header(path).tensor_hash


@contextlib.contextmanager
def small_disk() -> Iterator[tuple[Path, bool]]:
    """A folder, and whether it is a disk of its own, which can be filled."""
    place = Path(tempfile.mkdtemp(prefix="endings-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    is_root = os.name == "posix" and os.geteuid() == 0
    mounted = is_root and not subprocess.run(command, capture_output=True, check=False).returncode
    try:
        yield place, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=50)
    parser.add_argument("--worker", choices=("thread", "process"), default="thread")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    CONTEXT.set_forkserver_preload(LOADED)
    found: list[Round] = []
    with small_disk() as (home, can_be_full):
        endings = ENDINGS if can_be_full else ENDINGS[:2]
        print(f"seed {options.seed}; {', '.join(endings)}", flush=True)
        if not can_be_full:
            print("No full disk: only root can make a small file system.", flush=True)
        proof = Proof(home=home, random=random.Random(options.seed), worker=options.worker)
        proof.measure()
        print(f"undisturbed {proof.seconds:.1f} s, weights {proof.whole[:12]}", flush=True)
        for number in range(1, options.rounds + 1):
            made = proof.round(number, endings[number % len(endings)])
            found.append(made)
            shutil.rmtree(home / "models" / "lora" / f"round-{number}", ignore_errors=True)
            print(
                f"{number:3} {made.ending:9} after {made.after:4.1f} s: {made.status:11} "
                f"{'resumed' if made.resumed else 'done'}  {'; '.join(made.wrong) or 'ok'}",
                flush=True,
            )
    wrong = [made for made in found if made.wrong]
    table = Counter((made.ending, made.status, bool(made.wrong)) for made in found)
    for (ending, status, is_wrong), count in sorted(table.items()):
        print(json.dumps({"ending": ending, "found": status, "wrong": is_wrong, "rounds": count}))
    print(f"{len(found)} rounds, {len(wrong)} wrong; seed {options.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
