"""Who may come in, and where."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.settings import Settings
from lora_studio.ui.serving import server


def settings(**values: object) -> Settings:
    return Settings(home=Path("home"), models=Path("models"), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_on_this_machine_the_page_is_open(host: str) -> None:
    assert server.decide_access(settings(), host=host, share=False) == server.Access()


@pytest.mark.parametrize(
    ("host", "share", "space"),
    [
        ("0.0.0.0", False, False),
        ("192.168.1.5", False, False),
        ("studio.lan", False, False),
        ("::", False, False),
        ("127.0.0.1", True, False),
        ("127.0.0.1", False, True),
    ],
)
def test_everywhere_else_a_password_is_made(host: str, share: bool, space: bool) -> None:
    first, second = (server.decide_access(settings(on_space=space), host=host, share=share) for _ in range(2))
    assert first.made
    assert first.username
    assert len(first.password) >= 16
    assert first.password != second.password


def test_a_given_password_is_taken_from_anywhere() -> None:
    given = server.decide_access(settings(), host="0.0.0.0", share=True, username="ada", password="secret")
    assert given == server.Access(username="ada", password="secret")
    known = settings(username="ada", password="secret")
    assert server.decide_access(known, host="127.0.0.1", share=False) == given
    assert server.decide_access(settings(), host="0.0.0.0", share=False, password="x").username == "studio"
    with pytest.raises(ConfigError, match="password"):
        server.decide_access(settings(), host="127.0.0.1", share=False, username="ada")


def test_only_the_owner_opens_a_space() -> None:
    public = settings(on_space=True, public_space=True)
    assert server.decide_access(public, host="0.0.0.0", share=False) == server.Access()
    assert server.decide_access(public, host="0.0.0.0", share=True).made
    assert server.decide_access(settings(public_space=True), host="0.0.0.0", share=False).made


def test_a_busy_port_is_named_or_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)) as caught:
            server.free_port("127.0.0.1", port)
        assert caught.value.hint
    assert server.free_port("127.0.0.1", port) == port
    assert server.FIRST_PORT <= server.free_port("127.0.0.1", None) < server.FIRST_PORT + server.PORTS
    with pytest.raises(ConfigError):
        server.free_port("127.0.0.1", 99999)


def test_the_page_answers_to_names_that_nobody_else_can_have() -> None:
    def names(host: str, access: server.Access = server.Access(), **how: bool) -> object:
        return server.answered_names(settings(**how), host=host, access=access, share=False).answered

    local = {"localhost", "127.0.0.1", "[::1]"}
    assert names("127.0.0.1") == names("localhost") == names("::1") == local
    assert names("127.8.9.1") == {*local, "127.8.9.1"}
    assert names("0.0.0.0", server.Access(username="ada", password="x")) is None
    assert names("0.0.0.0", on_space=True) is None
    given = Settings.from_environment({"LORA_STUDIO_HOSTS": "https://studio.example/x, lan:8080 ,,"})
    assert given.hosts == ("studio.example", "lan:8080")
    assert server.answered_names(given, host="::1", access=server.Access(), share=False).answered == {
        *local,
        "studio.example",
        "lan",
    }


def test_gradio_s_own_login_lets_nobody_in() -> None:
    assert server.no_other_way("ada", "secret") is False


def test_browsers_reach_neither_the_database_nor_the_pictures_of_others() -> None:
    known = settings()
    served = server.served_folders(known)
    for private in (known.database, known.uploads, known.datasets, known.jobs, known.trash, known.home):
        assert not any(Path(private).is_relative_to(folder) for folder in served), private
    assert known.database in server.private_paths(known)
