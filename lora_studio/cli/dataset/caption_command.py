"""`lora-studio dataset caption`: the captions of a folder changed by rule, counted, looked through."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.cli.dataset import captioning_run
from lora_studio.errors import ConfigError
from lora_studio.files import expanded
from lora_studio.formatting import counted

if TYPE_CHECKING:
    from lora_studio.data.captioning.caption_change import CaptionChange
    from lora_studio.data.captioning.caption_operations import Form, Operation
    from lora_studio.data.checks.checked_set import CaptionLength
    from lora_studio.data.training_set.subsets import Subset

SUMMARY = "Change, count and look through a folder's captions; files stay as they are, --undo takes it back."
DONE = 0
SHOWN = 8
"""Captions of a change that are printed, and long ones."""
MOST_WORDS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="pictures with captions, also in Kohya's layout")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--add", metavar="WORDS", help="add a tag, or words, to captions without them")
    change.add_argument("--remove", metavar="WORDS", help="take a tag, or words, away")
    change.add_argument("--replace", nargs=2, metavar=("WORDS", "BY"), help="exchange a tag, or words")
    change.add_argument("--merge", nargs="+", metavar="WORDS", help="make several --into one")
    change.add_argument("--trigger_first", metavar="WORD", help="put the trigger word in front")
    change.add_argument(
        "--order", choices=("frequency", "alphabet"), help="sort the tags behind the first one"
    )
    change.add_argument("--words", action="store_true", help="say how often each tag or word comes")
    change.add_argument("--tokens", action="store_true", help="say how long captions are for --base")
    change.add_argument(
        "--engine",
        metavar="NAME",
        help="let starter, blip, florence2 or wd14 caption pictures that have none",
    )
    change.add_argument("--undo", action="store_true", help="take the edits back that were made last")
    parser.add_argument("--at", choices=("front", "end"), default="end", help="where --add puts it")
    parser.add_argument("--into", metavar="WORDS", default="", help="what --merge makes of them")
    parser.add_argument("--only", metavar="WORDS", default="", help="only captions with this tag, or words")
    parser.add_argument(
        "--without", metavar="WORDS", default="", help="only captions without this tag, or words"
    )
    parser.add_argument(
        "--form",
        choices=("tags", "sentences"),
        default="",
        help="what captions are (default: told from them)",
    )
    parser.add_argument("--base", metavar="NAME", default="starter", help="base that --tokens counts for")
    captioning_run.add_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.config_groups import DatasetGroup
    from lora_studio.data.captioning.caption_change import CaptionFilter, planned_change, reason_of
    from lora_studio.data.training_set.folder_edits import edit_folder, log_heads, undo_in_folder
    from lora_studio.data.training_set.subsets import folder_subsets

    folder = expanded(arguments.folder).absolute()
    if arguments.undo:
        undone = undo_in_folder(folder, dry_run=arguments.dry_run)
        print(f"{counted(len(undone), 'edit')} {'would be ' * arguments.dry_run}taken back.")
        return DONE
    subsets, _ = folder_subsets(DatasetGroup(train_data_dir=str(folder)))
    if arguments.engine is not None:
        return captioning_run.run(folder, subsets, arguments)
    heads = log_heads(folder, [subset.folder for subset in subsets])  # before the captions are read
    captions = _captions(folder, subsets)
    chosen = CaptionFilter(only=arguments.only, without=arguments.without, form=arguments.form)
    operation = _operation(arguments)
    if operation is None:
        found, form = chosen.of(captions), chosen.form_of(captions)
        _print_tokens(found, _length(arguments.base)) if arguments.tokens else _print_words(found, form)
        return DONE
    change = planned_change(operation, captions, chosen)
    _print_change(change, is_made=not arguments.dry_run)
    if change.after and not arguments.dry_run:
        edit_folder(folder, change.edits, reason_of(operation), after=heads)
    return DONE


def _captions(folder: Path, subsets: Sequence[Subset]) -> dict[str, str]:
    """The captions that can be changed, by picture. Prints which are left out: those that can't be read, and
    the class of a `<repeats>_<class>` folder, which no edit of a caption changes."""
    from lora_studio.data.checks.checked_set import pictures_of

    found, faults, of_class = dict[str, str](), list[str](), 0
    for subset in subsets:
        for picture in pictures_of(folder, [replace(subset, words="")], all_lines=True):
            caption = picture.caption
            if caption.fault or not caption.is_certain:
                faults.append(f"{picture.shown}: {caption.fault or 'its encoding is not certain.'}")
            elif not picture.can_be_edited:
                faults.append(f"{picture.shown}: its name can't be written into the log of edits.")
            elif subset.words and not caption.lines:
                of_class += 1
            else:
                found[picture.name] = "\n".join(caption.lines)
    for fault in faults[:SHOWN]:
        print(f"  {fault}")
    if faults:
        print(f"Left out: {counted(len(faults), 'caption')} that can't be read or named.")
    if of_class:
        print(f"Left out: {counted(of_class, 'picture')} whose caption is the name of the folder.")
    return found


def _operation(arguments: argparse.Namespace) -> Operation | None:
    """The operation that is asked for; None for a look. Raises ConfigError."""
    from lora_studio.data.captioning.caption_operations import operation_of

    given: dict[str, object] = {}
    if arguments.add is not None:
        given = {"operation": "add", "words": arguments.add, "at": arguments.at}
    elif arguments.remove is not None:
        given = {"operation": "remove", "words": arguments.remove}
    elif arguments.replace is not None:
        given = {"operation": "replace", "words": arguments.replace[0], "by": arguments.replace[1]}
    elif arguments.merge is not None:
        given = {"operation": "merge", "words": arguments.merge, "by": arguments.into}
    elif arguments.trigger_first is not None:
        given = {"operation": "trigger_first", "words": arguments.trigger_first}
    elif arguments.order is not None:
        given = {"operation": "order", "by": arguments.order}
    elif not (arguments.words or arguments.tokens):
        raise ConfigError(
            "What is to be done with the captions?",
            "Take --add, --remove, --replace, --words ... : see --help.",
        )
    return operation_of(given) if given else None


def _length(base: str) -> CaptionLength:
    """The counting of a base's captions. Raises ModelFileError, ConfigError."""
    from lora_studio.families.base_files.locate import find_base
    from lora_studio.families.encoders.caption_length import caption_length
    from lora_studio.settings import Settings

    length = caption_length(find_base(base, Settings.from_environment()))
    if length is None:
        raise ConfigError(
            f"The tokenizer of {base} isn't on this machine.", "Draw with it once; that fetches it."
        )
    return length


