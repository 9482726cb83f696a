"""How far a first scan is, as the page shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lora_studio.store.first_scan import MOST_AT_ONCE, FirstScan
from tests.support.waiting import PATIENCE


class Large:
    """A library that stands still after a part of its files until it may go on."""

    def __init__(self, files: int) -> None:
        self.files = files
        self.stands, self.may_go_on = threading.Event(), threading.Event()

    def unread(self) -> int:
        return self.files

    def scan(self, should_stop: Callable[[], bool], count: Callable[[int], None]) -> None:
        count(100)
        self.stands.set()
        self.may_go_on.wait(PATIENCE)

    def forget_inputs(self) -> None:
        pass


def test_a_large_library_is_read_with_its_progress() -> None:
    library = Large(MOST_AT_ONCE + 1)
    scan = FirstScan(library=library)
    scan.start()
    assert library.stands.wait(PATIENCE)
    assert scan.progress == (100, MOST_AT_ONCE + 1)
    library.may_go_on.set()
    scan.close()
    assert scan.progress is None


def test_of_a_small_one_nothing_is_left_to_show() -> None:
    library = Large(MOST_AT_ONCE)
    library.may_go_on.set()
    scan = FirstScan(library=library)
    scan.start()
    assert library.stands.is_set()
    assert scan.progress is None
