"""Pictures by Anima through the same front door as all others, and its LoRA files in every spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import ClassifierFreeGuidance, ModularPipeline
from diffusers.models.transformers import transformer_cosmos
from PIL import Image
from safetensors.torch import load_file, save_file

from lora_studio.config import TrainConfig
from lora_studio.events import Event, Noted
from lora_studio.families import family_of
from lora_studio.families.base import BaseModel
from lora_studio.generation.lora_lookup import WantedLora
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.generator import Generator
from lora_studio.images.input_store import keep
from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import repair_file
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from lora_studio.trainer import train
from tests.support.drawing import difference, freeze_weights
from tests.support.tiny import make_pictures, make_tiny_anima, tiny_values

SIZE = {"width": 64, "height": 48}
CALL = {"prompt": "a disc", "seed": 7, "num_inference_steps": 4, "guidance_scale": 1.0, **SIZE}
RANK, ALPHA = 2, 1.0
LAYERS = {
    "lora_unet_blocks_0_self_attn_q_proj": ("unet", "transformer_blocks.0.attn1.to_q"),
    "lora_unet_blocks_0_self_attn_output_proj": ("unet", "transformer_blocks.0.attn1.to_out.0"),
    "lora_unet_blocks_1_cross_attn_k_proj": ("unet", "transformer_blocks.1.attn2.to_k"),
    "lora_unet_blocks_1_mlp_layer1": ("unet", "transformer_blocks.1.ff.net.0.proj"),
    "lora_unet_blocks_0_mlp_layer2": ("unet", "transformer_blocks.0.ff.net.2"),
    "lora_unet_llm_adapter_blocks_0_cross_attn_o_proj": ("llm_adapter", "blocks.0.cross_attn.o_proj"),
    "lora_unet_llm_adapter_blocks_0_mlp_2": ("llm_adapter", "blocks.0.mlp.2"),
    "lora_te_layers_1_self_attn_q_proj": ("text_encoder", "layers.1.self_attn.q_proj"),
    "lora_te_layers_0_mlp_gate_proj": ("text_encoder", "layers.0.mlp.gate_proj"),
}
"""Names in Kohya's files, with part and module path in diffusers and transformers."""
MAKERS = {
    **{"transformer_blocks": "blocks", ".attn1": ".self_attn", ".attn2": ".cross_attn"},
    **{".to_out.0": ".output_proj", ".to_": ".", ".ff.net.0.proj": ".mlp.layer1", ".ff.net.2": ".mlp.layer2"},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_anima(tmp_path_factory.mktemp("a") / "base")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, Settings]:
    """One that stays loaded."""
    folder = tmp_path_factory.mktemp("kept")
    settings = Settings(home=folder / "home", models=folder / "models")
    settings.create_folders()
    return Generator(settings), settings


@pytest.fixture
def pipe(base: Path, monkeypatch: pytest.MonkeyPatch) -> ModularPipeline:
    """diffusers' own without guidance, with as much of torchvision as it asks for."""
    resize = SimpleNamespace(
        resize=lambda mask, size, interpolation: torch.nn.functional.interpolate(mask, size)
    )
    torchvision = SimpleNamespace(functional=resize, InterpolationMode=SimpleNamespace(NEAREST="nearest"))
    monkeypatch.setattr(transformer_cosmos, "transforms", torchvision, raising=False)
    loaded = ModularPipeline.from_pretrained(str(base))
    loaded.load_components(dtype=torch.float32)
    loaded.update_components(guider=ClassifierFreeGuidance(guidance_scale=1.0))
    freeze_weights(loaded)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def draw(kept: tuple[Generator, Settings], base: Path, **values: Any) -> tuple[GeneratedImage, list[Event]]:
    events: list[Event] = []
    request = GenerateRequest(**{**CALL, "base": str(base), **values})
    return kept[0].generate(request, events.append)[0], events


def pixels(image: GeneratedImage) -> Image.Image:
    with Image.open(image.path) as found:
        return found.convert("RGB")


