"""Z-Image (Tongyi-MAI 2025): one stream of picture and text tokens, flow matching, texts through Qwen3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from lora_studio.families.base import Target, TextOutput
from lora_studio.families.encoders.chat_encoder import ChatEncoder, check_template
from lora_studio.families.flow import TIMES
from lora_studio.families.flow_model import PATCH, FlowFamily, FlowModel, watching
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.keys import DENOISER

TEXT_LAYER, LONGEST_TEXT = -2, 512
"""The states before Qwen3's last layer, of so many tokens, as Z-Image's own pipeline takes them."""


class ZImageModel(FlowModel):
    """The BaseModel of Z-Image."""

    @property
    def prompts(self) -> ChatEncoder:
        return ChatEncoder(self._encoder, self.tokenizer, layers=[TEXT_LAYER], longest=LONGEST_TEXT)

    @property
    def widths(self) -> tuple[int, int]:
        """A token is PATCH x PATCH latent pixels."""
        return self.transformer.config.dim // PATCH**2, self.transformer.config.n_heads

    @property
    def blocks(self) -> Sequence[Any]:
        """The main blocks, without the refiners before them."""
        return [*self.transformer.layers]

    @contextmanager
    def watched(self, keep: Callable[[torch.Tensor], None]) -> Iterator[None]:
        """The picture's tokens stand before the text's."""
        tokens = 0

        def count(module: torch.nn.Module, given: tuple[list[torch.Tensor], Any, Any]) -> None:
            nonlocal tokens
            height, width = given[0][0].shape[-2:]
            tokens = (height // PATCH) * (width // PATCH)

        def hook(module: torch.nn.Module, given: object, output: torch.Tensor) -> None:
            keep(output[:, :tokens].transpose(1, 2))

        before = self.transformer.register_forward_pre_hook(count)
        try:
            with watching(self.transformer.layers, hook):
                yield
        finally:
            before.remove()

    def targets(self, *, denoiser: bool = True, texts: bool = True, conv: bool = False) -> list[Target]:
        """The linear layers of the main blocks but for their modulation, as musubi-tuner takes them; there
        are no convolutions, and the language model stays as it is."""
        if not denoiser:
            return []
        return [
            Target(part=DENOISER, module=path, name=self.layer_name(DENOISER, path))
            for path, module in self.transformer.named_modules()
            if isinstance(module, torch.nn.Linear) and path.startswith("layers.") and "adaLN" not in path
        ]

    def denoise(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
        *,
        guidance: float | None = None,
    ) -> torch.Tensor:
        """The transformer is told how near the picture is, and answers with x - n."""
        pictures = noisy.to(self.transformer.dtype)[:, :, None].unbind(0)
        nearness = (TIMES - times.to(noisy.device).float().expand(len(noisy))) / TIMES
        answers = self.transformer(list(pictures), nearness, text.to(noisy.device).rows, return_dict=False)[0]
        return -torch.stack([answer.float() for answer in answers])[:, :, 0]

    @classmethod
    def pipeline_class(cls) -> Any:
        with quiet_libraries():
            from diffusers import ZImagePipeline

            return ZImagePipeline

    def metadata(self) -> dict[str, str]:
        return {
            "ss_base_model_version": "z_image",
            "ss_v2": "False",
            "modelspec.architecture": "z-image/lora",
            "modelspec.implementation": "diffusers",
        }

    def _encoder(self) -> Any:
        self._bring_texts_back()
        return self.text_encoder


class ZImage(FlowFamily):
    """The Family of Z-Image."""

    model = ZImageModel

    def prepare_texts(self, pipeline: Any) -> None:
        check_template(pipeline.tokenizer, self.found)
