from __future__ import annotations

import json
import os
import shutil
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.config import TrainConfig
from lora_studio.errors import (
    ConfigError,
    DatasetError,
    DeviceBusy,
    DiskFull,
    ModelFileError,
    NotAllowed,
    StoreError,
)
from lora_studio.events import Denoised, ImageSaved, PreviewSaved
from lora_studio.records import JobStatus
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from lora_studio.store.job_lists import curve_points
from lora_studio.studio import Studio, open_studio
from lora_studio.training_request import StartTraining
from lora_studio.training_setup import default_trigger, made_trigger, slug_of
from tests.conftest import StudioFolders
from tests.support.refusals import refused


@pytest.fixture
def settings(settings: Settings, studio_folders: StudioFolders) -> Settings:
    """With the outlines of a base model called "outline": enough to be found, not to be loaded."""
    assert settings.home == studio_folders.home.resolve()
    (settings.bases / "outline" / "unet").mkdir(parents=True)
    (settings.bases / "outline" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (settings.bases / "outline" / "unet" / "config.json").write_text('{"cross_attention_dim": 768}')
    return settings


@pytest.fixture
def dataset(studio: Studio, tmp_path: Path) -> str:
    for number in range(6):
        Image.new("RGB", (64, 64), (40 * number, 80, 120)).save(tmp_path / f"{number}.png")
    return studio.datasets.create("squares", sorted(tmp_path.glob("*.png"))).id


def start(studio: Studio, dataset: str, name: str = "My Cat", **more: Any) -> TrainConfig:
    job = studio.trainings.start(
        StartTraining(**{"dataset_id": dataset, "name": name, "kind": "object", "base": "outline", **more})
    )
    return TrainConfig.from_json(job.config)


def test_three_inputs_make_a_training(studio: Studio, dataset: str, settings: Settings) -> None:
    config = start(studio, dataset)
    assert (config.output.output_name, config.output.title) == ("my-cat", "My Cat")
    assert config.output.output_dir == str(settings.loras / "my-cat")
    assert config.dataset.train_data_dir == studio.datasets.get(dataset).path
    assert (config.dataset.kind, config.dataset.trigger_word) == ("object", "myct")
    assert all("myct" in prompt for prompt in config.preview.sample_prompts)
    assert config.model.pretrained_model_name_or_path == "outline"
    assert studio.jobs.jobs()[0].status == JobStatus.QUEUED


def test_who_may_not_train_has_no_base_looked_up(studio: Studio, dataset: str) -> None:
    wanted = StartTraining(dataset_id=dataset, name="Mine", kind="object", base="somebody/nowhere")
    with pytest.raises(ModelFileError):  # the Hub was asked
        studio.trainings.config(wanted)
    with acting(Visitor(name="eve", role=Role.CREATOR)), pytest.raises(NotAllowed):
        studio.trainings.config(wanted)


def test_masks_that_came_with_the_pictures_are_used_unless_that_is_switched_off(
    studio: Studio, dataset: str, tmp_path: Path
) -> None:
    assert not start(studio, dataset).dataset.masked_loss
    Image.new("L", (64, 64), 255).save(tmp_path / "3-masklabel.png")
    masked = studio.datasets.create("masked", sorted(tmp_path.glob("*.png"))).id
    assert studio.datasets.get(masked).images == 6
    assert start(studio, masked).dataset.masked_loss
    for own in ({"masked_loss": False}, {"alpha_mask": True}):
        assert not start(studio, masked, overrides=own).dataset.masked_loss


def test_own_values_win_and_some_cannot_be_given(studio: Studio, dataset: str) -> None:
    config = start(studio, dataset, trigger=" zwx ", overrides={"max_train_steps": "12", "network_dim": 3})
    assert (config.dataset.trigger_word, config.optimizer.max_train_steps, config.network.network_dim) == (
        "zwx",
        12,
        3,
    )
    for key in ("output_dir", "output_name", "train_data_dir", "title"):
        with refused(key):
            start(studio, dataset, overrides={key: "/etc"})
    with refused("network_dmi"):
        start(studio, dataset, overrides={"network_dmi": 3})
    with refused("max_train_steps"):
        start(studio, dataset, overrides={"max_train_steps": 0})
    assert len(studio.jobs.jobs()) == 1


def test_names_that_are_taken_get_a_number(studio: Studio, dataset: str, settings: Settings) -> None:
    (settings.loras / "my-cat-2").mkdir()
    assert [start(studio, dataset, "My cat!").output.output_name for _ in range(3)] == [
        "my-cat",
        "my-cat-3",
        "my-cat-4",
    ]


def test_many_clicks_at_once_make_as_many_names(studio: Studio, dataset: str) -> None:
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.append(start(studio, dataset).output.output_name))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == ["my-cat", *(f"my-cat-{number}" for number in range(2, 7))]


