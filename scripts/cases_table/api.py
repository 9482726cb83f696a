"""The API, by plain requests: upload_dataset, import_lora with generate, read_settings."""

from __future__ import annotations

from pathlib import Path

from scripts.cases_table.expected import KEPT, REFUSED, USED, Answer
from scripts.cases_table.page import settings_words
from tests.support.api_caller import Caller, Refused

QUICK = {"num_inference_steps": 1}


class ByApi:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def pictures(self, path: Path) -> Answer:
        try:
            made = self._caller.run("upload_dataset", self._caller.upload(path), "Case")
        except Refused as refusal:
            return Answer(outcome=REFUSED, said=(str(refusal),))
        return Answer(outcome=USED, result=counts(made), said=(*made["refused"], *made["warnings"]))

    def lora(self, path: Path) -> Answer:
        try:
            (made,) = self._caller.run("import_lora", self._caller.upload(path))
        except Refused as refusal:
            return Answer(outcome=REFUSED, said=(str(refusal),))
        result, left = f"“{made['title']}”", [made["left_out"]] if made["left_out"] else []
        try:
            self._caller.run("generate", "a dog", [{"slug": made["slug"]}], "starter", "", 1, 1, QUICK)
        except Refused as refusal:
            return Answer(outcome=KEPT, result=result, said=(*left, str(refusal)))
        notes = self._caller.run("list_generations")[0]["notes"]
        return Answer(outcome=USED, result=result, said=tuple(notes))

    def settings(self, path: Path) -> Answer:
        try:
            read = self._caller.run("read_settings", self._caller.upload(path)[0])
        except Refused as refusal:
            return Answer(outcome=REFUSED, said=(str(refusal),))
        asked = read["request"]
        names = ("prompt", "seed", "num_inference_steps", "width", "height")
        result = settings_words(*("" if asked[name] is None else asked[name] for name in names))
        return Answer(outcome=USED, result=result, said=tuple(read["missing"]))


def counts(made: dict[str, int]) -> str:
    """The page's sentence on the numbers of pictures and captions."""
    pictures = made["images"]
    return f"{pictures} picture{'' if pictures == 1 else 's'}, {made['captions']} with a caption"
