"""Build the documentation as a site of plain files: python -m scripts.build_site [--out FOLDER]

The pages are the Markdown that GitHub shows. Here they are laid out for Zensical (the packages of the extra
`docs`): links to files that are no pages become words, Mermaid's diagrams pictures. It is built strictly, and
then looked through: no dead link, nothing that a browser would fetch from another host.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
FIRST = (CHECKOUT / "README.md", CHECKOUT / "docs" / "index.md")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
LISTED = re.compile(r"^## (.+)$|\[([^\[\]]{1,200})\]\(([^()\s]{1,200}\.md)\)", re.MULTILINE)
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
"""Elements whose address a browser fetches by itself; of links those that are no page of their own."""
RELATIONS = {
    "stylesheet",
    "preload",
    "icon",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}


def linked_from(page: Path) -> Iterator[tuple[str, Path]]:
    """(the link as written, the file of the checkout) for each link of a page to a file."""
    for _, _, target in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        place = urlsplit(target)
        if not place.scheme and place.path:
            yield target, (page.parent / unquote(place.path)).resolve()


def all_pages() -> list[Path]:
    """The pages that can be reached from the first two, in that order."""
    found = list(FIRST)
    for page in found:
        for _, file in linked_from(page):
            if file.suffix == ".md" and file.is_file() and file not in found:
                found.append(file)
    return found


def lay_out(folder: Path) -> list[Path]:
    """Write the pages and pictures below `folder`, as in the checkout. Returns the pages' places."""
    pages, places = all_pages(), []
    for page in pages:
        place = page.relative_to(CHECKOUT)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        for _, file in linked_from(page):
            if file.suffix in {".png", ".webp", ".svg", ".jpg"}:
                beside = folder / file.relative_to(CHECKOUT)
                beside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, beside)
        text = FRONT_MATTER.sub("", page.read_text("utf-8"))
        text = with_drawn_diagrams(text, folder / place)
        (folder / place).write_text(with_links_to_pages(text, page, set(pages)), "utf-8")
        places.append(place)
    return places


def with_links_to_pages(text: str, page: Path, pages: set[Path]) -> str:
    """The text without links to files that the site has not, such as code: what they say stays."""

    def kept(match: re.Match[str]) -> str:
        place = urlsplit(match[3])
        if match[1] or place.scheme or not place.path:
            return match[0]
        return match[0] if (page.parent / unquote(place.path)).resolve() in pages else match[2]

    parts = FENCED.split(text)
    return "".join(part if FENCED.fullmatch(part) else LINK.sub(kept, part) for part in parts)


def with_drawn_diagrams(text: str, place: Path) -> str:
    """The text with each Mermaid diagram as a picture beside the page: its own program comes from another
    host. Raises ValueError for a diagram that Mermaid doesn't read."""

    def drawn(match: re.Match[str]) -> str:
        import mermaidx

        picture = mermaidx.render(match[1]).svg()
        if "Syntax error" in picture:
            raise ValueError(f"{place.name}: Mermaid reads no diagram in {match[1][:60]!r}")
        file = place.with_name(f"{place.stem}-{text[: match.start()].count('```mermaid') + 1}.svg")
        file.write_text(picture, "utf-8")
        return f"![diagram]({file.name})"

    return DIAGRAM.sub(drawn, text)


def navigation(pages: list[Path]) -> list[object]:
    """The site's tree as docs/index.md lists it; pages that it doesn't list come last."""
    tree: list[object] = [{"LoRA Studio": "README.md"}]
    section: list[object] = [{"Overview": "docs/index.md"}]
    seen = {Path("README.md"), Path("docs/index.md")}
    tree.append({"Documentation": section})
    for heading, title, target in LISTED.findall(FIRST[1].read_text("utf-8")):
        if heading:
            section = []
            tree.append({heading: section})
            continue
        place = (FIRST[1].parent / target).resolve().relative_to(CHECKOUT)
        if place not in seen:
            seen.add(place)
            section.append({title[0].upper() + title[1:]: place.as_posix()})
    rest: list[object] = [page.as_posix() for page in pages if page not in seen]
    return [*tree, {"More": rest}] if rest else tree


def settings(pages: list[Path]) -> dict[str, object]:
    """Zensical's settings, in the form it shares with MkDocs."""
    return {
        "site_name": "LoRA Studio",
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,
        "theme": {
            "variant": "classic",
            "font": False,  # the reader's own: others come from another host
            "features": ["navigation.sections", "navigation.top", "toc.follow", "content.code.copy"],
            "palette": [
                {"media": "(prefers-color-scheme: light)", "scheme": "default"},
                {"media": "(prefers-color-scheme: dark)", "scheme": "slate"},
            ],
        },
        "extra": {"generator": False},
        "markdown_extensions": [
            "tables",
            {"toc": {"permalink": True}},
            "pymdownx.superfences",
            "pymdownx.highlight",
        ],
        "nav": navigation(pages),
    }


class _PageReader(HTMLParser):
    """The names of a page's places, and its links and what is fetched for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in FETCHED and FETCHED[tag] in given:
            self.fetched.append(given[FETCHED[tag]])
        if tag == "link" and RELATIONS & set(given.get("rel", "").split()):
            self.fetched.append(given.get("href", ""))


def problems(site: Path) -> list[str]:
    """A sentence for each dead link of a built site, and for each thing that is fetched from another host."""
    read = {file: _PageReader(file.read_text("utf-8")) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in read.items():
        if file.name == "404.html":  # its addresses are those of the host's root
            continue
        where = file.relative_to(site).as_posix()
        found += [f"{where} fetches {one}" for one in page.fetched if urlsplit(one).netloc]
        for link in [*page.links, *page.fetched]:
            place = urlsplit(link)
            if place.scheme or place.netloc:
                continue
            target = (file.parent / unquote(place.path)).resolve() if place.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{where} leads to {link}, which is not there")
            elif place.fragment and target in read and unquote(place.fragment) not in read[target].names:
                found.append(f"{where} leads to {link}, and there is no such place on that page")
    return found


def build(out: Path) -> list[str]:
    """Build the site into `out`, a new folder. Returns what is wrong with it: Zensical's words, or ours."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = lay_out(folder / "pages")
        file = folder / "mkdocs.yml"
        file.write_text(yaml.safe_dump(settings(pages), sort_keys=False), "utf-8")
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(file)]
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        output = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout + run.stderr)
        if run.returncode or "Warning" in output:
            return [output.strip()]
        found = problems(folder / "site")
        if not found:
            shutil.copytree(folder / "site", out)
        return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.build_site", description="Build the documentation."
    )
    parser.add_argument("--out", type=Path, default=CHECKOUT / "build" / "site", help="a new folder")
    out = parser.parse_args().out
    if out.exists():
        print(f"{out} is there already. Remove it, or name another folder with --out.", file=sys.stderr)
        return 2
    found = build(out)
    print(
        "\n".join(found) or f"Open {out / PurePosixPath('index.html')}",
        file=sys.stderr if found else sys.stdout,
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
