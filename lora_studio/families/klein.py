"""FLUX.2 klein (Black Forest Labs 2026): FLUX.1's two streams that become one, with one modulation for all
blocks, a latent pixel of 128 channels for each token, and texts through three layers of Qwen3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch

from lora_studio.families.base import TextOutput
from lora_studio.families.encoders.chat_encoder import ChatEncoder, check_template
from lora_studio.families.flow import TIMES, Flow
from lora_studio.families.flow_model import FlowModel
from lora_studio.families.flux import Flux, FluxModel
from lora_studio.families.weights.silence_libraries import quiet_libraries

TEXT_LAYERS, LONGEST_TEXT = (9, 18, 27), 512
"""The states after so many of Qwen3's layers, of so many tokens, as klein's own pipeline takes them."""
NAMES_BY_HEADS = {24: "4b", 32: "9b"}
"""The makers' names of its sizes, by the heads of an attention."""


class KleinFlow(Flow):
    """Flow with klein's own shift of a picture's steps."""

    def mu(self, size: tuple[int, int], steps: int) -> float:
        """The makers' fit by the count of tokens and the number of steps."""
        with quiet_libraries():
            from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        return compute_empirical_mu(image_seq_len=size[0] * size[1], num_steps=steps)


class KleinModel(FluxModel):
    """The BaseModel of FLUX.2 klein."""

    fixed_texts: ClassVar[str] = FlowModel.fixed_texts
    components: ClassVar[Sequence[str]] = FlowModel.components

    @property
    def prompts(self) -> ChatEncoder:
        return ChatEncoder(
            self._language_model,
            self.tokenizer,
            layers=TEXT_LAYERS,
            longest=LONGEST_TEXT,
            thinks=False,
            padded=True,
        )

    @property
    def size_step(self) -> int:
        """A token is a latent pixel."""
        return self.codec.step

    @property
    def widths(self) -> tuple[int, int]:
        config = self.transformer.config
        return config.num_attention_heads * config.attention_head_dim, config.num_attention_heads

    def denoise(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
        *,
        guidance: float | None = None,
    ) -> torch.Tensor:
        """The transformer takes a row of tokens, and answers with n - x. A place has four numbers there:
        which picture, row, column, and which word of a text."""
        size, device, dtype = noisy.shape[-2:], noisy.device, self.transformer.dtype
        states = text.states.to(device, dtype)
        numbers = (torch.arange(count, device=device).float() for count in (1, *size, states.shape[1]))
        first, rows, columns, words = numbers
        answer = self.transformer(
            hidden_states=noisy.flatten(2).transpose(1, 2).to(dtype),
            timestep=times.to(device).float().expand(len(noisy)) / TIMES,
            encoder_hidden_states=states,
            txt_ids=torch.cartesian_prod(first, first, first, words),
            img_ids=torch.cartesian_prod(first, rows, columns, first),
            return_dict=False,
        )[0]
        latents: torch.Tensor = answer.float().transpose(1, 2).unflatten(2, size)
        return latents

    @classmethod
    def pipeline_class(cls) -> Any:
        with quiet_libraries():
            from diffusers import Flux2KleinPipeline

            return Flux2KleinPipeline

    def metadata(self) -> dict[str, str]:
        """The words that musubi-tuner writes."""
        size = NAMES_BY_HEADS.get(self.transformer.config.num_attention_heads, "4b")
        return {
            "ss_base_model_version": f"flux_2_klein_{size}",
            "ss_v2": "False",
            "modelspec.architecture": f"Flux.2-klein-{size}/lora",
            "modelspec.implementation": "https://github.com/black-forest-labs/flux2",
        }

    def _text_layers(self) -> Iterator[str]:
        return iter(())

    def _language_model(self) -> Any:
        self._bring_texts_back()
        return self.text_encoder


class Klein(Flux):
    """The Family of FLUX.2 klein."""

    model = KleinModel
    process = KleinFlow

    def prepare_texts(self, pipeline: Any) -> None:
        """Leave out of the language model what comes behind the last layer that is asked: a quarter of it.
        One more layer stays, since the last one's states are normed. Raises BrokenFile."""
        check_template(pipeline.tokenizer, self.found)
        del pipeline.text_encoder.model.layers[max(TEXT_LAYERS) + 1 :]
        pipeline.text_encoder.lm_head = torch.nn.Identity()
