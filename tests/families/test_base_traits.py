"""What the catalog says of a family without loading a base of it is what the loaded base does."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.catalog import SAMPLERS
from lora_studio.errors import ConfigError
from lora_studio.families import family_of
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.encoders.chat_message import count_long
from lora_studio.settings import Settings
from lora_studio.ui.generate.generate_requests import sampler_choices
from lora_studio.ui.generate.token_counter import token_count
from tests.support.tiny import MAKERS, make_tiny

TEXTS = ("a disc", ("a disc, " * 90).strip())


@pytest.mark.parametrize("shape", MAKERS)
def test_samplers_and_lengths_of_texts_are_known_before_loading(shape: str, tmp_path: Path) -> None:
    settings = Settings.from_environment()
    path = make_tiny(shape, settings.bases / shape)
    traits, base = find_base(str(path)).traits, family_of(str(path)).load()
    assert traits.flow_matching == base.process.has_shift
    assert [name for _, name in sampler_choices(shape, settings)] == ["", *traits.samplers]
    for name in SAMPLERS:
        if name in traits.samplers:
            base.process.scheduler(name, (8, 8), 5)
        else:
            with pytest.raises(ConfigError):
                base.process.scheduler(name, (8, 8), 5)
    how = traits.long_text
    if how is None:
        assert "in 2 parts" in token_count("disc " * 30, shape, settings)
        return
    limit, _ = base.prompts.caption_limit(None)
    assert how.limit == limit
    counts = [base.prompts.count_caption(text, weighted=False) for text in TEXTS]
    assert [count_long(path, text, how) for text in TEXTS] == counts
    assert f"{counts[0]} of {limit} tokens" in token_count(TEXTS[0], shape, settings)
    assert f"{counts[1]} tokens, of which {limit} are read" in token_count(TEXTS[1], shape, settings)
