from __future__ import annotations

import threading

from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, Visitor, acting
from lora_studio.ui.train.cancel_events import Stops


def test_a_stop_reaches_the_tab_that_asked() -> None:
    stops = Stops()
    assert stops.ask("nobody") is False
    with stops.watch("a") as a, stops.watch("b") as b:
        assert stops.ask("a") is True
        assert (a(), b()) == (True, False)
        with stops.watch("b") as later:
            asking = threading.Thread(target=stops.ask, args=("b",))
            asking.start()
            asking.join()
            assert (b(), later()) == (False, True)
    assert stops.ask("a") is False


def test_nobody_stops_what_another_waits_for() -> None:
    """Programs that call without a session all have the same, empty one."""
    stops = Stops()
    with acting(Visitor(name="ada", role=Role.CREATOR)), stops.watch("") as hers:
        with acting(Visitor(name="vic", role=Role.VIEWER)):
            assert stops.ask("") is False
            with acting(NOBODY):
                assert stops.ask("") is False
        assert not hers()
        assert stops.ask("") is True
        assert hers()
