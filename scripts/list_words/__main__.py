"""List the English texts of the page that a table lacks: `python -m scripts.list_words de`.

With `--all`, all texts in one order. With `--fill FILE`, take a language's texts from a file with one line
for each that the list without it prints. With `--clean`, take out of the tables what is no text any more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lora_studio.ui.languages.language import ENGLISH, LANGUAGES
from lora_studio.ui.languages.message_table import TABLES, read_table
from scripts.list_words.page_words import page_messages


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("language", choices=[tag for tag in LANGUAGES if tag != ENGLISH])
    parser.add_argument("--all", action="store_true", help="all texts, also those that the table has")
    parser.add_argument("--fill", type=Path, metavar="FILE", help="texts to add, one a line")
    parser.add_argument("--clean", action="store_true", help="take out what is no text any more")
    options = parser.parse_args()
    messages = read_table(options.language) if (TABLES / f"{options.language}.json").exists() else {}
    listed = [text for text in sorted(page_messages()) if options.all or text not in messages]
    if options.fill:
        texts = options.fill.read_text("utf-8").splitlines()
        if len(texts) != len(listed):
            parser.error(f"{options.fill} has {len(texts)} lines for {len(listed)} texts.")
        messages |= dict(zip(listed, texts, strict=True))
    if options.clean:
        messages = {english: text for english, text in messages.items() if english in page_messages()}
    if options.fill or options.clean:
        kept = json.dumps(dict(sorted(messages.items())), ensure_ascii=False, indent=0)
        (TABLES / f"{options.language}.json").write_text(kept + "\n", "utf-8")
    else:
        print(*listed, sep="\n")


if __name__ == "__main__":
    main()
