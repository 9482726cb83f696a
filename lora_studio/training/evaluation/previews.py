"""Pictures made during a training: fixed prompts and seeds, the base model's own beside the LoRA's."""

from __future__ import annotations

import io
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.data.buckets import resolution_of
from lora_studio.events import Emit, Noted, PhaseAdvanced, PreviewSaved
from lora_studio.families.base import TextOutput
from lora_studio.families.batching.lockstep import Lockstep, most_at_once
from lora_studio.families.encoders.clip_encoder import PromptWindows
from lora_studio.families.sampling import Guidance, Sampler, Walk, usual_sampler
from lora_studio.formatting import counted
from lora_studio.training.evaluation.base_alone import at_rest
from lora_studio.training.evaluation.base_pictures import BasePictures
from lora_studio.training.evaluation.preview_plan import (
    PreviewCost,
    PreviewPlan,
    fitted_plan,
    has_limit,
    limited_plan,
    plan_from,
    whole_plan,
)
from lora_studio.training.model import Engine, base_name
from lora_studio.training.result_folder import PRECISIONS, save_file

PIPELINE_STEP = 8
DRAWN = 4
"""Denoising steps that are measured; the first is not an ordinary one: what comes before its end counts
nowhere."""
PATIENCE = 30.0
"""Seconds after which no further step is measured."""
OnStep = Callable[[int, int], bool]
"""Called after each call of the denoiser with (steps done, steps in all), both counted over all pictures;
True ends the drawing."""


@dataclass(kw_only=True)
class PreviewSampler:
    """Draws with the model in training what Generate draws with its LoRA on the same base, in the same number
    format. What the text encoder says of a prompt is kept unless that is trained, so that the encoder may go
    once the prompts are known."""

    engine: Engine
    _texts: dict[str, tuple[TextOutput, TextOutput]] = field(default_factory=dict)
    _locksteps: dict[bool, Lockstep] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures, in pixels: the training's own."""
        multiple = math.lcm(self.engine.base.size_step, PIPELINE_STEP)
        width, height = resolution_of(self.engine.config.dataset)
        return max(1, width // multiple) * multiple, max(1, height // multiple) * multiple

    def prepare(self, prompts: Sequence[str]) -> None:
        """Encode prompts ahead of use, and the empty one."""
        if not self.engine.trains_text_encoder:
            with at_rest(self.engine):
                for prompt in {*prompts, ""} - set(self._texts):
                    self._texts[prompt] = self._encode(prompt)

    def text(self, prompts: Sequence[str]) -> TextOutput:
        """The text encoder's output for each prompt, in one batch; all must be of one length in windows."""
        return TextOutput.stack([self._encoded(prompt)[0] for prompt in prompts])

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        on_step: OnStep,
        steps: int | None = None,
        *,
        plain: bool = False,
    ) -> list[Image.Image]:
        """One picture for each prompt, the same as when it is drawn by itself; none when it was ended.
        `plain`: by the base alone. Touches no random state."""
        engine, codec = self.engine, self.engine.base.codec
        steps = steps or engine.config.preview.sample_steps
        dtype = PRECISIONS[engine.config.output.save_precision]
        pictures: dict[int, Image.Image] = {}
        with (
            at_rest(engine),
            engine.lora.left_out() if plain else engine.lora.as_saved(dtype),
            engine.autocast(),
        ):
            walks = [self._walk(prompt, seed, steps) for prompt, seed in zip(prompts, seeds, strict=True)]
            lockstep = self._locksteps.setdefault(plain, Lockstep(engine.base))
            for batch in lockstep.batches(walks, most_at_once(engine.base, engine.device, self.size)):
                before = len(pictures) * steps
                for _ in lockstep.sample(batch):
                    # Some samplers call the denoiser more often than asked.
                    taken = min(batch[0].number, steps)
                    if on_step(before + taken * len(batch), steps * len(walks)):
                        return []
                # By itself: in company the decoder's last bits differ.
                pictures |= {id(walk): codec.to_picture(codec.decode(walk.latents)) for walk in batch}
        return [pictures[id(walk)] for walk in walks]

    def measure(
        self, prompts: Sequence[str], seeds: Sequence[int], should_stop: Callable[[], bool]
    ) -> tuple[PreviewCost, list[Image.Image]] | None:
        """The cost of a preview, from a few denoising steps of each prompt, and what came of them: no picture
        where even that was too slow. None when stopped. Touches no random state."""
        begun = time.perf_counter()
        marks: list[tuple[int, float]] = []

        def on_step(step: int, steps: int) -> bool:
            marks.append((step, time.perf_counter()))
            return should_stop() or (len(marks) > 1 and marks[-1][1] - begun > PATIENCE)

        self.prepare(prompts)
        images = self.draw(prompts, seeds, on_step, steps=DRAWN)
        ended = time.perf_counter()
        if should_stop() or len(marks) < 2:
            return None
        gaps = [(late[0] - early[0], late[1] - early[1]) for early, late in itertools.pairwise(marks)]
        step = statistics.median(seconds / steps for steps, seconds in gaps)
        others = sum(max(0.0, seconds - steps * step) for steps, seconds in gaps)
        rest = (others + ended - marks[-1][1]) / len(prompts) if images else step
        return PreviewCost(step=step, rest=rest), images

    def _walk(self, prompt: str, seed: int, steps: int) -> Walk:
        base, device = self.engine.base, self.engine.device.kind
        generator = torch.Generator().manual_seed(seed)
        size = base.codec.latents_size(*self.size)
        sampler = Sampler(base.process, usual_sampler(base), steps, size, device=device)
        noise = torch.randn((1, base.codec.channels, *size), generator=generator).to(device)
        return Walk(
            sampler=sampler,
            latents=sampler.start(noise),
            texts=self._encoded(prompt),
            guidance=Guidance(scale=self.engine.config.preview.sample_guidance),
            generator=generator,
        )

    def _encoded(self, prompt: str) -> tuple[TextOutput, TextOutput]:
        return self._texts[prompt] if prompt in self._texts else self._encode(prompt)

    def _encode(self, prompt: str) -> tuple[TextOutput, TextOutput]:
        """A prompt and the empty negative one, as Generate reads them."""
        prompts = self.engine.base.prompts
        how = PromptWindows(clip_skip=prompts.caption_layer(self.engine.config.model.clip_skip))
        with self.engine.autocast():
            wanted, unwanted = prompts.encode_prompts(prompt, "", how)
        return wanted.to(torch.float32), unwanted.to(torch.float32)


