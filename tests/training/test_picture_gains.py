"""What a run learned of each picture: measured without touching the run, and with a drawing among aliens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lora_studio.config import TrainConfig
from lora_studio.data.training_set.folders import read_folder
from lora_studio.events import Event, Noted, ignore, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.lora.picture_report import far_off, read_gains
from lora_studio.runtime import find_device
from lora_studio.trainer import train
from lora_studio.training.evaluation.picture_gains import GainMeasurement, name_far_off
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.preparation.training_data import prepare_data
from tests.support.configs import ConfigMaker
from tests.support.tiny import make_pictures

EXAMPLES = Path(__file__).parents[2] / "examples"


def loaded(config: TrainConfig) -> Engine:
    return load_engine(
        config, find_base(config.model.pretrained_model_name_or_path), find_device(), torch.float32
    )


def measurement_of(engine: Engine, emit=ignore, should_stop=never_stop, step_seconds=0.0) -> GainMeasurement:
    data = prepare_data(engine, read_folder(engine.config.dataset), ignore, never_stop)
    assert data is not None
    return GainMeasurement(
        engine=engine, data=data, emit=emit, should_stop=should_stop, step_seconds=step_seconds
    )


@pytest.fixture
def six(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "six", sizes=((64, 64),) * 6)


def test_each_picture_is_measured_and_no_random_state_touched(make_config: ConfigMaker, six: Path) -> None:
    engine = loaded(make_config(data=six))
    measurement = measurement_of(engine)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    gains = measurement.measure(3600)
    assert torch.equal(before, torch.get_rng_state())
    assert sorted(one.picture for one in gains) == sorted(path.name for path in six.glob("*.png"))
    assert all(one.gain == 0 for one in gains), "a LoRA that is all zero changes nothing"
    assert sorted(measurement.measure(3600), key=lambda one: one.picture) == sorted(
        gains, key=lambda one: one.picture
    )


def test_there_is_nothing_to_say_of_few_pictures_in_no_time_or_when_stopped(
    make_config: ConfigMaker, six: Path
) -> None:
    engine = loaded(make_config(data=six))
    assert measurement_of(engine).measure(0.4) == ()
    assert measurement_of(engine, should_stop=lambda: True).measure(3600) == ()
    for path in sorted(six.glob("*.png"))[4:]:
        path.unlink()
    assert measurement_of(engine).measure(3600) == ()


def test_where_the_time_is_too_short_no_picture_is_looked_at(
    make_config: ConfigMaker, six: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five pictures of eight passes each take 13 times as long as a step of one picture."""
    engine = loaded(make_config(data=six, train_batch_size=2))
    passes: list[object] = []
    monkeypatch.setattr(type(engine.base), "denoise", lambda *given, **named: passes.append(given))
    assert measurement_of(engine, step_seconds=3.0).measure(19) == ()
    assert passes == []


def test_captions_are_measured_as_they_are_trained_and_odd_names_are_plain(
    make_config: ConfigMaker, six: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (six / "picture-00.png").rename(six / "caf\udce9.png")
    (six / "picture-00.txt").rename(six / "caf\udce9.txt")
    measurement = measurement_of(
        loaded(make_config(data=six, caption_prefix="a nice ", enable_wildcard=True))
    )
    asked: list[str] = []
    encode = Engine.encode_text

    def encode_heard(self, texts, **rest):
        asked.extend(texts)
        return encode(self, texts, **rest)

    monkeypatch.setattr(Engine, "encode_text", encode_heard)
    gains = measurement.measure(3600)
    assert len(gains) == 6
    assert all(one.picture.isprintable() for one in gains)
    assert asked
    assert all(text.startswith("a nice ") for text in asked)


def test_pictures_that_are_learned_in_part_are_left_out(make_config: ConfigMaker, six: Path) -> None:
    assert measurement_of(loaded(make_config(data=six, alpha_mask=True))).measure(3600) == ()


def test_a_file_that_can_t_be_written_is_a_note(make_config: ConfigMaker, six: Path, tmp_path: Path) -> None:
    said: list[Event] = []
    (tmp_path / "training.json").mkdir()
    assert name_far_off(measurement_of(loaded(make_config(data=six)), said.append), tmp_path, 3600) == ()
    (note,) = [one for one in said if isinstance(one, Noted)]
    assert "training.json" in note.message


@pytest.mark.slow
def test_a_drawing_among_aliens_is_named(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(EXAMPLES / "alien", pictures)
    shutil.copy(EXAMPLES / "ink" / "fox.png", pictures / "odd.png")
    shutil.copy(pictures / "alien-01.txt", pictures / "odd.txt")
    values = {
        "pretrained_model_name_or_path": "starter",
        "train_data_dir": str(pictures),
        "output_name": "alien",
        "output_dir": str(tmp_path / "lora"),
        "trigger_word": "zwx",
        "max_train_steps": 40,
        "train_batch_size": 2,
        "learning_rate": 2e-3,
        "network_dim": 8,
        "resolution": 64,
        "checkpoint_board": False,
        "sample_every_n_steps": 0,
    }
    config = TrainConfig.from_values(values)
    result = Path(train(config).path)
    again = TrainConfig.from_values(
        {
            **values,
            "network_weights": str(result / "alien.safetensors"),
            "output_dir": str(tmp_path / "again"),
        }
    )
    found = name_far_off(measurement_of(loaded(again)), result, 600)
    assert [one.picture for one in found] == ["odd.png"]
    assert far_off(read_gains(result)) == found
    assert all(one.gain > 0.3 for one in read_gains(result) if one.picture != "odd.png")