def picture() -> Image.Image:
    sides = [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)]
    return Image.merge("RGB", sides).resize((64, 48))


def drawn_by(pipe: ModularPipeline, generator: torch.Generator, **values: Any) -> Image.Image:
    call = {"prompt": "a disc", "num_inference_steps": 4, "output": "images", **SIZE, **values}
    found: Image.Image = pipe(generator=generator, **call)[0]
    return found


def test_a_picture_from_text_is_diffusers_own(
    kept: tuple[Generator, Settings], base: Path, pipe: ModularPipeline
) -> None:
    image, events = draw(kept, base)
    assert difference(pixels(image), drawn_by(pipe, torch.Generator().manual_seed(7))) <= 1
    assert not [event for event in events if isinstance(event, Noted)]


@torch.no_grad()
def test_a_redrawn_picture_is_diffusers_own(
    kept: tuple[Generator, Settings], base: Path, pipe: ModularPipeline
) -> None:
    """From the same latents: their block takes the middle of the autoencoder's cloud, ours draws from it."""
    image, _ = draw(kept, base, image=keep(picture(), kept[1].inputs), strength=0.5)
    codec = family_of(str(base)).load().codec
    moments = codec.encode(codec.to_pixels(picture()))
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(moments.mean.shape, generator=generator)
    latents = codec.sample(moments, noise, torch.float32)[:, :, None]
    wanted = drawn_by(pipe, generator, image_latents=latents, strength=0.5)
    assert difference(pixels(image), wanted) <= 1


def test_guidance_a_mask_and_a_second_pass_draw(kept: tuple[Generator, Settings], base: Path) -> None:
    mask = Image.new("L", (64, 48))
    mask.paste(255, (16, 16, 48, 40))
    names = {"image": keep(picture(), kept[1].inputs), "mask_image": keep(mask, kept[1].inputs)}
    values = {"guidance_scale": 3.0, "negative_prompt": "a much longer text that is not wanted"}
    image, _ = draw(kept, base, **names, **values, mask_blur=0, sampler="DPM++ 2M")
    outside = pixels(image)
    outside.paste(picture().crop((16, 16, 48, 40)), (16, 16))
    assert outside.tobytes() == picture().tobytes()
    larger, _ = draw(kept, base, **values, hires_scale=1.5, hires_steps=2, hires_upscaler="latent")
    assert pixels(larger).size == (96, 64), "the nearest that suits the base"


def factors(model: BaseModel) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    found = {}
    for name, (part, path) in LAYERS.items():
        outputs, inputs = model.models()[part].get_submodule(path).weight.shape
        down, up = (torch.randn(*sides, generator=random) for sides in ((RANK, inputs), (outputs, RANK)))
        found[name] = (down, up)
    return found


Factors = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def in_kohya(made: Factors) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{part}": tensor
        for name, (down, up) in made.items()
        for part, tensor in (
            ("lora_down.weight", down),
            ("lora_up.weight", up),
            ("alpha", torch.tensor(ALPHA)),
        )
    }


def in_comfyui(made: Factors, *, prefix: str = "diffusion_model.") -> dict[str, torch.Tensor]:
    """sd-scripts' converter, and ai-toolkit's files, which have no alpha."""
    found = {}
    for name, (down, up) in made.items():
        part, path = LAYERS[name]
        for ours, theirs in MAKERS.items() if part == "unet" else ():
            path = path.replace(ours, theirs)
        path = path if part != "unet" or path[-1] not in "qkv" else f"{path}_proj"
        text = "text_encoders.qwen3_06b.transformer.model."
        start = {"unet": prefix, "llm_adapter": f"{prefix}llm_adapter.", "text_encoder": text}[part]
        found |= {f"{start}{path}.lora_A.weight": down, f"{start}{path}.lora_B.weight": up}
        found[f"{start}{path}.alpha"] = torch.tensor(ALPHA)
    return found


