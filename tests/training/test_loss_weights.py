from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler

from lora_studio.config_groups import NoiseGroup
from lora_studio.errors import ConfigError
from lora_studio.families.ddpm import DDPM, snr_weights
from lora_studio.training.loss.loss_weights import elementwise_loss, huber_thresholds

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "loss_weights.json").read_text())
SD1 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ALPHAS = DDPMScheduler(**SD1).alphas_cumprod
TIMESTEPS = torch.tensor(GOLDEN["timesteps"])
WEIGHTS: dict[str, tuple[dict, bool]] = {
    "min_snr_gamma_5_eps": ({"min_snr_gamma": 5}, False),
    "min_snr_gamma_5_v": ({"min_snr_gamma": 5}, True),
    "min_snr_gamma_1_eps": ({"min_snr_gamma": 1}, False),
    "debiased_eps": ({"debiased_estimation_loss": True}, False),
    "debiased_v": ({"debiased_estimation_loss": True}, True),
    "scale_v_pred_loss_like_noise_pred": ({"scale_v_pred_loss_like_noise_pred": True}, True),
    "v_pred_like_loss_0.1": ({"v_pred_like_loss": 0.1}, False),
    "min_snr_then_scale_v_then_debiased_v (combined order)": (
        {"min_snr_gamma": 5, "scale_v_pred_loss_like_noise_pred": True, "debiased_estimation_loss": True},
        True,
    ),
}
HUBER = GOLDEN["huber_c_0.1_scale_1"]


def process(prediction_type: str = "v_prediction", **schedule: object) -> DDPM:
    scheduler = DDPMScheduler(**SD1, **schedule)
    return DDPM.of({**scheduler.config, "prediction_type": prediction_type})


def assert_golden(found: torch.Tensor, expected: list) -> None:
    """Equal within 3e-6 of each number: 32-bit arithmetic in another order."""
    torch.testing.assert_close(found, torch.tensor(expected), rtol=3e-6, atol=0)


def test_every_weight_of_the_golden_table_is_tested() -> None:
    rest = {"about", "timesteps", "alphas_cumprod", "snr", "zero_terminal_snr", "huber_c_0.1_scale_1"}
    assert set(GOLDEN) == {*WEIGHTS, *rest, "noise_examples"}


@pytest.mark.parametrize("row", WEIGHTS)
def test_weights_are_kohyas(row: str) -> None:
    changes, predicts_velocity = WEIGHTS[row]
    found = snr_weights(
        NoiseGroup(**changes), torch.tensor(GOLDEN["snr"]), predicts_velocity=predicts_velocity
    )
    assert_golden(found, GOLDEN[row])


def test_weights_of_a_base_follow_what_it_predicts() -> None:
    settings = NoiseGroup(min_snr_gamma=5)
    assert_golden(process().loss_weights(TIMESTEPS, settings), GOLDEN["min_snr_gamma_5_v"])
    assert_golden(process("epsilon").loss_weights(TIMESTEPS, settings), GOLDEN["min_snr_gamma_5_eps"])
    assert torch.equal(process().loss_weights(TIMESTEPS, NoiseGroup()), torch.ones(len(TIMESTEPS)))


@pytest.mark.parametrize("by", ["setting", "base"])
def test_weights_keep_to_the_plain_schedule_when_it_ends_in_pure_noise(by: str) -> None:
    """The reference's table is made before the change; debiased would be infinite at the end otherwise."""
    settings = NoiseGroup(zero_terminal_snr=by == "setting", debiased_estimation_loss=True)
    base = process("epsilon", rescale_betas_zero_snr=by == "base")
    base.prepare(settings)
    expected = torch.tensor(GOLDEN["zero_terminal_snr"]["alphas_cumprod"])
    torch.testing.assert_close(base.alphas[TIMESTEPS], expected, rtol=2e-5, atol=1e-9)
    assert_golden(base.loss_weights(TIMESTEPS, settings), GOLDEN["debiased_eps"])


def test_min_snr_survives_a_signal_of_nothing() -> None:
    assert snr_weights(NoiseGroup(min_snr_gamma=5), torch.zeros(1), predicts_velocity=False) == 1


@pytest.mark.parametrize("schedule", HUBER)
def test_huber_thresholds_and_losses_are_kohyas(schedule: str) -> None:
    settings = NoiseGroup(huber_schedule=schedule, huber_c=0.1, huber_scale=1)
    thresholds = huber_thresholds(settings, process(), TIMESTEPS)
    assert_golden(thresholds, HUBER[schedule]["delta"])
    differences = torch.tensor([0, 0.05, 0.5, 2]).view(1, 4, 1, 1).expand(len(TIMESTEPS), -1, -1, -1)
    for loss_type in ("huber", "smooth_l1"):
        found = elementwise_loss(differences, torch.zeros_like(differences), loss_type, thresholds)
        expected = torch.tensor(HUBER[schedule][f"{loss_type}_at_diff_[0,0.05,0.5,2]"])
        # The difference of two nearly equal roots: only the digits that 32 bit leaves of it.
        torch.testing.assert_close(found.flatten(1), expected, rtol=3e-6, atol=2.5e-7)


def test_huber_scale_is_a_factor_except_with_snr() -> None:
    for schedule, factor in {"constant": 3, "exponential": 3, "snr": 1}.items():
        plain, scaled = (
            huber_thresholds(NoiseGroup(huber_schedule=schedule, huber_scale=scale), process(), TIMESTEPS)
            for scale in (1, 3)
        )
        torch.testing.assert_close(scaled, plain * factor)


def test_plain_losses_are_the_square_and_the_amount() -> None:
    answer, target = torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    assert elementwise_loss(answer, target, "l2").flatten().tolist() == [1, 9]
    assert elementwise_loss(answer, target, "l1").flatten().tolist() == [1, 3]


@pytest.mark.parametrize(
    ("prediction_type", "changes", "field"),
    [
        ("epsilon", {"scale_v_pred_loss_like_noise_pred": True}, "scale_v_pred_loss_like_noise_pred"),
        ("v_prediction", {"v_pred_like_loss": 0.1}, "v_pred_like_loss"),
    ],
)
def test_weights_for_another_prediction_are_refused(prediction_type: str, changes: dict, field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        process(prediction_type).prepare(NoiseGroup(**changes))
    assert refusal.value.field == field
