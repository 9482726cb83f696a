from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from lora_studio.errors import ConfigError
from lora_studio.grids.axis_values import numbers, split_values
from lora_studio.grids.grid_cells import Cell, GridPlan, drawing_order, plan_grid, read_values
from lora_studio.grids.grid_request import MOST_CELLS, PARAMETERS, Axis, GridRequest
from lora_studio.prompts.styles import STYLES
from lora_studio.request import GenerateRequest

LORAS = [{"slug": "ink", "weight": 0.5}, {"slug": "oil"}]


def grid(x: Any, y: Any = None, z: Any = None, **request: Any) -> GridRequest:
    axes = {
        name: {"parameter": axis[0], "values": axis[1]}
        for name, axis in (("x", x), ("y", y), ("z", z))
        if axis
    }
    return GridRequest(request={"prompt": "a cat", "seed": 3, **request}, **axes)


def values_of(plan: GridPlan, name: str) -> list[Any]:
    return [getattr(cell.request, name) for cell in plan.cells]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("1, 2,3", [1, 2, 3]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("3-1", [3, 2, 1]),
        ("1-10 (+3)", [1, 4, 7, 10]),
        ("10-1 (-3)", [10, 7, 4, 1]),
        ("5-30 [6]", [5, 10, 15, 20, 25, 30]),
        ("1-10 [4]", [1, 4, 7, 10]),
        ("0-5 [3]", [0, 2, 5]),
        ("7-9 [1]", [7]),
        ("1, 4-6, 10-20 [2]", [1, 4, 5, 6, 10, 20]),
        ("-1 - 1", [-1, 0, 1]),
    ],
)
def test_whole_numbers_and_ranges(line: str, values: list[int]) -> None:
    assert numbers(line, whole=True) == values


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("0.2-1 (+0.2)", [0.2, 0.4, 0.6, 0.8, 1.0]),
        ("0-1 [5]", [0, 0.25, 0.5, 0.75, 1]),
        ("-1--.5 (+.25)", [-1, -0.75, -0.5]),
        ("7.5, .5", [7.5, 0.5]),
        ("0-1 [4]", [0, 0.333333, 0.666667, 1]),
    ],
)
def test_numbers_with_parts(line: str, values: list[float]) -> None:
    assert numbers(line, whole=False) == values


@pytest.mark.parametrize("line", ["1-10 (-3)", "10-1 (+3)", "1-5 (0)", "1-9999", "1-2 [0]", "1-2 [500]"])
def test_a_range_that_leads_nowhere_or_too_far_is_told(line: str) -> None:
    with pytest.raises(ConfigError, match="The range"):
        numbers(line, whole=True)


@pytest.mark.parametrize("line", ["x", "1, two", "1.5", "1e3", "--1"])
def test_what_is_no_whole_number_is_told(line: str) -> None:
    with pytest.raises(ConfigError, match="number"):
        numbers(line, whole=True)


def test_texts_may_have_commas_in_quotes_and_stand_on_lines() -> None:
    assert split_values('a cat, "a dog, big",  fox ,, "say ""hi"""') == [
        "a cat",
        "a dog, big",
        "fox",
        'say "hi"',
    ]
    assert split_values("one\r\ntwo, three") == ["one", "two", "three"]
    with pytest.raises(ConfigError, match="isn't closed"):
        split_values('a, "b')


def test_x_runs_fastest_then_y_then_z() -> None:
    plan = plan_grid(
        grid(("num_inference_steps", "1, 2, 3"), ("guidance_scale", "2-3 (+0.5)"), ("seed", "7, 8"))
    )
    assert (plan.columns, plan.rows, len(plan.cells)) == (3, 3, 18)
    assert [cell.place for cell in plan.cells] == list(range(18))
    assert values_of(plan, "num_inference_steps") == [1, 2, 3] * 6
    assert values_of(plan, "guidance_scale") == [*[2.0] * 3, *[2.5] * 3, *[3.0] * 3] * 2
    assert values_of(plan, "seed") == [7] * 9 + [8] * 9
    assert plan.labels[0] == ("Steps: 1", "Steps: 2", "Steps: 3")
    assert plan.labels[2] == ("Seed: 7", "Seed: 8")


@pytest.mark.parametrize(
    ("parameter", "line", "name", "expected"),
    [
        ("sampler", "Euler a, PLMS, dpm++ 2m karras", "sampler", ["Euler a", "PNDM", "DPM++ 2M Karras"]),
        ("width", "64-128 (+32)", "width", [64, 96, 128]),
        ("clip_skip", "1-3", "clip_skip", [1, 2, 3]),
        ("prompt", '"a cat, sitting", a dog', "prompt", ["a cat, sitting", "a dog"]),
        ("negative_prompt", "blur, noise", "negative_prompt", ["blur", "noise"]),
        ("base", "starter, sd15", "base", ["starter", "sd15"]),
        ("hires_scale", "1, 1.5", "hires_scale", [1.0, 1.5]),
        ("hires_upscaler", "lanczos, latent", "hires_upscaler", ["lanczos", "latent"]),
        ("insert_trigger", "yes, no", "insert_trigger", [True, False]),
        ("variation_strength", "0-1 [3]", "variation_strength", [0, 0.5, 1]),
        ("padding_mask_crop", "0, 32", "padding_mask_crop", [0, 32]),
        ("prompt_replace", "cat, dog, red fox", "prompt", ["a cat", "a dog", "a red fox"]),
    ],
)
def test_an_axis_sets_its_parameter(parameter: str, line: str, name: str, expected: list[Any]) -> None:
    plan = plan_grid(grid((parameter, line)))
    assert values_of(plan, name) == expected
    others = {cell.request.model_copy(update={name: expected[0]}).model_dump_json() for cell in plan.cells}
    assert len(others) == 1


