"""A preview is the picture that Generate draws with the same LoRA, prompt, seed and numbers, to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lora_studio.config import TrainConfig
from lora_studio.events import Event, PreviewSaved
from lora_studio.generator import Generator
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from lora_studio.trainer import train
from tests.support.tiny import ALL_SHAPES, make_tiny, tiny_values

PROMPTS = (
    "a (disc:1.3), [grey ground], BREAK red",
    ", ".join(f"a disc of number {number}" for number in range(20)),
    "a disc",
)
"""With weights, beyond 75 tokens in every base's words, and plain."""
STEPS, GUIDANCE, SEED = 3, 4.0, 11
NETWORKS: dict[str, dict[str, object]] = {
    "text encoder": {"network_train_unet_only": False, "clip_skip": 2},
    "convolutions": {"conv_dim": 2, "conv_alpha": 1},
    "dropouts": {"network_dropout": 0.5, "rank_dropout": 0.2, "module_dropout": 0.2},
    "dora": {"dora_wd": True},
    "loha": {"algo": "loha", "conv_dim": 2, "module_dropout": 0.2},
    "lokr": {"algo": "lokr", "factor": 2},
    "oft": {"algo": "diag-oft", "network_dim": 4},
    "fp16": {"save_precision": "fp16", "network_alpha": 0.3},
    "bf16": {"save_precision": "bf16", "algo": "loha"},
}


FIRST = ("sdxl", "zimage")
"""Bases of the first tier: the one with the most parts, and a flow model; the others come in the second."""
BASES = [
    base if base in FIRST else pytest.param(base, marks=pytest.mark.slow) for base in ("starter", *ALL_SHAPES)
]


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "starter":
        return Settings.from_environment().starter
    return make_tiny(request.param, tmp_path_factory.mktemp("bases") / request.param)


@pytest.fixture
def generate(base: Path) -> Callable[..., bytes]:
    settings = Settings.from_environment()
    settings.create_folders()
    generator = Generator(settings)

    def call(**values: object) -> bytes:
        request = GenerateRequest(
            base=str(base),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            width=64,
            height=64,
            insert_trigger=False,
            **values,
        )
        (image,) = generator.generate(request)
        return pixels(image.path)

    return call


def pixels(path: str | Path) -> bytes:
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


def previews_of(base: Path, pictures: Path, **changes: object) -> list[PreviewSaved]:
    """Those after two steps of a training that leaves "disc" in the library."""
    events = list[Event]()
    values = tiny_values(
        base,
        pictures,
        Settings.from_environment().loras / "disc",
        **{
            "sample_prompts": PROMPTS,
            "sample_steps": STEPS,
            "sample_guidance": GUIDANCE,
            "sample_seed": SEED,
            "sample_every_n_steps": 2,
            "checkpoint_board": False,
            "save_precision": "float",
            "max_train_steps": 2,
            "network_dim": 2,
            **changes,
        },
    )
    train(TrainConfig.from_values(values), events.append)
    return [event for event in events if isinstance(event, PreviewSaved) and event.step == 2]


def test_a_preview_is_the_picture_that_generate_draws(
    base: Path, pictures: Path, generate: Callable[..., bytes]
) -> None:
    """Of the base by itself, and with what was learned."""
    previews = previews_of(base, pictures)
    assert [event.seed for event in previews] == [SEED, SEED + 1, SEED + 2]
    for event in previews:
        asked = {"prompt": event.prompt, "seed": event.seed}
        plain, learned = pixels(event.base_path), pixels(event.path)
        assert generate(**asked) == plain
        assert generate(**asked, loras=[{"slug": "disc"}]) == learned
        assert plain != learned


@pytest.mark.parametrize("base", ["sd2_v"], indirect=True)
@pytest.mark.parametrize(
    "network",
    [
        name if name in ("text encoder", "loha") else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
    ],
)
def test_so_it_is_for_every_kind_of_network(
    base: Path, pictures: Path, generate: Callable[..., bytes], network: str
) -> None:
    (event,) = previews_of(base, pictures, sample_prompts=PROMPTS[:1], **NETWORKS[network])
    drawn = generate(
        prompt=event.prompt,
        seed=event.seed,
        loras=[{"slug": "disc"}],
        clip_skip=NETWORKS[network].get("clip_skip", 1),
    )
    assert drawn == pixels(event.path) != pixels(event.base_path)


@pytest.mark.parametrize("base", ["sd2_v"], indirect=True)
@pytest.mark.parametrize(
    "network",
    ["dropouts", *(pytest.param(name, marks=pytest.mark.slow) for name in ("text encoder", "loha"))],
)
def test_previews_leave_no_trace_in_what_is_learned(base: Path, pictures: Path, network: str) -> None:
    file = Settings.from_environment().loras / "disc" / "disc.safetensors"
    previews_of(base, pictures, sample_every_n_steps=1, **NETWORKS[network])
    seen = load_file(file)
    shutil.rmtree(file.parent)
    assert not previews_of(base, pictures, sample_every_n_steps=0, **NETWORKS[network])
    learned = load_file(file)
    assert seen.keys() == learned.keys()
    assert all(torch.equal(tensor, learned[name]) for name, tensor in seen.items())
