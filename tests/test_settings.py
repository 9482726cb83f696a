from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.files import write_atomically
from lora_studio.settings import CHECKOUT, VARIABLES, Settings, keep_private, unknown_variables


def test_without_variables_everything_lies_in_the_checkout() -> None:
    settings = Settings.from_environment({})
    assert settings.home == CHECKOUT / "studio_data"
    assert settings.models == CHECKOUT / "models"
    assert settings.starter == CHECKOUT / "models" / "starter"
    assert (settings.username, settings.password, settings.on_space, settings.public_space) == (
        "",
        "",
        False,
        False,
    )


def test_two_variables_move_all_state_but_not_the_embedded_base(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"LORA_STUDIO_HOME": str(tmp_path / "home"), "LORA_STUDIO_MODELS": str(tmp_path / "models")}
    )
    settings.create_folders()
    inside_home = (
        *(settings.database, settings.datasets, settings.jobs, settings.images),
        *(settings.cache, settings.trash, settings.uploads),
    )
    assert all(path.is_relative_to(tmp_path / "home") for path in inside_home)
    assert settings.loras == tmp_path / "models" / "lora"
    assert settings.bases == tmp_path / "models" / "base"
    assert all(path.is_dir() for path in (*inside_home[1:], settings.loras, settings.bases))
    assert settings.starter == CHECKOUT / "models" / "starter"


def test_relative_folders_and_the_users_home_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    settings = Settings.from_environment({"LORA_STUDIO_HOME": "state", "LORA_STUDIO_MODELS": "~/models"})
    assert settings.home == tmp_path.resolve() / "state"
    assert settings.models == (tmp_path / "me" / "models").resolve()


@pytest.mark.parametrize("variables", [{"SYSTEM": "spaces"}, {"SPACE_ID": "somebody/studio"}])
def test_a_space_is_recognised_and_is_not_public_by_itself(variables: dict[str, str]) -> None:
    settings = Settings.from_environment(variables)
    assert settings.on_space
    assert not settings.public_space


@pytest.mark.parametrize(
    ("word", "public"), [("1", True), (" True ", True), ("yes", True), ("0", False), ("no", False)]
)
def test_the_owners_word(word: str, public: bool) -> None:
    assert Settings.from_environment({"LORA_STUDIO_PUBLIC": word}).public_space is public


@pytest.mark.parametrize("name", ["LORA_STUDIO_PUBLIC", "LORA_STUDIO_SUPABASE_UPLOADS"])
@pytest.mark.parametrize(
    ("word", "meaning"), [("on", True), ("Y", True), ("", False), ("OFF", False), ("2", None), ("ja", None)]
)
def test_a_switch_is_on_off_or_refused(name: str, word: str, meaning: bool | None) -> None:
    if meaning is None:
        with pytest.raises(ConfigError, match=name):
            Settings.from_environment({name: word})
        return
    settings = Settings.from_environment({name: word})
    assert (settings.public_space or settings.supabase_uploads) is meaning


@pytest.mark.parametrize(
    "names",
    ["*.example.com", "fe80::1", "my studio", "bücher.example", "https://", "a:b", "studio.example,[x]"],
)
def test_names_that_no_browser_sends_are_refused(names: str) -> None:
    with pytest.raises(ConfigError, match="LORA_STUDIO_HOSTS"):
        Settings.from_environment({"LORA_STUDIO_HOSTS": names})
    good = Settings.from_environment({"LORA_STUDIO_HOSTS": " https://a.example/x, b:80,[fd00::7]:7860, ,"})
    assert good.hosts == ("a.example", "b:80", "[fd00::7]:7860")


@pytest.mark.parametrize("name", ["LORA_STUDIO_HOME", "LORA_STUDIO_MODELS", "LORA_STUDIO_SD_SCRIPTS"])
@pytest.mark.skipif(os.name == "nt", reason="Windows makes such a folder beside the user's")
def test_a_folder_of_nobody_is_one_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.from_environment({name: "~nobody-is-called-so/studio"})


def test_a_password_from_a_file_can_be_typed() -> None:
    """A password field takes no line break, and the login takes names without blanks around them."""
    settings = Settings.from_environment(
        {"LORA_STUDIO_USER": " me ", "LORA_STUDIO_PASSWORD": " two words \r\n"}
    )
    assert (settings.username, settings.password) == ("me", " two words ")


def test_a_variable_that_is_none_is_said() -> None:
    wrong = {"LORA_STUDIO_PASWORD": "x", "lora_studio_home": "x", "LORA_STUDIO_ZZZ": "x", "LORA_STUDIOS": "x"}
    said = unknown_variables({**wrong, **dict.fromkeys(VARIABLES, "")})
    assert [sentence.split()[0] for sentence in said] == sorted(wrong.keys() - {"LORA_STUDIOS"})
    assert "LORA_STUDIO_PASSWORD?" in said[0]
    assert "LORA_STUDIO_HOME?" in said[-1]


