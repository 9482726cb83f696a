"""A report in words that the page and the command line share."""

from __future__ import annotations

from lora_studio.formatting import counted, size
from lora_studio.lora.inspection.lora_report import LoraReport, OnBase


def fact_lines(report: LoraReport) -> list[tuple[str, str]]:
    """(name, value) of the facts, without empty ones."""
    facts = {
        "file": f"{report.name}, {size(report.size_bytes)}",
        "kind": report.what + _others(report),
        "made for": _made_for(report),
        "here": report.here,
        "base": report.base,
        "rank": _ranks(report),
        "alpha": " from ".join(
            one for one in (f"{report.alpha:g}" if report.alpha else "", report.alpha_source) if one
        ),
        "names": f"spelled as {report.spelling} does",
        "precision": ", ".join(f"{name} {percent(share)}" for name, share in report.precision.items()),
        "strength": f"{report.norm:.4g} in all" if report.norm is not None else "",
        "not a number": _named(report.broken_count, report.broken),
        "without effect": _named(report.zero_count, report.zero),
        "left out": report.left_out,
        "embeddings": ", ".join(report.embeddings),
        **(_on_base(report.on_base) if report.on_base else {}),
    }
    return [(name, value) for name, value in facts.items() if value]


def block_rows(report: LoraReport) -> list[tuple[str, str, str, str]]:
    """(block, layers, ranks, strength) of each block of the base."""
    return [
        (
            block.block,
            str(block.layers),
            _range(block.ranks),
            f"{block.norm:.4g}"
            if block.norm is not None
            else f"turns by {percent(block.relative)}"
            if block.relative is not None
            else "depends on the base",
        )
        for block in report.blocks
    ]


def program_lines(report: LoraReport) -> list[tuple[str, str]]:
    """(program, what it makes of the file)."""
    return [(one.program, one.sentence) for one in report.programs]


def percent(share: float) -> str:
    """A share as a percentage of three digits."""
    return f"{100 * share:.3g} %"


def _made_for(report: LoraReport) -> str:
    if not report.family:
        return "a family that nothing in it tells"
    return f"{report.family_title}, told by {report.family_source}"


def _others(report: LoraReport) -> str:
    kinds = report.kinds
    if len(kinds) < 2:
        return f", {counted(sum(kinds.values()), 'layer')}"
    return ", " + ", ".join(f"{number} of {kind}" for kind, number in kinds.items())


def _ranks(report: LoraReport) -> str:
    ranks = [rank for rank in report.ranks if rank]
    if len(ranks) < 2:
        return str(ranks[0]) if ranks else ""
    return f"{ranks[0]} to {ranks[-1]}"


def _range(ranks: tuple[int, int]) -> str:
    least, most = ranks
    return ("" if not most else str(most)) if least == most else f"{least} to {most}"


def _named(count: int, names: tuple[str, ...]) -> str:
    if not count:
        return ""
    return f"{counted(count, 'layer')}: {', '.join(names)}{', ...' if count > len(names) else ''}"


def _on_base(measured: OnBase) -> dict[str, str]:
    facts = {
        f"on {measured.base}": f"{counted(measured.layers, 'layer')} fit; the change is "
        f"{percent(measured.relative)} of the weights it changes"
    }
    for one in measured.survivals:
        facts[f"merged into {one.bits}"] = (
            f"{percent(one.arrives)} of it arrives, beside rounding of {one.noise:.2g} times its size; "
            f"{percent(one.unmoved)} of the weights don't move"
        )
    if measured.left_out:
        facts[f"no place in {measured.base}"] = measured.left_out
    return facts
