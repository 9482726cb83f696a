"""The dataset config that a set keeps: its folders, with what sd-scripts would have done with each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lora_studio.data.ingestion.subset_claims import SubsetClaims
from lora_studio.data.ingestion.uploaded_config import WITHOUT_EFFECT, UploadedSubset
from lora_studio.data.training_set.run_subsets import SUBSETS
from lora_studio.data.training_set.subsets import KOHYA_FOLDER
from lora_studio.parsing.toml_text import write_table

ALWAYS_OF_DATASETS = {"skip_image_resolution"}
"""Options that no setting of a training stands for."""
HEAD = """# The subsets of these pictures, from the dataset config that they came with. LoRA Studio reads this
# file whenever the set is trained on; [general] is what a training begins with.
"""


def stored_config(
    each: Sequence[SubsetClaims], places: Collection[str], unnamed: Sequence[str]
) -> tuple[str, list[str]]:
    """The text of the set's config, and sentences on its options. `places` are the folders of the set that
    have pictures; `unnamed` those `<repeats>_<class>` folders that no config named."""
    datasets: list[Mapping[str, Any]] = []
    rows: list[list[tuple[UploadedSubset | None, str]]] = []
    for claims in each:
        for number, options in enumerate(claims.config.datasets):
            found = [
                (one.subset, one.place)
                for one in claims.subsets
                if one.subset.dataset == number and one.place in places
            ]
            if found:
                datasets.append(options)
                rows.append([*found])
    if not rows:
        return "", []
    rows[0] += [(None, place) for place in unnamed]
    given = [subset for row in rows for subset, _ in row if subset]
    stated = {name for subset in given for name in subset.options}
    kept = [subset.kept for subset in given]
    shared = {name: value for name, value in kept[0].items() if all(one[name] == value for one in kept)}
    of_all = {name: value for name, value in datasets[0].items() if _is_everywhere(name, value, datasets)}
    general = {name: value for name, value in shared.items() if name in stated} | of_all
    tables = [HEAD + write_table("general", _told(general))]
    for options, row in zip(datasets, rows, strict=True):
        of_dataset = {name: value for name, value in options.items() if name not in of_all}
        tables.append(write_table("[datasets]", _told(of_dataset)))
        tables += [_table(subset, place, shared) for subset, place in row]
    differing = sorted({name for name in kept[0] if name not in shared})
    return "\n\n".join(tables) + "\n", _remarks(each, general, differing)


def _table(subset: UploadedSubset | None, place: str, shared: Mapping[str, Any]) -> str:
    match = KOHYA_FOLDER.fullmatch(place)
    options: dict[str, Any] = {"image_dir": place}
    if subset is None:
        options |= {"num_repeats": int(match[1]), "class_tokens": match[2]} if match else {"num_repeats": 1}
        return write_table("[datasets.subsets]", options)
    options["num_repeats"] = subset.options.get("num_repeats", 1)
    for name in ("class_tokens", "is_reg"):
        if subset.options.get(name):
            options[name] = subset.options[name]
    options |= {name: value for name, value in subset.kept.items() if name not in shared}
    return write_table("[datasets.subsets]", _told(options))


def _is_everywhere(name: str, value: Any, datasets: Sequence[Mapping[str, Any]]) -> bool:
    return name not in ALWAYS_OF_DATASETS and all(
        name in options and options[name] == value for options in datasets
    )


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that have a value and an effect."""
    return {
        name: value for name, value in options.items() if value is not None and name not in WITHOUT_EFFECT
    }


def _remarks(each: Sequence[SubsetClaims], general: Mapping[str, Any], differing: Sequence[str]) -> list[str]:
    shown = " and ".join(claims.config.name for claims in each if claims.config.name != SUBSETS)
    if not shown:
        return []  # said when the set was made
    remarks = []
    if general:
        remarks.append(
            f"{shown} says of a training of these pictures: {', '.join(sorted(general))}. What you set "
            "yourself goes first."
        )
    if differing:
        remarks.append(f"{', '.join(differing)} differ between the subsets of {shown}, and hold for each.")
    return remarks
