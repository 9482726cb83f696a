"""ComfyUI's graph, JSON in `prompt`: each node's number with its `class_type` and `inputs`, of which some are
links, `["4", 0]` for the first output of node 4.

No node says which text is the prompt. The way there goes from the node that saves the picture, or else from
the samplers, backwards along the links.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lora_studio.images.foreign_settings.found_settings import (
    Found,
    file_title,
    mapping,
    plain,
    sampler,
    settings_in,
    words,
)

MOST_NODES, MOST_LINKS, MOST_ENDS = 3000, 10_000, 20
"""Nodes, links and ends that are looked at; a graph of thousands is no one's, and may go in circles."""
TEXTS = (
    "text",
    "text_g",
    "string",
    "value",
    "prompt",
    "positive",
    "wildcard_text",
    "text_l",
    "clip_l",
    "t5xxl",
)
MODELS = ("ckpt_name", "unet_name", "base_ckpt_name", "model_name")
SEEDS = ("seed", "noise_seed")
NUMBERS = ("value", "int", "float", "Number")
PASSED = {
    "ControlNetLoader": "ControlNet",
    "VAELoader": "the autoencoder",
    "UpscaleModelLoader": "the upscaler",
    "IPAdapterModelLoader": "an IP adapter",
    "HypernetworkLoader": "a hypernetwork",
    "LoadImage": "the picture it begins with",
}


@dataclass(frozen=True)
class Node:
    """A node of the graph; `links` maps inputs to the numbers of the nodes that feed them."""

    kind: str
    inputs: Mapping[str, Any]
    links: Mapping[str, str]

    @property
    def draws(self) -> bool:
        fed = "positive" in self.links or "guider" in self.links
        return fed and ("latent_image" in self.links or "Sampler" in self.kind)


@dataclass(frozen=True)
class Graph:
    """ComfyUI's nodes by number."""

    nodes: Mapping[str, Node]

    def upwards(self, start: Node, through: str = "") -> Iterator[Node]:
        """The node and all that feed it, nearest first, each once; of the first only by `through`."""
        waiting, seen = deque([start]), {id(start)}
        while waiting:
            node = waiting.popleft()
            yield node
            for name, key in node.links.items():
                feeder = self.nodes.get(key)
                only = node is start and through and name != through
                if feeder is not None and not only and id(feeder) not in seen:
                    seen.add(id(feeder))
                    waiting.append(feeder)

    def value(self, start: Node, *names: str, through: str = "") -> Any:
        """The nearest number or text under one of these names, or in the node that is linked there."""
        for node in self.upwards(start, through):
            for name in names:
                if plain(node.inputs.get(name)) is not None:
                    return node.inputs[name]
                feeder = self.nodes.get(node.links.get(name, ""))
                given = (feeder.inputs.get(key) for key in (*names, *NUMBERS)) if feeder else ()
                direct = next((value for value in given if plain(value) is not None), None)
                if direct is not None:
                    return direct
        return None

    def text(self, node: Node, side: str) -> str:
        """The text of the nearest text encoder behind the input `side`."""
        for one in self.upwards(node, through=side):
            if one is node or side not in node.links:
                continue
            if "ZeroOut" in one.kind:
                return ""
            found = next((words(one.inputs[name]) for name in TEXTS if words(one.inputs.get(name))), "")
            if found:
                return found
        return ""


def read(texts: Mapping[str, str]) -> Found | None:
    """The settings of the first sampler that leads to the picture; None where there is no graph."""
    graph = _graph(settings_in(texts, "prompt", "parameters", "Prompt"))
    if not graph.nodes:
        return None
    node = _first_sampler(graph) or _loose_sampler(graph)
    if node is None:
        return Found(program="ComfyUI", notes=("Its graph has no sampler that is known here.",))
    values = _values(graph, node)
    chosen, notes = sampler(values.pop("sampler_name"), values.pop("scheduler"))
    passed = dict.fromkeys(PASSED[one.kind] for one in graph.nodes.values() if one.kind in PASSED)
    passes = sum(one.draws for one in graph.nodes.values())
    if passes > 1:
        notes += (f"Its graph draws in {passes} passes; the settings are those of the first.",)
    if not values["prompt"]:
        notes += ("Its graph leads to no prompt that is known here.",)
    left = (f"Not taken over: {title}." for title in passed)
    return Found(program="ComfyUI", values={**values, **chosen}, notes=(*notes, *left))


