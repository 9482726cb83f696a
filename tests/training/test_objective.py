from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lora_studio.data.buckets import Placement
from lora_studio.data.cache import Latents, PlacedPicture
from lora_studio.data.folders import Picture
from lora_studio.data.loader import Sample
from lora_studio.training.objective import draw, offset_noise
from tests.training.conftest import ConfigMaker

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "loss_weights.json").read_text())


def sample(index: int = 0, epoch: int = 1, repeat: int = 0) -> Sample:
    picture = Picture(path=Path("x.png"), caption="", repeats=1, folder="x")
    placement = Placement(bucket=(32, 32), resized=(32, 32), aspect_error=0)
    return Sample(
        placed=PlacedPicture(index=index, picture=picture, placement=placement), epoch=epoch, repeat=repeat
    )


class Fixed(Latents):
    """Latents of mean 5 and deviation 0.1, mirrored ones of mean -5."""

    def __init__(self) -> None:
        super().__init__(encode=lambda pixels: (pixels, pixels), keep=False, flip=True)

    def moments(self, placed: PlacedPicture, *, mirrored: bool) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.full((4, 8, 8), -5.0 if mirrored else 5.0)
        return mean, torch.full_like(mean, 0.1)


def test_noise_offset_is_kohyas() -> None:
    noise = torch.tensor(GOLDEN["noise"]).view(1, 4, 4, 4)
    found = offset_noise(noise, 0.1, torch.Generator().manual_seed(8))
    torch.testing.assert_close(found.flatten(), torch.tensor(GOLDEN["noise_offset_0.1"]))


def test_a_showing_draws_the_same_in_any_company(make_config: ConfigMaker) -> None:
    config = make_config(noise_offset=0.1)
    together = draw([sample(0), sample(1), sample(2)], Fixed(), config)
    alone = draw([sample(1)], Fixed(), config)
    for name in ("latents", "noise", "timesteps"):
        assert torch.equal(getattr(together, name)[1:2], getattr(alone, name))


@pytest.mark.parametrize("other", [sample(1), sample(0, epoch=2), sample(0, repeat=1)])
def test_other_showings_draw_differently(make_config: ConfigMaker, other: Sample) -> None:
    one, two = (draw([shown], Fixed(), make_config()) for shown in (sample(), other))
    assert not torch.equal(one.noise, two.noise)
    assert not torch.equal(one.latents, two.latents)


def test_latents_are_sampled_around_their_mean_apart_from_the_noise(make_config: ConfigMaker) -> None:
    drawn = draw([sample(index) for index in range(50)], Fixed(), make_config())
    assert drawn.latents.mean() == pytest.approx(5, abs=0.01)
    assert drawn.latents.std() == pytest.approx(0.1, rel=0.05)
    assert drawn.noise.std() == pytest.approx(1, rel=0.05)
    both = torch.stack([drawn.latents.flatten(), drawn.noise.flatten()])
    assert torch.corrcoef(both)[0, 1].abs() < 0.03


def test_half_are_mirrored_if_wanted(make_config: ConfigMaker) -> None:
    samples = [sample(index) for index in range(200)]
    assert (draw(samples, Fixed(), make_config()).latents > 0).all()
    mirrored = (draw(samples, Fixed(), make_config(flip_aug=True)).latents.mean(dim=(1, 2, 3)) < 0).sum()
    assert 70 < mirrored < 130


def test_timesteps_fill_their_range(make_config: ConfigMaker) -> None:
    drawn = draw(
        [sample(index) for index in range(400)], Fixed(), make_config(min_timestep=10, max_timestep=14)
    )
    assert set(drawn.timesteps.tolist()) == {10, 11, 12, 13}
    full = draw([sample(index) for index in range(400)], Fixed(), make_config()).timesteps
    assert full.min() < 20
    assert full.max() > 980
