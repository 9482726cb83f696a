"""Views of pictures and LoRAs: pure functions from records to HTML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.catalog import ADVISED_PICTURES, family_title
from lora_studio.data.edits.edit_log import LONGEST_NAME, ORIGINALS, EditEntry, EditHistory
from lora_studio.data.edits.picture_edits import LONGEST_CAPTION
from lora_studio.formatting import counted, moment, size
from lora_studio.records import DatasetRecord, ImageRecord, ListedLora, LoraRecord
from lora_studio.ui.languages.typed_text import typed
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.pages import Pages

PREVIEW = re.compile(r"step-(\d+)-(\d+)\.png")
BASE_PREVIEW = re.compile(r"base-(\d+)\.png")
MOST_VERSIONS = 50
ONE_PAGE = Pages(number=1, total=0)


@dataclass(frozen=True, kw_only=True)
class DatasetPicture:
    """A picture of a dataset: the file's name, its thumbnail, its caption, words on what is special about it,
    and its width and height, 0 where it can't be read."""

    name: str
    thumbnail: str
    caption: str
    marks: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A generated picture with, where asked for, the base's own of the same seed."""

    image: ImageRecord
    base: ImageRecord | None = None
    token: str | None = None
    """The token that brings a deleted picture back, empty if none does; None for one that is here."""


@dataclass(frozen=True, kw_only=True)
class PicturesState:
    """The state of the pictures on a page, which it tells with each click: `after` is the id of the state of
    the edits, those that are shown go from `start` to `limit`, `order` is the id of the check whose pictures
    come first. `page` is the number of pictures that a click on "Show more" adds; `painted` is another number
    each time, at which captions that were typed give way."""

    after: str = ""
    start: int = 0
    limit: int = 0
    order: str = ""
    page: int = 0
    painted: int = 0


FRESH = PicturesState()


def dataset_pictures(
    record: DatasetRecord | None,
    pictures: Sequence[DatasetPicture],
    *,
    state: PicturesState = FRESH,
) -> str:
    """HTML of thumbnails with captions to edit; without pictures, the first thing to do."""
    if record is None:
        return fill("no_pictures", advised=ADVISED_PICTURES)
    headline = f"{counted(record.images, 'picture')}, {record.captions} with a caption"
    return fill(
        "pictures",
        headline=headline,
        pictures=pictures,
        set_id=record.id,
        longest=LONGEST_CAPTION,
        images=record.images,
        hidden=max(0, record.images - state.start - len(pictures)),
        state=state,
    )


def dataset_edits(history: EditHistory) -> str:
    """HTML of what was edited last and undone last, each with the way back, and of the versions; empty when
    nothing was edited yet."""
    named = [{"id": name, "name": name, "holds": at == history.head} for name, at in history.versions.items()]
    came = {"id": ORIGINALS, "name": "", "holds": history.head == ORIGINALS}
    unnamed = [{"id": one.id, "made": moment(one.time), "holds": False} for one in history.unnamed]
    return fill(
        "edits",
        undo=_change(history.undoable),
        redo=_change(history.redoable),
        after=history.head,
        versions=[came, *named[-MOST_VERSIONS:], *unnamed[-MOST_VERSIONS:]] if history.entries else [],
        longest=LONGEST_NAME,
    )


def _change(entry: EditEntry | None) -> dict[str, Any] | None:
    """Facts that the page tells of an entry: the kind of its edits, and their picture, where it is one."""
    if entry is None:
        return None
    kinds = {edit.edit for edit in entry.edits}
    return {
        "kind": kinds.pop() if len(kinds) == 1 else "several",
        "file": entry.edits[0].picture if len(entry.edits) == 1 else "",
        "n": len(entry.edits),
        "why": entry.why,
    }


def dataset_notices(record: DatasetRecord | None) -> str:
    """HTML with a sentence for each refused file and each warning; empty when there is none."""
    if record is None or not (record.refused or record.warnings):
        return ""
    return fill("notices", refused=record.refused, warnings=record.warnings)


def lora_grid(
    records: Sequence[LoraRecord],
    chosen: str,
    search: str = "",
    *,
    same: Collection[str] = (),
    pages: Pages = ONE_PAGE,
) -> str:
    """HTML of a button with a picture for each LoRA of a page. `same` are the slugs of LoRAs whose title
    others have too, as of `twins`."""
    facts = [{"lora": record, "line": _lora_line(record, apart=record.slug in same)} for record in records]
    return fill("loras", loras=facts, chosen=chosen, search=search.strip(), pages=pages)


def twins(records: Sequence[LoraRecord | ListedLora]) -> set[str]:
    """Slugs of LoRAs that share their title with others: the slug has to stand beside it."""
    many = Counter(record.title.casefold() for record in records)
    return {record.slug for record in records if many[record.title.casefold()] > 1}


@dataclass(frozen=True)
class Uses:
    """The newest pictures that a LoRA was used for, and the number of all."""

    images: Sequence[ImageRecord] = ()
    total: int = 0


