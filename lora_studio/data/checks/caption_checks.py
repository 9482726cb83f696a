"""Checks of captions: what a base model reads of them, and what they teach it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from lora_studio.data.captions import has_word, with_trigger
from lora_studio.data.checks.checked_set import WORD, CaptionLength, CheckedPicture, CheckedSet, words_in
from lora_studio.data.checks.dataset_findings import DatasetCheck, DatasetFinding, fix_of
from lora_studio.data.edits.picture_edits import SetCaption
from lora_studio.formatting import counted
from lora_studio.parsing.plain_text import plain_text

FEW_FOR_WORDS, EVERYWHERE = 6, 0.95
ONE_CAPTION = 0.6
MOST_NAMED_WORDS, SHOWN_LETTERS = 8, 80
LETTERS_A_TOKEN = 64
"""The most letters that are counted for each token read: longer texts are plainly too long."""


def _missing(checked: CheckedSet) -> Iterator[DatasetFinding]:
    bare = [one for one in checked.pictures if not one.caption.text and not one.caption.fault]
    if bare and len(bare) == len(checked.pictures):
        reason = "No picture has a caption: all that they show goes into the trigger word."
        if checked.options.kind != "style" or not checked.options.trigger:
            yield DatasetFinding(check="no_caption", pictures=(), reason=reason, severity="warning")
        return
    for picture in bare:
        reason = f"{picture.shown} has no caption, and others have one."
        trigger = checked.options.trigger
        edit = SetCaption(picture.name, trigger)
        fix = fix_of(picture, "Caption it by the trigger", edit) if trigger else None
        yield DatasetFinding(
            check="no_caption", pictures=(picture.name,), reason=reason, severity="warning", fix=fix
        )


def _encodings(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture in checked.pictures:
        caption = picture.caption
        if caption.is_unread:
            continue  # a finding of its own
        if caption.fault:
            reason = f"The caption of {picture.shown} can't be read: {caption.fault}"
            yield DatasetFinding(
                check="encoding", pictures=(picture.name,), reason=reason, severity="serious"
            )
        elif caption.encoding:
            shown = plain_text(caption.text, SHOWN_LETTERS)
            how = "is" if caption.is_certain else "doesn't say its encoding, most likely"
            reason = f"The caption of {picture.shown} {how} {caption.encoding}, not UTF-8: “{shown}”."
            edit = SetCaption(picture.name, "\n".join(caption.lines))
            yield DatasetFinding(
                check="encoding",
                pictures=(picture.name,),
                reason=reason,
                severity="warning" if caption.is_certain else "serious",
                fix=fix_of(picture, "Save it as UTF-8", edit),
            )


def _without_trigger(checked: CheckedSet) -> Iterator[DatasetFinding]:
    trigger = checked.options.trigger.strip()
    for picture in checked.captioned if trigger else ():
        if not has_word(picture.caption.text, trigger):
            text = with_trigger("\n".join(picture.caption.lines), trigger)
            reason = f"The caption of {picture.shown} lacks the trigger word {trigger}."
            yield DatasetFinding(
                check="no_trigger",
                pictures=(picture.name,),
                reason=reason,
                severity="warning",
                fix=fix_of(picture, "Put it in front", SetCaption(picture.name, text)),
            )


def _beyond_window(checked: CheckedSet) -> Iterator[DatasetFinding]:
    length = checked.options.caption_length
    for picture in checked.captioned if length else ():
        assert length is not None
        text = picture.caption.text[: LETTERS_A_TOKEN * length.limit]
        if (tokens := length.count(text)) > length.limit:
            kept, lost = split_at_window(text, length)
            words = WORD.findall(lost)
            first = plain_text(" ".join(words[:MOST_NAMED_WORDS]), SHOWN_LETTERS)
            reason = (
                f"The caption of {picture.shown} has {tokens} tokens, of which {length.limit} are read: "
                f"{counted(len(words), 'word')} from “{first}” on fall off."
            )
            edit = SetCaption(picture.name, kept)
            yield DatasetFinding(
                check="beyond_window",
                pictures=(picture.name,),
                reason=reason,
                severity="warning",
                fix=fix_of(picture, "Cut it between words", edit),
            )


def _constant_words(checked: CheckedSet) -> Iterator[DatasetFinding]:
    """Words of nearly all captions. The one beside the trigger is its class, as in `sks dog`, and meant."""
    captions = checked.captioned
    if not checked.options.trigger or len(captions) < FEW_FOR_WORDS or _is_one_caption(captions):
        return
    meant = checked.trigger_words | _beside_trigger(captions, checked.options.trigger)
    found = [
        word
        for word, count in words_in(captions).most_common(50)
        if count >= EVERYWHERE * len(captions) and word not in meant and not word.isdigit()
    ]
    if found:
        named = ", ".join(plain_text(word, 40) for word in found[:MOST_NAMED_WORDS])
        reason = (
            f"{named} {'stands' if len(found) == 1 else 'stand'} in nearly all captions beside "
            f"{checked.options.trigger}: the LoRA can't tell them apart, and draws both for either."
        )
        yield DatasetFinding(check="constant_word", pictures=(), reason=reason, severity="warning")


def _one_caption(checked: CheckedSet) -> Iterator[DatasetFinding]:
    captions = checked.captioned
    if len(captions) >= FEW_FOR_WORDS and _is_one_caption(captions):
        text, count = Counter(picture.caption.text for picture in captions).most_common(1)[0]
        same = tuple(picture.name for picture in captions if picture.caption.text == text)
        reason = f"{count} of {len(captions)} captions are the same: “{plain_text(text, SHOWN_LETTERS)}”."
        yield DatasetFinding(check="one_caption", pictures=same, reason=reason, severity="warning")


def _several_lines(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture in checked.pictures:
        if len(lines := picture.caption.lines) > 1:
            joined = ", ".join(line.rstrip(",. ") for line in lines)
            reason = (
                f"The caption of {picture.shown} has {len(lines)} lines, of which the first is read "
                "(all of them with enable_wildcard, one at each use)."
            )
            yield DatasetFinding(
                check="several_lines",
                pictures=(picture.name,),
                reason=reason,
                severity="warning",
                fix=fix_of(picture, "Join the lines", SetCaption(picture.name, joined)),
            )


CAPTION_CHECKS = (
    DatasetCheck(
        id="no_caption",
        title="No caption",
        threshold="No caption file, no line in a table, and no words in the folder's name. Where none has "
        "one it is said once, and not at all for a style with a trigger word.",
        advice="Write what is to be seen beside the subject: what captions name can be changed later.",
        find=_missing,
    ),
    DatasetCheck(
        id="encoding",
        title="Caption in another encoding",
        threshold="Neither UTF-8 nor UTF-16 with its mark. Where several encodings fit, it is serious.",
        advice="Save captions as UTF-8, which every trainer reads.",
        find=_encodings,
    ),
    DatasetCheck(
        id="no_trigger",
        title="Caption without the trigger word",
        threshold="The trigger word is no word of the line that is read.",
        advice="Put it in front of all captions; the training does so by itself, other programs don't.",
        find=_without_trigger,
    ),
    DatasetCheck(
        id="beyond_window",
        title="Caption longer than what is read",
        threshold="More tokens than the base's text encoder reads, counted by its own tokenizer.",
        advice="Shorten them, or let max_token_length be 150 or 225 where the base can.",
        find=_beyond_window,
    ),
    DatasetCheck(
        id="constant_word",
        title="A word that always comes with the trigger",
        threshold=f"A word that says something stands in {EVERYWHERE:.0%} of {FEW_FOR_WORDS} captions or "
        "more. Words next to the trigger don't count: they are its class.",
        advice="Leave the word out where it is part of the subject, or add pictures without it.",
        find=_constant_words,
    ),
    DatasetCheck(
        id="one_caption",
        title="One caption for all",
        threshold=f"{ONE_CAPTION:.0%} of {FEW_FOR_WORDS} captions or more are the same, and have words "
        "beside the trigger.",
        advice="Say in each caption what is different in its picture.",
        find=_one_caption,
    ),
    DatasetCheck(
        id="several_lines",
        title="Caption of several lines",
        threshold="More than one line with text.",
        advice="Join them, or train with enable_wildcard.",
        find=_several_lines,
    ),
)


def split_at_window(text: str, length: CaptionLength) -> tuple[str, str]:
    """The part of a caption that is read, up to its last whole word, and the rest."""
    # A word takes a token at least, so the end lies among the first ones; the others aren't counted.
    ends = [match.end() for match in islice(WORD.finditer(text), length.limit + 1)]
    # The first place where too much is counted; counts grow with the text.
    place = bisect_right(ends, length.limit, key=lambda end: length.count(text[:end]))
    at = ends[place - 1] if place else 0
    return text[:at].rstrip(" ,.;"), text[at:].strip(" ,.;")


def _is_one_caption(captions: list[CheckedPicture]) -> bool:
    (text, count) = Counter(picture.caption.text for picture in captions).most_common(1)[0]
    words = next(picture for picture in captions if picture.caption.text == text).words
    return count >= ONE_CAPTION * len(captions) and len(words) > 1


def _beside_trigger(captions: list[CheckedPicture], trigger: str) -> set[str]:
    """Words that stand next to the trigger in half of the captions that have it."""
    wanted = WORD.findall(trigger.lower())
    found, seen = Counter[str](), 0
    for picture in captions:
        words = WORD.findall(picture.caption.text[:1000].lower())
        places = [at for at in range(len(words)) if words[at : at + len(wanted)] == wanted]
        if places:
            seen += 1
            at = places[0]
            found.update({*words[max(0, at - 1) : at], *words[at + len(wanted) :][:1]})
    return {word for word, count in found.items() if 2 * count >= seen}