def _graph(nodes_by_key: Mapping[str, Any]) -> Graph:
    nodes: dict[str, Node] = {}
    links = 0
    for key, node in list(nodes_by_key.items())[:MOST_NODES]:
        inputs = mapping(mapping(node).get("inputs"))
        if "class_type" not in mapping(node) or links + len(inputs) > MOST_LINKS:
            continue
        linked = {name: str(value[0])[:100] for name, value in inputs.items() if _is_link(value)}
        links += len(inputs)
        nodes[key] = Node(kind=words(node["class_type"]), inputs=inputs, links=linked)
    return Graph(nodes)


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int)


def _first_sampler(graph: Graph) -> Node | None:
    """The sampler that no other feeds: of several passes the first has the picture's size and prompt."""
    ends = [node for node in graph.nodes.values() if "images" in node.links][:MOST_ENDS]
    samplers = [node for node in graph.nodes.values() if node.draws][:1]
    for end in [*ends, *samplers]:
        found = [node for node in graph.upwards(end) if node.draws]
        if found:
            return found[-1]
    return None


def _loose_sampler(graph: Graph) -> Node | None:
    """A sampler that nothing leads to, as in a part of a graph: its numbers are settings all the same."""
    with_steps = (node for node in graph.nodes.values() if "steps" in node.inputs)
    return next((node for node in with_steps if not node.inputs.keys().isdisjoint(SEEDS)), None)


def _values(graph: Graph, node: Node) -> dict[str, Any]:
    strength = graph.value(node, "denoise")
    holder = next(
        (one for one in graph.upwards(node) if {"positive", "conditioning"} & one.links.keys()), node
    )
    side = "positive" if "positive" in holder.links else "conditioning"
    size = next((one for one in graph.upwards(node, through="latent_image") if "width" in one.inputs), None)
    layer = next(
        (
            one.inputs["stop_at_clip_layer"]
            for one in graph.upwards(node)
            if "stop_at_clip_layer" in one.inputs
        ),
        None,
    )
    return {
        "prompt": graph.text(holder, side),
        "negative_prompt": graph.text(holder, "negative"),
        "base": file_title(graph.value(node, *MODELS)),
        "seed": graph.value(node, *SEEDS),
        "num_inference_steps": graph.value(node, "steps"),
        "guidance_scale": graph.value(node, "cfg"),
        "sampler_name": graph.value(node, "sampler_name"),
        "scheduler": graph.value(node, "scheduler"),
        "width": graph.value(size, "width") if size else None,
        "height": graph.value(size, "height") if size else None,
        "strength": strength if isinstance(strength, int | float) and 0 < strength < 1 else None,
        "clip_skip": -layer if isinstance(layer, int) and -100 < layer < 0 else None,
        "loras": _loras(graph, node),
    }


def _loras(graph: Graph, node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in graph.upwards(node):
        if words(one.inputs.get("lora_name")):
            weight, text = (plain(one.inputs.get(key)) for key in ("strength_model", "strength_clip"))
            use = {"name": file_title(one.inputs["lora_name"]), "weight": weight}
            found.append({**use, "text_encoder_weight": None if text == weight else text})
        # rgthree's stack: {"on": true, "lora": name, "strength": 0.8}
        stacked = (mapping(row) for row in one.inputs.values())
        found += [
            {"name": file_title(row["lora"]), "weight": plain(row.get("strength"))}
            for row in stacked
            if row.get("on") and words(row.get("lora"))
        ]
    return found[::-1]
