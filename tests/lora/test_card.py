from __future__ import annotations

from lora_studio.config import TrainConfig
from lora_studio.lora.card import write_card


def card(base_id: str = "", licence: str = "Apache-2.0", images: int = 8, **changes: object) -> str:
    config = TrainConfig.from_values(
        {
            "pretrained_model_name_or_path": "starter",
            "train_data_dir": "pictures",
            "output_name": "my-cat",
            "output_dir": "out",
            "title": 'My "Cat"',
            "trigger_word": "zwx",
            **changes,
        }
    )
    previews = [("a zwx | table", "previews/base-0.png", "previews/step-000200-0.png")]
    return write_card(
        config, base="starter", base_id=base_id, licence=licence, images=images, steps=200, previews=previews
    )


def test_the_card_names_what_a_stranger_needs() -> None:
    text = card()
    assert text.startswith('---\ntitle: "My \\"Cat\\""\n')
    assert '# My "Cat"' in text
    assert "trained for 200 steps on 8 pictures" in text
    assert "Write `zwx` in the prompt." in text
    assert "Apache-2.0" in text
    assert "![with](previews/step-000200-0.png)" in text
    assert "pipe.load_lora_weights(" in text
    assert "| `network_dim` | 4 |" in text
    assert "base_model" not in text


def test_a_hub_base_is_linked() -> None:
    text = card(base_id="stable-diffusion-v1-5/stable-diffusion-v1-5")
    assert "\nbase_model: stable-diffusion-v1-5/stable-diffusion-v1-5\n" in text
    assert "from_pretrained('stable-diffusion-v1-5/stable-diffusion-v1-5')" in text


def test_text_cannot_break_the_table_or_the_heading() -> None:
    text = card(title="One\n# Two")
    assert "# One # Two\n" in text
    assert "| a zwx \\| table |" in text


def test_one_picture_is_not_plural_and_no_trigger_is_said() -> None:
    text = card(images=1, trigger_word="")
    assert "on 1 picture with" in text
    assert "It has no trigger word." in text


def test_kinds_that_diffusers_cannot_read_are_not_recommended_for_it() -> None:
    assert "diffusers can't read it" in card(algo="lokr")
    text = card(dora_wd=True)
    assert "load_lora_weights" not in text
    assert "LyCORIS' kind lora, DoRA" in text
