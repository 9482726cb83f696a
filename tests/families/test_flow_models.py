"""Rules that hold for every base made for flow matching alike; what is a family's own stands in its file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrize

from lora_studio.errors import BrokenFile, ConfigError, UnknownFormat
from lora_studio.families import family_of
from lora_studio.families.base_files.hub import fetch
from lora_studio.families.base_files.locate import find_base, known_base
from lora_studio.families.flow_model import FlowModel
from lora_studio.jobs.sd_scripts.launch_files import prepare
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.settings import Settings
from lora_studio.trainer import train
from lora_studio.training.objective import TrainingBatch, sample_losses
from tests.support.clip_texts import encode_captions
from tests.support.flow_drawing import draw_latents
from tests.support.hub_server import only_hub
from tests.support.runs import assert_same_tensors, engine_for, paused_at, state_folder_of, trained_tensors
from tests.support.tiny import denoiser_training, make_tiny


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of a tiny base. `run` are settings of a training that is paused after `pause` steps; its card
    says `card`, and not `not_card`."""

    latents: tuple[int, int, int] = (16, 6, 8)
    run: dict[str, object] = field(default_factory=dict)
    pause: int = 1
    card: tuple[str, ...] = ()
    not_card: tuple[str, ...] = ("A1111",)
    parts: frozenset[str] = frozenset({"unet"})
    texts: frozenset[str] = frozenset({"text_encoder", "unet"})
    engine: bool = True


BASES = {
    "zimage": Facts(
        run={"timestep_sampling": "shift", "sample_every_n_steps": 2, "train_batch_size": 2},
        pause=2,
        card=("diffusers",),
        engine=False,
    ),
    "anima": Facts(
        run={"timestep_sampling": "sigmoid", "train_batch_size": 2, "network_train_unet_only": False},
        pause=2,
        card=("works as it is in LoRA Studio and ComfyUI", "spelling=diffusers"),
        not_card=("DiffusionPipeline",),
        parts=frozenset({"te", "unet"}),
        texts=frozenset({"llm_adapter", "text_encoder", "unet"}),
    ),
    "flux": Facts(
        run={"timestep_sampling": "flux_shift", "network_train_unet_only": False},
        card=("Forge",),
        parts=frozenset({"te1", "unet"}),
        texts=frozenset({"text_encoder", "text_encoder_2", "unet"}),
    ),
    "chroma": Facts(run={"timestep_sampling": "sigmoid", "train_batch_size": 2, "caption_dropout_rate": 0.5}),
    "klein": Facts(
        latents=(128, 3, 4),
        run={"timestep_sampling": "flux2_shift", "cache_latents_to_disk": True},
        card=("ComfyUI and diffusers",),
        not_card=("Forge",),
        engine=False,
    ),
}
CAPTIONS = ["a disc", "word " * 40, "a disk"]


