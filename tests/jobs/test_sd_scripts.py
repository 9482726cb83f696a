"""The engine sd-scripts: its console understood line by line, and whole runs of a small stand-in for it."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_studio.config import TrainConfig
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import RemovePicture, RotatePicture, SetCaption
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.errors import ConfigError, DatasetError, Diverged, OutOfMemory, StudioError
from lora_studio.events import (
    CheckpointSaved,
    Command,
    Event,
    Finished,
    Noted,
    PhaseAdvanced,
    PreviewSaved,
    Started,
    StepDone,
    Stopped,
)
from lora_studio.jobs.sd_scripts import SdScriptsWorker
from lora_studio.jobs.sd_scripts.launch_files import prepare, preview_every
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.records import JobStatus
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest
from tests.support.stepping_worker import SteppingWorker
from tests.support.tiny import make_pictures
from tests.support.waiting import PATIENCE

CHECKOUT = Path(__file__).parent / "sd_scripts_checkout"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """As much of a base model as has to be looked at before sd-scripts loads it."""
    for name, facts in {
        "model_index.json": {"_class_name": "StableDiffusionPipeline"},
        "unet/config.json": {"cross_attention_dim": 768},
        "scheduler/scheduler_config.json": {"prediction_type": "epsilon"},
    }.items():
        (tmp_path / "base" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "base" / name).write_text(json.dumps(facts), "utf-8")
    return tmp_path / "base"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings.from_environment(
        {
            "LORA_STUDIO_HOME": str(tmp_path / "home"),
            "LORA_STUDIO_MODELS": str(tmp_path / "models"),
            "LORA_STUDIO_SD_SCRIPTS": str(CHECKOUT),
            "LORA_STUDIO_SD_SCRIPTS_PYTHON": sys.executable,
        }
    )
    found.create_folders()
    return found


@pytest.fixture
def config(tmp_path: Path, base: Path, settings: Settings) -> Callable[..., TrainConfig]:
    pictures = make_pictures(tmp_path / "pictures")

    def build(how: str = "", **changes: Any) -> TrainConfig:
        values = {
            "pretrained_model_name_or_path": str(base),
            "train_data_dir": str(pictures),
            "output_name": "cat",
            "output_dir": str(settings.loras / "cat"),
            "title": "Cat",
            "max_train_steps": 8,
            "sample_every_n_steps": 0,
            "training_comment": how,
            "engine": "sd-scripts",
        }
        return TrainConfig.from_values({**values, **changes})

    return build


class Run:
    """A run of the worker in this thread, with its events."""

    def __init__(self, settings: Settings) -> None:
        self.events: list[Event] = []
        self.folder = settings.home / "job"
        self.stop_when: Callable[[], bool] = lambda: False
        self.lease = DeviceLease()
        self.worker = SdScriptsWorker(settings, self.lease, grace_seconds=1.0, quiet_seconds=0.4)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def go(self, config: TrainConfig) -> Run:
        self.worker.run(RunRequest(config=config, folder=self.folder), self, lambda: self.stop_when())
        return self

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def run(settings: Settings) -> Run:
    return Run(settings)


def test_a_run_ends_as_a_lora_in_the_library(
    run: Run, config: Callable[..., TrainConfig], settings: Settings
) -> None:
    made = config(save_every_n_steps=4, sample_every_n_steps=4, sample_prompts=("a cat", "a dog"), seed=7)
    run.go(made)
    folder = settings.loras / "cat"
    assert read_header(find_file(folder)).network_dim == 2
    (started,) = run.of(Started)
    assert (started.total_steps, started.images) == (8, 4)
    steps = run.of(StepDone)
    assert [one.step for one in steps] == list(range(1, 9))
    assert [round(one.average_loss, 4) for one in steps][:4] == [0.2, 0.1, 0.0667, 0.05]
    assert {one.total_steps for one in steps} == {8}
    assert all(one.seconds > 0 for one in steps)
    saved = run.of(CheckpointSaved)
    assert [(one.step, one.final) for one in saved] == [(4, False), (8, True)]
    assert Path(saved[0].path) == folder / "checkpoints" / "cat-step00000004.safetensors"
    assert all(Path(one.path).is_file() for one in saved)
    assert isinstance(run.events[-1], Finished)
    assert run.events[-1].path == str(folder)
    previews = run.of(PreviewSaved)
    assert [(one.step, one.prompt) for one in previews] == [(0, "a cat"), (4, "a cat")]
    assert all(Path(one.path).is_file() and Path(one.base_path).is_file() for one in previews)
    assert run.of(PhaseAdvanced)[0].phase == "load"
    assert any(one.phase == "cache" and one.total == 4 for one in run.of(PhaseAdvanced))
    notes = json.loads((folder / "training.json").read_text("utf-8"))
    assert notes["result"]["engine"] == "sd-scripts"
    assert (notes["result"]["status"], notes["result"]["steps"]) == ("finished", 8)
    assert TrainConfig.from_json(notes["config"]) == made
    assert (folder / "README.md").is_file()
    assert "running training" in (run.folder / "sd-scripts.log").read_text("utf-8")


def test_what_sd_scripts_is_told(run: Run, config: Callable[..., TrainConfig], base: Path) -> None:
    run.go(
        config(trigger_word="zwx", kind="person", save_every_n_steps=4, sd_scripts_args=("lowram = true",))
    )
    told = tomllib.loads((run.folder / "arguments.toml").read_text("utf-8"))
    assert told["pretrained_model_name_or_path"] == str(base)
    assert told["network_module"] == "networks.lora"
    assert told["lowram"] is True
    assert not {"train_data_dir", "caption_extension", "v2", "lora_studio"} & set(told)
    dataset = tomllib.loads(Path(told["dataset_config"]).read_text("utf-8"))
    (subset,) = dataset["datasets"][0]["subsets"]
    captions = [path.read_text("utf-8") for path in Path(subset["image_dir"]).glob("*.caption")]
    assert len(captions) == 4
    assert all(caption.startswith("zwx") for caption in captions)
    assert len([path for path in Path(subset["image_dir"]).iterdir() if path.suffix != ".caption"]) == 4


def test_edited_pictures_are_laid_out_as_edited(
    config: Callable[..., TrainConfig], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_HOME", str(settings.home))
    made = config()
    folder = Path(made.dataset.train_data_dir)
    open_picture(folder / "picture-00.png").convert("L").save(folder / "picture-00.jpg")
    turned = [RotatePicture("picture-00.jpg", 90), SetCaption("picture-00.jpg", "grey")]
    apply_edits(folder, [*turned, RemovePicture("picture-01.png")])
    laid = prepare(made, settings, settings.home / "job")
    inside = settings.home / "job" / "pictures" / "0_pictures"
    captions = {path.stem: path.read_text("utf-8") for path in inside.glob("*.caption")}
    assert (captions["picture-00"], captions["picture-00-2"]) == ("grey", "a disc, number 0")
    assert (len(captions), laid.images, (inside / "picture-00.png").is_symlink()) == (4, 4, False)
    assert open_picture(inside / "picture-00-2.png").getpixel((0, 0)) == (0, 90, 250)
    (folder / "d.toml").write_text(f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{folder}"\n')
    with pytest.raises(ConfigError, match="without your edits"):
        prepare(config(dataset_config=str(folder / "d.toml")), settings, settings.home / "job")


def test_what_it_can_not_do_is_said(run: Run, config: Callable[..., TrainConfig]) -> None:
    run.go(config(mixed_precision="auto", save_state_every_n_minutes=3))
    said = " ".join(one.message for one in run.of(Noted))
    assert "mixed_precision is auto" in said
    assert "save_state_every_n_minutes" in said


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("fail", StudioError, "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ("memory", OutOfMemory, "memory was not enough"),
        ("nan", Diverged, "no longer a number at step 3"),
        ("nothing", DatasetError, "found no pictures"),
        ("refuse", StudioError, "unrecognized arguments: --cache."),
        pytest.param(
            "kill", StudioError, "SIGKILL", marks=pytest.mark.skipif(os.name == "nt", reason="POSIX")
        ),
    ],
)
def test_a_failure_is_one_sentence(
    run: Run, config: Callable[..., TrainConfig], settings: Settings, how: str, kind: type, said: str
) -> None:
    with pytest.raises(kind, match=said.replace("(", r"\(")) as caught:
        run.go(config(how, save_every_n_steps=2))
    assert "\n" not in str(caught.value)
    if how in ("fail", "nan", "memory", "kill"):
        assert "cat-step00000002.safetensors is kept" in caught.value.hint
    assert not (settings.loras / "cat" / "cat.safetensors").exists()
    assert run.lease.holder == ""


def test_garbage_is_read_past(run: Run, config: Callable[..., TrainConfig]) -> None:
    run.go(config("garbage"))
    assert [one.step for one in run.of(StepDone)] == list(range(1, 9))
    assert isinstance(run.events[-1], Finished)


def test_steps_that_were_not_drawn_are_filled_in(run: Run, config: Callable[..., TrainConfig]) -> None:
    run.go(config("quick", max_train_steps=100))
    assert [one.step for one in run.of(StepDone)] == list(range(1, 101))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("how", "every"), [("hang", 2), ("hang", 0), ("deaf", 2)])
def test_a_stop_ends_the_child_and_its_children_and_keeps_its_checkpoint(
    run: Run, config: Callable[..., TrainConfig], settings: Settings, how: str, every: int
) -> None:
    run.stop_when = lambda: bool(run.of(StepDone)) and run.of(StepDone)[-1].step == 5
    begun = time.monotonic()
    run.go(config(how, save_every_n_steps=every))
    assert time.monotonic() - begun < PATIENCE
    grandchild = settings.loras / "cat" / "checkpoints" / "grandchild.txt"
    assert gone(int(grandchild.read_text("utf-8")))
    last = run.events[-1]
    assert isinstance(last, Stopped)
    assert last.step == 5
    said = run.of(Noted)[-1].message
    folder = settings.loras / "cat"
    if every:
        assert last.path == str(folder)
        assert "cat-step00000004.safetensors" in said
        assert read_header(find_file(folder)).network_dim == 2
        assert (folder / "checkpoints" / "cat-step00000004.safetensors").is_file()
        assert json.loads((folder / "training.json").read_text("utf-8"))["result"]["steps"] == 4
    else:
        assert last.path == ""
        assert "nothing is kept" in said
        assert not (folder / "cat.safetensors").exists()


def gone(pid: int) -> bool:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_silence_is_said_and_does_not_keep_a_stop_waiting(
    run: Run, config: Callable[..., TrainConfig]
) -> None:
    run.stop_when = lambda: any("said nothing" in one.message for one in run.of(Noted))
    run.go(config("hang"))
    assert isinstance(run.events[-1], Stopped)


def test_a_cut_off_checkpoint_is_not_the_one_that_is_kept(
    run: Run, config: Callable[..., TrainConfig], settings: Settings
) -> None:
    cut = settings.loras / "cat" / "checkpoints" / "cat-step00000099.safetensors"
    cut.parent.mkdir(parents=True)

    def stop() -> bool:
        if run.of(StepDone) and run.of(StepDone)[-1].step == 5:
            cut.write_bytes(b"\x10\0\0\0\0\0\0\0{")
            return True
        return False

    run.stop_when = stop
    run.go(config(save_every_n_steps=2, max_train_steps=100))
    assert re.search("cat-step0000000[468]", run.of(Noted)[-1].message)


def test_a_generation_need_not_wait_for_its_end(run: Run, config: Callable[..., TrainConfig]) -> None:
    served = threading.Event()

    def generate() -> None:
        with run.lease.hold("generation"):
            served.set()

    thread = threading.Thread(target=generate)
    run.stop_when = starts_once(thread, run, until=served)
    run.go(config(max_train_steps=1000))
    thread.join(PATIENCE)
    assert served.is_set()
    assert isinstance(run.events[-1], Stopped)


def starts_once(thread: threading.Thread, run: Run, *, until: threading.Event) -> Callable[[], bool]:
    def asked() -> bool:
        if run.of(StepDone) and not thread.ident:
            thread.start()
        return until.is_set()

    return asked


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "isn't set where"),
        ({"LORA_STUDIO_SD_SCRIPTS": "nowhere"}, "no train_network.py in"),
        (
            {"LORA_STUDIO_SD_SCRIPTS": str(CHECKOUT), "LORA_STUDIO_SD_SCRIPTS_PYTHON": "/no/python"},
            "no Python at /no/python",
        ),
    ],
)
def test_a_checkout_that_is_not_there_is_named(
    config: Callable[..., TrainConfig], tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    found = Settings.from_environment({"LORA_STUDIO_HOME": str(tmp_path / "home"), **environment})
    request = RunRequest(config=config())
    with pytest.raises(ConfigError, match=said) as caught:
        SdScriptsWorker(found, DeviceLease()).run(request, lambda event: None, lambda: False)
    assert "LORA_STUDIO_SD_SCRIPTS" in caught.value.hint


def test_commands_and_resuming_are_refused(
    run: Run, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    told: Iterator[Command] = iter(["pause"])
    request = RunRequest(config=config(), commands=lambda: next(told, None))
    run.worker.run(request, run, lambda: False)
    assert "sd-scripts can't be told to pause while it runs." in [one.message for one in run.of(Noted)]
    with pytest.raises(ConfigError, match="can't be resumed"):
        run.worker.run(replace(request, resume_from=tmp_path), run, lambda: False)


def test_an_earlier_result_is_not_replaced(run: Run, config: Callable[..., TrainConfig]) -> None:
    run.go(config())
    with pytest.raises(ConfigError, match="already a LoRA cat"):
        run.go(config())


def test_the_queue_gives_a_job_to_its_engine(
    open_queue: Callable[..., Any], config: Callable[..., TrainConfig], settings: Settings
) -> None:
    from lora_studio.jobs.engine_worker import EngineWorker

    queue = open_queue(worker=EngineWorker(SteppingWorker(), settings, DeviceLease()))
    job = queue.wait(queue.submit(config()).id, timeout=PATIENCE)
    assert job.status == JobStatus.FINISHED, job.message
    folder = next(iter((queue._store.folder(job.id)).parent.glob(job.id)))
    assert {"arguments.toml", "dataset.toml", "sd-scripts.log", "log.txt"} <= {
        one.name for one in folder.iterdir()
    }


@pytest.mark.parametrize(
    ("total", "every"), [(500, 62), (1500, 187), (8, 1), (15, 2), (3, 1), (1, 1), (12, 2), (1000, 125)]
)
def test_without_a_wish_it_draws_about_eight_times(
    config: Callable[..., TrainConfig], total: int, every: int
) -> None:
    made = config(max_train_steps=total, sample_every_n_steps=None)
    assert preview_every(made) == every
    assert total // every <= 10
    assert preview_every(config(sample_every_n_steps=7)) == 7
    assert preview_every(config(sample_every_n_steps=0)) == 0


def test_a_place_that_cannot_be_written_is_refused_first(
    run: Run, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        run.go(config(output_dir=str(tmp_path / "file" / "cat")))
    assert caught.value.field == "output_dir"
    assert not run.events
