"""What every worker of this program's own engine owes: the same events, the same file, and an end for each
way to end. sd-scripts can neither pause nor go on, so its worker has tests of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import torch

from lora_studio.config import TrainConfig
from lora_studio.config_groups import RunGroup
from lora_studio.errors import ConfigError, StudioError
from lora_studio.events import (
    CheckpointSaved,
    Command,
    Event,
    Finished,
    Noted,
    Paused,
    PhaseAdvanced,
    PreviewSaved,
    Started,
    StateSaved,
    StepDone,
    Stopped,
)
from lora_studio.jobs.cloud import cloud_run, cloud_worker
from lora_studio.jobs.cloud.cloud_run import run_order
from lora_studio.jobs.cloud.cloud_settings import CloudSettings
from lora_studio.jobs.cloud.cloud_worker import CloudWorker
from lora_studio.jobs.cloud.local_cloud import LocalCloud
from lora_studio.jobs.engine_worker import worker_name
from lora_studio.jobs.processes import ProcessWorker
from lora_studio.jobs.processes.process_worker import FAR_END
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.jobs.training_queue import TrainingQueue, Worker
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.lora.run_states import newest_step, state_files, state_folder
from lora_studio.records import JobStatus
from lora_studio.runtime import DeviceLease
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.training_request import RunRequest, StartTraining
from tests.support.runs import assert_same_tensors, tensors_of, trained_tensors
from tests.support.tiny import make_pictures, tiny_values
from tests.support.waiting import PATIENCE, until

LONG = 120
"""Steps of a run that hears three things on its way."""
MANY = 2000
"""More steps than a run does before it has heard that it is to end."""

ConfigMaker = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here and in child processes: what is compared to the bit has to be computed alike."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr(cloud_run, "LISTEN_SECONDS", 0.05)
    monkeypatch.setattr(cloud_run, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(cloud_worker, "LOOK_SECONDS", 0.02)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("tiny") / "pictures")


@pytest.fixture(scope="module")
def whole(
    tiny_base: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    """What a run of LONG steps learns that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "disc"
    values = tiny_values(tiny_base, pictures, folder, save_every_n_steps=0, max_train_steps=LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        patch.setattr("torch.backends.mps.is_available", lambda: False)
        return trained_tensors(TrainConfig.from_values(values))


@pytest.fixture
def make_config(tiny_base: Path, pictures: Path, settings: Settings) -> ConfigMaker:
    def make(name: str = "disc", **changes: Any) -> TrainConfig:
        changes = {"save_every_n_steps": 0, **changes}
        return TrainConfig.from_values(tiny_values(tiny_base, pictures, settings.loras / name, **changes))

    return make


@dataclass
class Run:
    """A run of a worker in this thread, its events, and what is asked of it when."""

    worker: Worker
    folder: Path
    events: list[Event] = field(default_factory=list)
    stop_when: Callable[[], bool] = lambda: False
    commands: list[tuple[Callable[[], object], Command]] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda event: None

    def go(self, config: TrainConfig, **how: Any) -> Run:
        request = RunRequest(config=config, folder=self.folder, commands=self._next_command, **how)
        self.worker.run(request, self._hear, lambda: self.stop_when())
        return self

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def step(self) -> int:
        return max((event.step for event in self.of(StepDone)), default=0)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def _next_command(self) -> Command | None:
        if self.commands and self.commands[0][0]():
            return self.commands.pop(0)[1]
        return None


def thread(settings: Settings) -> Worker:
    return ThreadWorker(DeviceLease())


def process(settings: Settings) -> Worker:
    return ProcessWorker(settings, DeviceLease(), patience_seconds=PATIENCE)


def cloud(settings: Settings) -> Worker:
    return CloudWorker(LocalCloud(settings.home / "modal", run_order), settings, CloudSettings(mode="local"))


in_the_cloud = pytest.param(cloud, id="modal")
in_a_thread = pytest.param(thread, id="thread")
in_a_process = pytest.param(process, id="process")
later_in_a_process = pytest.param(process, id="process", marks=pytest.mark.slow)
later_in_the_cloud = pytest.param(cloud, id="modal", marks=pytest.mark.slow)


@pytest.fixture
def run(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Run:
    return Run(worker=request.param(settings), folder=tmp_path / "job")


def fars(of_process: int | None = None) -> list[psutil.Process]:
    """The children of a process, of this one without a number, that train."""
    found = []
    for child in psutil.Process(of_process).children(recursive=True):
        try:
            if FAR_END in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("run", [in_a_process, later_in_the_cloud], indirect=True)
def test_a_run_that_is_told_things_and_paused_goes_on_to_the_very_same_file(
    run: Run, make_config: ConfigMaker, whole: dict[str, torch.Tensor]
) -> None:
    """test_going_on.py has it in a thread, and test_start_point.py a preview there."""
    config = make_config(max_train_steps=LONG)
    run.commands = [
        (lambda: run.step >= 1, "save"),
        (lambda: run.of(CheckpointSaved), "preview"),
        (lambda: any(one.step for one in run.of(PreviewSaved)), "pause"),
    ]
    run.go(config)
    assert next(event for event in run.events if not isinstance(event, Noted)) == run.of(Started)[0]
    assert isinstance(run.events[-1], Paused)
    paused_at = run.events[-1].step
    assert 1 <= paused_at < LONG
    assert [event.step for event in run.of(StepDone)] == [*range(1, paused_at + 1)]
    assert [event.final for event in run.of(CheckpointSaved)] == [False]
    assert all(Path(one.path).is_file() for one in run.of(PreviewSaved))
    assert fars() == []

    # Another process would load torch again; in test_two_processes.py a run goes on in new ones.
    worker = ThreadWorker(DeviceLease()) if isinstance(run.worker, ProcessWorker) else run.worker
    rest = Run(worker=worker, folder=run.folder).go(
        config, resume_from=state_folder(config.output.output_dir)
    )
    assert rest.of(Started)[0].start_step == paused_at
    assert [event.step for event in rest.of(StepDone)] == [*range(paused_at + 1, LONG + 1)]
    assert isinstance(rest.events[-1], Finished)
    assert rest.events[-1].path == config.output.output_dir
    shares = [event.done / event.total for event in rest.of(PhaseAdvanced) if event.phase == "cache"]
    assert shares == sorted(shares)

    assert_same_tensors(tensors_of(config), whole)


@pytest.mark.parametrize("run", [in_a_thread, in_the_cloud], indirect=True)
def test_a_stop_leaves_a_file_that_loads(run: Run, make_config: ConfigMaker) -> None:
    """test_two_processes.py has it in processes."""
    config = make_config(max_train_steps=MANY)
    run.stop_when = lambda: run.step >= 2
    run.go(config)
    last = run.events[-1]
    assert last == Stopped(step=run.step, path=config.output.output_dir)
    assert 2 <= run.step < MANY
    assert read_header(find_file(Path(last.path))).family
    assert state_files(state_folder(config.output.output_dir))


@pytest.mark.parametrize("run", [in_a_thread, later_in_a_process, in_the_cloud], indirect=True)
def test_a_stop_before_the_device_is_free_ends_the_run(run: Run, make_config: ConfigMaker) -> None:
    run.stop_when = lambda: True
    run.go(make_config(max_train_steps=MANY))
    assert run.events[-1] == Stopped(step=0)


@pytest.mark.parametrize("run", [in_a_thread, in_the_cloud], indirect=True)
def test_an_error_at_the_far_end_is_told_in_its_own_words(
    run: Run, make_config: ConfigMaker, tmp_path: Path
) -> None:
    """test_two_processes.py has it in processes."""
    (tmp_path / "empty").mkdir()
    config = make_config(train_data_dir=str(tmp_path / "empty"))
    with pytest.raises(StudioError) as raised:
        run.go(config)
    assert raised.value.hint
    assert "empty" in raised.value.message
    assert not any(isinstance(event, Finished | Stopped) for event in run.events)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)])
