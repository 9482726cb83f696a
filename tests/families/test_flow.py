from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from lora_studio.catalog import FLOW_SAMPLERS, SAMPLERS
from lora_studio.config_groups import DIFFUSION_SETTINGS, FLOW_SETTINGS, NoiseGroup
from lora_studio.errors import ConfigError
from lora_studio.families.ddpm import DDPM
from lora_studio.families.flow import Flow, shift_of_tokens, tokens_of
from lora_studio.families.sampling import Sampler
from lora_studio.training.ignored_settings import without_effect
from lora_studio.training.loss.loss_weights import huber_thresholds

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "flow_times.json").read_text())
CASES = GOLDEN["cases"]
DRAWS = 20_000
SIZE = (8, 12)


def flow(**config: object) -> Flow:
    return Flow(config=dict(FlowMatchEulerDiscreteScheduler(**config).config))  # type: ignore[arg-type]


def settings(arguments: dict) -> NoiseGroup:
    named = {name: value for name, value in arguments.items() if name in FLOW_SETTINGS and value != "none"}
    return NoiseGroup(**named)


def name_of(case: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in case["args"].items()) + f" {case['latents']}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_times_are_drawn_as_sd_scripts_draws_them(case: dict) -> None:
    """To the last digit that the table has, though a time is 1000 sigma here: 3e-7 of each."""
    generator = torch.Generator().manual_seed(0)
    times = torch.cat(
        [flow().draw_time(settings(case["args"]), generator, tuple(case["latents"])) for _ in range(8)]
    )
    torch.testing.assert_close(times / 1000, torch.tensor(case["sigma"]), rtol=3e-7, atol=1e-9)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if number % 5 == 0 else pytest.mark.slow)
        for number, case in enumerate(CASES)
    ],
    ids=name_of,
)
def test_the_density_of_times_is_theirs(case: dict) -> None:
    noise, generator, process = settings(case["args"]), torch.Generator().manual_seed(1), flow()
    count = DRAWS // 4
    times = [process.draw_time(noise, generator, tuple(case["latents"])) for _ in range(count)]
    sigma = torch.cat(times) / 1000
    assert sigma.mean().item() == pytest.approx(case["mean"], abs=4 * case["std"] / count**0.5)
    for name, value in case["quantiles"].items():
        level = int(name[1:]) / 100
        spread = 5 * (level * (1 - level) / count) ** 0.5
        assert (sigma <= value + 1e-6).float().mean().item() == pytest.approx(level, abs=spread + 0.002)


def test_a_range_of_times_squeezes_them() -> None:
    noise = NoiseGroup(timestep_sampling="uniform", min_timestep=400, max_timestep=500)
    generator = torch.Generator().manual_seed(0)
    times = torch.cat([flow().draw_time(noise, generator, SIZE) for _ in range(500)])
    assert 400 <= times.min() < 405
    assert 495 < times.max() <= 500
    alone = NoiseGroup(min_timestep=700, max_timestep=700)
    assert flow().draw_time(alone, generator, SIZE).tolist() == [700]


@pytest.mark.parametrize(("size", "shift"), GOLDEN["shifts"].items())
def test_the_shift_of_a_picture_is_flux(size: str, shift: float) -> None:
    height, width = map(int, size.split("x"))
    assert shift_of_tokens(tokens_of((height, width))) == pytest.approx(shift, rel=1e-6)


@pytest.mark.parametrize("scheme", ["uniform", "logit_normal", "mode", "cosmap", "sigma_sqrt"])
def test_weights_of_losses_are_sd_scripts(scheme: str) -> None:
    sigma = torch.tensor(GOLDEN["weights"]["sigma"])
    found = flow().loss_weights(1000 * sigma, NoiseGroup(weighting_scheme=scheme))
    expected = torch.tensor([float(value) for value in GOLDEN["weights"][scheme]])
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-6, atol=0)
    assert found.isfinite().all(), "theirs is infinite without noise, and the training lost"


ANSWERS = {
    "x_t - sigma * model output": "sigma_scaled",
    "model output": "raw",
    "model output + x_t": "additive",
}


