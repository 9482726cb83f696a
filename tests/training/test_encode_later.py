"""Pictures that are encoded at their first use: the first step comes sooner, and nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lora_studio.events import Event, Noted, PhaseAdvanced, StepDone
from lora_studio.trainer import train
from lora_studio.training.model import Engine
from tests.conftest import StudioFolders
from tests.support.configs import ConfigMaker
from tests.support.runs import of, paused_at, run, state_folder_of, tensor_hash

STEPS = {"max_train_steps": 6, "train_batch_size": 1, "save_every_n_steps": 0, "flip_aug": True}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each picture that was encoded."""
    found: list[int] = []
    encode = Engine.encode_pictures

    def counted(self: Engine, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Engine, "encode_pictures", counted)
    return found


def all_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_studio.training.start.start_run.encodes_later", lambda engine, ranks: False)


def test_the_first_step_needs_only_its_own_pictures_and_the_result_is_the_same(
    make_config: ConfigMaker,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    studio_folders: StudioFolders,
) -> None:
    seen: list[int] = []
    cached: list[tuple[int, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone):
            seen.append(len(encoded))
        if isinstance(event, PhaseAdvanced) and event.phase == "cache":
            cached.append((event.done, event.total))

    later = train(make_config("later", **STEPS), listen)
    assert seen == [2, 4, 6, 8, 8, 8]  # as it is, and mirrored
    total = cached[-1][1]
    assert [done for done, _ in cached[-5:]] == [total - 4, total - 3, total - 2, total - 1, total]
    shutil.rmtree(studio_folders.home / "cache")
    all_first(monkeypatch)
    seen.clear()
    encoded.clear()
    first = train(make_config("first", **STEPS), listen)
    assert seen == [8] * 6
    assert tensor_hash(later) == tensor_hash(first)
    again = train(make_config("again", **STEPS))
    assert len(encoded) == 8
    assert tensor_hash(again) == tensor_hash(first)


def test_a_run_that_pauses_in_between_goes_on_the_same(make_config: ConfigMaker, encoded: list[int]) -> None:
    whole = train(make_config("whole", cache_latents_to_disk=False, **STEPS))
    config = make_config("parts", **STEPS)
    encoded.clear()
    paused_at(config, 1)
    assert len(encoded) == 2
    parts = train(config, resume_from=state_folder_of(config))
    assert len(encoded) == 8  # what was encoded before the pause lies in the cache
    assert tensor_hash(parts) == tensor_hash(whole)


def test_no_picture_is_opened_after_the_preparation(
    make_config: ConfigMaker, pictures: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(pictures, tmp_path / "data")
    (data / "broken.png").write_bytes((data / "picture-00.png").read_bytes()[:200])

    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 1:
            shutil.rmtree(data)

    events: list[Event] = []
    result = train(make_config(data=data, **STEPS), lambda event: (events.append(event), listen(event)))
    assert result.status == "finished"
    named = [event.message for event in of(Noted, events) if "broken.png" in event.message]
    assert len(named) == 1
    assert events.index(next(one for one in events if "broken.png" in getattr(one, "message", ""))) < (
        events.index(of(StepDone, events)[0])
    )


def test_a_cache_that_cannot_be_written_is_told_once_all_are_encoded(
    make_config: ConfigMaker, studio_folders: StudioFolders
) -> None:
    (studio_folders.home / "cache").mkdir(parents=True)
    (studio_folders.home / "cache" / "latents").touch()
    _, events = run(make_config(**STEPS))
    told = [event for event in of(Noted, events) if event.message.startswith("The latent cache can't")]
    assert len(told) == 1


@pytest.mark.parametrize("changes", [{"vae_batch_size": 2}, {"cache_latents": False}])
def test_those_encoded_together_or_at_each_use_do_not_wait(
    make_config: ConfigMaker, encoded: list[int], changes: dict[str, object]
) -> None:
    seen: list[int] = []
    train(
        make_config(**{**STEPS, "max_train_steps": 1, **changes}),
        lambda event: seen.append(len(encoded)) if isinstance(event, StepDone) else None,
    )
    assert seen == [1] if "cache_latents" in changes else seen[0] >= 4