UNUSED = Uses()


def lora_details(record: LoraRecord | None, file: Path | None = None, uses: Uses = UNUSED) -> str:
    """HTML of a LoRA's facts, previews, download and the pictures made with it."""
    if record is None:
        return fill("no_choice", what="LoRA")
    facts = {
        "trigger word": typed(record.trigger_word),
        "kind": record.kind,
        "base": record.base,
        "made for": family_title(record.family) if record.family else "",
        "steps": str(record.steps or ""),
        "network_dim": str(record.network_dim or ""),
        "network_alpha": f"{record.network_alpha:g}" if record.network_alpha else "",
        "size": size(record.size_bytes),
        "left out": record.left_out,
        "made": moment(record.created_at),
        "folder": typed(record.slug),
        "hash": record.id[:12],
    }
    shown = [(name, value) for name, value in facts.items() if value]
    pairs = preview_pairs(record.previews)
    return fill("lora", lora=record, facts=shown, file=file, pairs=pairs, uses=uses)


def preview_pairs(previews: Sequence[str]) -> list[tuple[str, str]]:
    """(the base's, the LoRA's) previews of the last step, as a training names them; else by themselves."""
    base = {match[1]: path for path in previews if (match := BASE_PREVIEW.fullmatch(Path(path).name))}
    steps = [(match[1], match[2], path) for path in previews if (match := PREVIEW.fullmatch(Path(path).name))]
    last = max((step for step, _, _ in steps), default="")
    pairs = [(base.get(number, ""), path) for step, number, path in steps if step == last]
    return pairs or [("", path) for path in previews[-4:]]


def preview_rounds(previews: Sequence[str]) -> list[tuple[int, list[tuple[str, str]]]]:
    """(step, pairs of the base's and the LoRA's previews), the last step first, as a training says."""
    base = {match[1]: path for path in previews if (match := BASE_PREVIEW.fullmatch(Path(path).name))}
    rounds: dict[int, list[tuple[str, str]]] = {}
    for path in previews:
        if match := PREVIEW.fullmatch(Path(path).name):
            rounds.setdefault(int(match[1]), []).append((base.get(match[2], ""), path))
    return sorted(rounds.items(), reverse=True)


def image_grid(
    records: Sequence[ImageRecord], chosen: str, search: str = "", *, pages: Pages = ONE_PAGE
) -> str:
    """HTML of a button for each picture of a page."""
    return fill("images", images=records, chosen=chosen, search=search.strip(), pages=pages)


def image_details(record: ImageRecord | None, infotext: str = "", *, favourite: bool = False) -> str:
    """HTML of a picture with its facts and infotext."""
    if record is None:
        return fill("no_choice", what="picture")
    facts = [
        ("seed", str(record.seed)),
        ("size", f"{record.width} × {record.height}"),
        ("LoRAs", ", ".join(record.lora_slugs) or "none"),
        ("made", moment(record.created_at)),
    ]
    return fill(
        "image", image=record, facts=facts, infotext=infotext, file=Path(record.path), favourite=favourite
    )


def results(
    made: Sequence[Result], infotext: str, note: str = "", *, notes: Sequence[str] = (), sheet: str = ""
) -> str:
    """HTML of a generation's result: pictures, `notes` on ignored settings, a grid's labelled sheet."""
    return fill("results", results=made, infotext=infotext, note=note, notes=notes, sheet=sheet)


def recent(images: Sequence[ImageRecord]) -> str:
    """HTML of a strip of the last pictures, to press; empty when there are none."""
    return fill("recent", images=images) if images else ""


def unfinished(paths: Sequence[str]) -> str:
    """HTML of the pictures of a generation that goes on."""
    return fill("unfinished", paths=paths)


def prompts_used(prompts: Sequence[str]) -> str:
    """HTML of prompts of earlier pictures, to click; empty when there are none."""
    return fill("prompts_used", prompts=prompts) if prompts else ""


def triggers(records: Sequence[LoraRecord]) -> str:
    """HTML of the trigger words of the chosen LoRAs; empty when there are none."""
    words = [(record.title, record.trigger_word) for record in records if record.trigger_word]
    return fill("triggers", words=words) if words else ""


def ideas(prompts: Sequence[str], further_prompts: Sequence[str] = ()) -> str:
    """HTML of prompts to click, and of a list with more of them."""
    return fill("ideas", prompts=prompts, further_prompts=further_prompts)


def deleted(title: str) -> str:
    return fill("deleted", title=title)


def _lora_line(record: LoraRecord, *, apart: bool = False) -> str:
    """A LoRA's facts in a line; `apart` adds slug and date, which tell it from others of its name."""
    steps = f"{record.steps} steps" if record.steps else ""
    parts = ["★" if record.favourite else "", record.kind, record.base, steps]
    parts += [record.slug, moment(record.created_at)] if apart else []
    return " · ".join(part for part in parts if part)