@pytest.fixture(scope="module", params=BASES)
def shape(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def facts(shape: str) -> Facts:
    return BASES[shape]


@pytest.fixture(scope="module")
def base(shape: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(shape, tmp_path_factory.mktemp("flow") / shape)


@pytest.fixture(scope="module")
def model(base: Path) -> Any:
    loaded = family_of(str(base)).load()
    assert isinstance(loaded, FlowModel)
    return loaded


@torch.no_grad()
def test_an_answer_does_not_depend_on_its_company(model: Any, facts: Facts) -> None:
    """Unequal texts are masked, not filled up with something that is read."""
    noisy, times = torch.randn(3, *facts.latents), torch.tensor([1000.0, 500.0, 20.0])
    together = model.denoise(noisy, times, encode_captions(model, CAPTIONS))
    for index, caption in enumerate(CAPTIONS):
        one = slice(index, index + 1)
        alone = model.denoise(noisy[one], times[one], encode_captions(model, [caption]))
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_the_blocks_see_of_a_picture(model: Any, facts: Facts) -> None:
    seen: list[torch.Tensor] = []
    noisy, time = torch.randn(1, *facts.latents), torch.tensor([300.0])
    with model.watched(seen.append):
        model.denoise(noisy, time, encode_captions(model, ["a disc"]))
    assert [tuple(one.shape) for one in seen] == [(1, 32, 12)] * 2
    model.denoise(noisy, time, encode_captions(model, ["a disc"]))
    assert len(seen) == 2


@torch.no_grad()
def test_the_text_encoders_go_and_come_back(base: Path, facts: Facts) -> None:
    model: Any = family_of(str(base)).load()
    model.place("cpu", torch.float32)
    assert set(model.models()) == facts.texts
    before = encode_captions(model, ["a disc"])
    model.free_text()
    assert set(model.models()) == {"unet"}
    assert model.pipeline().text_encoder is None
    assert torch.equal(encode_captions(model, ["a disc"]).states, before.states)
    assert set(model.models()) == facts.texts
    assert not any(weight.requires_grad for weight in model.text_encoder.parameters())
    fresh = model.reload()  # the largest part is neither read nor put together anew for it
    assert (fresh.transformer, fresh.vae) == (None, None)


@torch.no_grad()
def test_text_encoders_in_few_bits_say_nearly_the_same(base: Path, model: Any, facts: Facts) -> None:
    held: Any = family_of(str(base)).load()
    held.texts_held_as = "qint8"
    held.place("cpu", torch.float32)
    exact, states = (encode_captions(one, ["a disc"]).states for one in (model, held))
    assert 0 < (states - exact).norm() / exact.norm() < 0.1
    assert any(parametrize.is_parametrized(module) for module in held.text_encoder.modules())
    assert not any(parametrize.is_parametrized(module) for module in held.transformer.modules())
    held.free_text()
    assert torch.equal(encode_captions(held, ["a disc"]).states, states)


@torch.no_grad()
def test_in_bf16_the_way_stays_in_32_bit(base: Path, model: Any) -> None:
    rounded: Any = family_of(str(base)).load()
    for part in rounded.models().values():
        part.to(torch.bfloat16)
    drawn = draw_latents(rounded, "a disc", scale=3.0)
    assert rounded.dtype == drawn.dtype == torch.float32
    assert 0 < (draw_latents(model, "a disc", scale=3.0) - drawn).abs().mean() < 0.05


def test_the_loss_is_the_formula(base: Path, facts: Facts, tmp_path: Path) -> None:
    """(n - x - answer) squared, with the answer to each alone; times the weight of the noise level."""
    engine = engine_for(denoiser_training(tmp_path, base, weighting_scheme="cosmap", guidance_scale=1.0))
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn((2, *facts.latents), generator=generator) for _ in range(2))
    drawn = TrainingBatch(latents=latents, noise=noise, timesteps=torch.tensor([250.0, 900.0]))
    captions = ["a disc", "another text"]
    guidance = {"guidance": 1.0} if engine.base.takes_guidance else {}
    assert engine.guidance == guidance.get("guidance")
    with torch.no_grad():
        found = sample_losses(engine, drawn, engine.encode_text(captions))
        for index, sigma in enumerate((0.25, 0.9)):
            noisy = (1 - sigma) * latents[index] + sigma * noise[index]
            alone = engine.encode_text([captions[index]])
            answer = engine.base.denoise(noisy[None], torch.tensor([1000 * sigma]), alone, **guidance)[0]
            weight = 2 / (math.pi * (1 - 2 * sigma + 2 * sigma**2))
            wanted = weight * (noise[index] - latents[index] - answer).square().mean()
            torch.testing.assert_close(found[index], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "shape",
    [base if base in ("flux", "klein") else pytest.param(base, marks=pytest.mark.slow) for base in BASES],
    indirect=True,
    scope="module",
)
def test_a_run_goes_on_as_if_it_had_never_ended(shape: str, base: Path, facts: Facts, tmp_path: Path) -> None:
    """Also where half of the work is done twice."""
    values = {"max_train_steps": facts.pause + 1, "network_dropout": 0.2, **facts.run}
    whole = trained_tensors(denoiser_training(tmp_path / "whole", base, **values))
    parts = denoiser_training(tmp_path / "parts", base, gradient_checkpointing=True, **values)
    paused_at(parts, facts.pause)
    result = train(parts, resume_from=state_folder_of(parts))
    assert_same_tensors(load_file(result.file), whole)
    assert {key.split("_")[1] for key in whole} == facts.parts
    assert read_header(find_file(Path(result.path))).family == shape
    card = (Path(result.path) / "README.md").read_text("utf-8")
    assert all(words in card for words in facts.card)
    assert not any(words in card for words in facts.not_card)


def test_sd_scripts_has_no_training_for_some(base: Path, facts: Facts, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        prepare(
            denoiser_training(tmp_path, base, engine="sd-scripts"),
            Settings.from_environment(),
            tmp_path / "job",
        )
    assert ("has no training" in str(refusal.value)) is not facts.engine
    assert refusal.value.field == "engine"


@pytest.mark.parametrize("kind", ["klein", "zimage"])
def test_a_base_without_a_template_for_texts_is_refused(kind: str, tmp_path: Path) -> None:
    bare = make_tiny(kind, tmp_path / "bare")
    (bare / "tokenizer" / "chat_template.jinja").unlink()
    with pytest.raises(BrokenFile, match="chat template"):
        family_of(str(bare)).load()


@pytest.mark.parametrize(
    ("title", "key", "width"),
    [
        ("Z-Image", "layers.0.attention.qkv.weight", 3840),
        ("Anima", "net.blocks.0.self_attn.q_proj.weight", 2048),
    ],
)
def test_a_single_file_of_the_denoiser_is_named(title: str, key: str, width: int, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({key: torch.zeros(3, width)}, file)
    with pytest.raises(UnknownFormat) as refusal:
        find_base(str(file))
    assert title in refusal.value.message


@pytest.mark.parametrize(("kind", "part"), [("zimage", "transformer"), ("anima", "text_conditioner")])
def test_the_hub_is_asked_for_the_family_and_then_for_the_files(
    kind: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the denoiser lies in another folder than Stable Diffusion's, and where the list of parts has
    another name, and says where they come from, which nobody follows."""
    make_tiny(kind, tmp_path / "hub" / "somebody" / "a-mix")
    with only_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        found = known_base("somebody/a-mix")
        assert (found.family, found.facts.step, found.traits.native_size) == (kind, 16, 1024)
        assert not [name for name in server.fetched() if name.endswith(".safetensors")]
        assert fetch("somebody/a-mix") is not None
        assert f"{part}/diffusion_pytorch_model.safetensors" in server.fetched()
        assert not [name for name in server.fetched() if name.startswith("guider")]
        asked = len(server.asked)
        loaded = family_of(find_base("somebody/a-mix")).load()
        assert encode_captions(loaded, ["a disc"]).states.shape[-1] == 16
        assert len(server.asked) == asked, "nothing was asked of the network"
