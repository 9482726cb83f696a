"""The pictures of a folder as the loop reads them: placed, encoded once, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import Bucketing, Size, bucketing_for
from lora_studio.data.captions import caption_for_use, changes_parts, has_choice, plain_caption
from lora_studio.data.latent_cache import Latents, PlacedPicture, Texts
from lora_studio.data.latent_files import LatentFiles
from lora_studio.data.loader import Batch, Loader, Steps
from lora_studio.data.pixels.picture_pixels import Look, look_at, open_picture
from lora_studio.data.pixels.picture_remarks import colour_remarks, placement_remarks
from lora_studio.data.seeds import seed_of
from lora_studio.data.training_set.folders import Picture, PictureFolder
from lora_studio.data.training_set.regularisation import shared_repeats
from lora_studio.data.training_set.validation_split import split_off
from lora_studio.errors import DatasetError
from lora_studio.events import Emit, Noted, PhaseAdvanced, ShouldStop
from lora_studio.files import sha256
from lora_studio.lora.file.metadata import DatasetFacts
from lora_studio.training.model import Engine
from lora_studio.training.preparation.caption_remarks import caption_remarks
from lora_studio.training.preparation.dataset_metadata import Trained, dataset_facts
from lora_studio.training.preparation.latent_cache_key import encoder_mark


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """`texts` is None when the text encoder is trained: then each step encodes anew, with gradients.
    `validation` are the pictures held out, their captions as they are to be used; `encoded` is the count of
    all pictures and captions that are encoded ahead or at their first use."""

    loader: Loader
    latents: Latents
    texts: Texts | None
    steps: Steps
    facts: DatasetFacts
    validation: tuple[PlacedPicture, ...] = ()
    encoded: int = 0


def prepare_data(
    engine: Engine,
    folder: PictureFolder,
    emit: Emit,
    should_stop: ShouldStop,
    *,
    cache_folder: Path | None = None,
    later: bool = False,
) -> TrainingData | None:
    """Read, place and encode all pictures; a picture that can't be read is noted and left out. Latents are
    kept in `cache_folder` for the next run. With `later` they are encoded at their first use instead, as far
    as that changes nothing. None when stopped. Raises DatasetError when none is left."""
    config = engine.config
    train, held_out = split_off(folder.pictures, config.optimizer.seed)
    repeats = shared_repeats(train)
    wanted = [picture for picture, count in zip(train, repeats, strict=True) if count]
    latents = _latents(engine, cache_folder, later=later)
    texts = _texts(engine)
    captions = list(_captions_ahead(wanted, held_out)) if texts and texts.keep else []
    reader = _Reader(
        engine=engine, latents=latents, emit=emit, total=len(wanted) + len(held_out) + len(captions)
    )
    for note in caption_remarks(engine, [*wanted, *held_out]):
        emit(Noted(message=note))
    if not reader.read_all([*wanted, *(_with_plain_caption(one) for one in held_out)], should_stop):
        return None
    placed, validation = _parted(reader.placed, {picture.path for picture in held_out})
    if not any(not one.picture.is_reg for one in placed) and any(not one.is_reg for one in wanted):
        raise DatasetError(
            "None of the pictures can be read.",
            "Add at least one picture that opens.",
            path=config.dataset.train_data_dir,
        )
    for caption in captions:
        if should_stop():
            return None
        assert texts is not None
        texts.prepare(caption)
        reader.advance()
    loader = _loader(placed, config)
    steps = loader.steps(config.optimizer.max_train_steps)
    notes = [*_notes(len(train) - len(wanted), config, validation)]
    for note in notes if latents.waiting else [*notes, *cache_notes(latents)]:
        emit(Noted(message=note))
    facts = dataset_facts(Trained(loader=loader, held_out=validation, folder=folder), steps, config)
    return TrainingData(
        loader=loader,
        latents=latents,
        texts=texts,
        steps=steps,
        facts=facts,
        validation=validation,
        encoded=reader.total,
    )


def keeps_texts(config: TrainConfig) -> bool:
    """A shuffled caption is a new one at each use, so there is nothing to keep."""
    return config.dataset.cache_text_encoder_outputs and not changes_parts(config.dataset)


def captions_of(data: TrainingData, config: TrainConfig, batch: Batch, step: int) -> list[str]:
    """The captions of a batch as the step, counted from 1, sees them."""
    return [
        caption_for_use(
            sample.placed.picture.caption,
            sample.placed.picture.settings,
            seed_of(config.optimizer.seed, "caption", sample.epoch, sample.placed.index, sample.repeat),
            step=step,
            epoch=sample.epoch,
            max_train_steps=config.optimizer.max_train_steps,
        )
        for sample in batch
    ]


@dataclass(kw_only=True)
class _Reader:
    """Places one picture after the other, and encodes those of one size together."""

    engine: Engine
    latents: Latents
    emit: Emit
    total: int
    placed: list[PlacedPicture] = field(default_factory=list)
    looks: list[tuple[Path, Look]] = field(default_factory=list)
    _done: int = 0
    _note: str = ""
    _bucketings: dict[int, Bucketing] = field(default_factory=dict)
    _waiting: dict[Size, list[tuple[PlacedPicture, Image.Image]]] = field(default_factory=dict)

    def read_all(self, pictures: Sequence[Picture], should_stop: ShouldStop) -> bool:
        """False when stopped."""
        for picture in pictures:
            self._bucketing(picture)
        reg = sum(picture.is_reg for picture in pictures)
        self._note = f"{len(pictures) - reg} of yours, {reg} for regularisation" if reg else ""
        self._say()
        for picture in pictures:
            if should_stop():
                return False
            if self._read(picture):
                self.advance()
        for waiting in self._waiting.values():
            self.latents.prepare(*waiting)
        notes = [*colour_remarks([(path.name, look.colours) for path, look in self.looks])]
        notes += placement_remarks(
            [(one.picture.path.name, one.placement) for one in self.placed if not one.picture.is_reg]
        )
        for note in notes:
            self.emit(Noted(message=note))
        return True

    def advance(self) -> None:
        self._done += 1
        self._say()

    def _say(self) -> None:
        self.emit(PhaseAdvanced(phase="cache", done=self._done, total=self.total, note=self._note))

    def _read(self, picture: Picture) -> bool:
        """False when it is still to be encoded."""
        try:
            look = look_at(picture.path)
            placed, image = self._place(picture, look), None
            if not self.latents.recall(placed):
                image = open_picture(picture.path)
                placed = self._place(picture, replace(look, size=image.size), content=placed.content)
            self.latents.mask(placed, mirrored=False)
        except DatasetError as error:
            self.emit(Noted(message=f"{error.message} It is left out.", level="warning"))
            return True
        if placed.placement.note:
            self.emit(Noted(message=f"{picture.path.name} has an odd shape: {placed.placement.note}."))
        self.looks.append((picture.path, look))
        self.placed.append(placed)
        if image is None:
            return True
        waits = self.latents.wait(placed, image)
        if not waits:
            self._encode_together(placed, image)
        return not waits

    def _place(self, picture: Picture, look: Look, *, content: str = "") -> PlacedPicture:
        if not content and self.latents.files:
            content = sha256(picture.path)
        return PlacedPicture(
            index=len(self.placed),
            picture=picture,
            placement=self._bucketing(picture).place(look.size),
            content=content,
            reading=look.mark,
        )

    def _encode_together(self, placed: PlacedPicture, image: Image.Image) -> None:
        waiting = self._waiting.setdefault(placed.placement.bucket, [])
        waiting.append((placed, image))
        if len(waiting) == self.latents.at_once:
            self.latents.prepare(*waiting)
            waiting.clear()

    def _bucketing(self, picture: Picture) -> Bucketing:
        if picture.dataset not in self._bucketings:
            made = bucketing_for(picture.settings, self.engine.base.size_step)
            for note in made.notes:
                self.emit(Noted(message=note))
            self._bucketings[picture.dataset] = made
        return self._bucketings[picture.dataset]


def _latents(engine: Engine, cache_folder: Path | None, *, later: bool) -> Latents:
    data = engine.config.dataset
    files = None
    if cache_folder and data.cache_latents and data.cache_latents_to_disk:
        files = LatentFiles(folder=cache_folder, encoder=encoder_mark(engine))
    return Latents(
        encode=engine.encode_pictures,
        keep=data.cache_latents,
        size_step=engine.base.codec.step,
        at_once=data.vae_batch_size,
        files=files,
        later=later,
    )


def _texts(engine: Engine) -> Texts | None:
    if engine.trains_text_encoder:
        return None
    return Texts(encode=engine.encode_fixed_text, keep=engine.config.dataset.cache_text_encoder_outputs)


def _captions_ahead(pictures: Sequence[Picture], held_out: Sequence[Picture]) -> Iterator[str]:
    """All captions that are known now, each once."""
    captions: dict[str, None] = {}
    for picture in pictures:
        settings = picture.settings
        if not has_choice(picture.caption, settings):
            captions[plain_caption(picture.caption, settings)] = None
        if settings.caption_dropout_rate or settings.caption_dropout_every_n_epochs:
            captions[""] = None
    for picture in held_out:
        captions[_with_plain_caption(picture).caption] = None
    yield from captions


def _with_plain_caption(picture: Picture) -> Picture:
    return replace(picture, caption=plain_caption(picture.caption, picture.settings))


def _parted(
    placed: Sequence[PlacedPicture], held_out: set[Path]
) -> tuple[list[PlacedPicture], tuple[PlacedPicture, ...]]:
    """The pictures to train on, regularisation pictures with the repeats they get, and those held out."""
    train = [one for one in placed if one.picture.path not in held_out]
    repeats = shared_repeats([one.picture for one in train])
    shared = [
        replace(one, picture=replace(one.picture, repeats=count))
        for one, count in zip(train, repeats, strict=True)
        if count
    ]
    return shared, tuple(one for one in placed if one.picture.path in held_out)


def _loader(placed: Sequence[PlacedPicture], config: TrainConfig) -> Loader:
    settings: dict[int, DatasetGroup] = {}
    for one in placed:
        settings.setdefault(one.picture.dataset, one.picture.settings)
    sizes = [settings.get(number, config.dataset).train_batch_size for number in range(max(settings) + 1)]
    return Loader(
        pictures=tuple(placed),
        batch_size=config.dataset.train_batch_size,
        accumulate=config.optimizer.gradient_accumulation_steps,
        seed=config.optimizer.seed,
        batch_sizes=tuple(sizes),
        processes=config.run.num_processes,
    )


def _notes(surplus: int, config: TrainConfig, validation: Sequence[PlacedPicture]) -> Iterator[str]:
    if surplus:
        yield (
            f"{surplus} regularisation picture{'s are' if surplus > 1 else ' is'} left out: the others are "
            "as many as the training pictures."
        )
    if config.dataset.validation_split and not validation:
        yield "validation_split is ignored: it is too small for the number of pictures to hold one out."


def cache_notes(latents: Latents) -> Iterator[str]:
    """Make room in the latent cache once all pictures are encoded, and say what is wrong with it."""
    files = latents.files
    if files is None:
        return
    files.make_room()
    if files.damaged:
        count = len(files.damaged)
        yield f"{count} file{'s' if count > 1 else ''} of the latent cache were damaged and are made anew."
    if files.problem:
        yield f"The latent cache can't be written: {files.problem}. The training goes on without it."
