from __future__ import annotations

import threading

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
