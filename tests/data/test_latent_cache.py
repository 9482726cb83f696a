from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.augment import Colour
from lora_studio.data.buckets import Placement
from lora_studio.data.latent_cache import Latents, PlacedPicture, Texts
from lora_studio.data.latent_files import LatentFiles
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.data.training_set.folders import Picture
from lora_studio.families.base import TextOutput
from tests.support.tiny import make_pictures


class Counted:
    """An encoder that says how often it was asked, and answers with a shrunk picture."""

    def __init__(self) -> None:
        self.calls = 0

    def pictures(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        return pixels[:, :, ::8, ::8], torch.ones(len(pixels), 1)

    def text(self, captions: Sequence[str]) -> TextOutput:
        self.calls += 1
        return TextOutput(states=torch.tensor([[[float(len(caption))]] for caption in captions]))


def placed_picture(folder: Path) -> PlacedPicture:
    make_pictures(folder, sizes=((64, 64),))
    settings = DatasetGroup(train_data_dir="x")
    picture = Picture(path=folder / "picture-00.png", caption="", repeats=1, folder="x", settings=settings)
    placement = Placement(bucket=(32, 32), resized=(32, 32), aspect_error=0)
    return PlacedPicture(index=0, picture=picture, placement=placement)


def test_kept_latents_are_encoded_once_and_are_the_same(tmp_path: Path) -> None:
    placed, counted = with_settings(placed_picture(tmp_path), flip_aug=True), Counted()
    kept = Latents(encode=counted.pictures, keep=True)
    kept.prepare((placed, open_picture(placed.picture.path)))
    assert counted.calls == 2  # as it is, and mirrored
    anew = Latents(encode=Counted().pictures, keep=False)
    anew.prepare((placed, open_picture(placed.picture.path)))
    for mirrored in (False, True, False):
        one, other = (source.moments(placed, mirrored=mirrored) for source in (kept, anew))
        assert torch.equal(one[0], other[0])
        assert one[0].shape == (3, 4, 4)
    assert counted.calls == 2


def test_the_mirrored_one_is_another(tmp_path: Path) -> None:
    placed = placed_picture(tmp_path)
    picture = open_picture(placed.picture.path)
    picture.paste("black", (0, 0, 20, 64))
    picture.save(placed.picture.path)
    latents = Latents(encode=Counted().pictures, keep=False)
    assert not torch.equal(
        latents.moments(placed, mirrored=True)[0], latents.moments(placed, mirrored=False)[0]
    )


def test_texts_are_encoded_one_by_one_and_kept_if_wanted() -> None:
    counted = Counted()
    kept = Texts(encode=counted.text, keep=True)
    kept.prepare("a dog")
    kept.prepare("a dog")
    assert counted.calls == 1
    assert kept.batch(["a dog", "a dog", "cat"]).states.flatten().tolist() == [5, 5, 3]
    assert counted.calls == 2
    anew = Texts(encode=counted.text, keep=False)
    anew.prepare("a dog")
    assert counted.calls == 2
    assert anew.batch(["a dog", "cat"]).states.shape == (2, 1, 1)


def with_settings(placed: PlacedPicture, **settings: object) -> PlacedPicture:
    data = DatasetGroup.model_validate({"train_data_dir": "x", **settings})
    return replace(placed, content="abc", picture=replace(placed.picture, settings=data))


def on_disk(folder: Path, counted: Counted, encoder: str = "vae", at_once: int = 1) -> Latents:
    files = LatentFiles(folder=folder / "cache", encoder=encoder)
    return Latents(encode=counted.pictures, keep=True, files=files, at_once=at_once)


def test_latents_of_an_earlier_run_are_taken_from_disk_and_are_the_same(tmp_path: Path) -> None:
    placed, counted = with_settings(placed_picture(tmp_path), flip_aug=True), Counted()
    first, second = on_disk(tmp_path, counted), on_disk(tmp_path, counted)
    assert not first.recall(placed)
    first.prepare((placed, open_picture(placed.picture.path)))
    assert second.recall(placed)
    for mirrored in (False, True):
        assert torch.equal(
            first.moments(placed, mirrored=mirrored)[0], second.moments(placed, mirrored=mirrored)[0]
        )
    assert counted.calls == 2
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".latents"] == []


def test_other_pictures_cuts_and_encoders_have_files_of_their_own(tmp_path: Path) -> None:
    placed = with_settings(placed_picture(tmp_path))
    on_disk(tmp_path, Counted()).prepare((placed, open_picture(placed.picture.path)))
    others = [
        replace(placed, content="abd"),
        replace(placed, placement=replace(placed.placement, bucket=(32, 24))),
        replace(placed, placement=replace(placed.placement, resized=(40, 40))),
        replace(placed, placement=replace(placed.placement, offset=(0, 1))),
        with_settings(placed, resize_interpolation="nearest"),
        with_settings(placed, flip_aug=True),
    ]
    assert on_disk(tmp_path, Counted()).recall(placed)
    assert not any(on_disk(tmp_path, Counted()).recall(other) for other in others)
    assert not on_disk(tmp_path, Counted(), encoder="other").recall(placed)
    assert not on_disk(tmp_path, Counted(), at_once=2).recall(placed)