def in_diffusers(made: Factors) -> dict[str, torch.Tensor]:
    """Without alpha, the scale inside."""
    found = {}
    starts = {"unet": "transformer.", "llm_adapter": "text_conditioner.", "text_encoder": "text_encoder."}
    for name, (down, up) in made.items():
        part, path = LAYERS[name]
        found[f"{starts[part]}{path}.lora_A.weight"] = down * ALPHA / RANK
        found[f"{starts[part]}{path}.lora_B.weight"] = up
    return found


def in_peft(made: Factors) -> dict[str, torch.Tensor]:
    return in_comfyui(made, prefix="base_model.model.")


def in_lycoris(made: Factors) -> dict[str, torch.Tensor]:
    return {
        key.replace("lora_unet_", "lycoris_"): tensor
        for key, tensor in in_kohya(made).items()
        if not key.startswith("lora_te")
    }


@torch.no_grad()
@pytest.mark.parametrize("spelled", [in_kohya, in_comfyui, in_diffusers, in_peft, in_lycoris])
def test_what_a_file_adds_is_the_formula_in_every_spelling(
    base: Path, tmp_path: Path, spelled: Callable[[Factors], dict[str, torch.Tensor]]
) -> None:
    """Each layer adds (alpha / rank) up down, the adapter's with the denoiser's weight."""
    model = family_of(str(base)).load()
    made = factors(model)
    file = tmp_path / "x.safetensors"
    save_file(spelled(made), file)
    header = read_header(file)
    assert header.family == "anima"
    wanted = WantedLora(slug="x", weight=0.5, header=header, text_encoder_weight=2.0)
    assert not LoraStack(model.models(), "x").apply([wanted])
    for name, (down, up) in made.items():
        part, path = LAYERS[name]
        if part == "text_encoder" and spelled is in_lycoris:
            continue
        layer = model.models()[part].get_submodule(path)
        given = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(2))
        strength = 2.0 if part == "text_encoder" else 0.5
        plain = torch.nn.functional.linear(given, layer.weight, layer.bias)
        added = strength * ALPHA / RANK * (given @ down.T @ up.T)
        torch.testing.assert_close(layer(given), plain + added, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def lora(kept: tuple[Generator, Settings], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a short training, in the library."""
    values = tiny_values(
        base,
        make_pictures(tmp_path_factory.mktemp("data")),
        kept[1].loras / "disc",
        max_train_steps=2,
        network_dim=RANK,
        network_alpha=ALPHA,
        network_train_unet_only=True,
        learning_rate=0.2,
        timestep_sampling="sigmoid",
        save_precision="float",
    )
    return Path(train(TrainConfig.from_values(values)).file)


def test_diffusers_draws_the_same_with_what_was_trained(
    kept: tuple[Generator, Settings], base: Path, pipe: ModularPipeline, lora: Path, tmp_path: Path
) -> None:
    """In its own spelling: it reads none of Kohya's names for this base, and says nothing."""
    ours, _ = draw(kept, base, loras=[{"slug": "disc"}])
    plain, _ = draw(kept, base)
    assert difference(pixels(ours), pixels(plain)) > 8
    repair_file(lora, RepairRequest(spelling="diffusers"), tmp_path / "theirs.safetensors")
    pipe.load_lora_weights(load_file(tmp_path / "theirs.safetensors"))
    assert difference(pixels(ours), drawn_by(pipe, torch.Generator().manual_seed(7))) <= 1


def test_a_prompt_is_encoded_anew_for_another_weight_of_an_adapters_lora(
    kept: tuple[Generator, Settings], base: Path
) -> None:
    made = factors(family_of(str(base)).load())
    folder = kept[1].loras / "adapter"
    folder.mkdir()
    tensors = {key: tensor for key, tensor in in_kohya(made).items() if "llm_adapter" in key}
    save_file(tensors, folder / "adapter.safetensors")
    pictures = [
        pixels(draw(kept, base, loras=[{"slug": "adapter", "weight": weight}])[0])
        for weight in (0.5, 4.0, 0.5)
    ]
    assert pictures[0].tobytes() == pictures[2].tobytes()
    assert difference(pictures[0], pictures[1]) > 0
