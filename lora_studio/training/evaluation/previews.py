"""Pictures made during a training: fixed prompts and seeds, the base model's own beside the LoRA's."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lora_studio.catalog import preview_prompts
from lora_studio.config import Kind, TrainConfig
from lora_studio.data.buckets import resolution_of
from lora_studio.events import Emit, PhaseAdvanced, PreviewSaved
from lora_studio.families.base import TextOutput, prompt_arguments
from lora_studio.training.evaluation.base_alone import at_rest
from lora_studio.training.evaluation.intervals import preview_steps as preview_steps
from lora_studio.training.model import Engine, base_name
from lora_studio.training.result_folder import save_file

PIPELINE_STEP = 8
PLAIN_PROMPTS: Mapping[Kind, str] = {
    "person": "portrait of a person",
    "character": "portrait of a person",
    "object": "a cat",
    "style": "a cat",
}
"""Things that a LoRA of this kind should leave alone."""
OnStep = Callable[[int, int], bool]
"""Called after each denoising step with (step, steps); True ends the drawing."""


@dataclass(kw_only=True)
class PreviewSampler:
    """Draws with the model in training. What the text encoder says of a prompt is kept unless that is
    trained, so that the encoder may go once the prompts are known."""

    engine: Engine
    _texts: dict[str, TextOutput] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures, in pixels: the training's own."""
        multiple = math.lcm(self.engine.parts.codec.step, PIPELINE_STEP)
        width, height = resolution_of(self.engine.config.dataset)
        return max(1, width // multiple) * multiple, max(1, height // multiple) * multiple

    def prepare(self, prompts: Sequence[str]) -> None:
        """Encode prompts ahead of use, and the empty one."""
        if not self.engine.trains_text_encoder:
            with at_rest(self.engine):
                for prompt in {*prompts, ""} - set(self._texts):
                    self._texts[prompt] = self.engine.encode_text([prompt])

    def text(self, prompts: Sequence[str]) -> TextOutput:
        """What the text encoder says of each prompt, in one batch."""
        parts = [self._texts[p] if p in self._texts else self.engine.encode_text([p]) for p in prompts]
        return TextOutput.stack(parts)

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], on_step: OnStep, steps: int | None = None
    ) -> list[Image.Image]:
        """One picture for each prompt, all in one go; none when it was ended. Touches no random state."""
        engine, settings = self.engine, self.engine.config.preview
        entry = engine.family.found.entry
        pipeline = engine.family.pipeline(engine.parts, entry.sampler if entry else "")
        steps = steps or settings.sample_steps

        def after_step(pipe: Any, step: int, _: Any, values: dict[str, Any]) -> dict[str, Any]:
            pipe._interrupt = on_step(min(step + 1, steps), steps)
            return values

        with at_rest(engine), engine.autocast():
            latents = pipeline(
                **prompt_arguments(self.text(prompts), self.text([""] * len(prompts))),
                width=self.size[0],
                height=self.size[1],
                num_inference_steps=steps,
                guidance_scale=settings.sample_guidance,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                output_type="latent",
                callback_on_step_end=after_step,
            ).images
            if pipeline.interrupt:
                return []
            codec = engine.parts.codec
            return [codec.to_picture(codec.decode(one[None])) for one in latents]


@dataclass(kw_only=True)
class Previews:
    """The previews of one run, kept in `folder`. `saved` lists those with the LoRA, newest last."""

    engine: Engine
    folder: Path
    emit: Emit
    should_stop: Callable[[], bool]
    saved: list[PreviewSaved] = field(default_factory=list)
    preview_sampler: PreviewSampler = field(init=False)

    def __post_init__(self) -> None:
        self.preview_sampler = PreviewSampler(engine=self.engine)

    @property
    def prompts(self) -> tuple[str, ...]:
        return prompts_of(self.engine.config, base_title(self.engine))

    @property
    def without_prompt(self) -> str:
        """A prompt without the trigger, drawn along for the board: what it shows ought to stay as it was.
        Empty when there is no board or no trigger to leave out."""
        config = self.engine.config
        wanted = config.preview.checkpoint_board and config.dataset.trigger_word.strip()
        return PLAIN_PROMPTS[config.dataset.kind] if wanted else ""

    @property
    def _all_prompts(self) -> list[str]:
        return [*self.prompts, self.without_prompt] if self.without_prompt else list(self.prompts)

    def prepare(self) -> None:
        """Encode all prompts, so that the text encoders may go."""
        self.preview_sampler.prepare(self._all_prompts)

    def save(self, step: int) -> None:
        """Draw all prompts in one go and write them; at step 0 they are the base model's own. Writes
        nothing when stopped meanwhile. Touches no random state."""
        settings, plain = self.engine.config.preview, self.without_prompt
        self.emit(PhaseAdvanced(phase="preview", done=0, total=settings.sample_steps))
        prompts = self._all_prompts
        self.preview_sampler.prepare(prompts)
        images = self.preview_sampler.draw(
            prompts, seeds_of(self.engine.config, len(prompts)), self._after_step
        )
        if images and plain:
            write_picture(images.pop(), self.folder / f"without-{f'{step:06d}' if step else 'base'}.png")
        for number, image in enumerate(images):
            base = self.folder / f"base-{number}.png"
            path = self.folder / f"step-{step:06d}-{number}.png" if step else base
            write_picture(image, path)
            event = PreviewSaved(
                step=step,
                path=str(path),
                base_path=str(base),
                prompt=self.prompts[number],
                seed=seeds_of(self.engine.config, number + 1)[number],
            )
            self.saved.append(event)
            self.emit(event)

    def _after_step(self, step: int, steps: int) -> bool:
        self.emit(PhaseAdvanced(phase="preview", done=step, total=steps))
        return self.should_stop()


def base_title(engine: Engine) -> str:
    """The catalog's name of the base where it has one."""
    entry = engine.family.found.entry
    return entry.name if entry else base_name(engine.family.found)


def prompts_of(config: TrainConfig, base: str) -> tuple[str, ...]:
    """The prompts of the previews: those wished for, else some about the subject."""
    given = tuple(prompt for prompt in config.preview.sample_prompts if prompt.strip())
    return given or preview_prompts(config.dataset.kind, config.dataset.trigger_word, base)


def seeds_of(config: TrainConfig, count: int) -> list[int]:
    """The seeds of the previews, counting up from the first."""
    return [(config.preview.sample_seed + number) % 2**32 for number in range(count)]


def write_picture(image: Image.Image, path: Path) -> None:
    """As PNG, whole or not at all. Raises StudioError for a full disk and its like."""
    content = io.BytesIO()
    image.save(content, format="PNG")
    save_file(path, content.getvalue())
