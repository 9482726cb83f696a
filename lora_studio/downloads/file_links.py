"""Addresses of files: checked, made direct, and names for what they lead to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote

import httpx

from lora_studio.downloads.checked_network import Refused
from lora_studio.parsing.file_names import portable_name
from lora_studio.parsing.plain_text import plain_text

LONGEST_LINK, LONGEST_STEM = 2000, 100
HUB_PAGE = re.compile(r"(/(?:datasets/)?[^/]+/[^/]+)/blob/(.+)")
MODEL_PAGE = re.compile(r"/models/\d+(?:/[^/]*)?")
CIVITAI = frozenset({"civitai.com", "www.civitai.com", "civitai.red", "civitai.green"})
NAME_STAR = re.compile(r"filename\*\s*=\s*(?:utf-8|UTF-8)''([^;\s]{1,600})")
NAME = re.compile(r'filename\s*=\s*(?:"([^"]{1,300})"|([^";\s]{1,300}))')


def parse_link(given: str, schemes: frozenset[str]) -> httpx.URL:
    """The address in what somebody typed, made direct. Raises Refused."""
    text = given.strip()
    if not text or len(text) > LONGEST_LINK:
        raise Refused(
            f"An address of up to {LONGEST_LINK} characters is needed." if text else "No address is given.",
            "Give the download link of a .safetensors file.",
        )
    try:
        url = httpx.URL(text)
        url.raw_path.decode("ascii"), url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused("This is no address of a file.", "Copy the link of its download button.") from error
    check_link(url, schemes)
    return direct_link(url)


def check_link(url: httpx.URL, schemes: frozenset[str]) -> None:
    """Refuse an address by its form. Raises Refused."""
    if url.scheme not in schemes:
        raise Refused(
            f"Only https addresses are fetched (this one begins with {plain_text(url.scheme, 20)!r}).",
            "Give the https:// link of a .safetensors file.",
        )
    if url.userinfo:
        raise Refused("An address with a user name or password in it is not fetched.", "Leave that out.")
    if not url.host or not 0 < (url.port or 443) < 1 << 16:
        raise Refused("This address names no server.", "Copy the link of the file's download button.")


def direct_link(url: httpx.URL) -> httpx.URL:
    """The link of the file that a page of the Hub or of Civitai shows; others unchanged."""
    if url.host in {"huggingface.co", "hf.co"} and (page := HUB_PAGE.fullmatch(url.path)):
        return url.copy_with(path=f"{page[1]}/resolve/{page[2]}")
    if url.host in CIVITAI and MODEL_PAGE.fullmatch(url.path):
        version = parse_qs(url.query.decode("ascii", "replace")).get("modelVersionId", [""])[0]
        if re.fullmatch(r"\d{1,12}", version):
            return url.copy_with(path=f"/api/download/models/{version}", query=None)
    return url


def shown_link(url: httpx.URL) -> str:
    """The address for sentences and logs: without its query, which may hold a token."""
    return plain_text(f"{url.host}{url.path}", 200)


def name_of_file(url: httpx.URL, headers: Mapping[str, str]) -> str:
    """A harmless name ending in .safetensors, from the response's headers or the address: a stranger's words,
    of which no folder, no leading dot and no control character are left."""
    disposition = headers.get("content-disposition", "")[:2000]
    if starred := NAME_STAR.search(disposition):
        given = unquote(starred[1], errors="replace")
    elif named := NAME.search(disposition):
        given = named[1] or named[2]
    else:
        given = url.path
    last = re.split(r"[/\\]", plain_text(given, 600).rstrip("/\\"))[-1]
    stem = re.sub(r"\.safetensors$", "", last, flags=re.IGNORECASE)
    return f"{portable_name(plain_text(stem, LONGEST_STEM), 'lora', instead=' ')}.safetensors"
