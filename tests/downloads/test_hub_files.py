"""Models of the Hub by their names: which are meant, and what of the Hub's answer is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lora_studio.downloads.hub_files import MOST_FILES, HubFile, HubFiles, SeveralFiles, files_in, named_model
from lora_studio.errors import StudioError, UnknownFormat
from lora_studio.settings import Settings
from tests.support.file_server import Answer, FileServer, serve_files

LISTING = "/api/models/ada/ink?blobs=true"


@pytest.fixture(scope="module")
def server() -> Iterator[FileServer]:
    with serve_files() as serving:
        yield serving


@pytest.fixture
def hub(server: FileServer, settings: Settings) -> HubFiles:
    return HubFiles(settings=settings, web=server.web(), hub=server.url(""))


def listing(*files: object) -> Answer:
    return Answer(body=(json.dumps({"siblings": list(files)}).encode().ljust(80),))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("ada/ink", ("ada/ink", "")),
        (" ada/ink ", ("ada/ink", "")),
        ("ada/ink/v2/Ink v2.safetensors", ("ada/ink", "v2/Ink v2.safetensors")),
        ("https://huggingface.co/ada/ink", ("ada/ink", "")),
        ("https://huggingface.co/ada/ink/tree/main", ("ada/ink", "")),
        ("https://hf.co/ada/ink?not-for-all-audiences=true", ("ada/ink", "")),
        ("https://huggingface.co/ada/ink/blob/main/ink.safetensors", None),
        ("https://huggingface.co/datasets/ada", None),
        ("https://example.org/ada/ink", None),
        *(
            (text, None)
            for text in ("", "ink", "../x", "/etc/passwd", "a b/c", "C:\\x", "ada//ink", "x" * 9999)
        ),
    ],
)
def test_which_model_is_meant(given: str, found: tuple[str, str] | None) -> None:
    assert named_model(given) == found


def test_the_only_file_of_a_model_needs_no_name(hub: HubFiles, server: FileServer) -> None:
    server.answers[LISTING] = listing(
        {"rfilename": "README.md"}, {"rfilename": "Ink 2.safetensors", "size": 9}
    )
    assert hub.link("ada/ink") == server.url("/ada/ink/resolve/main/Ink%202.safetensors")


def test_of_several_one_is_chosen(hub: HubFiles, server: FileServer) -> None:
    server.answers[LISTING] = listing(
        {"rfilename": "b/two.safetensors", "size": 2_000_000}, {"rfilename": "a.safetensors"}
    )
    with pytest.raises(SeveralFiles, match="2 files") as failure:
        hub.link("ada/ink")
    assert [file.words for file in failure.value.files] == ["a.safetensors", "b/two.safetensors (2 MB)"]
    assert hub.link("ada/ink", "b/two.safetensors").endswith("/ada/ink/resolve/main/b/two.safetensors")
    with pytest.raises(UnknownFormat, match="no file"):
        hub.link("ada/ink", "c.safetensors")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(status=404), "There is nothing at"),
        (Answer(status=401), "not for everybody"),
        (Answer(status=503), "answers with 503"),
        (Answer(body=(b"<html>" + b" " * 100,)), "no list of files"),
        (listing({"rfilename": "model.bin"}), "no .safetensors file"),
        (Answer(body=(b"{" + b" " * 100,)), "no .safetensors file"),
        (Answer(body=(b"{}",), length=5 << 20), "larger than"),
    ],
    ids=["gone", "private", "down", "page", "no lora", "broken", "huge"],
)
def test_what_is_no_listing_is_a_sentence(
    hub: HubFiles, server: FileServer, answer: Answer, words: str
) -> None:
    server.answers[LISTING] = answer
    with pytest.raises(StudioError, match=words):
        hub.link("ada/ink")


def test_a_stop_ends_the_listing_too(hub: HubFiles, server: FileServer) -> None:
    server.answers[LISTING] = listing()
    assert hub.link("ada/ink", should_stop=lambda: True) == ""


def test_hostile_listings_are_used_as_far_as_they_fit() -> None:
    names: list[object] = [
        *("../x.safetensors", "/etc/x.safetensors", "a//b.safetensors", "a\\b.safetensors", "x" * 500),
        *("a\nb.safetensors", "\u202ex.safetensors", "\ud800.safetensors", 7, None, [], {}),
    ]
    odd: list[object] = [{"rfilename": name} for name in names]
    odd += ["x", None, {"rfilename": "ok.safetensors", "size": -5}, {"size": 3}]
    assert files_in(json.dumps({"siblings": odd})) == [HubFile(path="ok.safetensors", size_bytes=0)]
    many = [{"rfilename": f"{number}.safetensors", "size": 10**400} for number in range(3 * MOST_FILES)]
    assert len(files_in(json.dumps({"siblings": many}))) == MOST_FILES
    for text in ("", "[]", "{}", '{"siblings": 7}', "[" * 9999):
        assert files_in(text) == []
