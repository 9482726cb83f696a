from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lora_studio.config import TrainConfig
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import Placement
from lora_studio.data.latent_cache import Latents, PlacedPicture
from lora_studio.data.loader import Sample
from lora_studio.data.training_set.folders import Picture
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.ddpm import DDPM
from lora_studio.runtime import find_device
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.objective import TrainingBatch, sample_losses
from lora_studio.training.objective import draw as draw_batch
from tests.support.configs import ConfigMaker


def sample(
    index: int = 0, epoch: int = 1, repeat: int = 0, weight: float = 1.0, flip_aug: bool = False
) -> Sample:
    settings = DatasetGroup(train_data_dir="x", flip_aug=flip_aug)
    picture = Picture(path=Path("x.png"), caption="", repeats=1, folder="x", settings=settings, weight=weight)
    placement = Placement(bucket=(32, 32), resized=(32, 32), aspect_error=0)
    return Sample(
        placed=PlacedPicture(index=index, picture=picture, placement=placement), epoch=epoch, repeat=repeat
    )


class Fixed(Latents):
    """Latents of mean 5 and deviation 0.1, mirrored ones of mean -5."""

    def __init__(self) -> None:
        super().__init__(encode=lambda pixels: (pixels, pixels), keep=False)

    def moments(self, placed: PlacedPicture, *, mirrored: bool) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.full((4, 8, 8), -5.0 if mirrored else 5.0)
        return mean, torch.full_like(mean, 0.1)

    def mask(self, placed: PlacedPicture, *, mirrored: bool) -> torch.Tensor | None:
        """Pictures of an odd index have one."""
        return torch.full((1, 8, 8), 0.25) if placed.index % 2 else None


def draw(samples: list[Sample], latents: Latents, config: TrainConfig) -> TrainingBatch:
    return draw_batch(samples, latents, config, DDPM.of({}))


SHAPINGS: list[dict] = [
    {"noise_offset": 0.1, "noise_offset_random_strength": True, "adaptive_noise_scale": 0.05},
    {"multires_noise_iterations": 6},
    {"ip_noise_gamma": 0.1, "ip_noise_gamma_random_strength": True},
    {"noise_offset": 0.1, "multires_noise_iterations": 4, "ip_noise_gamma": 0.1},
]


@pytest.mark.parametrize("changes", SHAPINGS)
def test_a_showing_draws_the_same_in_any_company(make_config: ConfigMaker, changes: dict) -> None:
    config = make_config(**changes)
    together = draw([sample(0), sample(1, weight=0.5), sample(2)], Fixed(), config)
    alone = draw([sample(1, weight=0.5)], Fixed(), config)
    for name in ("latents", "noise", "timesteps", "input_noise", "masks", "weights"):
        batch, one = getattr(together, name), getattr(alone, name)
        assert (batch is None) == (one is None)
        assert one is None or torch.equal(batch[1:2], one), name


@pytest.mark.parametrize("changes", SHAPINGS)
def test_shaping_the_noise_leaves_latents_and_timesteps_alone(
    make_config: ConfigMaker, changes: dict
) -> None:
    plain, shaped = (draw([sample(3)], Fixed(), make_config(**some)) for some in ({}, changes))
    assert torch.equal(plain.latents, shaped.latents)
    assert torch.equal(plain.timesteps, shaped.timesteps)
    asked_for_more = "noise_offset" in changes or "multires_noise_iterations" in changes
    assert torch.equal(plain.noise, shaped.noise) is not asked_for_more
    assert plain.input_noise is None
    assert (shaped.input_noise is not None) is ("ip_noise_gamma" in changes)


def test_random_strengths_are_shares_of_the_full_ones(make_config: ConfigMaker) -> None:
    samples = [sample(index) for index in range(20)]
    plain = draw(samples, Fixed(), make_config())
    random = draw(samples, Fixed(), make_config(ip_noise_gamma=0.5, ip_noise_gamma_random_strength=True))
    assert random.input_noise is not None
    strengths = (random.input_noise - plain.noise).std(dim=(1, 2, 3))
    assert strengths.min() < 0.15
    assert 0.35 < strengths.max() < 0.6


