"""From a folder of pictures to everything the loop reads: placed pictures, encoded once, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lora_studio.config import TrainConfig
from lora_studio.data.buckets import Bucketing, bucketing_for
from lora_studio.data.cache import Latents, PlacedPicture, Texts
from lora_studio.data.captions import tag_frequency
from lora_studio.data.folders import Picture, PictureFolder
from lora_studio.data.loader import Loader, Steps
from lora_studio.data.pictures import open_picture
from lora_studio.errors import DatasetError
from lora_studio.events import Emit, Noted, PhaseAdvanced
from lora_studio.lora.metadata import DatasetFacts
from lora_studio.training.engine import Engine


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """`texts` is None when the text encoder is trained: then each step encodes anew, with gradients."""

    loader: Loader
    latents: Latents
    texts: Texts | None
    steps: Steps
    facts: DatasetFacts


def prepare_data(
    engine: Engine, folder: PictureFolder, emit: Emit, should_stop: Callable[[], bool]
) -> TrainingData | None:
    """Read, place and encode all pictures; a picture that can't be read is noted and left out. None when
    stopped. Raises DatasetError when none is left."""
    config = engine.config
    bucketing = bucketing_for(config.dataset, engine.parts.size_step)
    for note in bucketing.notes:
        emit(Noted(message=note))
    latents = Latents(
        encode=engine.encode_pictures, keep=config.dataset.cache_latents, flip=config.dataset.flip_aug
    )
    texts = (
        None
        if engine.trains_text_encoder
        else Texts(encode=engine.encode_fixed_text, keep=keeps_texts(config))
    )
    captions = _captions_ahead(folder.pictures, config) if texts is not None and texts.keep else []
    total = len(folder.pictures) + len(captions)
    placed: list[PlacedPicture] = []
    emit(PhaseAdvanced(phase="cache", done=0, total=total))
    for number, picture in enumerate(folder.pictures, start=1):
        if should_stop():
            return None
        one = _place(picture, len(placed), bucketing, latents, emit)
        placed += [one] if one else []
        emit(PhaseAdvanced(phase="cache", done=number, total=total))
    if not placed:
        raise DatasetError(
            "None of the pictures can be read.",
            "Add at least one picture that opens.",
            path=config.dataset.train_data_dir,
        )
    for number, caption in enumerate(captions, start=len(folder.pictures) + 1):
        if should_stop():
            return None
        assert texts is not None
        texts.prepare(caption)
        emit(PhaseAdvanced(phase="cache", done=number, total=total))
    loader = Loader(
        pictures=tuple(placed),
        batch_size=config.dataset.train_batch_size,
        accumulate=config.optimizer.gradient_accumulation_steps,
        seed=config.optimizer.seed,
    )
    steps = loader.steps(config.optimizer.max_train_steps)
    facts = _facts(loader, steps, config)
    return TrainingData(loader=loader, latents=latents, texts=texts, steps=steps, facts=facts)


def keeps_texts(config: TrainConfig) -> bool:
    """A shuffled caption is a new one at each use, so there is nothing to keep."""
    return config.dataset.cache_text_encoder_outputs and not config.dataset.shuffle_caption


def _captions_ahead(pictures: Sequence[Picture], config: TrainConfig) -> list[str]:
    dropped = [""] if config.dataset.caption_dropout_rate else []
    return list(dict.fromkeys([*(picture.caption for picture in pictures), *dropped]))


def _place(
    picture: Picture, index: int, bucketing: Bucketing, latents: Latents, emit: Emit
) -> PlacedPicture | None:
    try:
        image = open_picture(picture.path)
    except DatasetError as error:
        emit(Noted(message=f"{error.message} It is left out.", level="warning"))
        return None
    placed = PlacedPicture(index=index, picture=picture, placement=bucketing.place(image.size))
    latents.prepare(placed, image)
    return placed


def _facts(loader: Loader, steps: Steps, config: TrainConfig) -> DatasetFacts:
    pictures = [placed.picture for placed in loader.pictures]
    folders: dict[str, tuple[int, int]] = {}
    for picture in pictures:
        folders[picture.folder] = (picture.repeats, folders.get(picture.folder, (0, 0))[1] + 1)
    errors = [abs(placed.placement.aspect_error) for placed in loader.pictures]
    counts = loader.counts()
    side = config.dataset.resolution
    return DatasetFacts(
        images=sum(counts.values()),
        batches_per_epoch=steps.batches_per_epoch,
        folders=folders,
        tags=tag_frequency((picture.folder, picture.caption) for picture in pictures),
        buckets=tuple((*size, count) for size, count in counts.items()),
        mean_aspect_error=sum(errors) / len(errors),
        resolution=(side, side),
        flip_aug=config.dataset.flip_aug,
    )
