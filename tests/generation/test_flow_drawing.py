"""Pictures by flow matching, through the same front door as all others, against plain diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lora_studio.catalog import FLOW_SAMPLERS
from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.events import Event, Noted
from lora_studio.families import family_of
from lora_studio.families.encoders.clip_encoder import PromptWindows
from lora_studio.families.sampling import Guidance, Sampler, sample
from lora_studio.generation.latent_preview import colours_of, look
from lora_studio.generator import Generator
from lora_studio.images.infotext import restore
from lora_studio.images.input_store import keep
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from lora_studio.trainer import train
from tests.support.drawing import difference, freeze_weights
from tests.support.tiny import make_pictures, make_tiny_zimage, tiny_values

SIZE = {"width": 64, "height": 48}
CALL = {"prompt": "a disc", "seed": 7, "num_inference_steps": 5, "guidance_scale": 1.0, **SIZE}
BOX = (16, 16, 48, 40)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_zimage(tmp_path_factory.mktemp("z") / "base")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, Settings]:
    """One that stays loaded."""
    folder = tmp_path_factory.mktemp("kept")
    settings = Settings(home=folder / "home", models=folder / "models")
    settings.create_folders()
    return Generator(settings), settings


def draw(kept: tuple[Generator, Settings], base: Path, **values: Any) -> tuple[GeneratedImage, list[Event]]:
    events: list[Event] = []
    request = GenerateRequest(**{**CALL, "base": str(base), **values})
    return kept[0].generate(request, events.append)[0], events


def pixels(image: GeneratedImage) -> Image.Image:
    with Image.open(image.path) as found:
        return found.convert("RGB")


def picture() -> Image.Image:
    """A gradient of each colour another way."""
    sides = [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)]
    return Image.merge("RGB", sides).resize((64, 48))


def mask() -> Image.Image:
    found = Image.new("L", (64, 48))
    found.paste(255, BOX)
    return found


def plain_diffusers(base: Path, kind: str, lora: str = "", **values: Any) -> Image.Image:
    """What the library draws by itself. A mask leaves its latents in another layout, from which a CPU without
    AVX-512 decodes other last bits; they get the usual one first."""
    import diffusers

    pipe = getattr(diffusers, kind).from_pretrained(base)
    pipe.set_progress_bar_config(disable=True)
    if lora:
        pipe.load_lora_weights(lora)
    freeze_weights(pipe)
    pipe.vae.decoder.register_forward_pre_hook(lambda _, inputs: tuple(one.contiguous() for one in inputs))
    generator = torch.Generator().manual_seed(7)
    values = {"num_inference_steps": 5, "guidance_scale": 0.0, **SIZE, **values}
    found: Image.Image = pipe("a disc", generator=generator, **values).images[0]
    return found


def test_a_picture_from_text_is_plain_diffusers_own(kept: tuple[Generator, Settings], base: Path) -> None:
    image, _ = draw(kept, base)
    assert pixels(image).tobytes() == plain_diffusers(base, "ZImagePipeline").tobytes()
    with Image.open(image.path) as found:
        restored = restore(found.info["parameters"])
    assert (restored.request.sampler, restored.request.guidance_scale) == ("Euler", 1.0)


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_a_redrawn_picture_is_plain_diffusers_own(
    kept: tuple[Generator, Settings], base: Path, strength: float
) -> None:
    image, _ = draw(kept, base, image=keep(picture(), kept[1].inputs), strength=strength)
    wanted = plain_diffusers(base, "ZImageImg2ImgPipeline", image=picture(), strength=strength)
    assert pixels(image).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_what_a_mask_frees_is_drawn_as_plain_diffusers_does(
    kept: tuple[Generator, Settings], base: Path, strength: float
) -> None:
    names = {"image": keep(picture(), kept[1].inputs), "mask_image": keep(mask(), kept[1].inputs)}
    image, _ = draw(kept, base, **names, mask_blur=0, strength=strength)
    wanted = plain_diffusers(
        base, "ZImageInpaintPipeline", image=picture(), mask_image=mask(), strength=strength
    )
    assert pixels(image).crop(BOX).tobytes() == wanted.crop(BOX).tobytes()
    outside = pixels(image)
    outside.paste(picture().crop(BOX), BOX)
    assert outside.tobytes() == picture().tobytes()


@pytest.mark.parametrize("sampler", FLOW_SAMPLERS)
@pytest.mark.parametrize("upscaler", ["lanczos", "latent"])
def test_every_sampler_redraws_and_draws_larger(
    kept: tuple[Generator, Settings], base: Path, sampler: str, upscaler: str
) -> None:
    values = {
        "sampler": sampler,
        "guidance_scale": 3.0,
        "negative_prompt": "a much longer text that is not wanted",
        "image": keep(picture(), kept[1].inputs),
        "hires_scale": 1.5,
        "hires_steps": 2,
        "hires_upscaler": upscaler,
    }
    image, _ = draw(kept, base, **values)
    assert pixels(image).size == (96, 64), "the nearest that suits the base"
    assert pixels(draw(kept, base, **values)[0]).tobytes() == pixels(image).tobytes()


def test_a_sampler_for_another_kind_of_noise_is_refused(kept: tuple[Generator, Settings], base: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        draw(kept, base, sampler="DPM++ 2M Karras")
    assert refusal.value.field == "sampler"


def test_sides_are_multiples_of_a_token(kept: tuple[Generator, Settings], base: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        draw(kept, base, width=72)
    assert refusal.value.field == "width"


@pytest.fixture(scope="module")
def lora(kept: tuple[Generator, Settings], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a short training."""
    values = tiny_values(
        base,
        make_pictures(tmp_path_factory.mktemp("data")),
        kept[1].loras / "disc",
        max_train_steps=2,
        network_dim=2,
        network_alpha=1,
        learning_rate=0.2,
        timestep_sampling="shift",
        save_precision="float",
    )
    return Path(train(TrainConfig.from_values(values)).file)


