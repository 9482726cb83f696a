from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from lora_studio.data.loader import Sample
from lora_studio.data.training_set.folders import read_folder
from lora_studio.errors import DatasetError
from lora_studio.events import Event, Noted, PhaseAdvanced, never_stop
from lora_studio.lora.file.lora_files import read_header
from lora_studio.trainer import train
from lora_studio.training.model import Engine
from lora_studio.training.objective import draw
from lora_studio.training.preparation.latent_cache_key import encoder_mark
from lora_studio.training.preparation.training_data import TrainingData, captions_of, prepare_data
from tests.conftest import StudioFolders
from tests.support.configs import ConfigMaker
from tests.support.runs import engine_for
from tests.support.tiny import make_pictures

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "steps_examples.json").read_text())["examples"]


def prepare(engine: Engine, cache: Path | None = None) -> tuple[TrainingData, list[str]]:
    events: list[Event] = []
    data = prepare_data(
        engine, read_folder(engine.config.dataset), events.append, never_stop, cache_folder=cache
    )
    assert data is not None
    phases = [event for event in events if isinstance(event, PhaseAdvanced)]
    assert (phases[0].done, phases[-1].done) == (0, phases[-1].total)
    return data, [event.message for event in events if isinstance(event, Noted)]


def samples(data: TrainingData, epoch: int = 1) -> list[Sample]:
    return [sample for group in data.loader.epoch(epoch) for batch in group for sample in batch]


def all_moments(data: TrainingData) -> list[torch.Tensor]:
    return [moment for one in data.loader.pictures for moment in data.latents.moments(one, mirrored=False)]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []
    encode = Engine.encode_pictures

    def counted(self: Engine, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        counts.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Engine, "encode_pictures", counted)
    return counts


