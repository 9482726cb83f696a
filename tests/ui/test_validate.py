"""What a client sends, and what people are told when something goes wrong."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import re
from pathlib import Path
from typing import Any, get_type_hints

import gradio as gr
import pytest

from lora_studio.errors import ConfigError, DatasetError, ModelFileError, StoreError
from lora_studio.grids.grid_request import GridRequest
from lora_studio.settings import Settings
from lora_studio.ui.client_input import validate
from lora_studio.ui.client_input.fault_log import FaultLog
from tests.support.refusals import refused


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path / "home", models=tmp_path / "models")
    made.create_folders()
    return made


def uploaded(settings: Settings, name: str = "a.png") -> Path:
    path = settings.uploads / "0123abcd" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_uploads_pass_in_every_form_a_client_sends(settings: Settings) -> None:
    path = uploaded(settings)
    for sent in (str(path), [str(path)], {"path": str(path)}, [gr.FileData(path=str(path))]):
        assert validate.safe_uploads(sent, settings) == [path]
    assert validate.safe_uploads(None, settings) == []
    assert validate.safe_uploads([], settings) == []


def test_nothing_outside_the_upload_folder_passes(settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    beside = settings.home / "uploads-not" / "x.txt"
    beside.parent.mkdir()
    beside.write_text("secret")
    uploaded(settings)
    wrong: list[Any] = [
        str(secret),
        {"path": str(secret)},
        str(beside),
        str(settings.uploads / ".." / "uploads-not" / "x.txt"),
        str(settings.uploads),
        str(settings.uploads / "gone.png"),
        "",
        "a\x00b",
        7,
        {},
        {"url": "http://x/"},
        None,
        "http://127.0.0.1/x",
        "/" * 5000,
    ]
    if os.name != "nt":
        link = settings.uploads / "link.png"
        link.symlink_to(secret)
        wrong.append(str(link))
    for sent in wrong:
        with pytest.raises(DatasetError) as caught:
            validate.safe_uploads([sent], settings)
        assert "secret" not in str(caught.value)
    with pytest.raises(DatasetError):
        validate.safe_uploads([str(uploaded(settings))] * (validate.MOST_FILES + 1), settings)


@pytest.mark.parametrize("given", ["../x", "a/b", "", ".hidden", "x" * 101, None, 3, "a\nb", "ü"])
def test_ids_are_checked_before_they_get_near_a_path(given: Any) -> None:
    with pytest.raises(StoreError):
        validate.safe_id(given, "training")
    with pytest.raises(StoreError):
        validate.safe_slug(given)


def test_good_ids_pass() -> None:
    assert validate.safe_id("a1B2-c_3", "training") == "a1B2-c_3"
    assert validate.safe_slug("my-ink-2") == "my-ink-2"
    with pytest.raises(StoreError):
        validate.safe_slug("My-Ink")


def test_bases_are_names_never_paths(settings: Settings, tmp_path: Path) -> None:
    for name, index in (("in parts", "modular_model_index.json"), ("my base", "model_index.json")):
        (settings.bases / name).mkdir()
        (settings.bases / name / index).write_text("{}")
    (settings.bases / "single.safetensors").write_bytes(b"")
    (settings.bases / "README.md").write_text("")
    names = [name for _, name in validate.base_names(settings)]
    assert names[0] == "starter"
    assert names[-3:] == ["in parts", "my base", "single.safetensors"]
    for name in names:
        assert validate.safe_base(name, settings) == name
    (tmp_path / "elsewhere").mkdir()
    for given in (
        str(tmp_path / "elsewhere"),
        "../elsewhere",
        "~/x",
        "models/starter",
        "README.md",
        "",
        None,
        3,
    ):
        with pytest.raises(ModelFileError):
            validate.safe_base(given, settings)


def test_hub_ids_only_on_ones_own_machine(settings: Settings) -> None:
    from dataclasses import replace

    assert validate.safe_base("someone/model-1.5", settings) == "someone/model-1.5"
    with pytest.raises(ModelFileError):
        validate.safe_base("someone/model-1.5", replace(settings, on_space=True))


@pytest.mark.parametrize("given", [1.5, True, float("nan"), "x", "1.5", [1], "1e999"])
def test_whole_numbers(given: Any) -> None:
    assert [validate.whole(typed, "seed") for typed in (7.0, 7, "7", " 7 ", None, "", " ")] == [7] * 4 + [
        None
    ] * 3
    with refused("seed"):
        validate.whole(given, "seed")


def test_decimals_take_a_point_or_a_comma() -> None:
    assert (
        validate.decimal("7.5", "guidance")
        == validate.decimal("7,5", "guidance")
        == validate.decimal(7.5, "guidance")
        == 7.5
    )
    assert validate.decimal("", "guidance") is None
    for given in (float("inf"), "inf", "nan", "seven"):
        with refused("guidance"):
            validate.decimal(given, "guidance")


def test_a_user_error_becomes_its_sentence() -> None:
    def fail() -> None:
        raise ConfigError("The name <b>x</b> is taken.", "Choose another.", field="name")

    with pytest.raises(gr.Error) as caught:
        validate.guarded(fail)()
    assert caught.value.message == "The name &lt;b&gt;x&lt;/b&gt; is taken. Choose another."
    assert caught.value.print_exception is False


def test_a_bug_is_logged_but_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("/secret/path")

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as caught:
        validate.guarded(fail)()
    assert "/secret/path" not in str(caught.value.message)
    assert "/secret/path" in caplog.text
    number = caplog.records[0].getMessage().split()[1]
    assert re.fullmatch("[0-9a-f]{6}", number)
    assert number in str(caught.value.message)


def test_signatures_stay_as_gradio_needs_them() -> None:
    def action(files: list[str], request: gr.Request, count: int = 1) -> dict[str, int]:
        """What it does."""
        return {}

    wrapped = validate.guarded(action)
    assert inspect.signature(wrapped) == inspect.signature(action)
    assert get_type_hints(wrapped)["request"] is gr.Request
    assert wrapped.__doc__ == "What it does."


def test_the_ticking_page_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    def fail(one: int) -> str:
        raise StoreError("The database is locked.")

    assert validate.quietly(fail, lambda: "unchanged")(1) == "unchanged"
    assert "locked" in caplog.text


def test_a_text_is_a_text_that_can_be_stored() -> None:
    assert [validate.text(given, "name") for given in (None, "", " röt 赤 ")] == ["", "", " röt 赤 "]
    assert validate.text("x" * 5, "name", longest=5) == "xxxxx"
    for wrong in (7, True, ["x"], {"a": 1}, "\ud800", "x" * 6):
        with pytest.raises(ConfigError, match=r"^name: "):
            validate.text(wrong, "name", longest=5)


def test_only_true_and_false_are_yes_and_no() -> None:
    assert [validate.yes_or_no(given, "x") for given in (True, False)] == [True, False]
    for wrong in (None, 0, 1, "no", []):
        with pytest.raises(ConfigError, match="true or false"):
            validate.yes_or_no(wrong, "x")


def test_settings_are_a_mapping_of_what_can_be_stored() -> None:
    assert validate.mapping(None, "options") == {}
    assert validate.mapping({"a": [1, "ö"]}, "options") == {"a": [1, "ö"]}
    for wrong in ("x", [], 7, {"x" * 1000: 1}, {"a": "\ud800"}, {"\ud800": 1}):
        with pytest.raises(ConfigError, match=r"^options: ") as caught:
            validate.mapping(wrong, "options")
        assert len(str(caught.value)) < 200


def test_a_number_of_four_hundred_digits_is_refused_in_short() -> None:
    for wrong in (10**400, "9" * 1000):
        with pytest.raises(ConfigError) as caught:
            validate.whole(wrong, "step")
        assert len(str(caught.value)) < 120


def test_with_a_password_no_visitor_spends_the_owner_s_token(settings: Settings) -> None:
    from dataclasses import replace

    from lora_studio.catalog import BASES

    shared = replace(settings, guests=True)
    for given in ("someone/model-1.5", "someone/private"):
        with pytest.raises(ModelFileError):
            validate.safe_base(given, shared)
    for base in BASES.values():
        assert validate.safe_base(base.name, shared) == base.name
        assert validate.safe_base(base.source or base.name, shared)


def test_bases_on_the_axes_of_a_grid_are_names_too(settings: Settings, tmp_path: Path) -> None:
    def grid(**axes: dict[str, str]) -> GridRequest:
        return GridRequest(request={"prompt": "a dog"}, **axes)

    seed = {"parameter": "seed", "values": "1"}
    fine = grid(x=seed, y={"parameter": "base", "values": 'starter, "starter"'})
    assert validate.safe_grid(fine, settings) is fine
    for wrong in (str(tmp_path), "~/x", "../x", f"starter, {tmp_path}", f'"{tmp_path}"', "file:///x"):
        for axes in (
            {"x": {"parameter": "base", "values": wrong}},
            {"x": seed, "z": {"parameter": "base", "values": wrong}},
        ):
            with pytest.raises(ModelFileError):
                validate.safe_grid(grid(**axes), settings)


def test_messages_are_words_and_never_markup() -> None:
    """Gradio renders what gr.Info and gr.Warning say: a fixed text, or one that went through `as_words`."""
    assert validate.as_words("<img src=https://x>") == "&lt;img src=https://x&gt;"
    loose, said_by = [], {"gr.Info", "gr.Warning", "gr.Success"}
    for file in sorted(Path(validate.__file__).parents[1].rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in said_by:
                said = node.args[0]
                escaped = isinstance(said, ast.Call) and ast.unparse(said.func) == "as_words"
                if not escaped and not isinstance(said, ast.Constant):
                    loose.append(f"{file.name}:{node.lineno}")
    assert not loose


def test_the_same_fault_tells_all_once_and_then_a_line(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(logging.getLogger("faults"))

    def fail(text: str) -> None:
        raise ValueError(text)

    for number in range(50):
        try:
            fail(f"no. {number}\nsecond line")
        except ValueError as error:
            faults.tell(error, f"bug {number} in fail")
    assert len(caplog.records) == 50
    assert [record.exc_info is not None for record in caplog.records] == [True, *[False] * 49]
    assert "\n" not in caplog.records[-1].getMessage()