def in_comfyui(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The makers' own names, with one layer for the three of attention: the ranks are put side by side."""
    found: dict[str, torch.Tensor] = {}
    for name in {key.partition(".")[0] for key in tensors}:
        down, up, alpha = (
            tensors[f"{name}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha")
        )
        start, _, end = name.rpartition("_attention_")
        spelled = name.removeprefix("lora_unet_").replace("_attention_", ".attention.")
        spelled = spelled.replace("_feed_forward_", ".feed_forward.").replace("layers_", "layers.")
        if end in ("to_k", "to_v"):
            continue
        if end == "to_q":
            parts = [
                [tensors[f"{start}_attention_to_{one}.{kind}"] for one in "qkv"]
                for kind in ("lora_down.weight", "lora_up.weight")
            ]
            down, up, alpha = torch.cat(parts[0]), torch.block_diag(*parts[1]), 3 * alpha
        spelled = spelled.replace("to_out_0", "out").replace("to_q", "qkv")
        found |= {
            f"diffusion_model.{spelled}.lora_A.weight": down,
            f"diffusion_model.{spelled}.lora_B.weight": up.contiguous(),
            f"diffusion_model.{spelled}.alpha": alpha,
        }
    return found


def as_spelled(start: str) -> Any:
    def spelled(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """PEFT's names, with the scale inside."""
        found: dict[str, torch.Tensor] = {}
        for name in {key.partition(".")[0] for key in tensors}:
            path = name.removeprefix("lora_unet_").replace("layers_", "layers.")
            for one in ("attention", "feed_forward"):
                path = path.replace(f"_{one}_", f".{one}.")
            path = path.replace("to_out_0", "to_out.0")
            scale = tensors[f"{name}.alpha"] / len(tensors[f"{name}.lora_down.weight"])
            found[f"{start}{path}.lora_A.weight"] = tensors[f"{name}.lora_down.weight"] * scale
            found[f"{start}{path}.lora_B.weight"] = tensors[f"{name}.lora_up.weight"]
        return found

    return spelled


SPELLINGS = {
    "fused": in_comfyui,
    "comfyui": as_spelled("diffusion_model."),
    "diffusers": as_spelled("transformer."),
    "peft": as_spelled("base_model.model."),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_file_draws_the_same_in_every_spelling(
    kept: tuple[Generator, Settings], base: Path, lora: Path, spelling: str
) -> None:
    folder = kept[1].loras / spelling
    folder.mkdir(exist_ok=True)
    save_file(SPELLINGS[spelling](load_file(lora)), folder / f"{spelling}.safetensors")
    plain, _ = draw(kept, base)
    ours, _ = draw(kept, base, loras=[{"slug": "disc"}])
    theirs, events = draw(kept, base, loras=[{"slug": spelling}])
    assert not [event for event in events if isinstance(event, Noted)]
    assert difference(pixels(ours), pixels(theirs)) <= 1
    assert difference(pixels(ours), pixels(plain)) > 8


def test_diffusers_draws_the_same_with_the_saved_folder(
    kept: tuple[Generator, Settings], base: Path, lora: Path
) -> None:
    ours, _ = draw(kept, base, loras=[{"slug": "disc"}])
    assert difference(pixels(ours), plain_diffusers(base, "ZImagePipeline", lora=str(lora.parent))) <= 1


@torch.no_grad()
def test_a_look_at_a_step_is_a_picture_of_its_guess(base: Path) -> None:
    """Of 16 channels as of 4, and the last guess is the picture."""
    model = family_of(str(base)).load()
    size = model.codec.latents_size(64, 48)
    sampler = Sampler(model.process, "Euler", 3, size)
    texts = model.prompts.encode_prompts("a disc", "", PromptWindows())
    generator = torch.Generator().manual_seed(1)
    latents = sampler.start(torch.randn((1, model.codec.channels, *size), generator=generator))
    steps = list(sample(model, sampler, latents, texts, Guidance(scale=3.0), generator=generator))
    colours = colours_of(model.codec)
    assert colours.shape == (3, 17)
    assert all(min(look(step.guess(), colours).size) >= 192 for step in steps)
    torch.testing.assert_close(steps[-1].guess(), steps[-1].latents, rtol=1e-4, atol=1e-4)