def test_the_second_run_encodes_nothing_and_has_the_same_latents(
    make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = count_encodings(monkeypatch)
    engine = engine_for(make_config(flip_aug=True))
    first, _ = prepare(engine, tmp_path / "cache")
    assert counts == [1] * 8
    second, notes = prepare(engine, tmp_path / "cache")
    assert (counts, notes) == ([1] * 8, [])
    without, _ = prepare(
        engine_for(make_config(flip_aug=True, cache_latents_to_disk=False)), tmp_path / "cache"
    )
    assert len(counts) == 16
    anew, _ = prepare(engine_for(make_config(cache_latents=False)), tmp_path / "other")
    assert same(all_moments(first), all_moments(second))
    assert same(all_moments(first), all_moments(without))
    assert same(all_moments(first), all_moments(anew))
    assert not (tmp_path / "other").exists()


def test_a_changed_picture_is_encoded_anew_and_a_renamed_one_is_not(
    make_config: ConfigMaker, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(pictures, tmp_path / "data")
    engine = engine_for(make_config(data=data))
    prepare(engine, tmp_path / "cache")
    counts = count_encodings(monkeypatch)
    (data / "picture-00.png").rename(data / "another.png")
    Image.new("RGB", (64, 64), "red").save(data / "picture-01.png")
    found, _ = prepare(engine, tmp_path / "cache")
    assert counts == [1]
    plain, _ = prepare(engine)
    assert same(all_moments(found), all_moments(plain))


def test_damaged_cache_files_are_told_and_made_anew(make_config: ConfigMaker, tmp_path: Path) -> None:
    engine = engine_for(make_config())
    first, _ = prepare(engine, tmp_path / "cache")
    files = sorted((tmp_path / "cache").glob("*/*.latents"))
    files[0].write_bytes(files[0].read_bytes()[:-20])
    files[1].write_bytes(b"")
    second, notes = prepare(engine, tmp_path / "cache")
    assert notes == ["2 files of the latent cache were damaged and are made anew."]
    assert same(all_moments(first), all_moments(second))
    assert prepare(engine, tmp_path / "cache")[1] == []


def test_a_cache_that_cannot_be_written_is_told(make_config: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _, notes = prepare(engine_for(make_config()), tmp_path / "file")
    assert len(notes) == 1
    assert notes[0].startswith("The latent cache can't be written: ")


def test_another_encoder_has_another_mark(make_config: ConfigMaker) -> None:
    engine = engine_for(make_config())
    before = encoder_mark(engine)
    assert encoder_mark(engine_for(make_config("other", learning_rate=1e-3))) == before
    with torch.no_grad():
        engine.base.vae.decoder.conv_in.bias += 1
        assert encoder_mark(engine) == before
        engine.base.vae.encoder.conv_in.bias += 1
        assert encoder_mark(engine) != before


def test_pictures_of_a_size_can_be_encoded_together(
    make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_pictures(tmp_path / "data", sizes=((64, 64),) * 5 + ((120, 60),) * 2)
    counts = count_encodings(monkeypatch)
    together, _ = prepare(engine_for(make_config(data=data, vae_batch_size=2)), tmp_path / "cache")
    assert sorted(counts) == [1, 2, 2, 2]
    alone, _ = prepare(engine_for(make_config(data=data)), tmp_path / "cache")
    for one, other in zip(all_moments(together), all_moments(alone), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_training_keeps_its_latents_below_the_studios_home(
    make_config: ConfigMaker, studio_folders: StudioFolders
) -> None:
    train(make_config(train_batch_size=4, max_train_steps=4))
    assert len(list((studio_folders.home / "cache" / "latents").glob("*/*.latents"))) == 4
    train(make_config("uncached", max_train_steps=1, cache_latents_to_disk=False, resolution=32))
    assert len(list((studio_folders.home / "cache" / "latents").glob("*/*.latents"))) == 4


def test_a_mask_of_another_shape_is_no_mask_of_that_picture(make_config: ConfigMaker, tmp_path: Path) -> None:
    make_pictures(tmp_path / "masks", sizes=((64, 64), (128, 128), (64, 60), (64, 64)))
    data, notes = prepare(
        engine_for(make_config(masked_loss=True, conditioning_data_dir=str(tmp_path / "masks")))
    )
    assert notes == ["The mask picture-02.png has another shape than its picture. It is left out."]
    assert len(data.loader.pictures) == 3


def test_no_file_is_left_beside_the_pictures(
    make_config: ConfigMaker, pictures: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(pictures, tmp_path / "data")
    before = {path: path.read_bytes() for path in data.rglob("*")}
    prepare(engine_for(make_config(data=data)), tmp_path / "cache")
    assert {path: path.read_bytes() for path in data.rglob("*")} == before


REAL = ((512, 512), (451, 300), (600, 400), (640, 427), (741, 500), (384, 640))


def test_regularisation_pictures_fill_up_the_epoch_as_in_the_real_run(
    make_config: ConfigMaker, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "mine" / "2_sks dog", sizes=REAL, captions=False)
    make_pictures(tmp_path / "others" / "1_dog", sizes=((600, 400), (451, 300), (640, 427)), captions=False)
    config = make_config(
        data=tmp_path / "mine",
        reg_data_dir=str(tmp_path / "others"),
        prior_loss_weight=0.5,
        resolution=256,
        min_bucket_reso=128,
        max_bucket_reso=1024,
        bucket_reso_steps=64,
        train_batch_size=2,
        max_train_steps=14,
        cache_latents=False,
    )
    data, notes = prepare(engine_for(config))
    example = next(example for example in GOLDEN if example["printed"]["num_reg_images"])
    wanted = {tuple(bucket["resolution"]): bucket["count"] for bucket in example["bucket_counts"]}
    assert data.loader.counts() == wanted
    printed = example["printed"]
    assert (data.facts.images, data.facts.reg_images) == (
        printed["num_train_images"],
        printed["num_reg_images"],
    )
    assert (data.steps.batches_per_epoch, data.steps.epochs) == (
        printed["num_batches_per_epoch"],
        printed["num_epochs"],
    )
    assert (data.facts.folders, data.facts.reg_folders) == ({"2_sks dog": (2, 6)}, {"1_dog": (1, 3)})
    assert {sample.placed.picture.weight for sample in samples(data)} == {0.5, 1.0}
    assert [note for note in notes if "enlarged" not in note and "cut off" not in note] == []


def test_surplus_regularisation_pictures_are_not_even_encoded(
    make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path / "others" / "1_dog", sizes=((64, 64),) * 7)
    counts = count_encodings(monkeypatch)
    data, notes = prepare(engine_for(make_config(reg_data_dir=str(tmp_path / "others"))))
    assert (len(counts), len(data.loader.pictures)) == (8, 8)
    assert notes == [
        "3 regularisation pictures are left out: the others are as many as the training pictures."
    ]
    assert data.facts.reg_images == 7


def test_the_weight_reaches_the_loss(make_config: ConfigMaker, tmp_path: Path) -> None:
    make_pictures(tmp_path / "others" / "1_dog")
    engine = engine_for(make_config(reg_data_dir=str(tmp_path / "others"), prior_loss_weight=0.25))
    data, _ = prepare(engine)
    for sample in samples(data):
        drawn = draw([sample], data.latents, make_config(), engine.base.process)
        assert drawn.weights is not None
        assert drawn.weights.tolist() == [0.25 if sample.placed.picture.is_reg else 1.0]


def test_masks_reach_the_loss(make_config: ConfigMaker, pictures: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (64, 64), 255)
    mask.paste(0, (0, 0, 32, 64))
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks" / "picture-00.png")
    config = make_config(masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"), flip_aug=True)
    engine = engine_for(config)
    data, _ = prepare(engine)
    row = [0.0] * 4 + [1.0] * 4
    for sample in samples(data):
        drawn = draw([sample], data.latents, config, engine.base.process)
        if sample.placed.index:
            assert drawn.masks is None
        else:
            assert drawn.masks is not None
            assert drawn.masks.shape == (1, 1, 8, 8)
            assert drawn.masks[0, 0, 0].tolist() in (row, row[::-1])


def test_a_run_on_masked_varied_pictures(make_config: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(2):
        picture = Image.new("RGBA", (96, 80), (200, 90 * number, 40, 255))
        picture.paste((0, 0, 0, 0), (0, 0, 30, 80))
        picture.save(tmp_path / "data" / f"{number}.png")
    changes = {"alpha_mask": True, "random_crop": True, "color_aug": True, "flip_aug": True}
    first = train(make_config("first", data=tmp_path / "data", **changes))
    second = train(make_config("second", data=tmp_path / "data", **changes))
    other = train(make_config("other", data=tmp_path / "data"))
    hashes = [read_header(result.file).tensor_hash for result in (first, second, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_split_keeps_pictures_out_of_the_training(make_config: ConfigMaker, tmp_path: Path) -> None:
    config = make_config(validation_split=0.5, validation_seed=3, caption_prefix="photo of", num_repeats=2)
    data, notes = prepare(engine_for(config))
    trained = {one.picture.path for one in data.loader.pictures}
    held_out = {one.picture.path for one in data.validation}
    assert (len(trained), len(held_out), trained & held_out, notes) == (2, 2, set(), [])
    assert all(one.picture.caption.startswith("photo of a disc") for one in data.validation)
    assert len({one.index for one in (*data.loader.pictures, *data.validation)}) == 4
    assert (data.facts.images, data.facts.validation_images) == (4, 4)
    small, notes = prepare(engine_for(make_config(validation_split=0.1)))
    assert (small.validation, len(small.loader.pictures)) == ((), 4)
    assert notes == [
        "validation_split is ignored: it is too small for the number of pictures to hold one out."
    ]


def test_captions_change_with_epoch_and_step_and_only_with_them(make_config: ConfigMaker) -> None:
    config = make_config(
        shuffle_caption=True, caption_dropout_every_n_epochs=2, token_warmup_step=3, token_warmup_min=1
    )
    data, _ = prepare(engine_for(config))
    batch = tuple(samples(data))
    assert [caption.count(",") for caption in captions_of(data, config, batch, 1)] == [0] * 4
    assert captions_of(data, config, batch, 4) == captions_of(data, config, batch, 9)
    assert [caption.count(",") for caption in captions_of(data, config, batch, 4)] == [1] * 4
    assert captions_of(data, config, tuple(samples(data, epoch=2)), 4) == [""] * 4


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, {f"a disc, number {n}" for n in range(4)}),
        ({"caption_dropout_rate": 0.5}, {"", *(f"a disc, number {n}" for n in range(4))}),
        ({"shuffle_caption": True}, set()),
        ({"caption_suffix": "x"}, {f"a disc, number {n} x" for n in range(4)}),
        ({"cache_text_encoder_outputs": False}, set()),
    ],
)
def test_captions_that_are_known_are_encoded_ahead(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, changes: dict, kept: set[str]
) -> None:
    encoded: list[str] = []
    encode = Engine.encode_fixed_text
    monkeypatch.setattr(
        Engine, "encode_fixed_text", lambda self, captions: encoded.extend(captions) or encode(self, captions)
    )
    prepare(engine_for(make_config(network_train_unet_only=True, **changes)))
    assert (set(encoded), len(encoded)) == (kept, len(kept))


TOML = """
[general]
caption_suffix = "in the dark"
[[datasets]]
resolution = 64
batch_size = 2
min_bucket_reso = 32
max_bucket_reso = 128
bucket_reso_steps = 16
    [[datasets.subsets]]
    image_dir = "discs"
    num_repeats = 3
    [[datasets.subsets]]
    image_dir = "others"
    is_reg = true
[[datasets]]
resolution = [96, 64]
enable_bucket = false
    [[datasets.subsets]]
    image_dir = "discs"
    flip_aug = true
    class_tokens = "zwx"
"""


def test_several_datasets_train_together_and_the_file_tells_of_them(
    make_config: ConfigMaker, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "discs", sizes=((64, 64), (64, 64), (128, 40)))
    make_pictures(tmp_path / "others", sizes=((64, 64),) * 2)
    (tmp_path / "sets.toml").write_text(TOML)
    config = make_config(dataset_config=str(tmp_path / "sets.toml"), max_train_steps=3)
    data, notes = prepare(engine_for(config))
    assert [note for note in notes if "enlarged" not in note and "cut off" not in note] == []
    assert data.loader.batch_sizes == (2, 1)
    assert data.loader.counts(1) == {(96, 64): 3}
    assert sum(data.loader.counts(0).values()) == 18
    assert captions_of(data, config, tuple(samples(data)), 1)[0].endswith(" in the dark")
    metadata = read_header(train(config).file).metadata
    first, second = json.loads(metadata["ss_datasets"])
    assert (first["num_train_images"], first["num_reg_images"], first["batch_size_per_device"]) == (9, 2, 2)
    assert (second["resolution"], second["enable_bucket"]) == ([96, 64], False)
    assert second["subsets"][0] == {
        "img_count": 3,
        "num_repeats": 1,
        "color_aug": False,
        "flip_aug": True,
        "random_crop": False,
        "shuffle_caption": False,
        "keep_tokens": 0,
        "keep_tokens_separator": "",
        "secondary_separator": "",
        "enable_wildcard": False,
        "caption_prefix": None,
        "caption_suffix": "in the dark",
        "resize_interpolation": None,
        "image_dir": "discs",
        "class_tokens": "zwx",
        "is_reg": False,
    }
    assert [subset["is_reg"] for subset in first["subsets"]] == [False, True]
    assert json.loads(metadata["ss_dataset_dirs"]) == {
        "discs": {"n_repeats": 3, "img_count": 3},
        "discs (2)": {"n_repeats": 1, "img_count": 3},
    }
    assert json.loads(metadata["ss_tag_frequency"])["discs"]["a disc"] == 3
    assert (metadata["ss_num_train_images"], metadata["ss_num_reg_images"]) == ("12", "2")
    assert "ss_resolution" not in metadata


def test_an_odd_shape_is_said(make_config: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (3000, 10), "red").save(tmp_path / "data" / "thread.png")
    _, notes = prepare(engine_for(make_config(data=tmp_path / "data", bucket_no_upscale=True)))
    assert notes == ["thread.png has an odd shape: only the middle 256 x 16 of it are used."]


def test_only_training_pictures_count_as_pictures(make_config: ConfigMaker, tmp_path: Path) -> None:
    make_pictures(tmp_path / "others" / "1_dog")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fake.png").write_text("no picture")
    engine = engine_for(make_config(data=tmp_path / "data", reg_data_dir=str(tmp_path / "others")))
    with pytest.raises(DatasetError, match="None of the pictures can be read"):
        prepare(engine)
