from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError, DatasetError
from lora_studio.events import Event
from lora_studio.trainer import train
from lora_studio.training.measure import measure
from tests.support.configs import ESTIMATE, ConfigMaker
from tests.support.tiny import make_pictures


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "About 4 min, 690 MB of RAM, 12 MB on the disk."),
        ({"preview_seconds": 0}, "About 43 s, 690 MB of RAM, 12 MB on the disk."),
        ({"train_seconds": 7000}, "About 2 h 00 min, 690 MB of RAM, 12 MB on the disk."),
        (
            {"device_bytes": 7_200_000_000, "disk_bytes": 2_500_000_000},
            "About 4 min, 7.2 GB of the device's memory, 690 MB of RAM, 2.5 GB on the disk.",
        ),
    ],
)
def test_the_plan_is_a_sentence(changes: dict, said: str) -> None:
    assert replace(ESTIMATE, **changes).sentence == said


def test_a_plan_has_a_json_form() -> None:
    data = ESTIMATE.to_json()
    assert (data["sentence"], data["total_seconds"], data["bucket"]) == (ESTIMATE.sentence, 240, (64, 64))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sample_every_n_steps": None, "sample_prompts": ("zwx", "zwx at sea"), "trigger_word": "zwx"},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {"train_batch_size": 3, "gradient_accumulation_steps": 2, "network_train_unet_only": True},
                {"validation_split": 0.5, "mixed_precision": "bf16", "gradient_checkpointing": True},
                {"cache_latents": False, "optimizer_type": "Adafactor"},
            )
        ),
    ],
)
def test_a_plan_is_measured_and_nothing_is_written(make_config: ConfigMaker, changes: dict) -> None:
    config = make_config(**changes)
    plan = measure(config)
    assert plan is not None
    assert (plan.steps, plan.images, plan.bucket) == (4, 4, (64, 64))
    assert plan.seconds_per_step > 0
    assert plan.train_seconds == pytest.approx(4 * plan.seconds_per_step)
    assert (plan.preview_seconds > 0) == (changes.get("sample_every_n_steps", 0) is None)
    assert plan.ram_bytes > 50e6
    assert not Path(config.output.output_dir).exists()


def test_the_disk_is_foretold(make_config: ConfigMaker) -> None:
    """The run's peak: result, checkpoints and two states, which go in the end."""
    config = make_config(network_dim=64, sample_every_n_steps=0)
    plan = measure(config)
    assert plan is not None
    folder = Path(train(config).path)
    kept = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert kept < plan.disk_bytes < 4 * kept


def test_the_largest_pictures_are_measured(make_config: ConfigMaker, tmp_path: Path) -> None:
    data = make_pictures(tmp_path / "data", sizes=((64, 64), (128, 32), (32, 128), (64, 64)))
    config = make_config(data=data, resolution=64, bucket_no_upscale=False)
    plan = measure(config)
    assert plan is not None
    assert plan.bucket[0] * plan.bucket[1] == 64 * 64
    assert plan.images == 4


def test_pictures_of_other_sizes_count_by_their_pixels(make_config: ConfigMaker, tmp_path: Path) -> None:
    from lora_studio.data.training_set.folders import read_folder
    from lora_studio.training.dry_run import PicturesBySize

    data = make_pictures(tmp_path / "data", sizes=((64, 64),) * 4)
    config = make_config(data=data, train_batch_size=2)
    pictures = list(read_folder(config.dataset).pictures)
    by_size = PicturesBySize(sizes={(64, 64): pictures[:2], (64, 32): pictures[2:]})
    assert by_size.heaviest(2) == (64, 64)
    assert by_size.work(config) == pytest.approx(0.75)


@pytest.mark.parametrize("asked_at", [0, 2])
def test_a_measurement_can_be_stopped(make_config: ConfigMaker, asked_at: int) -> None:
    seen: list[Event] = []
    assert measure(make_config(), seen.append, lambda: len(seen) >= asked_at) is None


def test_no_readable_picture_is_an_error(make_config: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fake.png").write_text("no picture")
    with pytest.raises(DatasetError) as caught:
        measure(make_config(data=tmp_path / "data"))
    assert caught.value.path == str(tmp_path / "data")


def test_another_engine_is_not_planned(make_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match="sd-scripts takes can't be measured"):
        measure(make_config(engine="sd-scripts"))
