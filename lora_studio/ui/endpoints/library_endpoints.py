"""The named endpoints of the library: sets of pictures, trainings, LoRAs, images."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from lora_studio.access.visitor import SHARED, Kind
from lora_studio.dataset import LONGEST_CAPTION
from lora_studio.errors import ConfigError, DeviceBusy, StoreError
from lora_studio.parsing.plain_text import plain_text
from lora_studio.studio import Studio
from lora_studio.ui.client_input.deleted_elsewhere import undo
from lora_studio.ui.client_input.validate import (
    safe_id,
    safe_slug,
    safe_uploads,
    shown,
    text,
    whole,
    yes_or_no,
)
from lora_studio.ui.endpoints.image_endpoints import session_of_caller
from lora_studio.ui.endpoints.schemas import (
    CaptionedPicture,
    DatasetFacts,
    DeletedThing,
    ImageFacts,
    LoraFacts,
    TrainingStatus,
    dataset_facts,
    image_facts,
    lora_facts,
    training_facts,
)
from lora_studio.ui.picture_sets.set_download import packed_set
from lora_studio.ui.train.cancel_events import Stops
from lora_studio.ui.widgets.html_templates import file_url

MOST_LISTED = 500
MOST_REPEATS, LONGEST_WORDS = 100_000, 64
Thing = Literal["training", "lora", "dataset", "image"]
WHAT = {"dataset": "set of pictures", "image": "picture"}


class ExportedPictures(TypedDict):
    """A ZIP of a set to fetch at the address plus download_url, within a day; notes on what was left out."""

    file: str
    size_bytes: int
    download_url: str
    images: int
    notes: list[str]


class LibraryEndpoints:
    """Endpoints of the library. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._fetching, self._packing = Stops(), Stops()

    def list_datasets(self) -> list[DatasetFacts]:
        """The uploaded sets of pictures, newest first."""
        records = sorted(self._studio.datasets.datasets(), key=lambda record: -record.created_at)
        return [dataset_facts(record) for record in records]

    def list_captions(self, dataset_id: str) -> list[CaptionedPicture]:
        """The pictures of a set by file name, each with its caption.

        Args:
            dataset_id: From upload_dataset or list_datasets.
        """
        pictures = self._studio.datasets.pictures(safe_id(dataset_id, WHAT["dataset"]))
        return [CaptionedPicture(file=path.name, caption=caption) for path, caption in pictures]

    def set_caption(self, dataset_id: str, file: str, caption: str) -> list[CaptionedPicture]:
        """Write the caption of one picture of a set; an empty one removes it. Answers as list_captions does.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            file: The picture's file name, from list_captions.
            caption: What the picture shows.
        """
        checked_id = safe_id(dataset_id, WHAT["dataset"])
        words = text(caption, "caption", longest=LONGEST_CAPTION)
        self._studio.datasets.set_caption(checked_id, text(file, "file"), words)
        return self.list_captions(dataset_id)

    def export_dataset(
        self, dataset_id: str, repeats: int = 1, class_tokens: str = "", trigger: str = ""
    ) -> ExportedPictures:
        """Make a ZIP of a set as edited, in Kohya's layout with a dataset.toml, to be fetched; the set stays
        as it is.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            repeats: Repeats of pictures whose folder says none.
            class_tokens: The caption of pictures without one. Empty: the set's name.
            trigger: Put in front of captions that lack it; empty for none.
        """
        times = whole(repeats, "repeats")
        if times is None or not 1 <= times <= MOST_REPEATS:
            raise ConfigError(f"repeats: 1 to {MOST_REPEATS} (got {shown(repeats)}).", field="repeats")
        with self._packing.watch(session_of_caller()) as should_stop:
            file, export = packed_set(
                self._studio,
                safe_id(dataset_id, WHAT["dataset"]),
                repeats=times,
                class_tokens=_words(class_tokens, "class_tokens"),
                trigger=_words(trigger, "trigger"),
                should_stop=should_stop,
            )
        return ExportedPictures(
            file=file.name,
            size_bytes=file.stat().st_size,
            download_url=file_url(file),
            images=export.pictures,
            notes=list(export.notes),
        )

    def stop_export(self) -> bool:
        """Stop the ZIP that export_dataset makes for this client; nothing of it is kept. True if there was
        one."""
        return self._packing.ask(session_of_caller())

    def delete_dataset(self, dataset_id: str) -> DeletedThing:
        """Move a set of pictures to the trash; undo_delete brings it back.

        Args:
            dataset_id: From upload_dataset or list_datasets.
        """
        return DeletedThing(undo=self._studio.datasets.delete(safe_id(dataset_id, WHAT["dataset"])))

    def list_trainings(self, limit: int = 50) -> list[TrainingStatus]:
        """The trainings, newest first, as training_status answers.

        Args:
            limit: At most so many, up to 500.
        """
        return [training_facts(job) for job in self._studio.jobs.jobs(limit=_limit(limit))]

    def list_loras(self, search: str = "") -> list[LoraFacts]:
        """The LoRAs of the library, newest first. A file is fetched at the address plus download_url.

        Args:
            search: Only those that match; empty for all.
        """
        return [lora_facts(record) for record in self._studio.gallery.loras(search=text(search, "search"))]

    def import_lora(self, files: list[str]) -> list[LoraFacts]:
        """Take .safetensors files of LoRAs into the library.

        Args:
            files: The uploaded files; with the Python client, a list of handle_file(path).
        """
        paths = safe_uploads(files, self._studio.settings)
        if not paths:
            raise StoreError("No file was sent.", "Send a .safetensors file.")
        with self._studio.turns.take("import"):
            return [lora_facts(self._studio.gallery.import_lora(path)) for path in paths]

    def import_lora_link(self, link: str, file: str = "") -> LoraFacts:
        """Fetch the .safetensors file of a LoRA from a public https address, or from the Hugging Face Hub by
        its name there, and take it into the library.

        Args:
            link: The link of the file's download; pages of the Hugging Face Hub and of Civitai will do, and
                so does owner/name on the Hub.
            file: Which file of owner/name, where it has several.
        """
        wanted, path = text(link, "link"), text(file, "file")
        with self._fetching.watch(session_of_caller()) as should_stop:
            record = self._studio.links.add(wanted, should_stop=should_stop, file=path)
        if record is None:
            raise DeviceBusy("The download was stopped.", "Ask for it again.")
        return lora_facts(record)

    def stop_import(self) -> bool:
        """Stop the download that import_lora_link is doing for this client. True if there was one."""
        return self._fetching.ask(session_of_caller())

    def rename_lora(self, slug: str, title: str) -> LoraFacts:
        """Give a LoRA another title; its slug and file stay.

        Args:
            slug: From list_loras.
            title: The new title.
        """
        return lora_facts(self._studio.gallery.rename_lora(safe_slug(slug), text(title, "title")))

    def delete_lora(self, slug: str) -> DeletedThing:
        """Move a LoRA with its previews and checkpoints to the trash; undo_delete brings it back.

        Args:
            slug: From list_loras.
        """
        return DeletedThing(undo=self._studio.gallery.delete_lora(safe_slug(slug)))

    def delete_training(self, job_id: str) -> DeletedThing:
        """Move a training that has ended to the trash; undo_delete brings it back. Its LoRA stays.

        Args:
            job_id: From list_trainings.
        """
        return DeletedThing(undo=self._studio.removed_trainings.remove(safe_id(job_id, "training")))

    def list_images(self, search: str = "", limit: int = 60) -> list[ImageFacts]:
        """The images of the gallery, newest first. A file is fetched at the address plus download_url.

        Args:
            search: Only those whose prompt matches; empty for all.
            limit: At most so many, up to 500.
        """
        found = self._studio.gallery.images(search=text(search, "search"), limit=_limit(limit))
        return [image_facts(record) for record in found]

    def delete_image(self, image_id: str) -> DeletedThing:
        """Move an image to the trash; undo_delete brings it back.

        Args:
            image_id: From list_images.
        """
        return DeletedThing(undo=self._studio.gallery.delete_image(safe_id(image_id, WHAT["image"])))

    def share(self, what: Thing, id: str, shared: bool = True) -> bool:
        """Let everybody who may come in see something of yours, or not any more. A training brings its LoRA
        along.

        Args:
            what: training, lora, dataset or image.
            id: Its job_id, slug, dataset_id or image_id.
            shared: false takes it back.
        """
        kind = SHARED.get(what) if isinstance(what, str) else None
        if kind is None:
            raise ConfigError(f"what: choose one of {', '.join(SHARED)} (got {shown(what)}).")
        key = safe_slug(id) if kind is Kind.LORA else safe_id(id, what)
        self._studio.share(kind, key, yes_or_no(shared, "shared"))
        return shared

    def undo_delete(self, token: str) -> bool:
        """Bring back what was deleted.

        Args:
            token: `undo` of the answer to delete_lora, delete_image, delete_dataset or delete_training.
        """
        undo(self._studio, token)
        return True


def _words(given: Any, name: str) -> str:
    return plain_text(text(given, name, longest=LONGEST_WORDS), LONGEST_WORDS)


def _limit(given: Any) -> int:
    number = whole(given, "limit")
    if number is None or not 1 <= number <= MOST_LISTED:
        raise ConfigError(f"limit: 1 to {MOST_LISTED} (got {shown(given)}).", field="limit")
    return number
