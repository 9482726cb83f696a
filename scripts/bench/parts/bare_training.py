"""A training as diffusers' own example scripts do it: the pipeline as it loads, PEFT's LoRA on its denoiser,
AdamW, a plain loop. What a training of ours is measured beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

TIMES = 1000


@dataclass(frozen=True, kw_only=True)
class BareSettings:
    """`layers` are paths in the denoiser that get a LoRA; pictures are cut to squares of `resolution`."""

    base: Path
    pictures: Sequence[tuple[Path, str]]
    layers: Sequence[str]
    resolution: int
    dim: int
    device: str
    dtype: torch.dtype


class BareTraining:
    """Everything loaded and encoded, the text encoders and the autoencoder out of the device's memory."""

    def __init__(self, settings: BareSettings) -> None:
        from diffusers import DiffusionPipeline
        from diffusers.training_utils import cast_training_params
        from peft import LoraConfig

        self.settings, device = settings, settings.device
        pipe = DiffusionPipeline.from_pretrained(settings.base, dtype=settings.dtype)
        pipe.to(device)
        self.pipe, self.is_flow = pipe, hasattr(pipe, "transformer")
        self.denoiser = pipe.transformer if self.is_flow else pipe.unet
        self.texts = [self._encoded(caption) for _, caption in settings.pictures]
        self.latents = [self._latents(path) for path, _ in settings.pictures]
        for part in (pipe.vae, pipe.text_encoder, getattr(pipe, "text_encoder_2", None)):
            if part is not None:
                part.to("cpu")
        if device == "cuda":
            torch.cuda.empty_cache()
        self.denoiser.requires_grad_(False)
        self.denoiser.add_adapter(
            LoraConfig(r=settings.dim, lora_alpha=settings.dim, target_modules=[*settings.layers])
        )
        cast_training_params(self.denoiser, dtype=torch.float32)
        self.weights = [weight for weight in self.denoiser.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4, weight_decay=0.01)
        self.denoiser.train()

    def steps(self, count: int, over: Callable[[], bool]) -> list[float]:
        """Seconds of each step; ends early when `over`."""
        seconds: list[float] = []
        while len(seconds) < count and not over():
            begun = time.perf_counter()
            self._step(len(seconds) % len(self.latents))
            seconds.append(time.perf_counter() - begun)
        return seconds

    def _step(self, index: int) -> None:
        settings = self.settings
        latents = self.latents[index]
        noise = torch.randn_like(latents)
        time_ = torch.randint(0, TIMES, (1,), device=settings.device)
        with torch.autocast(settings.device, settings.dtype, enabled=settings.dtype != torch.float32):
            answer, target = self._answer(latents, noise, time_, index)
        loss = torch.nn.functional.mse_loss(answer.float(), target.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss.item()

    def _answer(
        self, latents: torch.Tensor, noise: torch.Tensor, time_: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The denoiser's answer and what it should be."""
        texts = self.texts[index]
        if self.is_flow:
            share = time_ / TIMES
            noisy = (1 - share) * latents + share * noise
            rows = noisy.to(self.settings.dtype)[:, :, None].unbind(0)
            answers = self.denoiser(list(rows), 1 - share, texts, return_dict=False)[0]
            return -torch.stack([*answers])[:, :, 0], noise - latents
        noisy = self.pipe.scheduler.add_noise(latents, noise, time_)
        states, *pooled = texts
        conditions = {}
        if pooled:
            side = self.settings.resolution
            ids = torch.tensor([[side, side, 0, 0, side, side]], device=noisy.device, dtype=states.dtype)
            conditions["added_cond_kwargs"] = {"text_embeds": pooled[0], "time_ids": ids}
        answer = self.denoiser(noisy, time_, encoder_hidden_states=states, return_dict=False, **conditions)[0]
        return answer, noise

    @torch.no_grad()
    def _encoded(self, caption: str) -> Any:
        found = self.pipe.encode_prompt(
            caption,
            device=self.settings.device,
            do_classifier_free_guidance=False,
            **({} if self.is_flow else {"num_images_per_prompt": 1}),
        )
        if self.is_flow:
            return found[0]
        return [found[0], found[2]] if len(found) == 4 else [found[0]]

    @torch.no_grad()
    def _latents(self, path: Path) -> torch.Tensor:
        pipe, side = self.pipe, self.settings.resolution
        with Image.open(path) as image:
            pixels = pipe.image_processor.preprocess(image.convert("RGB"), height=side, width=side)
        config = pipe.vae.config
        found = pipe.vae.encode(pixels.to(self.settings.device, pipe.vae.dtype)).latent_dist.sample()
        moved = (found - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor
        return moved.to(self.settings.dtype)
