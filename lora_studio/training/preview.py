"""Pictures made during a training: fixed prompts and seeds, the base model's own beside the LoRA's."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lora_studio.catalog import preview_prompts
from lora_studio.config import TrainConfig
from lora_studio.events import Emit, PhaseAdvanced, PreviewSaved
from lora_studio.lora.files import write_atomically
from lora_studio.training.checkpoint import disk_errors
from lora_studio.training.engine import Engine, base_name

TIMES = 4
PIPELINE_STEP = 8


def preview_steps(config: TrainConfig) -> frozenset[int]:
    """The steps after which previews are made."""
    total, every = config.optimizer.max_train_steps, config.preview.sample_every_n_steps
    if every is None:
        return frozenset(max(1, round(total * part / TIMES)) for part in range(1, TIMES + 1))
    return frozenset(range(every, total + 1, every)) if every else frozenset()


@dataclass(kw_only=True)
class Previews:
    """The previews of one run, kept in `folder`. `saved` lists those with the LoRA, newest last."""

    engine: Engine
    folder: Path
    emit: Emit
    should_stop: Callable[[], bool]
    saved: list[PreviewSaved] = field(default_factory=list)

    @property
    def prompts(self) -> tuple[str, ...]:
        config, entry = self.engine.config, self.engine.family.found.entry
        given = tuple(prompt for prompt in config.preview.sample_prompts if prompt.strip())
        base = entry.name if entry else base_name(self.engine.family.found)
        return given or preview_prompts(config.dataset.kind, config.dataset.trigger_word, base)

    def save(self, step: int) -> None:
        """Draw all prompts in one go and write them; at step 0 they are the base model's own. Writes
        nothing when stopped meanwhile. Touches no random state."""
        images = self._draw()
        for number, image in enumerate(images):
            base = self.folder / f"base-{number}.png"
            path = self.folder / f"step-{step:06d}-{number}.png" if step else base
            content = io.BytesIO()
            image.save(content, format="PNG")
            with disk_errors(path):
                write_atomically(path, content.getvalue())
            event = PreviewSaved(
                step=step,
                path=str(path),
                base_path=str(base),
                prompt=self.prompts[number],
                seed=self._seeds()[number],
            )
            self.saved.append(event)
            self.emit(event)

    def _seeds(self) -> list[int]:
        first = self.engine.config.preview.sample_seed
        return [(first + number) % 2**32 for number in range(len(self.prompts))]

    @torch.no_grad()
    def _draw(self) -> Sequence[Image.Image]:
        engine, settings = self.engine, self.engine.config.preview
        entry = engine.family.found.entry
        pipeline = engine.family.pipeline(engine.parts, entry.sampler if entry else "")
        multiple = math.lcm(engine.parts.size_step, PIPELINE_STEP)
        side = max(1, engine.config.dataset.resolution // multiple) * multiple
        self.emit(PhaseAdvanced(phase="preview", done=0, total=settings.sample_steps))
        engine.train_mode(False)
        try:
            with engine.autocast():
                latents = pipeline(
                    prompt_embeds=engine.encode_text(self.prompts),
                    negative_prompt_embeds=engine.encode_text([""] * len(self.prompts)),
                    width=side,
                    height=side,
                    num_inference_steps=settings.sample_steps,
                    guidance_scale=settings.sample_guidance,
                    generator=[torch.Generator().manual_seed(seed) for seed in self._seeds()],
                    output_type="latent",
                    callback_on_step_end=self._after_step,
                ).images
            if pipeline.interrupt:
                return []
            pixels = torch.cat([engine.family.decode_latents(engine.parts, one[None]) for one in latents])
        finally:
            engine.train_mode(True)
        return pipeline.image_processor.numpy_to_pil(pixels.permute(0, 2, 3, 1).cpu().numpy())

    def _after_step(self, pipeline: Any, step: int, _: Any, values: dict[str, Any]) -> dict[str, Any]:
        total = self.engine.config.preview.sample_steps
        self.emit(PhaseAdvanced(phase="preview", done=min(step + 1, total), total=total))
        if self.should_stop():
            pipeline._interrupt = True
        return values