@dataclass(kw_only=True)
class Previews:
    """The previews of one run, kept in `folder`. `saved` lists those with the LoRA, newest last; `kept` are
    the base's own from earlier runs."""

    engine: Engine
    folder: Path
    emit: Emit
    should_stop: Callable[[], bool]
    saved: list[PreviewSaved] = field(default_factory=list)
    kept: BasePictures | None = None
    preview_sampler: PreviewSampler = field(init=False)
    plan: PreviewPlan = field(init=False)
    awaits_limit: bool = field(init=False)
    """Whether the plan still has to be limited by the time that it takes."""
    _spent: float = 0.0
    _last_round: float = 0.0
    _cost: PreviewCost | None = None

    def __post_init__(self) -> None:
        config = self.engine.config
        self.preview_sampler = PreviewSampler(engine=self.engine)
        self.plan = whole_plan(config, base_title(self.engine))
        if self.saved:
            has_plain = self._without_path(0).is_file()
            self.plan = plan_from(self.plan, self.saved, has_plain=has_plain)
        self.awaits_limit = has_limit(config, self.plan)

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.plan.prompts

    @property
    def without_prompt(self) -> str:
        """A prompt without the trigger, drawn along for the board: what it shows ought to stay as it was.
        Empty when there is no board or no trigger to leave out."""
        return self.plan.without_prompt

    @property
    def _all_prompts(self) -> list[str]:
        return list(self.plan.all_prompts)

    def limit(self, step: int, step_seconds: float, compared: tuple[int, float]) -> None:
        """Measure what previews cost and plan those from `step` on anew, so that they take their share of the
        `step_seconds` of all steps. `compared` are the training pictures that the board compares them with,
        and the seconds it may take. Nothing changes when stopped meanwhile."""
        config = self.engine.config
        self.awaits_limit = False
        ahead = replace(self.plan, steps=frozenset(one for one in self.plan.steps if one >= step))
        if not ahead.steps:
            return
        with self._spending():
            measured = self.preview_sampler.measure(self.prompts[:1], seeds_of(config, 1), self.should_stop)
        if measured is None:
            return
        cost = replace(measured[0], references=compared[0], most_compared=compared[1])
        base = int(not any(preview.step == 0 for preview in self.saved))
        self.plan = limited_plan(config, ahead, cost, step_seconds, base=base, spent=self._spent)
        self._cost = cost if config.preview.sample_every_n_steps is None else None
        if self.plan.note:
            self.emit(Noted(message=self.plan.note))

    def keep_within(self, step: int, step_seconds: float) -> None:
        """Leave out times after `step` where those until now took longer than planned, or the steps less, so
        that all take their share of the `step_seconds` of all steps."""
        if self._cost is None:
            return
        config, before = self.engine.config, len(self.plan.steps)
        left = config.preview.max_preview_share * step_seconds - self._spent
        self.plan = fitted_plan(config, self.plan, self._cost, step, self._last_round, left)
        if left_out := before - len(self.plan.steps):
            less = f"so they are left out {counted(left_out, 'time')}"
            note = f"Previews take longer than measured, {less}. max_preview_share allows more."
            self.emit(Noted(message=note))

    def prepare(self) -> None:
        """Encode all prompts, so that the text encoders may go."""
        with self._spending():
            self.preview_sampler.prepare(self._all_prompts)

    def save(self, step: int) -> None:
        """Draw all prompts and write them; at step 0 they are the base model's own. Writes
        nothing when stopped meanwhile. Touches no random state."""
        if step and step not in self.plan.steps:  # asked for meanwhile
            self._save(step)
            return
        with self._spending():
            self._save(step)

    @contextmanager
    def _spending(self) -> Iterator[None]:
        """Count the seconds of the block."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._last_round = time.perf_counter() - begun
            self._spent += self._last_round

    def _save(self, step: int) -> None:
        settings, plain = self.engine.config.preview, self.without_prompt
        prompts = self._all_prompts
        self.emit(PhaseAdvanced(phase="preview", done=0, total=settings.sample_steps * len(prompts)))
        images = self._drawn(prompts) if step else self._of_base(prompts)
        if images and plain:
            write_picture(images.pop(), self._without_path(step))
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

    def _without_path(self, step: int) -> Path:
        return self.folder / f"without-{f'{step:06d}' if step else 'base'}.png"

    def _drawn(self, prompts: Sequence[str]) -> list[Image.Image]:
        self.preview_sampler.prepare(prompts)
        seeds = seeds_of(self.engine.config, len(prompts))
        return self.preview_sampler.draw(prompts, seeds, self._after_step)

    def _of_base(self, prompts: Sequence[str]) -> list[Image.Image]:
        """The base's own, of which those are drawn that no run before this one has kept. None when
        stopped."""
        settings, sampler, kept = self.engine.config.preview, self.preview_sampler, self.kept
        how = (*sampler.size, settings.sample_steps, settings.sample_guidance)
        asked = list(zip(prompts, seeds_of(self.engine.config, len(prompts)), strict=True))
        found = {one: kept.find(*one, *how) if kept else None for one in asked}
        missing = [one for one, image in found.items() if image is None]
        if missing:
            sampler.prepare([prompt for prompt, _ in missing])
            drawn = sampler.draw(
                [prompt for prompt, _ in missing],
                [seed for _, seed in missing],
                self._after_step,
                plain=True,
            )
            if not drawn:
                return []
            found |= zip(missing, drawn, strict=True)
            if kept:
                for one, image in zip(missing, drawn, strict=True):
                    kept.keep(image, *one, *how)
                kept.make_room()
        return [image for image in found.values() if image is not None]

    def _after_step(self, step: int, steps: int) -> bool:
        """Say no more often than one picture has steps: each event is a row in the store."""
        if step % max(1, steps // self.engine.config.preview.sample_steps) == 0:
            self.emit(PhaseAdvanced(phase="preview", done=step, total=steps))
        return self.should_stop()


def base_title(engine: Engine) -> str:
    """The catalog's name of the base where it has one."""
    entry = engine.base.found.entry
    return entry.name if entry else base_name(engine.base.found)


def seeds_of(config: TrainConfig, count: int) -> list[int]:
    """The seeds of the previews, counting up from the first."""
    return [(config.preview.sample_seed + number) % 2**32 for number in range(count)]


def write_picture(image: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all. Raises StudioError for a full disk and its like."""
    content = io.BytesIO()
    image.save(content, format="PNG")
    save_file(path, content.getvalue())
