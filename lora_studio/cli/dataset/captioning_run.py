"""`lora-studio dataset caption --engine`: pictures without a caption get one from a model."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.cli.dataset import tagger_arguments
from lora_studio.formatting import about, counted

if TYPE_CHECKING:
    from lora_studio.captioning.caption_template import CaptionTemplate
    from lora_studio.captioning.captioner import Captioner
    from lora_studio.data.edits.picture_edits import SetCaption
    from lora_studio.data.training_set.subsets import Subset

DONE, STOPPED = 0, 130
SHOWN = 8
"""Captions of a try, and faults, that are printed."""
SHOWN_FIRST = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only an engine has."""
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        default="",
        help="the engine's model: a folder, or an id in the cache",
    )
    parser.add_argument(
        "--template",
        metavar="TEXT",
        default="{trigger}, {caption}",
        help="what a caption becomes",
    )
    parser.add_argument("--trigger", metavar="WORD", default="", help="the {trigger} of the template")
    parser.add_argument(
        "--again", action="store_true", help="write captions anew that an engine wrote, never yours"
    )
    tagger_arguments.add_arguments(parser)


def run(folder: Path, subsets: Sequence[Subset], arguments: argparse.Namespace) -> int:
    """Caption the pictures of a folder's subsets. Raises StudioError."""
    from lora_studio.captioning.caption_engines import load_captioner
    from lora_studio.captioning.caption_run import caption_pictures
    from lora_studio.captioning.caption_template import CaptionTemplate
    from lora_studio.captioning.captioner import engine_of
    from lora_studio.data.captioning.engine_captions import BY_ENGINE, write_captions
    from lora_studio.data.training_set.folder_edits import edit_folder, log_heads

    engine = engine_of(arguments.engine)
    template = CaptionTemplate(text=arguments.template, trigger=arguments.trigger)
    tagger = tagger_arguments.tagger_options(arguments)
    pictures, kept = _pictures(folder, subsets, again=arguments.again)
    print(f"{counted(len(pictures), 'picture')} to caption; {kept} with a caption, which stays.")
    if not pictures:
        return DONE
    captioner = load_captioner(engine, arguments.model, tagger)
    _try(captioner, pictures, template, engine.title, is_all=arguments.dry_run)
    if arguments.dry_run:
        return DONE
    progress, mark, written = Progress(sys.stderr), secrets.token_hex(4), set[str]()

    def look() -> tuple[dict[Path, str], set[str]]:
        heads = log_heads(folder, [subset.folder for subset in subsets])  # before the captions are read
        now, _ = _pictures(folder, subsets, again=arguments.again)
        return heads, {*now}

    def write(edits: Sequence[SetCaption], heads: dict[Path, str]) -> None:
        edit_folder(folder, edits, f"{BY_ENGINE}{engine.title}", after=heads, run=mark)

    def keep(captions: dict[str, str]) -> None:
        written.update(write_captions(captions, look, write))

    with stop_request("Stopping; the captions so far stay, and the next run goes on from there.") as asked:
        found = caption_pictures(
            captioner, pictures, template, keep=keep, emit=progress.show, should_stop=asked
        )
    progress.close()
    for name, reason in list(found.failed.items())[:SHOWN]:
        print(f"  {name}: {reason}")
    if theirs := len(found.captions.keys() - written):
        print(f"{counted(theirs, 'picture')} left as they are: somebody captioned them meanwhile.")
    print(f"{counted(len(written), 'picture')} captioned, {len(found.failed)} still without.")
    return STOPPED if found.was_stopped else DONE


def _pictures(folder: Path, subsets: Sequence[Subset], *, again: bool) -> tuple[dict[str, Path], int]:
    """The pictures that an engine may caption, by name, and the number of those that it may not: one with a
    caption by hand, or one that was taken away, never, one of an engine only `again`."""
    from lora_studio.data.captioning.engine_captions import by_engine, by_person
    from lora_studio.data.checks.checked_set import pictures_of
    from lora_studio.data.edits.edit_log import EditLog
    from lora_studio.data.training_set.folder_edits import log_folder

    theirs, by_hand = set[Path](), set[Path]()
    for place in {log_folder(subset.folder, folder) for subset in subsets}:
        entries = EditLog(place).read().line()
        theirs |= {place / picture for picture in by_engine(entries)} if again else set()
        by_hand |= {place / picture for picture in by_person(entries)}
    found, kept = dict[str, Path](), 0
    # A folder's class is no caption that somebody wrote.
    for picture in pictures_of(folder, [replace(subset, words="") for subset in subsets]):
        named = folder / picture.name
        is_bare = not picture.caption.lines and not picture.caption.fault and named not in by_hand
        if picture.can_be_edited and not picture.fault and (is_bare or named in theirs):
            found[picture.name] = picture.path
        else:
            kept += 1
    return found, kept


def _try(
    captioner: Captioner, pictures: dict[str, Path], template: CaptionTemplate, title: str, *, is_all: bool
) -> None:
    """Say what a picture takes, measured on the first ones, and for a try what they would be called."""
    from lora_studio.captioning.caption_run import caption_pictures

    few = dict(list(pictures.items())[: SHOWN_FIRST if is_all else 1])
    begun = time.monotonic()
    found = caption_pictures(captioner, few, template)
    each = (time.monotonic() - begun) / len(few)
    for name in few if is_all else ():
        print(f"  {name}: {found.captions.get(name) or found.failed[name]}")
    print(f"{title} takes {each:.1f} s a picture here: {about(each * len(pictures))}.")
