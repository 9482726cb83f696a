"""Write tests/integration/openapi.json from the code: python -m scripts.freeze_api [--check]"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FROZEN = Path(__file__).resolve().parent.parent / "tests" / "integration" / "openapi.json"
POST = "/gradio_api/call/v2/"
RENEW = """\
The API is not the one in tests/integration/openapi.json. If that is meant, renew the file with
`python -m scripts.freeze_api` and look at its difference: what was added needs a line in CHANGELOG.md; a
parameter, value or answer that went, was renamed, moved, became required or changed its type breaks the
scripts of other people, so keep the old one working beside the new, or name the break in CHANGELOG.md and
raise the version."""


def frozen() -> dict[str, Any]:
    """The committed description."""
    return dict(json.loads(FROZEN.read_text("utf-8")))


def described(openapi: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Our endpoints as /gradio_api/openapi.json has them, by name, without Gradio's own paths, sentences and
    version. What OpenAPI leaves out (order, defaults, what is needed, the answer's type) is from /info."""
    return {
        path.removeprefix(POST): _endpoint(
            item["post"], info["named_endpoints"][f"/{path.removeprefix(POST)}"]
        )
        for path, item in sorted(openapi["paths"].items())
        if path.startswith(POST)
    }


def _endpoint(post: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    types = post["requestBody"]["content"]["application/json"]["schema"]["properties"]
    return {
        "description": facts["description"],
        "takes": {name: _parameter(types.get(name), fact) for name, fact in _by_name(facts)},
        "gives": [result["type"] for result in facts["returns"]],
    }


def _by_name(facts: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((fact["parameter_name"], fact) for fact in facts["parameters"])


def _parameter(openapi_type: Any, fact: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"type": openapi_type}
    return facts | ({"default": fact["parameter_default"]} if fact["parameter_has_default"] else {})


def today() -> dict[str, Any]:
    """The description that the code at hand gives: a page over an empty studio, without a port."""
    from fastapi.testclient import TestClient

    from lora_studio.settings import Settings
    from lora_studio.studio import open_studio
    from lora_studio.ui.blocks import build

    with TemporaryDirectory() as folder:
        top = Path(folder)
        studio = open_studio(Settings(home=top / "home", models=top / "models"), start_worker=False)
        try:
            client = TestClient(build(studio).without_server())
            names = ("openapi.json", "info")
            return described(*(client.get(f"/gradio_api/{name}").raise_for_status().json() for name in names))
        finally:
            studio.close()


def main() -> int:
    text = json.dumps(today(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        if FROZEN.read_text("utf-8") != text:
            print(RENEW)
            return 1
        return 0
    FROZEN.write_text(text, "utf-8")
    print(f"{FROZEN.name} is written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
