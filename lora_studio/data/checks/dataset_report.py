"""The report on a set: its grade, what to do first, and all findings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_studio.data.checks.checked_set import CheckedPicture, CheckedSet
from lora_studio.data.checks.dataset_findings import DatasetCheck, DatasetFinding, Severity
from lora_studio.data.edits.picture_edits import Edit, RemovePicture, edit_dict
from lora_studio.errors import DatasetError
from lora_studio.formatting import counted

GRADES = (
    (90, "A", "Ready to train."),
    (75, "B", "Good; a few things are worth mending."),
    (55, "C", "Usable; mend what stands first before you train."),
    (30, "D", "Weak: the LoRA will show what is wrong here."),
    (0, "E", "Not worth training on as it is."),
)
WEIGHTS: Mapping[Severity, tuple[float, float]] = {"serious": (120, 25), "warning": (60, 10), "note": (0, 0)}
"""Points of 100 that findings cost: of pictures, times the share that has them; of the set as a whole."""

WITHOUT_LOSS = (
    *("unreadable", "exact_copy", "thumbnail", "mask", "borders"),
    *("encoding", "no_trigger", "several_lines"),
)
"""Checks whose fixes take nothing away that somebody may want."""


@dataclass(frozen=True, kw_only=True)
class CheckedPart:
    """A check with its findings and the points of 100 that they cost."""

    check: DatasetCheck
    findings: tuple[DatasetFinding, ...]
    cost: float

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures that it found something in, each once."""
        return list(dict.fromkeys(name for finding in self.findings for name in finding.pictures))


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """All that the checks found: `parts` have findings, the costliest first; `points` go from 0 to 100."""

    pictures: tuple[CheckedPicture, ...]
    parts: tuple[CheckedPart, ...]
    passed: tuple[DatasetCheck, ...]
    points: int

    @classmethod
    def of(
        cls, checked: CheckedSet, checks: Sequence[DatasetCheck], findings: Sequence[DatasetFinding]
    ) -> DatasetReport:
        parts = []
        for check in checks:
            found = tuple(finding for finding in findings if finding.check == check.id)
            if found:
                parts.append(
                    CheckedPart(check=check, findings=found, cost=_cost(found, len(checked.pictures)))
                )
        points = round(max(0.0, 100 - sum(part.cost for part in parts)))
        with_findings = {part.check.id for part in parts}
        return cls(
            pictures=checked.pictures,
            parts=tuple(sorted(parts, key=lambda part: -part.cost)),
            passed=tuple(check for check in checks if check.id not in with_findings),
            points=points,
        )

    @property
    def is_whole(self) -> bool:
        """Whether the disk gave all pictures and captions."""
        return not any(one.is_unread or one.caption.is_unread for one in self.pictures)

    @property
    def findings(self) -> tuple[DatasetFinding, ...]:
        """All findings, in the order of the parts."""
        return tuple(finding for part in self.parts for finding in part.findings)

    @property
    def grade(self) -> str:
        """A letter from A to E."""
        return next(letter for least, letter, _ in GRADES if self.points >= least)

    @property
    def verdict(self) -> str:
        """The grade in a sentence."""
        return next(words for least, _, words in GRADES if self.points >= least)

    @property
    def advice(self) -> tuple[str, ...]:
        """Sentences on what to do, one for each check that costs points, what matters most first."""
        return tuple(_advice(part) for part in self.parts if part.cost)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON; edits as `edit_of` reads them."""
        return {
            "pictures": len(self.pictures),
            "grade": self.grade,
            "points": self.points,
            "verdict": self.verdict,
            "advice": list(self.advice),
            "checks": [
                {
                    **_about(part.check),
                    "cost": round(part.cost, 1),
                    "findings": [_finding_json(finding) for finding in part.findings],
                }
                for part in self.parts
            ],
            "passed": [_about(check) for check in self.passed],
        }


def chosen_edits(
    report: DatasetReport, checks: Collection[str] = WITHOUT_LOSS, pictures: Collection[str] = ()
) -> tuple[Edit, ...]:
    """The edits that mend what these checks found, one fix for each picture: what else is wrong with it is
    looked at again once it is made. With `pictures`, only fixes that change one of these. Raises DatasetError
    where no picture would be left."""
    edits: list[Edit] = []
    touched: set[str] = set()
    for finding in report.findings:
        if finding.fix is None or finding.check not in checks:
            continue
        names = {edit.picture for edit in finding.fix.edits}
        if pictures and not names & {*pictures}:
            continue
        if not names & touched and not touched & {*finding.pictures}:
            edits += finding.fix.edits
            touched |= names
    if report.pictures and sum(isinstance(edit, RemovePicture) for edit in edits) >= len(report.pictures):
        raise DatasetError("No picture of this set would be left.", "Look for better ones.")
    return tuple(edits)


def _cost(findings: Sequence[DatasetFinding], pictures: int) -> float:
    """Points for the findings of one check: the worst that each picture has, or the set as a whole."""
    per_picture: dict[str, float] = {}
    whole = 0.0
    for finding in findings:
        of_picture, of_set = WEIGHTS[finding.severity]
        fixed = {edit.picture for edit in finding.fix.edits} if finding.fix else {*finding.pictures[:1]}
        if not finding.pictures or len(finding.pictures) > pictures / 2:
            whole = max(whole, of_set)
            fixed = set()
        for name in fixed:
            per_picture[name] = max(per_picture.get(name, 0.0), of_picture)
    return whole + sum(per_picture.values()) / max(1, pictures)


def _advice(part: CheckedPart) -> str:
    names = part.pictures
    count = f" ({counted(len(names), 'picture')})" if names else ""
    return f"{part.check.title}{count}: {part.check.advice}"


def _about(check: DatasetCheck) -> dict[str, str]:
    return {key: value for key, value in asdict(check).items() if key != "find"}


def _finding_json(finding: DatasetFinding) -> dict[str, Any]:
    fix = finding.fix
    return {
        "pictures": list(finding.pictures),
        "reason": finding.reason,
        "severity": finding.severity,
        "fix": {"title": fix.title, "edits": [edit_dict(edit) for edit in fix.edits]} if fix else None,
    }
