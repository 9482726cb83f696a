from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lora_studio.data.buckets import Placement
from lora_studio.data.cache import Latents, PlacedPicture, Texts
from lora_studio.data.folders import Picture
from lora_studio.data.pictures import open_picture
from tests.tiny import make_pictures


class Counted:
    """An encoder that says how often it was asked, and answers with a shrunk picture."""

    def __init__(self) -> None:
        self.calls = 0

    def pictures(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        return pixels[:, :, ::8, ::8], torch.ones(1)

    def text(self, captions: Sequence[str]) -> torch.Tensor:
        self.calls += 1
        return torch.tensor([[[float(len(caption))]] for caption in captions])


def placed_picture(folder: Path) -> PlacedPicture:
    make_pictures(folder, sizes=((64, 64),))
    picture = Picture(path=folder / "picture-00.png", caption="", repeats=1, folder="x")
    placement = Placement(bucket=(32, 32), resized=(32, 32), aspect_error=0)
    return PlacedPicture(index=0, picture=picture, placement=placement)


def test_kept_latents_are_encoded_once_and_are_the_same(tmp_path: Path) -> None:
    placed, counted = placed_picture(tmp_path), Counted()
    kept = Latents(encode=counted.pictures, keep=True, flip=True)
    kept.prepare(placed, open_picture(placed.picture.path))
    assert counted.calls == 2  # as it is, and mirrored
    anew = Latents(encode=Counted().pictures, keep=False, flip=True)
    anew.prepare(placed, open_picture(placed.picture.path))
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
    latents = Latents(encode=Counted().pictures, keep=False, flip=True)
    assert not torch.equal(
        latents.moments(placed, mirrored=True)[0], latents.moments(placed, mirrored=False)[0]
    )


def test_texts_are_encoded_one_by_one_and_kept_if_wanted() -> None:
    counted = Counted()
    kept = Texts(encode=counted.text, keep=True)
    kept.prepare("a dog")
    kept.prepare("a dog")
    assert counted.calls == 1
    assert kept.batch(["a dog", "a dog", "cat"]).flatten().tolist() == [5, 5, 3]
    assert counted.calls == 2
    anew = Texts(encode=counted.text, keep=False)
    anew.prepare("a dog")
    assert counted.calls == 2
    assert anew.batch(["a dog", "cat"]).shape == (2, 1, 1)
