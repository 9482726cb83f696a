"""Real supabase-py against our server and the vendor's: the same cases, known differences written down."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from postgrest.exceptions import APIError

from tests.support.serving import CHECKOUT
from tests.support.supabase.cases import DIFFERENCES, EXPECTED, observe
from tests.support.supabase.clients import Clients, clients_of
from tests.support.supabase.server import Server
from tests.support.supabase.vendor import Lite


@pytest.fixture(scope="module")
def ours(server: Server) -> Iterator[Clients]:
    with clients_of(server) as clients:
        yield clients


@pytest.fixture(scope="module")
def vendors(lite: Lite) -> Iterator[Clients]:
    with clients_of(lite) as clients:
        yield clients


@pytest.mark.parametrize("name", EXPECTED)
def test_our_server_answers_as_the_hosted_one(ours: Clients, name: str) -> None:
    function, expected = EXPECTED[name]
    assert observe(function, ours) == expected


@pytest.mark.parametrize(
    ("columns", "filters"),
    [("id, training_jobs(status)", {}), ("metadata->a", {}), ("*", {"name": "fts.dragon"})],
)
def test_our_server_refuses_what_it_does_not_know(
    ours: Clients, columns: str, filters: dict[str, str]
) -> None:
    query = ours.service.table("loras").select(columns)
    for column, wanted in filters.items():
        query = query.filter(column, *wanted.split(".", 1))
    with pytest.raises(APIError) as caught:
        query.execute()
    assert caught.value.code == "PGRST100"


@pytest.mark.parametrize("name", EXPECTED)
def test_the_vendors_server_answers_the_same_or_as_we_know_it(vendors: Clients, name: str) -> None:
    """A difference that vanishes or is new fails here: then DIFFERENCES and docs/supabase.md change."""
    function, expected = EXPECTED[name]
    assert observe(function, vendors) == DIFFERENCES.get(name, expected)


def test_the_list_of_differences_is_of_cases_and_differs() -> None:
    assert all(name in EXPECTED and EXPECTED[name][1] != known for name, known in DIFFERENCES.items())


def test_the_documentation_has_the_list_of_differences() -> None:
    page = (CHECKOUT / "docs" / "supabase.md").read_text(encoding="utf-8")
    table = page.split("## What the vendor's lightweight server does differently")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(DIFFERENCES)