def test_masks_and_weights_come_with_their_pictures(make_config: ConfigMaker) -> None:
    drawn = draw([sample(0), sample(1, weight=0.5)], Fixed(), make_config())
    assert drawn.masks is not None
    assert drawn.masks.shape == (2, 1, 8, 8)
    assert drawn.masks.mean(dim=(1, 2, 3)).tolist() == [1, 0.25]
    assert drawn.weights is not None
    assert drawn.weights.tolist() == [1, 0.5]
    assert draw([sample(0)], Fixed(), make_config()).masks is None


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
    plain, flipped = ([sample(index, flip_aug=flip) for index in range(200)] for flip in (False, True))
    assert (draw(plain, Fixed(), make_config()).latents > 0).all()
    mirrored = (draw(flipped, Fixed(), make_config()).latents.mean(dim=(1, 2, 3)) < 0).sum()
    assert 70 < mirrored < 130


def test_timesteps_fill_their_range(make_config: ConfigMaker) -> None:
    drawn = draw(
        [sample(index) for index in range(400)], Fixed(), make_config(min_timestep=10, max_timestep=14)
    )
    assert set(drawn.timesteps.tolist()) == {10, 11, 12, 13}
    full = draw([sample(index) for index in range(400)], Fixed(), make_config()).timesteps
    assert full.min() < 20
    assert full.max() > 980


def test_equal_limits_fix_the_timestep(make_config: ConfigMaker) -> None:
    config = make_config(min_timestep=700, max_timestep=700)
    assert set(draw([sample(index) for index in range(5)], Fixed(), config).timesteps.tolist()) == {700}


def load(config) -> Engine:
    found = find_base(config.model.pretrained_model_name_or_path)
    return load_engine(config, found, find_device(), torch.float32)


def losses(engine: Engine, **changes: object) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    given: dict = {
        "latents": torch.randn(2, 4, 8, 8, generator=generator),
        "noise": torch.randn(2, 4, 8, 8, generator=generator),
        "timesteps": torch.tensor([100, 800]),
        **changes,
    }
    with torch.no_grad():
        return sample_losses(engine, TrainingBatch(**given), engine.encode_text(["a disc", "a disc"]))


def test_masked_places_count_as_no_loss_in_the_mean(make_config: ConfigMaker) -> None:
    """Masks of the two halves add up to the whole; an even mask is a factor."""
    engine = load(make_config())
    whole = losses(engine)
    left, right = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    left[..., :4], right[..., :4] = 1, 0
    torch.testing.assert_close(losses(engine, masks=left) + losses(engine, masks=right), whole)
    torch.testing.assert_close(losses(engine, masks=torch.full((2, 1, 8, 8), 0.25)), whole / 4)
    assert (losses(engine, masks=left) < 0.9 * whole).all()


def test_a_weight_is_a_factor_of_its_pictures_loss(make_config: ConfigMaker) -> None:
    engine = load(make_config())
    weighted = losses(engine, weights=torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(weighted, losses(engine) * torch.tensor([0.5, 2.0]))


def test_input_noise_is_seen_but_not_asked_for(make_config: ConfigMaker) -> None:
    engine = load(make_config())
    generator = torch.Generator().manual_seed(3)
    noise, seen = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    expected = losses(engine, noise=noise)
    assert torch.equal(losses(engine, noise=noise, input_noise=noise), expected)
    found = losses(engine, noise=noise, input_noise=seen)
    assert not torch.equal(found, expected)
    assert not torch.equal(found, losses(engine, noise=seen))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        *({"loss_type": kind} for kind in ("l1", "huber", "smooth_l1")),
        {"loss_type": "huber", "huber_schedule": "exponential", "huber_c": 0.2, "huber_scale": 2},
        {"min_snr_gamma": 1},
        {"debiased_estimation_loss": True},
        {"v_pred_like_loss": 0.1},
        {"v_parameterization": True, "scale_v_pred_loss_like_noise_pred": True},
        {"v_parameterization": True, "zero_terminal_snr": True, "debiased_estimation_loss": True},
    ],
    ids=str,
)
def test_every_objective_trains(make_config: ConfigMaker, changes: dict) -> None:
    """A finite loss, not the plain one, with a gradient that reaches the LoRA, also at the ends."""
    engine = load(make_config(**changes))
    drawn = TrainingBatch(
        latents=torch.randn(2, 4, 8, 8), noise=torch.randn(2, 4, 8, 8), timesteps=torch.tensor([0, 999])
    )
    found = sample_losses(engine, drawn, engine.encode_text(["a disc", "a disc"]))
    found.sum().backward()
    gradients = [weight.grad for weight in engine.lora.parameters("unet") if weight.grad is not None]
    assert torch.isfinite(found).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)
    plain = load(make_config(v_parameterization=changes.get("v_parameterization")))
    assert not torch.allclose(losses(engine), losses(plain))
