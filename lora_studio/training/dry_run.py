"""The few real steps that a plan is made of. The parts are those of a real run, so what is measured is what
will happen."""

from __future__ import annotations

import contextlib
import gc
import io
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

from lora_studio.config import TrainConfig
from lora_studio.data.buckets import Bucketing, Size, bucketing_for
from lora_studio.data.loader import count_steps
from lora_studio.data.pixels.picture_pixels import look_at
from lora_studio.data.pixels.picture_remarks import colour_remarks, placement_remarks
from lora_studio.data.training_set.folders import Picture, PictureFolder, read_folder
from lora_studio.errors import ConfigError, DatasetError
from lora_studio.estimate import TrainingEstimate
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore
from lora_studio.families.base_files.base_hashes import base_hashes
from lora_studio.families.base_files.fetched_base import fetched_base
from lora_studio.families.base_files.locate import find_base
from lora_studio.files import free_bytes
from lora_studio.runtime import Device, compute_dtype, find_device, memory_errors
from lora_studio.training.disk_use import disk_use
from lora_studio.training.evaluation.card_memory import CONTEXT, TensorPeak, card_bytes
from lora_studio.training.evaluation.checkpoint_scores import board_limits
from lora_studio.training.evaluation.intervals import validation_steps
from lora_studio.training.evaluation.picture_errors import TIMESTEPS
from lora_studio.training.evaluation.preview_plan import (
    PreviewCost,
    PreviewPlan,
    limited_plan,
    prompts_of,
    whole_plan,
)
from lora_studio.training.evaluation.previews import PreviewSampler, base_title, seeds_of
from lora_studio.training.loop import Loop
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer
from lora_studio.training.preparation.caption_remarks import caption_remarks
from lora_studio.training.preparation.training_data import TrainingData, prepare_data

WARM_UP, MEASURED = 1, 4
MOST_ENCODED = 4
"""Pictures that are encoded: on a large base without a graphics card each takes seconds."""
PATIENCE = 30.0
"""Seconds after which no further step is measured."""
SAMPLED_EVERY = 0.01
PARTS = 4
LESS_MEMORY = (
    "Lower resolution or train_batch_size, switch gradient_checkpointing on, or set blocks_to_swap where the "
    "base is too large for the device."
)


class Stop(Exception):
    """Leaves a measurement that nobody wants any more."""


@dataclass
class Peak:
    """The largest memory in use inside the block, of this process and of the device, in bytes."""

    device: Device
    ram: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def on_device(self) -> int:
        return torch.cuda.max_memory_reserved() if self.device.kind == "cuda" else 0

    @contextlib.contextmanager
    def watched(self) -> Iterator[Peak]:
        if self.device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            yield self
        finally:
            self._over.set()
            watcher.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(SAMPLED_EVERY):
            self.ram = max(self.ram, process.memory_info().rss)


