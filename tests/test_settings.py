from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.settings import CHECKOUT, Settings


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