@pytest.mark.parametrize(
    ("more", "error", "named"),
    [
        ({"name": ""}, ConfigError, {"field": "name"}),
        ({"name": "  "}, ConfigError, {"field": "name"}),
        ({"name": "../cat"}, ConfigError, {"field": "name"}),
        ({"name": "a/b"}, ConfigError, {"field": "name"}),
        ({"name": "a\\b"}, ConfigError, {"field": "name"}),
        ({"name": "!?"}, ConfigError, {"field": "name"}),
        ({"base": "nowhere"}, ModelFileError, {"path": "nowhere"}),
        ({"dataset_id": "../../etc"}, StoreError, {}),
    ],
)
def test_wrong_inputs_are_named_and_nothing_is_queued(
    studio: Studio, dataset: str, more: dict[str, str], error: type[Exception], named: dict[str, str]
) -> None:
    with pytest.raises(error) as caught:
        start(studio, dataset, **more)
    assert vars(caught.value).items() >= named.items()
    assert studio.jobs.jobs() == []


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Cat", "my-cat"),
        ("  Ünïcode Näme 2 ", "unicode-name-2"),
        ("a--b__c", "a-b-c"),
        ("x" * 100, "x" * 64),
        ("-cat-", "cat"),
        ("10% off", "10-off"),
    ],
)
def test_slugs(name: str, slug: str) -> None:
    assert slug_of(name) == slug


def test_default_triggers_are_words_of_a_few_letters() -> None:
    found = [default_trigger(slug) for slug in ("my-cat", "red-dragon", "bo", "42")]
    assert found == ["myct", "rddrg", "zwb", "zwx"]


def test_cancelling_while_the_device_is_busy_brings_nothing(studio: Studio) -> None:
    request = GenerateRequest(prompt="a cat")
    with studio.lease.hold("training"):
        assert studio.generate(request, should_stop=lambda: True) == []
    assert studio.lease.holder == ""
    with pytest.raises(DeviceBusy), studio.lease.hold("training"):
        raise DeviceBusy("x")


def test_opening_makes_the_folders_and_reads_the_library(settings: Settings, tmp_path: Path) -> None:
    (settings.datasets / "abc").mkdir(parents=True)
    record = {
        "id": "abc", "name": "old", "path": "", "images": 1, "captions": 0, "created_at": 5.0,
        "refused": [], "warnings": [],
    }  # fmt: skip
    (settings.datasets / "abc" / "dataset.json").write_text(json.dumps(record))
    Image.new("RGB", (40, 40)).save(settings.images / "a.png")
    with closing(open_studio(settings)) as studio:
        assert [found.name for found in studio.datasets.datasets()] == ["old"]
        assert len(studio.gallery.images()) == 1
    assert os.environ["GRADIO_TEMP_DIR"] == str(settings.uploads)


def test_folders_that_cannot_be_made_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be made"):
        open_studio(Settings(home=tmp_path / "file" / "home", models=tmp_path / "models"))


def test_two_studios_may_share_a_home(settings: Settings) -> None:
    with closing(open_studio(settings)) as one, closing(open_studio(settings)) as two:
        assert one.jobs.jobs() == two.jobs.jobs() == []