def test_a_training_whose_process_is_ended_goes_on_later(
    number: int, make_config: ConfigMaker, settings: Settings, store: JobStore
) -> None:
    """SIGKILL is what comes when the memory runs out; SIGTERM is a request, and saves a state."""
    is_asked = number == signal.SIGTERM and sys.platform != "win32"
    queue = TrainingQueue(store, process(settings), beat_seconds=0.05)
    queue.start()
    try:
        config = make_config(max_train_steps=200, save_state_every_n_steps=5)
        job = queue.submit(config)
        until(lambda: queue.get(job.id).state_step)
        for child in fars():
            child.send_signal(number)
        ended = queue.wait(job.id, timeout=PATIENCE)
        assert ended.status == (JobStatus.PAUSED if is_asked else JobStatus.FAILED)
        assert ended.resumable
        assert ended.hint or is_asked
    finally:
        queue.close(timeout=PATIENCE)
    # Another process would load torch again; where the two processes of a run were ended, others go on.
    queue = TrainingQueue(store, thread(settings), beat_seconds=0.05)
    queue.start()
    try:
        assert queue.wait(queue.resume(job.id).id, timeout=PATIENCE).status == JobStatus.FINISHED
        begun = [stored.event.start_step for stored in queue.events(job.id, kinds=["Started"])]
        assert begun[-1] >= 5
    finally:
        queue.close(timeout=PATIENCE)


