from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.files import write_atomically
from lora_studio.settings import CHECKOUT, Settings, keep_private


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
