"""Checks of single pictures: what is wrong with each, whatever the others are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from lora_studio.data.buckets import Placement
from lora_studio.data.checks.checked_set import CheckedPicture, CheckedSet, enlargement, kept_share
from lora_studio.data.checks.dataset_findings import DatasetCheck, DatasetFinding, Fix, Severity, fix_of
from lora_studio.data.checks.edge_measures import STRIPS
from lora_studio.data.checks.picture_facts import PictureFacts
from lora_studio.data.checks.picture_measures import MASK_SHARE, MEASURED_SIDE
from lora_studio.data.edits.picture_edits import CropPicture, FlattenPicture, RemovePicture
from lora_studio.data.pixels.picture_remarks import MUCH_KEPT, MUCH_LARGER

BLURRED, VERY_BLURRED = 2.2, 3.5
EDGE_WIDTH = 1.4
"""Pixels that an edge takes from a tenth to nine tenths of its height, times its sharpness."""
FAR_TOO_SMALL = 2.0
TRANSPARENT = 0.01
THUMBNAIL = re.compile(r"(?:^|[ _.-])(?:thumb|thumbs|thumbnail|thumbnails|tn|preview)(?:[ _.-]|$)")
SIZE_IN_NAME = re.compile(r"[_-]\d{2,3}x\d{2,3}$")
THUMBNAIL_SIDE = 256
LOST_DETAIL, LOST_MORE = 0.3, 1.25


def _unreadable(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture in checked.pictures:
        if picture.facts is None and not picture.is_unread:
            fix = fix_of(picture, "Leave it out", RemovePicture(picture.name))
            yield _finding("unreadable", picture, picture.fault, "serious", fix)


def _unread(checked: CheckedSet) -> Iterator[DatasetFinding]:
    """Files that the disk didn't give. The fix is made only by name: the picture may come back."""
    for picture in checked.pictures:
        if picture.is_unread:
            edit = RemovePicture(picture.name)
            fix = None if picture.is_gone else fix_of(picture, "Leave it out", edit)
            yield _finding("unread", picture, picture.fault, "serious", fix)
        elif picture.caption.is_unread:
            reason = f"The caption of {picture.shown} can't be read: {picture.caption.fault}"
            yield _finding("unread", picture, reason, "serious")