def test_every_parameter_can_be_an_axis() -> None:
    lines = {
        "sampler": "DDIM",
        "prompt_replace": "cat, dog",
        "lora": "ink, none",
        "base": "starter",
        "style": "none, icon",
        "prompt": "x",
        "negative_prompt": "x",
        "size": "64x96, 96×64",
        "width": "64",
        "height": "64",
        "hires_upscaler": "latent",
        "insert_trigger": "yes",
        "lora_checkpoint": "100, none",
    }
    for name in PARAMETERS:
        assert plan_grid(grid((name, lines.get(name, "1")), loras=LORAS)).cells


def test_sizes_set_both_sides() -> None:
    plan = plan_grid(grid(("size", "64x96, 128 × 72")))
    assert [(cell.request.width, cell.request.height) for cell in plan.cells] == [(64, 96), (128, 72)]


def loras_of(cell: Cell) -> list[tuple[Any, ...]]:
    return [(use.slug, use.weight, use.text_encoder_weight, use.checkpoint) for use in cell.request.loras]


def test_a_loras_weight_checkpoint_and_text_encoder_weight() -> None:
    cells = plan_grid(
        grid(("lora_weight:ink", "0, 1"), ("lora_checkpoint:ink", "50, none"), loras=LORAS)
    ).cells
    assert [loras_of(cell)[0] for cell in cells] == [
        ("ink", 0.0, None, 50),
        ("ink", 1.0, None, 50),
        ("ink", 0.0, None, None),
        ("ink", 1.0, None, None),
    ]
    assert all(loras_of(cell)[1] == ("oil", 1.0, None, None) for cell in cells)
    both = plan_grid(grid(("lora_text_encoder_weight", "0.25"), loras=LORAS)).cells[0]
    assert loras_of(both) == [("ink", 0.5, 0.25, None), ("oil", 1.0, 0.25, None)]
    added = plan_grid(grid(("lora_weight:new-one", "0.5"))).cells[0]
    assert loras_of(added) == [("new-one", 0.5, None, None)]
    tagged = plan_grid(grid(("lora_weight:ink", "0.5, 2"), prompt="a cat <lora:ink:1>")).cells
    assert [loras_of(cell) for cell in tagged] == [[("ink", 0.5, None, None)], [("ink", 2.0, None, None)]]


def test_loras_take_turns() -> None:
    cells = plan_grid(
        grid(("lora", "none, ink, oil:0.5"), loras=[{"slug": "blue", "weight": 0.5}, *LORAS])
    ).cells
    assert [loras_of(cell) for cell in cells] == [
        [("blue", 0.5, None, None)],
        [("blue", 0.5, None, None), ("ink", 1.0, None, None)],
        [("blue", 0.5, None, None), ("oil", 0.5, None, None)],
    ]


def test_replacing_reaches_tags_and_the_negative_prompt() -> None:
    cells = plan_grid(
        grid(("prompt_replace", "<lora:ink:0.5>, <lora:ink:1>, <lora:oil:1>"), prompt="a cat <lora:ink:0.5>")
    ).cells
    assert [cell.request.prompt for cell in cells] == ["a cat"] * 3
    assert [loras_of(cell)[0][:2] for cell in cells] == [("ink", 0.5), ("ink", 1.0), ("oil", 1.0)]
    two = plan_grid(
        grid(("prompt_replace", "cat, dog"), ("prompt_replace", "grey, blue"), negative_prompt="grey cat")
    ).cells
    assert [(cell.request.prompt, cell.request.negative_prompt) for cell in two] == [
        ("a cat", "grey cat"),
        ("a dog", "grey dog"),
        ("a cat", "blue cat"),
        ("a dog", "blue dog"),
    ]


def test_styles_come_after_the_words() -> None:
    cells = plan_grid(grid(("style", "none, Sticker"), ("prompt_replace", "cat, dog"))).cells
    assert [cell.request.prompt for cell in cells] == [
        "a cat",
        "a cat, flat style",
        "a dog",
        "a dog, flat style",
    ]
    other = plan_grid(grid(("base", "starter, sd15"), ("style", "icon"))).cells
    assert other[0].request.prompt == "a cat, twemoji style"
    assert other[1].request.prompt == STYLES["icon"].prompt.format(prompt="a cat")