def test_the_variables_are_those_that_the_sources_read() -> None:
    sources = [CHECKOUT / "app.py", CHECKOUT / "launch.py", *(CHECKOUT / "deploy").glob("*.py")]
    for folder in ("lora_studio", "tests", "scripts"):
        sources += (CHECKOUT / folder).rglob("*.py")
    text = "".join(path.read_text("utf-8") for path in sources if path != Path(__file__))
    named = set(re.findall(r"LORA_STUDIO_[A-Z_]*[A-Z]", text))
    assert named == VARIABLES


def test_the_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORA_STUDIO_HOME", str(tmp_path))
    monkeypatch.setenv("LORA_STUDIO_USER", "me")
    monkeypatch.setenv("LORA_STUDIO_PASSWORD", "secret")
    settings = Settings.from_environment()
    assert (settings.home, settings.username, settings.password) == (tmp_path.resolve(), "me", "secret")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_is_written_is_the_owner_s(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = os.umask(0o022)
    try:
        old = Settings(home=tmp_path / "home", models=tmp_path / "models")
        old.create_folders()
        assert stat.S_IMODE(old.home.stat().st_mode) == 0o755
        assert not caplog.records
        (old.loras / "ink").mkdir()
        for given in ({}, {"LORA_STUDIO_UMASK": "007"}, {"LORA_STUDIO_UMASK": "0022"}):
            keep_private(given)
            old.create_folders()
            assert stat.S_IMODE(old.home.stat().st_mode) == 0o700  # closed once, it is not opened again
            assert stat.S_IMODE(old.loras.stat().st_mode) == 0o700
            assert len(caplog.records) == 2, "told once, of the home and of the LoRAs"
        empty = Settings(home=tmp_path / "home", models=tmp_path / "fresh")
        empty.loras.mkdir(parents=True)
        keep_private({})
        empty.create_folders()
        assert stat.S_IMODE(empty.loras.stat().st_mode) == 0o700
        assert len(caplog.records) == 2, "a checkout's empty folder is nobody's news"
        keep_private({"LORA_STUDIO_UMASK": "007"})
        shared = Settings(home=tmp_path / "shared", models=tmp_path / "shared-models")
        shared.create_folders()
        write_atomically(shared.loras / "x" / "x.json", "{}")
        assert stat.S_IMODE(shared.home.stat().st_mode) == 0o770
        assert stat.S_IMODE((shared.loras / "x" / "x.json").stat().st_mode) == 0o660
        for wrong in ("7777", "9", "rwx", "-1", "0o77"):
            with pytest.raises(ConfigError, match="LORA_STUDIO_UMASK"):
                keep_private({"LORA_STUDIO_UMASK": wrong})
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("environment", "values"),
    [
        ({}, ("none", 0)),
        ({"LORA_STUDIO_QTYPE": " NF4 ", "LORA_STUDIO_BLOCKS_TO_SWAP": " 18 "}, ("nf4", 18)),
        ({"LORA_STUDIO_QTYPE": "none", "LORA_STUDIO_BLOCKS_TO_SWAP": "200"}, ("none", 200)),
    ],
)
def test_bits_and_swapped_blocks_of_drawing(environment: dict[str, str], values: tuple[str, int]) -> None:
    settings = Settings.from_environment(environment)
    assert (settings.qtype, settings.blocks_to_swap) == values


@pytest.mark.parametrize(("text", "drawn"), [("", True), ("1", True), ("off", False), ("0", False)])
def test_first_pictures_are_drawn_unless_that_is_switched_off(text: str, drawn: bool) -> None:
    assert Settings.from_environment({"LORA_STUDIO_RESULT_PICTURES": text}).result_pictures is drawn


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("LORA_STUDIO_QTYPE", "int3", "qtype"),
        ("LORA_STUDIO_BLOCKS_TO_SWAP", "201", "blocks_to_swap"),
        ("LORA_STUDIO_BLOCKS_TO_SWAP", "-1", "blocks_to_swap"),
        ("LORA_STUDIO_BLOCKS_TO_SWAP", "٣", "blocks_to_swap"),
        ("LORA_STUDIO_BLOCKS_TO_SWAP", "9" * 5000, "blocks_to_swap"),
    ],
)
def test_other_bits_and_counts_of_blocks_are_refused(name: str, text: str, field: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        Settings.from_environment({name: text})
    assert caught.value.field == field