@dataclass(frozen=True, kw_only=True)
class PicturesBySize:
    """All pictures of the run by the size that they are trained at."""

    sizes: dict[Size, list[Picture]]
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        return sum(map(len, self.sizes.values()))

    @property
    def subjects(self) -> int:
        """The count of pictures without regularisation pictures."""
        return sum(not picture.is_reg for pictures in self.sizes.values() for picture in pictures)

    def heaviest(self, batch: int) -> Size:
        """The size whose batches have the most pixels."""
        return max(self.sizes, key=lambda size: size[0] * size[1] * min(batch, self._showings(size)))

    def sample(self, config: TrainConfig) -> list[Picture]:
        """A few pictures of the heaviest size, repeated as often as the measured steps need them."""
        batch = config.dataset.train_batch_size
        needed = batch * config.optimizer.gradient_accumulation_steps * (WARM_UP + MEASURED)
        chosen = self.sizes[self.heaviest(batch)][:MOST_ENCODED]
        return [_alone(picture, -(-needed // len(chosen))) for picture in chosen]

    def work(self, config: TrainConfig) -> float:
        """The mean step's pixels as a share of the heaviest one's."""
        batch, accumulate = config.dataset.train_batch_size, config.optimizer.gradient_accumulation_steps
        counts = {size: self._showings(size) for size in self.sizes}
        updates = count_steps(
            list(counts.values()),
            batch_size=batch,
            accumulate=accumulate,
            max_train_steps=1,
            processes=config.run.num_processes,
        ).updates_per_epoch
        pixels = sum(size[0] * size[1] * count for size, count in counts.items()) / updates
        wide, high = self.heaviest(batch)
        return pixels / (wide * high * batch * accumulate * config.run.num_processes)

    def _showings(self, size: Size) -> int:
        return sum(picture.repeats for picture in self.sizes[size])


def dry_run(config: TrainConfig, emit: Emit, should_stop: ShouldStop) -> TrainingEstimate | None:
    """The estimate of `measure.measure`, in this process."""
    try:
        with memory_errors("this training", LESS_MEMORY):
            return _Measurement(config=config, emit=emit, should_stop=should_stop).go()
    except Stop:
        return None
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(kw_only=True)
class _Measurement:
    config: TrainConfig
    emit: Emit
    should_stop: ShouldStop
    device: Device = field(default_factory=find_device)

    def go(self) -> TrainingEstimate:
        config = self.config
        if config.run.engine != TrainConfig.model_fields["run"].default.engine:
            raise ConfigError(
                f"How long {config.run.engine} takes can't be measured beforehand.",
                "A plan is made for LoRA Studio's own engine.",
                field="engine",
            )
        folder = read_folder(config.dataset)
        base = find_base(config.model.pretrained_model_name_or_path)
        found = fetched_base(base, self.emit, self.should_stop)
        if found is None:
            raise Stop
        with Peak(self.device).watched() as peak:
            self._advance(0)
            begun = time.perf_counter()
            dtype = compute_dtype(config.model.mixed_precision, self.device)
            # One process does its own share only, in the time that all take for theirs.
            engine = load_engine(config.with_values({"num_processes": 1}), found, self.device, dtype)
            base_hashes(found)
            load = time.perf_counter() - begun
            self._advance(1)
            by_size = self._crowd(folder, engine)
            data, cache = self._cached(engine, by_size)
            self._advance(2)
            tensors = TensorPeak()
            step = self._step_seconds(engine, data, tensors) * by_size.work(config)
            self._advance(3)
            drawing = self._drawing(engine, by_size.subjects)
        steps = config.optimizer.max_train_steps
        previews = drawing.limited(config, step * steps)
        bucket = by_size.heaviest(config.dataset.train_batch_size)
        measured = peak.on_device
        self._advance(4)
        return TrainingEstimate(
            steps=steps,
            images=by_size.subjects,
            bucket=bucket,
            seconds_per_step=step,
            load_seconds=load,
            cache_seconds=cache,
            train_seconds=step * steps,
            preview_seconds=drawing.seconds(config, previews, by_size.images) if previews.steps else 0.0,
            ram_bytes=peak.ram * config.run.num_processes,
            device_bytes=measured,
            card_bytes=measured + CONTEXT
            if measured
            else card_bytes(engine, tensors.peak, (bucket, drawing.size)),
            disk_bytes=disk_use(engine, drawing.picture_bytes).peak,
            trigger_word=config.dataset.trigger_word,
            disk_free_bytes=free_bytes(Path(config.output.output_dir)),
            device=self.device.title,
            notes=tuple(
                dict.fromkeys(
                    filter(None, (*engine.memory_notes, *folder.notes, *by_size.notes, previews.note))
                )
            ),
        )

    def _advance(self, done: int) -> None:
        if self.should_stop():
            raise Stop
        self.emit(PhaseAdvanced(phase="load", done=done, total=PARTS, note="measure"))

    def _crowd(self, folder: PictureFolder, engine: Engine) -> PicturesBySize:
        """The pictures by the size each would go to, found from its size alone; a file that can't be opened
        is left to the run to name."""
        bucketings: dict[int, Bucketing] = {}
        sizes: dict[Size, list[Picture]] = {}
        colours, places = [], []
        for picture in folder.pictures:
            if self.should_stop():
                raise Stop
            if picture.dataset not in bucketings:
                bucketings[picture.dataset] = bucketing_for(picture.settings, engine.base.size_step)
            with contextlib.suppress(DatasetError):
                look = look_at(picture.path)
                placement = bucketings[picture.dataset].place(look.size)
                sizes.setdefault(placement.bucket, []).append(picture)
                colours.append((picture.path.name, look.colours))
                if not picture.is_reg:
                    places.append((picture.path.name, placement))
        if not sizes:
            raise DatasetError(
                "None of the pictures can be read.",
                "Add at least one picture that opens.",
                path=self.config.dataset.train_data_dir,
            )
        notes = (
            *caption_remarks(engine, folder.pictures),
            *colour_remarks(colours),
            *placement_remarks(places),
        )
        return PicturesBySize(sizes=sizes, notes=notes)

    def _cached(self, engine: Engine, by_size: PicturesBySize) -> tuple[TrainingData, float]:
        """The sample, prepared, and the seconds that all pictures will take."""
        sample = by_size.sample(self.config)
        begun = time.perf_counter()
        data = prepare_data(engine, PictureFolder(pictures=tuple(sample), notes=()), ignore, self.should_stop)
        if data is None:
            raise Stop
        return data, (time.perf_counter() - begun) / len(sample) * by_size.images

    def _step_seconds(self, engine: Engine, data: TrainingData, tensors: TensorPeak) -> float:
        """The median of a few steps on the heaviest pictures; `tensors` watches the first, the slowest."""
        config = self.config
        optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
        scaler = torch.amp.GradScaler(engine.device.kind) if engine.dtype == torch.float16 else None
        loop = Loop(
            engine=engine,
            data=data,
            optimizer=optimizer,
            schedule=build_schedule(config.optimizer, optimizer),
            scaler=scaler,
        )
        engine.train_mode(True)
        begun = time.perf_counter()
        seconds: list[float] = []
        while len(seconds) < WARM_UP + MEASURED:
            with tensors if not seconds else contextlib.nullcontext():
                seconds.append(loop.advance().seconds)
            if self.should_stop():
                raise Stop
            if time.perf_counter() - begun > PATIENCE:
                break
        return statistics.median(seconds[WARM_UP:] or seconds)

    def _drawing(self, engine: Engine, images: int) -> Drawing:
        sampler, config = PreviewSampler(engine=engine), self.config
        prompts = prompts_of(config, base_title(engine))
        measured = sampler.measure(prompts, seeds_of(config, len(prompts)), self.should_stop)
        if measured is None:
            raise Stop
        (cost, drawn), content = measured, io.BytesIO()
        if drawn:
            drawn[0].save(content, format="PNG")
        wide, high = sampler.size
        references, most = board_limits(engine, images)
        return Drawing(
            cost=replace(cost, references=references, most_compared=most),
            plan=whole_plan(config, base_title(engine)),
            picture_bytes=len(content.getvalue()) or wide * high,
            size=(wide, high),
        )


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The cost of a preview, and which there would be without a limit; width and height of a picture."""

    cost: PreviewCost
    plan: PreviewPlan
    picture_bytes: int
    size: tuple[int, int]

    def limited(self, config: TrainConfig, train_seconds: float) -> PreviewPlan:
        return limited_plan(config, self.plan, self.cost, train_seconds)

    def seconds(self, config: TrainConfig, plan: PreviewPlan, images: int) -> float:
        """All previews of a run, the base's own included, the validation and the board."""
        held_out = min(config.preview.max_validation_steps, round(images * config.dataset.validation_split))
        validation = held_out * TIMESTEPS * (len(validation_steps(config)) + 1) * self.cost.forward
        return self.cost.seconds(config, plan) + validation


def _alone(picture: Picture, repeats: int) -> Picture:
    """A picture without the settings that would change how often it is shown."""
    settings = picture.settings.model_copy(update={"validation_split": 0.0, "num_repeats": repeats})
    return replace(picture, repeats=repeats, is_reg=False, dataset=0, subset=0, settings=settings)
