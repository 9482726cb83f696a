"""Prompts to begin with, by what a LoRA shows: those of docs/sample-prompts.md, for the page."""

from __future__ import annotations

from collections.abc import Mapping

from lora_studio.catalog.base_models import STARTER, is_embedded

OF_STARTER: Mapping[str, tuple[str, ...]] = {
    "": (
        "rocket",
        "pizza",
        "tiger",
        "cool face",
        "castle",
        "sunflower",
        "train, flat style",
        "hammer, twemoji style",
        "fox, 3d style",
        "fox, flat style",
        "fox, noto style",
        "fox, twemoji style",
        "blue car",
        "a purple umbrella",
        "banana on a blue background",
        "crown on a purple background, flat style",
        "purple heart",
        "a pink rabbit on a yellow background, noto style",
    ),
    "object": (
        "a {trigger}",
        "a {trigger} on a purple background",
        "a {trigger} on a yellow background",
        "a {trigger} on a black background",
        "a {trigger}, flat style",
        "a {trigger}, noto style",
        "a {trigger}, twemoji style",
        "a green {trigger}",
        "a red {trigger}",
        "a blue {trigger} on an orange background",
    ),
    "style": (
        "rocket, {trigger} style",
        "cat, {trigger} style",
        "owl, {trigger} style",
        "ice cream, {trigger} style",
        "castle, {trigger} style",
        "tulip, {trigger} style",
        "smiley, {trigger} style",
        "bicycle, {trigger} style",
        "blue car, {trigger} style",
        "purple heart, {trigger} style",
        "crown on a yellow background, {trigger} style",
        "snowman, {trigger} style",
    ),
}
"""Prompts by kind; the empty one is for the base alone. `{trigger}` is the place of the trigger word."""
OF_LARGE_BASES: Mapping[str, tuple[str, ...]] = {
    "person": (
        "portrait photo of {trigger}, soft window light, 85mm, shallow depth of field",
        "{trigger} in a dark suit, plain grey studio background, professional headshot",
        "{trigger} hiking on a mountain ridge, wind in the hair, golden hour",
        "{trigger} in a workshop, holding a wooden chair, natural light, candid photo",
        "{trigger} as an astronaut in a corridor, film still, teal and orange, dramatic light",
        "{trigger} in a 1920s street, sepia photograph, grain",
        "watercolour painting of {trigger}, loose brush strokes, white paper",
        "{trigger} as a comic book hero, bold ink lines, flat colours",
        "full body photo of {trigger} walking a dog on a beach, seen from afar",
        "black and white photo of {trigger}, profile, rim light, black background",
    ),
    "style": (
        "a mountain village at dawn, {trigger} style",
        "a rainy street with neon signs at night, {trigger} style",
        "a bowl of lemons on a blue tablecloth, {trigger} style",
        "a fox sleeping in snow, {trigger} style",
        "an old fisherman, head and shoulders, {trigger} style",
        "an old bicycle against a wall, {trigger} style",
        "a reading corner with a lamp and plants, {trigger} style",
        "seamless pattern of leaves and berries, {trigger} style",
        "a single red apple, centred, plain background, {trigger} style",
        "a rocket over a city, large empty sky, poster, {trigger} style",
    ),
    "object": (
        "{trigger} on a white table, softbox light, product photo",
        "a hand holding {trigger}, kitchen, morning light",
        "{trigger} on a mossy rock in a forest, shallow depth of field",
        "{trigger} on a beach at sunset, long shadow",
        "{trigger} as tall as a house on a town square, people looking up",
        "{trigger} made of clear glass, studio light",
        "technical drawing of {trigger}, blueprint, thin white lines",
        "three {trigger} side by side on a shelf",
        "{trigger} lit by a candle in a dark room",
        "{trigger} floating among orange slices, splashes, bright background",
    ),
    "character": (
        "{trigger} running through a forest, full body, side view",
        "character sheet of {trigger}, front view, side view, back view, plain background",
        "{trigger}, close-up, laughing, eyes closed",
        "{trigger} sitting on a roof at night, looking at the moon, from behind",
        "{trigger} jumping over a gap between two roofs, motion lines",
        "{trigger} in a thick winter coat and scarf, snow",
        "{trigger} eating noodles at a street stall, warm light",
        "chibi {trigger}, big head, sticker with a white border",
        "{trigger} and a large friendly robot on a bench, park",
        "{trigger} as a plastic toy figure on a desk, macro photo",
    ),
}


def purpose_prompts(base: str, kind: str, trigger: str) -> tuple[str, ...]:
    """Prompts for a LoRA of this kind with its trigger word, or for the base alone where there is no word:
    none where nobody knows what a base draws without one."""
    if base != STARTER.name and (is_embedded(base) or not trigger):
        return ()
    if not trigger:
        return OF_STARTER[""]
    kinds = OF_STARTER if base == STARTER.name else OF_LARGE_BASES
    return tuple(prompt.replace("{trigger}", trigger) for prompt in kinds.get(kind, kinds["object"]))