STUDIO = """
import json, sys, time
from pathlib import Path
from lora_studio.config import TrainConfig
from lora_studio.jobs.processes import ProcessWorker
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore

worker = ProcessWorker(Settings.from_environment(), DeviceLease())
queue = TrainingQueue(JobStore(Database(Path(sys.argv[1]))), worker, beat_seconds=0.05)
job = queue.submit(TrainConfig.from_json(json.loads(sys.argv[2])))
queue.start()
while queue.get(job.id).state_step is None:
    time.sleep(0.01)
print(job.id, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_training_whose_studio_is_killed_saves_a_state_and_ends(
    make_config: ConfigMaker, settings: Settings, store: JobStore, tmp_path: Path
) -> None:
    config = make_config(max_train_steps=MANY, save_state_every_n_steps=5)
    database = str(tmp_path / "home" / "studio.db")
    command = [sys.executable, "-c", STUDIO, database, config.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as studio:
        assert studio.stdout is not None
        job_id = studio.stdout.readline().strip()
        orphans = fars(studio.pid)
        assert orphans
        studio.kill()
    assert psutil.wait_procs(orphans, timeout=PATIENCE)[1] == []
    step = newest_step(state_folder(config.output.output_dir))
    assert 5 <= step < MANY
    queue = TrainingQueue(store, process(settings), beat_seconds=0.05)
    queue.start()
    try:
        job = queue.get(job_id)
        assert (job.status, job.step, job.state_step) == (JobStatus.PAUSED, step, step)
        assert job.resumable
    finally:
        queue.close(timeout=PATIENCE)


@pytest.mark.slow
def test_a_process_that_does_not_answer_a_stop_is_ended(
    make_config: ConfigMaker, settings: Settings, tmp_path: Path
) -> None:
    worker = ProcessWorker(settings, DeviceLease(), patience_seconds=0.5, grace_seconds=0.5)
    run = Run(worker=worker, folder=tmp_path / "job")

    def freeze(event: Event) -> None:
        if isinstance(event, StateSaved) and not run.of(Noted):
            run.stop_when = lambda: True
            for child in fars():
                child.suspend()

    run.on_event = freeze
    config = make_config(max_train_steps=MANY, save_state_every_n_steps=5)
    run.go(config)
    assert run.events[-1] == Stopped(step=run.events[-1].step)  # type: ignore[union-attr]
    assert run.events[-1].step >= 5  # type: ignore[union-attr]
    assert [note.level for note in run.of(Noted)][-1] == "warning"
    assert fars() == []


def test_a_training_without_a_place_is_refused_before_it_waits(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    dataset = studio.datasets.create("disc", [*make_pictures(tmp_path / "few").iterdir()])

    def start(**overrides: Any) -> None:
        wanted = StartTraining(name="Disc", kind="object", dataset_id=dataset.id, overrides=overrides)
        studio.trainings.start(wanted)

    for overrides in ({"num_processes": 3}, {"worker": "process", "num_processes": 64}, {"worker": "modal"}):
        with pytest.raises(ConfigError) as raised:
            start(**overrides)
        assert raised.value.field == next(reversed(overrides))
        assert raised.value.hint
    assert studio.jobs.jobs() == []
    start(num_processes=2)
    start(worker="process")
    monkeypatch.setenv("LORA_STUDIO_MODAL", "local")
    start(worker="modal")
    assert len(studio.jobs.jobs()) == 3


@pytest.mark.parametrize(
    ("settings_of_run", "worker"),
    [
        ({}, "thread"),
        ({"worker": "process"}, "process"),
        ({"num_processes": 2}, "process"),
        ({"worker": "modal"}, "modal"),
        ({"engine": "sd-scripts"}, "sd-scripts"),
        ({"engine": "sd-scripts", "worker": "process"}, "sd-scripts"),
    ],
)
def test_settings_name_the_worker(settings_of_run: dict[str, Any], worker: str) -> None:
    assert worker_name(RunGroup(**settings_of_run)) == worker