def _blurred(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for (picture, placement), (_, facts) in zip(checked.placed, checked.measured, strict=True):
        if facts.sharpness is None:
            continue
        shrunk = max(placement.resized) / min(MEASURED_SIDE, max(facts.size))
        edge = EDGE_WIDTH / facts.sharpness * min(1.0, shrunk)  # an enlarged picture is too small
        if edge > BLURRED:
            much = edge > VERY_BLURRED
            fix = fix_of(picture, "Leave it out", RemovePicture(picture.name))
            reason = (
                f"{picture.shown} is {'very ' if much else ''}blurred: even its sharpest edges take "
                f"{edge:.1f} pixels where it is trained."
            )
            yield _finding("blurred", picture, reason, "serious" if much else "warning", fix)


def _too_small(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture, placement in checked.placed:
        larger = enlargement(placement)
        if larger > MUCH_LARGER:
            fix = fix_of(picture, "Leave it out", RemovePicture(picture.name))
            reason = (
                f"{picture.shown} has {_size(placement)} pixels and is enlarged {larger:.1f} times for "
                f"{checked.options.base_title}."
            )
            severity: Severity = "serious" if larger > FAR_TOO_SMALL else "warning"
            yield _finding("too_small", picture, reason, severity, fix)


def _extreme_aspect(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for (picture, placement), (_, facts) in zip(checked.placed, checked.measured, strict=True):
        if (kept := kept_share(placement)) < MUCH_KEPT:
            fix = fix_of(picture, "Crop to where most is to be seen", _best_crop(picture, placement, facts))
            reason = (
                f"{picture.shown} has the shape {_size(placement)}: {1 - kept:.0%} of it is cut off, and "
                "only its middle is learned."
            )
            yield _finding("extreme_aspect", picture, reason, "warning", fix)


def _cut_detail(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for (picture, placement), (_, facts) in zip(checked.placed, checked.measured, strict=True):
        lost = 1 - kept_share(placement)
        detail = _detail_lost(placement, facts)
        if detail >= LOST_DETAIL and detail >= LOST_MORE * lost:
            crop = _best_crop(picture, placement, facts)
            reason = (
                f"The cut to {placement.bucket[0]} × {placement.bucket[1]} takes {lost:.0%} of "
                f"{picture.shown}, and with it {detail:.0%} of its edges: most likely its subject."
            )
            fix = fix_of(picture, "Crop to where most is to be seen", crop)
            yield _finding("cut_detail", picture, reason, "warning", fix)


def _borders(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture, facts in checked.measured:
        if facts.border:
            left, top, right, bottom = facts.inner
            share = 1 - (right - left) * (bottom - top) / (facts.size[0] * facts.size[1])
            crop = CropPicture(picture.name, left, top, right, bottom)
            reason = (
                f"{share:.0%} of {picture.shown} is a {_colour_name(facts.border)} border, which the LoRA "
                "learns to draw."
            )
            severity: Severity = "serious" if share > 0.1 else "warning"
            yield _finding("borders", picture, reason, severity, fix_of(picture, "Crop the border off", crop))


def _transparent(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture, facts in checked.measured:
        if facts.transparent > TRANSPARENT:
            reason = f"{facts.transparent:.0%} of {picture.shown} is transparent, and is learned as white."
            fix = fix_of(picture, "Lay it over grey", FlattenPicture(picture.name, "#808080"))
            yield _finding("transparent", picture, reason, "warning", fix)


def _colour_profiles(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture, facts in checked.measured:
        if facts.colours == "converted":
            reason = (
                f"{picture.shown} has a colour profile other than sRGB. It is converted here; sd-scripts "
                "would learn wrong colours."
            )
            yield _finding("colour_profile", picture, reason, "note")
        elif facts.colours == "unreadable":
            reason = f"{picture.shown} has a colour profile that can't be read: its colours may be wrong."
            yield _finding("colour_profile", picture, reason, "warning")


def _turned(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture, facts in checked.measured:
        if facts.orientation > 1:
            reason = (
                f"{picture.shown} lies on its side or head, and only its EXIF says so. It is turned here; "
                "programs that pass over EXIF learn it as it lies."
            )
            yield _finding("turned", picture, reason, "note")


def _thumbnails(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for picture, facts in checked.measured:
        stem = PurePosixPath(picture.name).stem.lower()[-200:]
        called = bool(THUMBNAIL.search(stem) or SIZE_IN_NAME.search(stem))
        if called and max(facts.size) <= max(THUMBNAIL_SIDE, checked.options.native_size // 2):
            fix = fix_of(picture, "Leave it out", RemovePicture(picture.name))
            wide, high = facts.size
            reason = f"{picture.shown} is called a thumbnail, and has {wide} × {high} pixels like one."
            yield _finding("thumbnail", picture, reason, "serious", fix)


def _masks(checked: CheckedSet) -> Iterator[DatasetFinding]:
    found = [picture for picture, facts in checked.measured if facts.is_mask_like]
    if 2 * len(found) > len(checked.measured):
        return  # silhouettes are what this set is about
    for picture in found:
        fix = fix_of(picture, "Leave it out", RemovePicture(picture.name))
        reason = f"{picture.shown} is black and white in a few areas, as a mask is, not a picture."
        yield _finding("mask", picture, reason, "serious", fix)


PICTURE_CHECKS = (
    DatasetCheck(
        id="unreadable",
        title="Can't be read",
        threshold="Files with a picture's ending that can't be decoded whole.",
        advice="Copy or download them again, or leave them out.",
        find=_unreadable,
    ),
    DatasetCheck(
        id="unread",
        title="Not given by the disk",
        threshold="The disk or the network share didn't give the picture or its caption: no permission, a "
        "fault, or gone since the set was listed. What is in the file is not known.",
        advice="Bring them back or replace them and check again, or leave them out, which can be undone.",
        find=_unread,
    ),
    DatasetCheck(
        id="blurred",
        title="Blurred",
        threshold=f"The sharpest edges take more than {BLURRED} pixels at the training's size, and from "
        f"{VERY_BLURRED} on it is serious; sharp ones take one at most. Pictures without edges are not "
        "judged.",
        advice="Take sharper pictures: a LoRA learns blur as part of the subject.",
        find=_blurred,
    ),
    DatasetCheck(
        id="too_small",
        title="Too small for the base",
        threshold=f"The training enlarges the picture more than {MUCH_LARGER} times; from "
        f"{FAR_TOO_SMALL:.0f} times on it is serious, since three of four learned pixels are made up.",
        advice="Look for larger versions, or train at a lower resolution.",
        find=_too_small,
    ),
    DatasetCheck(
        id="extreme_aspect",
        title="Much longer than wide",
        threshold=f"The nearest bucket shows less than {MUCH_KEPT:.0%} of the picture.",
        advice="Cut them into several pictures, or choose what stays.",
        find=_extreme_aspect,
    ),
    DatasetCheck(
        id="cut_detail",
        title="Cut through the subject",
        threshold=f"The cut takes {LOST_DETAIL:.0%} of the picture's edges or more, and {LOST_MORE} times "
        "the share of the area. Edges stand for the subject; what it is, nobody looks at.",
        advice="Crop them so that the subject is in the middle.",
        find=_cut_detail,
    ),
    DatasetCheck(
        id="borders",
        title="Border around the picture",
        threshold="Two opposite sides, or a black one, have a bar of one colour that is 1.5% to 45% of the "
        "side and ends at a straight edge; above 10% of the area it is serious.",
        advice="Crop the borders off: they are learned like anything else.",
        find=_borders,
    ),
    DatasetCheck(
        id="transparent",
        title="Transparent background",
        threshold=f"More than {TRANSPARENT:.0%} of the pixels are more transparent than not.",
        advice="Lay them over different backgrounds, or train with alpha_mask.",
        find=_transparent,
    ),
    DatasetCheck(
        id="colour_profile",
        title="Colour profile",
        threshold="A profile that isn't sRGB within two levels of 256, or that can't be read.",
        advice="Nothing has to be done here; for other programs save them in sRGB.",
        find=_colour_profiles,
    ),
    DatasetCheck(
        id="turned",
        title="Turned by EXIF",
        threshold="EXIF's orientation is another one than upright.",
        advice="Nothing has to be done here; for other programs save them upright.",
        find=_turned,
    ),
    DatasetCheck(
        id="thumbnail",
        title="Looks like a thumbnail",
        threshold=f"The name says so (thumb, preview, 150x150), and no side is above {THUMBNAIL_SIDE} pixels "
        "or half of the base's size.",
        advice="Leave thumbnails out, and add the pictures that they were made of.",
        find=_thumbnails,
    ),
    DatasetCheck(
        id="mask",
        title="Looks like a mask",
        threshold=f"Grey, {MASK_SHARE:.0%} of it black or white, and few edges; not where most of the set "
        "is so.",
        advice="Leave masks out, or name them like their picture with -masklabel behind.",
        find=_masks,
    ),
)


def _finding(
    check: str, picture: CheckedPicture, reason: str, severity: Severity, fix: Fix | None = None
) -> DatasetFinding:
    return DatasetFinding(check=check, pictures=(picture.name,), reason=reason, severity=severity, fix=fix)


def _size(placement: Placement) -> str:
    return " × ".join(map(str, placement.original))


def _detail_lost(placement: Placement, facts: PictureFacts) -> float:
    """The share of a picture's edges that its bucket's cut takes away."""
    kept = 1.0
    for axis, strips in ((0, facts.columns), (1, facts.rows)):
        start = placement.corner[axis] / placement.resized[axis]
        kept *= _inside(strips, start, start + placement.bucket[axis] / placement.resized[axis])
    return 1 - kept


def _inside(strips: tuple[float, ...], start: float, end: float) -> float:
    """The part of equal strips' shares between two places, 0 to 1."""
    spans = ((max(start, n / STRIPS), min(end, (n + 1) / STRIPS)) for n in range(STRIPS))
    return sum(
        share * max(0.0, high - low) * STRIPS for share, (low, high) in zip(strips, spans, strict=True)
    )


def _best_crop(picture: CheckedPicture, placement: Placement, facts: PictureFacts) -> CropPicture:
    """The crop of the bucket's shape that has most edges in it."""
    box: list[tuple[int, int]] = []
    for axis, strips in ((0, facts.columns), (1, facts.rows)):
        side = placement.original[axis]
        length = min(side, max(1, round(placement.bucket[axis] / placement.resized[axis] * side)))
        starts = sorted(
            {*range(0, side - length + 1, max(1, side // 64)), (side - length) // 2, side - length}
        )
        middle = (side - length) / 2
        best = max(
            starts,
            key=lambda at: (round(_inside(strips, at / side, (at + length) / side), 3), -abs(at - middle)),
        )
        box.append((best, best + length))
    return CropPicture(picture.name, box[0][0], box[1][0], box[0][1], box[1][1])


def _colour_name(colour: str) -> str:
    levels = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "black" if max(levels) < 40 else "white" if min(levels) > 215 else "plain"
