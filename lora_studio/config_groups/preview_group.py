"""Evaluation during a training: previews, the loss on held-out pictures, the checkpoint report."""

from __future__ import annotations

from pydantic import field_validator

from lora_studio.config_groups.setting_group import Group, setting

MOST_PROMPTS, LONGEST_PROMPT = 64, 10_000


class PreviewGroup(Group):
    """Settings of previews, validation and the checkpoint report."""

    sample_prompts: tuple[str, ...] = setting(
        (),
        f"Prompts of the previews, {MOST_PROMPTS} at most. Empty: prompts about your subject are chosen by "
        "its kind.",
    )
    sample_every_n_steps: int | None = setting(
        None,
        "A preview every so many steps. Empty: up to eight times a run, at the checkpoints. 0: none.",
        unit="steps",
        ge=0,
    )
    max_preview_share: float = setting(
        0.1,
        "Time that previews may take, as a share of the time of the steps: where they would take longer, "
        "there are fewer pictures, and fewer times. sample_prompts and sample_every_n_steps are followed all "
        "the same. 0: no limit.",
        ge=0,
        le=10,
    )
    sample_steps: int = setting(20, "Denoising steps of a preview.", unit="steps", ge=1, le=200)
    sample_guidance: float = setting(7.5, "Guidance scale of a preview.", ge=0, le=30)
    sample_seed: int = setting(
        1,
        "Seed of the first preview; the others count up. The picture with and without LoRA share it.",
        ge=0,
        le=2**32 - 1,
    )
    validate_every_n_steps: int | None = setting(
        None,
        "Measure the loss on the pictures that validation_split holds out every so many steps. Empty: at "
        "each checkpoint.",
        unit="steps",
        ge=1,
    )
    max_validation_steps: int = setting(
        32, "Held-out pictures that are measured each time, at most.", unit="images", ge=1, le=10_000
    )
    checkpoint_board: bool = setting(
        True,
        "At the end, compare the checkpoints by their previews, recommend one, and name pictures of which "
        "little was learned. Takes a few percent of the training's time.",
    )
    result_pictures: int = setting(
        3,
        "Pictures that the studio draws with the LoRA once its training has ended well. 0: none.",
        unit="images",
        ge=0,
        le=8,
    )

    @field_validator("sample_prompts")
    @classmethod
    def _bounded(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > MOST_PROMPTS:
            raise ValueError(f"{len(value)} prompts are too many, take at most {MOST_PROMPTS}")
        if any(len(prompt) > LONGEST_PROMPT for prompt in value):
            raise ValueError(f"a prompt may have at most {LONGEST_PROMPT} characters")
        return value
