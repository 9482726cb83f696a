from __future__ import annotations

import re

import pytest
import yaml
from markdown_it import MarkdownIt

from lora_studio.config import TrainConfig
from lora_studio.lora.model_card import CardBase, write_card
from lora_studio.parsing.plain_text import plain_text


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
        config,
        CardBase(name="starter", hub_id=base_id, licence=licence),
        images=images,
        steps=200,
        previews=previews,
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
    assert "diffusers draws something else" in text
    assert "Forge can't read it" in card(algo="diag-oft")


HOSTILE = (
    "x\n---\nlicense: mit\n# Heading\n",
    "`zwx` <img src=https://example.org/x onerror=alert(1)>",
    "```\n## Free\n```\n<script>alert(1)</script>",
    "a | b || c\n|---|---|\n",
    "[click](https://example.org) ![x](https://example.org/x.png)",
    'a" b: c\\',
    "*bold* _under_ ~~gone~~ $x^2$ &amp; <b>",
    "``two`` and `one",
    "`",
    "# x #",
    "猫 😀 \u2028 \u202e \ufeff \uffff \x00 \x85 \x7f",
    "half \ud800 a pair",
    "'; import os #",
    "!!python/object:os.system",
    "x" * 5000,
)


def words_of(text: str) -> str:
    """The words of Markdown, as a reader sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inner = [child for token in tokens for child in token.children or ()]
    assert not [token for token in (*tokens, *inner) if token.type.startswith("html")]
    assert {token.type for token in inner} <= {"text", "code_inline", "image", "softbreak", "text_special"}
    return "".join(child.content for child in inner)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_strangers_write_is_words_and_nothing_else(hostile: str) -> None:
    config = TrainConfig.from_values(
        {
            "pretrained_model_name_or_path": "starter",
            "train_data_dir": "pictures",
            "output_name": "my-cat",
            "output_dir": "out",
        }
    )
    output = config.output.model_copy(update={"title": hostile})
    dataset = config.dataset.model_copy(update={"trigger_word": hostile})
    text = write_card(
        config.model_copy(update={"output": output, "dataset": dataset}),
        CardBase(name=hostile, hub_id=f"a/{hostile}", licence=hostile),
        images=1,
        steps=2,
        previews=[(hostile, "previews/base-0.png", "previews/step-000002-0.png")],
    )
    text.encode("utf-8")
    _, front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    told, shown = yaml.safe_load(front), plain_text(hostile, 1000)
    assert (told["title"], told["instance_prompt"]) == (shown, shown)
    assert told["base_model"] == plain_text(f"a/{hostile}", 1000)
    assert set(told) == {"title", "library_name", "base_model", "instance_prompt", "tags"}
    headings = re.findall(r"^#+ (.*)$", body, re.MULTILINE)
    assert headings[1:] == ["Use", "Licence", "Settings"]
    assert words_of(body).count(shown) >= 4  # in the heading, the sentence, the table, the licence
    (row,) = [line for line in body.splitlines() if line.startswith("| ") and "previews/" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    code = re.search(r"```python\n(.*?)\n```", body, re.DOTALL)
    assert code
    compile(code[1], "card", "exec")