def test_pictures_that_change_at_each_use_are_not_kept(tmp_path: Path) -> None:
    placed, counted = with_settings(placed_picture(tmp_path), color_aug=True), Counted()
    latents = on_disk(tmp_path, counted)
    latents.prepare((placed, open_picture(placed.picture.path)))
    assert counted.calls == 0
    plain = latents.moments(placed, mirrored=False)[0]
    coloured = latents.moments(replace(placed, colour=Colour(hue=0.3)), mirrored=False)[0]
    assert not torch.equal(plain, coloured)


def test_several_are_encoded_at_once(tmp_path: Path) -> None:
    counted = Counted()
    latents = on_disk(tmp_path, counted, at_once=2)
    one = placed_picture(tmp_path)
    image = open_picture(one.picture.path)
    pictures = [replace(one, index=index, content=str(index)) for index in range(5)]
    latents.prepare(*((placed, image) for placed in pictures))
    assert counted.calls == 3
    alone = Latents(encode=Counted().pictures, keep=False)
    for placed in pictures:
        assert torch.equal(
            latents.moments(placed, mirrored=False)[0], alone.moments(placed, mirrored=False)[0]
        )


def test_pictures_that_wait_are_encoded_at_their_first_use_and_are_the_same(tmp_path: Path) -> None:
    placed, counted = with_settings(placed_picture(tmp_path), flip_aug=True), Counted()
    files = LatentFiles(folder=tmp_path / "cache", encoder="vae")
    latents = Latents(encode=counted.pictures, keep=True, files=files, later=True)
    image = open_picture(placed.picture.path)
    other = replace(placed, index=1, content="other")
    assert latents.wait(placed, image)
    assert latents.wait(other, image)
    placed.picture.path.unlink()
    assert (counted.calls, latents.waiting) == (0, 2)
    latents.encode_waiting([placed, placed])
    assert (counted.calls, latents.waiting) == (2, 1)
    plain = Latents(encode=Counted().pictures, keep=True)
    plain.prepare((placed, image))
    for mirrored in (True, False):
        wanted = plain.moments(placed, mirrored=mirrored)[0]
        assert torch.equal(latents.moments(placed, mirrored=mirrored)[0], wanted)
        assert torch.equal(latents.moments(other, mirrored=mirrored)[0], wanted)
    assert (counted.calls, latents.waiting) == (4, 0)
    assert on_disk(tmp_path, Counted()).recall(other)


def test_what_may_not_wait_is_encoded_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = placed_picture(tmp_path)
    image = open_picture(placed.picture.path)
    pictures = [replace(placed, index=index) for index in range(3)]
    encode = Counted().pictures
    assert not Latents(encode=encode, keep=True).wait(placed, image)
    assert not Latents(encode=encode, keep=False, later=True).wait(placed, image)
    assert not Latents(encode=encode, keep=True, later=True, at_once=2).wait(placed, image)
    monkeypatch.setattr("lora_studio.data.latent_cache.MOST_WAITING", 2 * 3 * 32 * 32)
    full = Latents(encode=encode, keep=True, later=True)
    assert [full.wait(one, image) for one in pictures] == [True, True, False]


def test_a_mask_comes_from_transparency_or_from_another_picture(tmp_path: Path) -> None:
    placed = placed_picture(tmp_path)
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 16, 64))
    picture.save(placed.picture.path)
    latents = Latents(encode=Counted().pictures, keep=True)
    assert latents.mask(placed, mirrored=False) is None
    alpha = with_settings(placed, alpha_mask=True)
    row = [0.0, 1.0, 1.0, 1.0]
    found = latents.mask(alpha, mirrored=False)
    assert found is not None
    assert (found.shape, found[0].tolist()) == ((1, 4, 4), [row] * 4)
    mirrored = latents.mask(alpha, mirrored=True)
    assert mirrored is not None
    assert mirrored[0, 0].tolist() == row[::-1]
    Image.new("RGB", (128, 128), (51, 255, 255)).save(tmp_path / "mask.png")
    other = replace(placed, index=1, picture=replace(placed.picture, mask=tmp_path / "mask.png"))
    grey = latents.mask(other, mirrored=False)
    assert grey is not None
    torch.testing.assert_close(grey, torch.full((1, 4, 4), 0.2))
