"""sd-scripts' dataset config in an upload: used as far as it fits, and what doesn't is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.dataset_config import (
    NO_SETTINGS,
    OF_ALL,
    OF_DATASETS,
    OF_SUBSETS,
    TABLES,
    Table,
    check_options,
    check_subset,
    check_together,
    settings_of,
    skipped_area,
    tables_in,
)
from lora_studio.data.training_set.validate_settings import refuse_together
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.option_values import read_json
from lora_studio.parsing.toml_text import read_toml

MOST_BYTES = 500_000
MOST_SUBSETS = 200
MOST_REMARKS = 12
MOST_FAULTS = 1000
PLAIN = DatasetGroup(train_data_dir="-")
READ_HERE = {"num_repeats", "class_tokens", "caption_extension"}
"""Options of one subset alone, and how its captions are found, which are kept as .txt."""
WITHOUT_EFFECT = {"custom_attributes", "cache_info", "network_multiplier"}


@dataclass(frozen=True, kw_only=True)
class UploadedSubset:
    """A subset: its options, with those that it has from its dataset and from [general]. `where` is its place
    in the file, `dataset` its dataset's number."""

    where: str
    dataset: int
    options: Mapping[str, Any]

    @property
    def kept(self) -> dict[str, Any]:
        """The options that a set keeps as such, defaults included."""
        names = (name for name in OF_ALL if name not in READ_HERE | WITHOUT_EFFECT)
        return {name: self.options.get(name, getattr(PLAIN, name)) for name in names}


@dataclass(frozen=True, kw_only=True)
class UploadedConfig:
    """A dataset config, whose file is called `name`: the options of its datasets, with those of [general],
    and their subsets. `remarks` are sentences on what is left out."""

    shown: str
    name: str
    datasets: tuple[Mapping[str, Any], ...]
    subsets: tuple[UploadedSubset, ...]
    remarks: tuple[str, ...]


def read_uploaded(shown: str, content: bytes) -> UploadedConfig | None:
    """The dataset config in a file, called `shown`; None for a file of another kind. Raises ConfigError."""
    is_json = shown.lower().endswith(".json")
    if is_json and (len(content) > MOST_BYTES or b'"image_dir"' not in content):
        return None
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{shown} is larger than a dataset config can be.", "Send the one you train with.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{shown} is not UTF-8 text.", "Save it again as UTF-8.") from None
    found = read_json(text, shown) if is_json else read_toml(text, shown)
    if not isinstance(found, dict) or "datasets" not in found:
        return None
    return _UploadReader(shown).read(found)


class _UploadReader:
    def __init__(self, shown: str) -> None:
        self._shown, self._remarks = shown, list[str]()

    def read(self, found: Mapping[str, Any]) -> UploadedConfig:
        given = found.get("general", {})
        is_table = isinstance(given, Mapping)
        general = Table(where=f"{self._shown}, [general]", options=given if is_table else {})
        if not is_table:
            self._remark(f"{self._shown}: general is no table. It is left out.")
        for name in found.keys() - {"general", "datasets"}:
            self._remark(f"{self._shown}: there is no table {name[:64]!r}. It is left out.")
        of_general = self._usable(general, (*OF_DATASETS, *OF_ALL))
        datasets: list[Mapping[str, Any]] = []
        subsets: list[UploadedSubset] = []
        for dataset in tables_in(Table(where=self._shown, options=found), "datasets"):
            above = {**of_general, **self._usable(dataset, (*OF_DATASETS, *OF_ALL))}
            for table in tables_in(dataset, "subsets", "datasets.subsets"):
                options = {**above, **self._usable(table, (*OF_ALL, *OF_SUBSETS))}
                subset = UploadedSubset(where=table.where, dataset=len(datasets), options=options)
                subsets += [subset] if self._is_usable(table, subset) else []
                if len(subsets) > MOST_SUBSETS:
                    most = f"{self._shown} has more than {MOST_SUBSETS} subsets."
                    raise ConfigError(most, "Make it smaller.")
            datasets.append({name: value for name, value in above.items() if name in OF_DATASETS})
        return UploadedConfig(
            shown=self._shown,
            name=PurePosixPath(self._shown).name.rpartition(": ")[2],
            datasets=tuple(datasets),
            subsets=tuple(subsets),
            remarks=tuple(first_remarks(self._shown, self._remarks)),
        )

    def _usable(self, table: Table, names: tuple[str, ...]) -> dict[str, Any]:
        """The options of a table that hold here, each looked at by itself."""
        found: dict[str, Any] = {}
        for option, value in table.options.items():
            if option in TABLES - {"custom_attributes"} and isinstance(value, Mapping | list):
                continue
            alone = Table(where=table.where, options={option: value})
            try:
                check_options(alone, names, suggest=len(self._remarks) < MOST_REMARKS)
                check_together(alone, alone.options)
                check_subset(alone, alone.options)
                skipped_area(alone, alone.options)
                if option not in NO_SETTINGS and (option, value) != ("num_repeats", 0):
                    settings_of(PLAIN, [alone])
            except ConfigError as error:
                self._remark(f"{error} It is left out.")
            else:
                found |= {} if option in WITHOUT_EFFECT else {option: value}
        return found

    def _is_usable(self, table: Table, subset: UploadedSubset) -> bool:
        if subset.options.get("num_repeats") == 0:
            self._remark(f"{subset.where} is left out: its num_repeats is 0.")
            return False
        try:
            check_subset(table, subset.options)
            whole = {name: value for name, value in subset.options.items() if name not in NO_SETTINGS}
            refuse_together(settings_of(PLAIN, [Table(where=subset.where, options=whole)]))
        except ConfigError as error:
            self._remark(f"{subset.where} is left out: {error}")
            return False
        return True

    def _remark(self, sentence: str) -> None:
        """Keep a remark. Raises ConfigError for a file that is hardly right anywhere, which isn't read on."""
        self._remarks.append(sentence)
        if len(self._remarks) > MOST_FAULTS:
            most = f"{self._shown} is wrong in more than {MOST_FAULTS} places."
            raise ConfigError(most, "Send the one you train with.")


def first_remarks(shown: str, remarks: Sequence[str]) -> Iterator[str]:
    """The first remarks, and how many more there are: a stranger's config may be wrong a thousand times."""
    yield from remarks[:MOST_REMARKS]
    if len(remarks) > MOST_REMARKS:
        yield f"{shown}: {len(remarks) - MOST_REMARKS} more like these."