def _print_change(change: CaptionChange, *, is_made: bool) -> None:
    for picture, text in list(change.after.items())[:SHOWN]:
        print(f"{picture}\n  - {change.before[picture]}\n  + {text}")
    if len(change.after) > SHOWN:
        print(f"and {len(change.after) - SHOWN} more")
    done = "changed" if is_made else "would change"
    print(f"{len(change.after)} of {counted(change.looked_at, 'caption')} {done} ({change.form}).")


def _print_words(captions: Mapping[str, str], form: Form) -> None:
    from lora_studio.data.captioning.caption_statistics import word_counts

    counts = word_counts(captions, form)
    for word, count in counts[:MOST_WORDS]:
        print(f"{count:>6}  {word}")
    if len(counts) > MOST_WORDS:
        print(f"and {len(counts) - MOST_WORDS} more")
    print(f"{counted(len(captions), 'caption')} ({form}).")


def _print_tokens(captions: Mapping[str, str], length: CaptionLength) -> None:
    from lora_studio.data.captioning.caption_statistics import caption_tokens

    found = caption_tokens(captions, length)
    for one in found[:SHOWN]:
        lost = f"  not read: {one.lost}" if one.lost else ""
        print(f"{one.tokens:>6}  {one.picture}{lost}")
    beyond = sum(bool(one.lost) for one in found)
    print(
        f"{beyond} of {counted(len(found), 'caption')} longer than the {length.limit} tokens that are read."
    )