@pytest.mark.parametrize("name", GOLDEN["known"])
def test_noise_target_and_prediction_are_theirs(name: str) -> None:
    """Latents of 2 and a denoiser that answers 0.25, where Z-Image's target is turned round too."""
    case = GOLDEN["known"][name]
    process, times = flow(), 1000 * torch.tensor(case["sigma"])
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.full((2, 16, 4, 4), 2.0), torch.randn((2, 16, 4, 4), generator=generator)
    noisy = process.add_noise(latents, noise, times)
    turned = -1 if name.startswith("zimage") else 1
    close = {"rtol": 2e-5, "atol": 2e-5}
    torch.testing.assert_close(noisy.flatten()[:4], torch.tensor(case["x_t_first4"]), **close)
    target = turned * process.target(latents, noise, times)
    torch.testing.assert_close(target.flatten()[:4], torch.tensor(case["target_first4"]), **close)
    if turned == 1:
        kind = ANSWERS[case["prediction_used_in_loss"][0]]
        answer = torch.full_like(noisy, 0.25)
        sigma = torch.tensor(case["sigma"]).view(-1, 1, 1, 1)
        by_hand = {"raw": answer, "additive": answer + noisy, "sigma_scaled": noisy - sigma * answer}
        found = process.prediction(answer, noisy, times, NoiseGroup(model_prediction_type=kind))
        torch.testing.assert_close(found, by_hand[kind])


def test_the_true_velocity_leads_back_to_the_picture() -> None:
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    time = torch.tensor(640.0)
    noisy = flow().add_noise(latents, noise, time.expand(2))
    found = flow().guess(None, noisy, flow().target(latents, noise, time.expand(2)), time)
    torch.testing.assert_close(found, latents, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
@pytest.mark.parametrize("config", [{"shift": 3.0}, {"use_dynamic_shifting": True}], ids=["shift", "by size"])
@pytest.mark.parametrize("skip", [None, 0, 5])
def test_every_sampler_walks_from_noise_to_the_picture(name: str, config: dict, skip: int | None) -> None:
    """A denoiser that knows the picture: the velocity at each place leads straight to it."""
    picture, noise = torch.randn(1, 4, *SIZE), torch.randn(1, 4, *SIZE)
    process = flow(**config)
    sampler = Sampler(process, name, 12, SIZE, skip=skip)
    latents = sampler.start(noise, picture)
    if skip is None:
        assert torch.equal(latents, noise)
    for time in sampler.times:
        sigma = time / 1000
        seen = sampler.scaled(latents, time)
        answer = (seen - picture) / sigma
        assert torch.allclose(sampler.guess(seen, answer, time), picture, atol=1e-3)
        latents = sampler.step(answer, time, latents, torch.Generator())
    torch.testing.assert_close(latents, picture, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_noise_of_a_start_in_the_middle_is_that_of_its_time(name: str) -> None:
    picture, noise = torch.randn(1, 4, *SIZE), torch.randn(1, 4, *SIZE)
    process = flow(shift=3.0)
    sampler = Sampler(process, name, 10, SIZE, skip=4)
    expected = process.add_noise(picture, noise, sampler.times[:1])
    torch.testing.assert_close(sampler.start(noise, picture), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(sampler.noised(picture, noise, len(sampler)), picture)


def test_the_steps_are_those_of_the_models_own_pipelines() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    assert torch.equal(Sampler(flow(shift=3.0), "Euler", 4, SIZE).times, scheduler.timesteps)


def test_samplers_go_by_names_that_people_know_from_elsewhere() -> None:
    assert set(FLOW_SAMPLERS) <= set(SAMPLERS)
    assert flow().sampler == "Euler"
    assert Flow(config={"_class_name": "FlowMatchHeunDiscreteScheduler"}).sampler == "Heun"
    with pytest.raises(ConfigError) as refusal:
        flow().scheduler("DDIM", SIZE, 5)
    assert refusal.value.field == "sampler"


def test_the_border_of_huber_moves_with_the_noise() -> None:
    times = torch.tensor([0.0, 500.0, 1000.0])
    found = huber_thresholds(NoiseGroup(loss_type="huber", huber_c=0.1), flow(), times)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.1 + 0.9 / 4, 0.1]))


def test_settings_of_another_kind_of_noise_are_named() -> None:
    changed = NoiseGroup(timestep_sampling="shift", min_snr_gamma=5, logit_mean=0.5)
    (of_flow,) = without_effect(changed, flow().unused(changed))
    assert of_flow.startswith("min_snr_gamma, logit_mean:")
    (of_diffusion,) = without_effect(changed, DDPM.of({}).unused(changed))
    assert of_diffusion.startswith("timestep_sampling, logit_mean:")
    plain = NoiseGroup()
    assert not list(without_effect(plain, (*flow().unused(plain), *DDPM.of({}).unused(plain))))
    assert {*FLOW_SETTINGS, *DIFFUSION_SETTINGS} <= NoiseGroup.model_fields.keys()