def test_the_whole_way_on_a_real_base(settings: Settings, tmp_path: Path) -> None:
    """Upload, train in the queue, list, generate, stop, on a tiny base with real parts."""
    from tests.support.tiny import make_pictures, make_tiny_base

    make_tiny_base(settings.bases / "tiny")
    pictures = make_pictures(tmp_path / "pictures")
    with closing(open_studio(settings)) as studio:
        dataset = studio.datasets.create("discs", sorted(pictures.iterdir()))
        assert (dataset.images, dataset.captions) == (4, 4)
        values = {
            "max_train_steps": 4, "resolution": 64, "min_bucket_reso": 32, "max_bucket_reso": 128,
            "bucket_reso_steps": 8, "sample_steps": 2, "mixed_precision": "no", "learning_rate": 1e-3,
        }  # fmt: skip
        wish: dict[str, Any] = {"dataset_id": dataset.id, "name": "Disc", "kind": "object", "base": "tiny"}
        job = studio.jobs.wait(
            studio.trainings.start(StartTraining(**wish, overrides=values)).id, timeout=300
        )
        assert (job.status, job.message) == (JobStatus.FINISHED, "")
        assert (job.step, job.progress, job.result_path) == (4, 100, str(settings.loras / "disc"))
        assert len(curve_points(studio.database, job.id)) == 4
        assert studio.jobs.events(job.id, kinds=(PreviewSaved.__name__,))
        record = studio.gallery.lora("disc")
        assert (record.title, record.kind, record.steps) == ("Disc", "object", 4)
        assert record.trigger_word == job.config["dataset"]["trigger_word"]
        assert Path(record.thumbnail).is_file()

        events: list[Any] = []
        request = GenerateRequest(
            prompt="a disc", base="tiny", width=64, height=64, seed=3, count=2, num_inference_steps=2,
            loras=(LoraUse(slug="disc"),),
        )  # fmt: skip
        images = studio.generate(request, events.append)
        assert [image.seed for image in images] == [3, 4]
        assert studio.gallery.images("disc") == [images[1], images[0]]
        assert {Denoised, ImageSaved} <= {type(event) for event in events}

        token = studio.gallery.delete_lora("disc")
        with pytest.raises(StoreError):
            studio.generate(request)
        studio.gallery.undo(token)

        long = studio.trainings.start(
            StartTraining(**wish, overrides={**values, "max_train_steps": 5000, "sample_every_n_steps": 0})
        )
        while studio.jobs.get(long.id).step < 2:
            assert studio.jobs.wait(long.id, timeout=0.05).status.active
        between = studio.generate(request)  # goes first, between two steps
        assert len(between) == 2
        assert studio.jobs.get(long.id).status == JobStatus.RUNNING
        studio.jobs.stop(long.id)
        stopped = studio.jobs.wait(long.id, timeout=300)
        assert (stopped.status, stopped.config["output"]["output_name"]) == (JobStatus.STOPPED, "disc-2")
        assert studio.gallery.lora("disc-2").steps == stopped.step
        shutil.rmtree(dataset.path)
        with pytest.raises(DatasetError):
            studio.datasets.pictures(dataset.id)


def test_the_word_of_the_captions_calls_it_up(studio: Studio, tmp_path: Path) -> None:
    for number, caption in enumerate(("mimi on a sofa", "a drawing of mimi, blue", "Mimi!", "mimi", "mimi")):
        Image.new("RGB", (64, 64), (40 * number, 80, 120)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(caption)
    dataset = studio.datasets.create("set", sorted(tmp_path.glob("[0-9].*"))).id
    assert start(studio, dataset, "Mimi").dataset.trigger_word == "mimi"
    assert start(studio, dataset, "Mimi", trigger="zwx").dataset.trigger_word == "zwx"
    assert start(studio, dataset, "Fox").dataset.trigger_word == "zwfx"
    asked = studio.trainings.trigger_for
    assert (asked(dataset, "Mimi"), asked(dataset, "Fox")) == ("mimi", "zwfx")


@pytest.mark.parametrize(
    ("captions", "word"),
    [
        (("car, zwx style", "dog, zwx style", "zwx fox", "house, zwx style", "apple"), "zwx"),
        (("photo of ohwx man", "ohwx man on a sofa"), "ohwx"),
        (("a sks dog",), ""),  # one caption can't tell
        (("car in the sky", "dog by a tree", "my fox"), ""),
        (("bmw, car", "red car", "a car"), ""),
    ],
)
def test_a_made_up_word_in_nearly_all_captions_is_the_trigger(captions: tuple[str, ...], word: str) -> None:
    assert made_trigger("Fox", "fox", list(captions)) == (word or default_trigger("fox"))


def test_nothing_is_begun_on_a_full_disk(
    studio: Studio, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = replace(studio.settings, keep_free_gb=900_000.0)
    with closing(open_studio(full, start_worker=False)) as other:
        with pytest.raises(DiskFull, match="These pictures would take"):
            other.datasets.create("more", sorted(tmp_path.glob("*.png")))
        with pytest.raises(DiskFull, match="Pictures can't be stored"):
            other.generate(GenerateRequest(prompt="a cat"))
        assert len(other.datasets.datasets()) == 1


def test_sets_of_pictures_have_an_end(
    studio: Studio, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lora_studio.dataset.MOST_SETS", 1)
    with pytest.raises(StoreError, match="1 sets of pictures are kept already"):
        studio.datasets.create("more", sorted(tmp_path.glob("*.png")))
