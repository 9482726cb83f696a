from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lora_studio.config_groups import OptimizerGroup
from lora_studio.training.optim import build_optimizer, build_schedule, describe

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "lr_schedules.json").read_text())["schedules"]


def weights(*parts: str) -> dict[str, list[torch.nn.Parameter]]:
    return {part: [torch.nn.Parameter(torch.ones(2))] for part in parts}


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['lr_scheduler']}-{row['lr_warmup_steps']}")
def test_schedules_are_kohyas_step_by_step(row: dict) -> None:
    settings = OptimizerGroup(
        max_train_steps=20, lr_scheduler=row["lr_scheduler"], lr_warmup_steps=row["lr_warmup_steps"]
    )
    optimizer = build_optimizer(settings, weights("unet"), {"unet": 1.0})
    schedule = build_schedule(settings, optimizer)
    found = []
    for _ in range(20):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(row["lr"])


def test_each_part_has_its_own_group_and_rate() -> None:
    parts = weights("text_encoder", "unet")
    optimizer = build_optimizer(OptimizerGroup(weight_decay=0.1), parts, {"text_encoder": 1e-5, "unet": 1e-4})
    assert [group["lr"] for group in optimizer.param_groups] == [1e-5, 1e-4]
    assert [group["params"] for group in optimizer.param_groups] == list(parts.values())
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1}


def test_a_part_without_a_rate_is_left_out() -> None:
    optimizer = build_optimizer(OptimizerGroup(), weights("text_encoder", "unet"), {"unet": 1e-4})
    assert len(optimizer.param_groups) == 1


def test_the_optimizer_is_named_as_kohya_names_it() -> None:
    settings = OptimizerGroup()
    text = describe(build_optimizer(settings, weights("unet"), {"unet": 1.0}), settings)
    assert text == "torch.optim.adamw.AdamW(weight_decay=0.01)"
