"""A report on a LoRA file as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from lora_studio.cli.console.text_table import draw_table
from lora_studio.lora.inspection.lora_report import LoraReport
from lora_studio.lora.inspection.report_facts import block_rows, fact_lines, program_lines


def report_lines(report: LoraReport) -> Iterator[str]:
    """The report's lines: facts, blocks, programs, training, private things."""
    facts = fact_lines(report)
    width = max(len(name) for name, _ in facts)
    yield from (f"{name.ljust(width)}  {value}" for name, value in facts)
    yield ""
    yield draw_table(("BLOCK", "LAYERS", "RANK", "STRENGTH"), block_rows(report))
    yield ""
    programs = program_lines(report)
    width = max(len(program) for program, _ in programs)
    yield from (f"{program.ljust(width)}  {sentence}" for program, sentence in programs)
    if report.suggestions:
        yield "\nWhat can be mended:"
        yield from (f"  --fix {one.fix}  ({one.reason})" for one in report.suggestions)
    if report.training:
        yield "\nWhat it says about its training:"
        yield from (f"  {name}: {value}" for name, value in report.training.items())
    if report.private:
        yield "\nWhat it tells that may be private:"
        yield from (f"  {fact.what}: {fact.words}  ({fact.key})" for fact in report.private)
    for note in report.notes:
        yield f"\nNote: {note}"
