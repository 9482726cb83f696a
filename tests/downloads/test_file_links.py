from __future__ import annotations

import httpx
import pytest

from lora_studio.downloads.checked_network import Refused
from lora_studio.downloads.file_links import name_of_file, parse_link, shown_link

HTTPS = frozenset({"https"})


@pytest.mark.parametrize(
    "link",
    [
        *("", "  ", "x" * 3000, "ink.safetensors", "/etc/passwd", "file:///etc/passwd", "ftp://a.example/x"),
        *("http://a.example/x", "gopher://a.example/", "https://", "https:///x", "https://[::1"),
        *("https://user:secret@a.example/x", "https://a.example@127.0.0.1/x", "data:,x", "jar:https://a!/b"),
        *("https://a.example:99999/x", "https://a.example\r\nHost: b/x", "//a.example"),
    ],
)
def test_what_is_no_https_link_is_refused(link: str) -> None:
    with pytest.raises(Refused):
        parse_link(link, HTTPS)


@pytest.mark.parametrize(
    ("link", "direct"),
    [
        ("https://a.example/x.safetensors?token=1", "https://a.example/x.safetensors?token=1"),
        (" HTTPS://A.Example/x ", "https://a.example/x"),
        (
            "https://huggingface.co/o/n/blob/main/a%20b.safetensors",
            "https://huggingface.co/o/n/resolve/main/a%20b.safetensors",
        ),
        (
            "https://civitai.com/models/12/some-name?modelVersionId=345",
            "https://civitai.com/api/download/models/345",
        ),
        ("https://civitai.com/models/12?modelVersionId=x", "https://civitai.com/models/12?modelVersionId=x"),
        ("https://a.example/o/n/blob/main/x", "https://a.example/o/n/blob/main/x"),
    ],
)
def test_pages_that_show_a_file_lead_to_it(link: str, direct: str) -> None:
    assert str(parse_link(link, HTTPS)) == direct


@pytest.mark.parametrize(
    ("path", "disposition", "name"),
    [
        ("/a/ink.safetensors", "", "ink.safetensors"),
        ("/a/ink.SAFETENSORS", "", "ink.safetensors"),
        ("/", "", "lora.safetensors"),
        ("/a/%2e%2e%2f%2e%2e%2fx.safetensors", "", "x.safetensors"),
        ("/download", 'attachment; filename="Ink Style.safetensors"', "Ink Style.safetensors"),
        ("/download", "attachment; filename=ink.safetensors", "ink.safetensors"),
        ("/download", "attachment; filename*=UTF-8''%E7%8C%AB.safetensors", "猫.safetensors"),
        ("/download", 'attachment; filename="../../evil.py"', "evil.py.safetensors"),
        ("/download", 'attachment; filename="..\\..\\evil.exe"', "evil.exe.safetensors"),
        ("/download", "attachment; filename*=UTF-8''%2Fetc%2Fpasswd%00%0A", "passwd.safetensors"),
        ("/download", 'attachment; filename=".."', "lora.safetensors"),
        ("/download", 'attachment; filename="a:b*?<x>.safetensors"', "a b x.safetensors"),
        ("/download", f'attachment; filename="{"x" * 250}"', f"{'x' * 60}.safetensors"),
    ],
)
def test_names_are_plain(path: str, disposition: str, name: str) -> None:
    given = name_of_file(httpx.URL(f"https://a.example{path}"), {"content-disposition": disposition})
    assert " ".join(given.split()) == name


def test_what_is_shown_of_a_link_has_no_token() -> None:
    assert shown_link(httpx.URL("https://a.example/x?token=secret#secret")) == "a.example/x"
