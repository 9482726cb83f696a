"""FLUX.1 (Black Forest Labs 2024): two streams of picture and text tokens that become one, flow matching,
texts through T5 and CLIP, and a guidance that the denoiser is told. Chroma (lodestones 2025) is made from it:
a small network in place of all modulation, and neither CLIP nor guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from lora_studio.families.base import PromptEncoder, Target, TextOutput
from lora_studio.families.encoders.t5_encoder import T5Encoder
from lora_studio.families.flow import TIMES
from lora_studio.families.flow_model import PATCH, FlowFamily, FlowModel, watching
from lora_studio.families.sd import text_layers
from lora_studio.families.weights.fused_layers import fuse_layers
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.flux_keys import BLOCK, LAYERS, makers_names
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODER, TEXT_ENCODERS, layer_name, unet_name

CLIP, CLIP_PREFIX = TEXT_ENCODERS[0], f"{TEXT_ENCODER}1"


class FluxModel(FlowModel):
    """The BaseModel of FLUX.1. CLIP is `text_encoder`, T5 the second; T5 stays as it is."""

    fixed_texts: ClassVar[str] = ""
    components: ClassVar[Sequence[str]] = (
        *("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
        *("vae", "transformer"),
    )

    @property
    def prompts(self) -> PromptEncoder:
        return T5Encoder(self._encoders, (self.tokenizer_2, self.tokenizer))

    @property
    def widths(self) -> tuple[int, int]:
        """A token is PATCH x PATCH latent pixels."""
        config = self.transformer.config
        heads = config.num_attention_heads
        return heads * config.attention_head_dim // PATCH**2, heads

    @property
    def blocks(self) -> Sequence[Any]:
        return [*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks]

    @contextmanager
    def watched(self, keep: Callable[[torch.Tensor], None]) -> Iterator[None]:
        def hook(module: torch.nn.Module, given: object, output: tuple[torch.Tensor, torch.Tensor]) -> None:
            keep(output[1].transpose(1, 2))

        with watching(self.transformer.transformer_blocks, hook):
            yield

    def targets(self, *, denoiser: bool = True, texts: bool = True, conv: bool = False) -> list[Target]:
        """The linear layers of all blocks and of CLIP, as sd-scripts has them; there are no convolutions."""
        layers = [(CLIP, path) for path in (self._text_layers() if texts else ())]
        layers += [(DENOISER, path) for path in (_block_layers(self.transformer) if denoiser else ())]
        return [Target(part=part, module=path, name=self.layer_name(part, path)) for part, path in layers]

    def layer_name(self, part: str, module: str) -> str:
        """The denoiser's layers have their makers' names in the file."""
        if part == DENOISER:
            names = makers_names(module.replace(".", "_"))
            return unet_name(names[0] if names else module)
        return layer_name(f"{part}.{module}").replace(f"{TEXT_ENCODER}_", f"{CLIP_PREFIX}_", 1)

    def denoise(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
        *,
        guidance: float | None = None,
    ) -> torch.Tensor:
        """The transformer takes a row of tokens and answers with n - x."""
        height, width = (side // PATCH for side in noisy.shape[-2:])
        sigmas = times.to(noisy.device).float().expand(len(noisy)) / TIMES
        tokens = packed(noisy).to(self.transformer.dtype)
        text = text.to(noisy.device).to(self.transformer.dtype)
        answer = self._answer(tokens, sigmas, text, image_ids(height, width, noisy.device), guidance)
        return unpacked(answer.float(), height, width)

    @classmethod
    def pipeline_class(cls) -> Any:
        with quiet_libraries():
            from diffusers import FluxPipeline

            return FluxPipeline

    def metadata(self) -> dict[str, str]:
        return {
            "ss_base_model_version": "flux1",
            "ss_v2": "False",
            "ss_model_type": "flux",
            "modelspec.architecture": "flux-1-dev/lora",
            "modelspec.implementation": "https://github.com/black-forest-labs/flux",
        }

    def _answer(
        self,
        tokens: torch.Tensor,
        sigmas: torch.Tensor,
        text: TextOutput,
        places: torch.Tensor,
        guidance: float | None,
    ) -> torch.Tensor:
        """Tokens [b, n, 4 c] for tokens at `places` [n, 3]."""
        usual = self.found.traits.distilled_guidance_scale
        scales = torch.full_like(sigmas, usual if guidance is None else guidance)
        answer: torch.Tensor = self.transformer(
            hidden_states=tokens,
            timestep=sigmas,
            guidance=scales if self.takes_guidance else None,
            pooled_projections=text.pooled,
            encoder_hidden_states=text.states,
            txt_ids=places.new_zeros(text.states.shape[1], 3),
            img_ids=places,
            return_dict=False,
        )[0]
        return answer

    def _text_layers(self) -> Iterator[str]:
        return text_layers(self.text_encoder) if self.text_encoder is not None else iter(())

    def _encoders(self) -> tuple[Any, Any]:
        self._bring_texts_back()
        return self.text_encoder_2, self.text_encoder


class ChromaModel(FluxModel):
    """The BaseModel of Chroma. T5 is `text_encoder`; there is no other."""

    fixed_texts: ClassVar[str] = FlowModel.fixed_texts
    components: ClassVar[Sequence[str]] = FlowModel.components

    @property
    def prompts(self) -> T5Encoder:
        return T5Encoder(self._encoders, (self.tokenizer, None), masked=True)

    @classmethod
    def pipeline_class(cls) -> Any:
        with quiet_libraries():
            from diffusers import ChromaPipeline

            return ChromaPipeline

    def metadata(self) -> dict[str, str]:
        return {
            "ss_base_model_version": "chroma",
            "ss_v2": "False",
            "ss_model_type": "chroma",
            "ss_apply_t5_attn_mask": "True",
            "modelspec.architecture": "chroma/lora",
            "modelspec.implementation": "https://huggingface.co/lodestones/Chroma",
        }

    def _answer(
        self,
        tokens: torch.Tensor,
        sigmas: torch.Tensor,
        text: TextOutput,
        places: torch.Tensor,
        guidance: float | None,
    ) -> torch.Tensor:
        """Texts of one length go together, without a mask: diffusers adds its mask to the logits instead of
        closing them, and leaves it out under gradient checkpointing."""
        rows = text.rows
        answers: dict[int, torch.Tensor] = {}
        for length in dict.fromkeys(map(len, rows)):
            alike = [index for index, row in enumerate(rows) if len(row) == length]
            answer = self.transformer(
                hidden_states=tokens[alike],
                timestep=sigmas[alike],
                encoder_hidden_states=torch.stack([rows[index] for index in alike]),
                txt_ids=places.new_zeros(length, 3),
                img_ids=places,
                return_dict=False,
            )[0]
            answers |= dict(zip(alike, answer, strict=True))
        return torch.stack([answers[index] for index in range(len(rows))])

    def _text_layers(self) -> Iterator[str]:
        return iter(())

    def _encoders(self) -> tuple[Any, Any]:
        self._bring_texts_back()
        return self.text_encoder, None


def packed(latents: torch.Tensor) -> torch.Tensor:
    """Tokens [b, n, 4 c] of latents [b, c, h, w]: PATCH x PATCH of them each, row by row."""
    b, c, h, w = latents.shape
    patches = latents.view(b, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(b, -1, c * PATCH**2)


def unpacked(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Latents [b, c, h, w] of tokens [b, n, 4 c]; `height` and `width` count tokens."""
    patches = tokens.view(len(tokens), height, width, -1, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(len(tokens), -1, height * PATCH, width * PATCH)


def image_ids(height: int, width: int, device: torch.device) -> torch.Tensor:
    """The place of each token, [n, 3]: nothing, row and column. Those of a text are 0."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1)
    return places.reshape(-1, 3).float()


def _block_layers(transformer: Any) -> Iterator[str]:
    """Module paths of the blocks' linear layers, in Kohya's order."""
    found: dict[tuple[bool, int, int], str] = {}
    for path, module in transformer.named_modules():
        match = BLOCK.fullmatch(path.replace(".", "_"))
        if match and isinstance(module, torch.nn.Linear):
            kind, number, name = match[1], int(match[2]), match[3]
            if name in LAYERS[kind]:
                found[bool(kind != "transformer_blocks"), number, list(LAYERS[kind]).index(name)] = path
    yield from (found[place] for place in sorted(found))


class Flux(FlowFamily):
    """The Family of FLUX.1."""

    model: type[FlowModel] = FluxModel

    def prepare_denoiser(self, transformer: Any) -> None:
        fuse_layers(transformer)


class Chroma(Flux):
    """The Family of Chroma."""

    model = ChromaModel
