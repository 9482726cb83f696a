"""Anything at all as a file of options: an answer or one sentence, never another error."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.errors import ConfigError, StudioError
from lora_studio.kohya_config import KohyaOptions, from_toml, read_file, read_options
from lora_studio.kohya_config.options import NETWORK_ARGS, OPTIONS
from lora_studio.kohya_config.presets import further_words, is_preset, read_preset
from tests.support.kohya_presets import NEW, OLD
from tests.support.properties import examples
from tests.support.refusals import refused

NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, -(10**4000), 2**63, 0, -0.0]))
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["0", "1e400", "1.1.1", "50%", ".%", "a=b", "512,650", "1,,2", "\ud800"]),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
ARGS = st.lists(st.builds("{}={}".format, st.sampled_from(sorted(NETWORK_ARGS)), TEXTS), max_size=4)
OPTION = st.one_of(st.sampled_from(sorted(OPTIONS)), TEXTS)
TABLES = st.dictionaries(OPTION, VALUES | ARGS, max_size=8)


def answer(read: Any) -> None:
    """Read, and make a training of it."""
    try:
        found = read()
        if isinstance(found, KohyaOptions):
            more = {"train_data_dir": "x", "pretrained_model_name_or_path": "b", "output_dir": "o"}
            found.config(steps_per_epoch=3, output_name="n", **more)
    except StudioError:
        return


def read_anything(table: dict[str, Any], own: dict[str, Any], ignore: bool) -> None:
    answer(lambda: read_options(table, own, ignore_unknown=ignore))


@pytest.mark.parametrize("steps", [None, "many", [1], 2.5, ""])
def test_steps_that_are_no_number_are_refused(steps: Any) -> None:
    with refused("max_train_steps"):
        read_options({}, {"max_train_steps": steps}).config(
            output_name="n", train_data_dir="x", pretrained_model_name_or_path="b", output_dir="o"
        )


@pytest.mark.parametrize("module", [["algo="], 3, "networks.of_tomorrow"])
def test_a_network_module_that_is_none_of_ours_is_refused_or_passed_over(module: Any) -> None:
    with pytest.raises(ConfigError, match="network_module"):
        read_options({"network_module": module})
    (note,) = read_options({"network_module": module}, ignore_unknown=True).notes
    assert f"network_module {module}" in note


def read_any_preset(changes: dict[str, Any]) -> None:
    data = json.loads(json.dumps({**OLD, **changes}))
    answer(lambda: is_preset(data))
    answer(lambda: read_options(read_preset(data)[0], ignore_unknown=True))


PRESETS = st.dictionaries(st.sampled_from(sorted(NEW)), VALUES, max_size=6)


@examples(60)
@given(table=TABLES, own=st.dictionaries(OPTION, VALUES, max_size=2), ignore=st.booleans())
def test_any_options(table: dict[str, Any], own: dict[str, Any], ignore: bool) -> None:
    read_anything(table, own, ignore)


@examples(60)
@given(changes=PRESETS)
def test_any_preset(changes: dict[str, Any]) -> None:
    read_any_preset(changes)


@examples(60)
@given(text=st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_any_file(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "any"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    answer(lambda: read_file(file))


@examples(60)
@given(text=TEXTS)
def test_any_piece_of_a_command_line(text: str) -> None:
    answer(lambda: read_options(further_words(f"--network_args {text}"), ignore_unknown=True))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(table=TABLES, own=st.dictionaries(OPTION, VALUES, max_size=2), ignore=st.booleans(), changes=PRESETS)
def test_any_options_and_presets_at_length(
    table: dict[str, Any], own: dict[str, Any], ignore: bool, changes: dict[str, Any]
) -> None:
    read_anything(table, own, ignore)
    read_any_preset(changes)


LARGE = {
    "a number of 5,000 digits": f"seed = {'9' * 5000}",
    "a number of 4,000 digits": f"seed = {'9' * 4000}",
    "brackets in brackets": f"seed = {'[' * 5000}{']' * 5000}",
    "tables in tables": f"[{'.'.join(['a'] * 2000)}]\nb = 1",
    "a number that is none": "learning_rate = nan",
    "a date": "seed = 1979-05-27",
    "five megabytes": f"training_comment = '{'a' * 5_000_000}'",
    "blanks": f"optimizer_args = 'a{' ' * 16_000}'\nnetwork_args = 'a{' ' * 16_000}b'",
    "a long name": f"{'a' * 100_000} = 1",
    "many names": "\n".join(f"seeds{number} = 1" for number in range(50_000)),
    "many arguments": f"network_args = {['conv_dim=1'] * 100_000}",
    "a long share": f"lr_warmup_steps = '{'1' * 19_000}%'",
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_large_files_are_a_sentence_in_little_time(tmp_path: Path, text: str) -> None:
    file = tmp_path / "large.toml"
    file.write_text(text, "utf-8")
    begun = time.process_time()
    with pytest.raises(ConfigError) as caught:
        read_file(file).config(steps_per_epoch=1)
    assert time.process_time() - begun < 10
    assert len(str(caught.value)) < 4000
    assert "\n" not in str(caught.value)


def test_deep_json_is_a_sentence(tmp_path: Path) -> None:
    for text in (
        "[" * 100_000,
        '{"seed": ' + "9" * 5000 + "}",
        '{"seed": Infinity}',
        '{"LoRA_type": {"a": 1}}',
    ):
        (tmp_path / "x.json").write_text(text, "utf-8")
        with pytest.raises(ConfigError):
            read_file(tmp_path / "x.json")


def test_text_that_was_read_is_only_what_was_said() -> None:
    assert from_toml("train_data_dir = 'a'").given == {"train_data_dir": "a"}
