"""Repairs that a report suggests, in the words that `--fix` takes, each with its reason."""

from __future__ import annotations

from lora_studio.catalog import CHROMA, FLUX, KLEIN, SD1, SD2, SDXL
from lora_studio.formatting import counted
from lora_studio.lora.file.contents import LORA, TITLES
from lora_studio.lora.inspection.lora_report import LoraReport, Suggestion
from lora_studio.lora.inspection.program_readings import UNKNOWN_NAMES

KOHYA, IN_HEADER = "Kohya", "the header"
STABLE = frozenset({SD1, SD2, SDXL})
READ_EVERYWHERE = STABLE | {FLUX, CHROMA, KLEIN}
"""Families whose layers all programs find by Kohya's names that can run them; of the latter three those have
other layers than diffusers, and LoRAs alone become them."""


def suggestions_for(report: LoraReport) -> tuple[Suggestion, ...]:
    """The repairs that something in the report asks for, the gravest first."""
    layers = sum(report.kinds.values())
    some_are_broken = 0 < report.broken_count < layers
    unread = [one.program for one in report.programs if any(why.startswith(UNKNOWN_NAMES) for why in one.why)]
    renamed = unread and report.spelling != KOHYA and report.family in READ_EVERYWHERE
    renamed = renamed and (report.family in STABLE or report.kinds.keys() == {TITLES[LORA]})
    reasons = {
        "drop_broken": "the other layers can be used" if some_are_broken else "",
        "spelling=kohya": f"for {', '.join(unread)}" if renamed else "",
        "alpha=written": "most programs read no alpha in the header"
        if report.alpha_source == IN_HEADER
        else "",
        "save_precision=fp16": "64 bits take four times the room" if "F64" in report.precision else "",
        "strip_private": f"{counted(len(report.private), 'thing')} that may be private"
        if report.private
        else "",
    }
    return tuple(Suggestion(fix=fix, reason=reason) for fix, reason in reasons.items() if reason)