def test_open_seeds_are_drawn_once() -> None:
    request = {"prompt": "a cat", "count": 4}
    plan = plan_grid(GridRequest(request=request, x={"parameter": "variation_strength", "values": "0, 0.5"}))
    assert len({(cell.request.seed, cell.request.variation_seed) for cell in plan.cells}) == 1
    assert plan.cells[0].request.seed is not None
    assert plan.cells[0].request.variation_seed is not None
    assert values_of(plan, "count") == [1, 1]
    assert plan.request.seed == plan.cells[0].request.seed


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([("nonsense", "1")], "“nonsense” can't be an axis"),
        ([("seed:ink", "1")], "can't be an axis"),
        ([("seed", "1"), ("seed", "2")], "Two axes set the same: seed"),
        ([("size", "64x64"), ("width", "64")], "Two axes set the same: size"),
        ([("seed", ", ,")], "has no values"),
        ([("num_inference_steps", "0, 5")], "num_inference_steps"),
        ([("width", "63")], "multiple of 8"),
        ([("size", "64")], "is no size"),
        ([("sampler", "DDIM, LMS")], "There is no sampler “LMS”"),
        ([("prompt_replace", "dog, fox")], "“dog” stands in neither prompt"),
        ([("lora_weight", "1")], "the request has none"),
        ([("lora_weight:../x", "1")], "no LoRA of the library"),
        ([("lora", "ink:9")], "weight"),
        ([("lora", "../x")], "no LoRA of the library"),
        ([("style", "nonsense")], "There is no style"),
        ([("seed", "1-20"), ("num_inference_steps", "1-20")], r"400 cells \(20 × 20\)"),
    ],
)
def test_what_can_be_no_grid_is_told(axes: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan_grid(grid(*axes))
    assert caught.value.field


def test_the_limit_itself_is_allowed() -> None:
    assert len(plan_grid(grid(("seed", f"1-{MOST_CELLS // 2}"), ("clip_skip", "1, 2"))).cells) == MOST_CELLS


def test_bases_and_loras_change_as_rarely_as_can_be() -> None:
    plan = plan_grid(
        grid(("base", "starter, sd15"), ("lora", "ink, oil, none"), ("lora_weight:new", "0, 1"), prompt="x")
    )
    drawn = drawing_order(plan.cells)
    assert sorted(cell.place for cell in drawn) == list(range(12))

    def changes(key: Any) -> int:
        keys = [key(cell.request) for cell in drawn]
        return sum(a != b for a, b in pairwise(keys))

    assert changes(lambda request: request.base) == 1
    assert changes(lambda request: (request.base, {use.slug for use in request.loras if use.weight})) == 11
    same = plan_grid(grid(("seed", "1, 2, 3"), ("lora", "ink, oil")))
    order = [(cell.request.loras[0].slug, cell.request.seed) for cell in drawing_order(same.cells)]
    assert order == [("ink", 1), ("ink", 2), ("ink", 3), ("oil", 1), ("oil", 2), ("oil", 3)]
    across = plan_grid(grid(("lora", "ink, oil"), ("seed", "1, 2, 3")))
    assert [cell.request.loras[0].slug for cell in drawing_order(across.cells)] == ["ink"] * 3 + ["oil"] * 3
    assert [cell.place for cell in drawing_order(across.cells)] == [0, 2, 4, 1, 3, 5]


def test_a_grid_survives_json_and_tells_what_is_wrong() -> None:
    made = grid(("seed", "1-3"), ("lora_weight:ink", "0, 1"), loras=LORAS)
    assert GridRequest.model_validate_json(made.model_dump_json()) == made
    assert GridRequest(**made.model_dump()) == made
    with pytest.raises(ConfigError, match="x"):
        GridRequest(request=GenerateRequest())
    with pytest.raises(ConfigError, match="width"):
        GridRequest(request={"width": 3}, x={"parameter": "seed", "values": "1"})


def test_values_of_a_label_are_short() -> None:
    assert read_values(Axis(parameter="guidance_scale", values="1-2 [3]")) == ["1", "1.5", "2"]
    assert Axis(parameter="lora_weight:ink", values="1").title == "LoRA weight ink"


@pytest.mark.parametrize(
    "line", ["9" * 400, "5-30 [" + "9" * 5000 + "]", "1-" + "9" * 500 + " [3]", "1-2 (0." + "0" * 7000 + "1)"]
)
@pytest.mark.parametrize("whole", [True, False])
def test_numbers_too_long_for_any_setting_are_told(line: str, whole: bool) -> None:
    with pytest.raises(ConfigError, match="is no number"):
        numbers(line, whole=whole)


def test_two_checkpoints_of_a_lora_stay_two() -> None:
    loras = [{"slug": "ink", "checkpoint": 10}, {"slug": "ink", "checkpoint": 20}]
    axis = {"parameter": "lora_weight:oil", "values": "0.5"}
    (cell,) = plan_grid(GridRequest(request={"loras": loras}, x=axis)).cells
    named = [(use.slug, use.checkpoint, use.weight) for use in cell.request.loras]
    assert named == [("ink", 10, 1), ("ink", 20, 1), ("oil", None, 0.5)]
