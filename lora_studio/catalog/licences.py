"""Licences of base models, in a sentence: what they forbid, which holds for LoRAs made for them too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence: the beginning of its name here, its tag on the Hugging Face Hub (`other` for one without),
    and its restrictions in short. The text itself stands on the base model's page."""

    begins: str
    hub_tag: str
    restrictions: str


LICENCES = (
    Licence(
        begins="Apache-2.0",
        hub_tag="apache-2.0",
        restrictions="Any use is allowed, also for money; licence and notices go along.",
    ),
    Licence(
        begins="CreativeML OpenRAIL++-M",
        hub_tag="openrail++",
        restrictions="Use for money is allowed. Uses that harm people are forbidden (it lists them), and who"
        " passes the LoRA on passes this list on.",
    ),
    Licence(
        begins="CreativeML OpenRAIL-M",
        hub_tag="creativeml-openrail-m",
        restrictions="Use for money is allowed. Uses that harm people are forbidden (it lists them), and who"
        " passes the LoRA on passes this list on.",
    ),
    Licence(
        begins="Fair AI Public License",
        hub_tag="other",
        restrictions="What is made from the model, LoRAs too, is passed on under this licence, with what it"
        " takes to make it again.",
    ),
    Licence(
        begins="FLUX",
        hub_tag="other",
        restrictions="Not for commercial use, and neither is a LoRA for it; a commercial licence has to be"
        " bought.",
    ),
    Licence(
        begins="CircleStone Labs Non-Commercial",
        hub_tag="other",
        restrictions="Not for commercial use, and neither is a LoRA for it.",
    ),
)


def licence_named(name: str) -> Licence | None:
    """The licence whose name a base has; None for one that isn't known here."""
    return next((one for one in LICENCES if name.startswith(one.begins)), None)
