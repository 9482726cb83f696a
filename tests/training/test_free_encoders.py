from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch

from lora_studio.data.training_set.folders import read_folder
from lora_studio.events import ignore, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.runtime import find_device
from lora_studio.training.evaluation.previews import Previews
from lora_studio.training.free_encoders import free_encoders
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.preparation.training_data import prepare_data

UNET_ONLY = {"network_train_unet_only": True, "sample_every_n_steps": 2, "sample_prompts": ("a disc",)}


def prepared(config: Any) -> tuple[Engine, Any, Previews]:
    found = find_base(config.model.pretrained_model_name_or_path)
    engine = load_engine(config, found, find_device(), torch.float32)
    data = prepare_data(engine, read_folder(config.dataset), ignore, never_stop)
    assert data is not None
    previews = Previews(engine=engine, folder=None, emit=ignore, should_stop=never_stop)  # type: ignore[arg-type]
    return engine, data, previews


def test_text_encoders_that_are_not_needed_any_more_leave_memory(make_config) -> None:
    engine, data, previews = prepared(make_config(**UNET_ONLY))
    encoder = weakref.ref(engine.base.text_encoder)
    captions = [placed.picture.caption for placed in data.loader.pictures]
    before = data.texts.batch(captions), previews.preview_sampler.text(["a disc", ""])
    free_encoders(engine, data, previews)
    assert encoder() is None
    after = data.texts.batch(captions), previews.preview_sampler.text(["a disc", ""])
    assert list(engine.base.models()) == ["unet"]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.states, other.states)


def test_something_new_to_encode_brings_them_back(make_config) -> None:
    engine, data, previews = prepared(make_config(**UNET_ONLY))
    wanted = engine.encode_text(["quite new"]).states
    free_encoders(engine, data, previews)
    assert torch.equal(engine.encode_text(["quite new"]).states, wanted)
    assert engine.base.text_encoder is not None


def test_counting_tokens_leaves_them_where_they_are(make_config) -> None:
    engine, data, previews = prepared(make_config(**UNET_ONLY))
    wanted = engine.base.prompts.count_caption("a (disc:1.2)", weighted=True)
    free_encoders(engine, data, previews)
    assert engine.base.prompts.count_caption("a (disc:1.2)", weighted=True) == wanted
    assert engine.base.prompts.caption_layer(2) == 2
    assert engine.base.text_encoder is None


@pytest.mark.parametrize(
    "changes",
    [{"network_train_unet_only": False}, {"cache_text_encoder_outputs": False}, {"shuffle_caption": True}],
)
def test_text_encoders_that_are_still_needed_stay(make_config, changes: dict[str, Any]) -> None:
    engine, data, previews = prepared(make_config(**{**UNET_ONLY, **changes}))
    free_encoders(engine, data, previews)
    assert engine.base.text_encoder is not None


def test_memory_goes_back_once_the_encoders_are_gone(make_config, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, data, previews = prepared(make_config(**UNET_ONLY))
    texts_at_that_moment: list[object] = []
    monkeypatch.setattr(
        "lora_studio.training.free_encoders.give_memory_back",
        lambda: texts_at_that_moment.append(engine.base.text_encoder),
    )
    free_encoders(engine, data, previews)
    assert texts_at_that_moment == [None]
