from __future__ import annotations

import copy
import io
import sys

import pytest
import torch

from lora_studio.config_groups import KNOWN_OPTIMIZERS, OptimizerGroup
from lora_studio.errors import ConfigError
from lora_studio.training.ignored_settings import ignored_settings
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer, describe, optimizer_mode
from tests.support.configs import ConfigMaker

EIGHT_BIT = tuple(name for name in KNOWN_OPTIMIZERS if "8bit" in name or name.startswith("Paged"))
HERE = tuple(name for name in KNOWN_OPTIMIZERS if name not in EIGHT_BIT)
SCHEDULE_FREE = tuple(name for name in KNOWN_OPTIMIZERS if name.endswith("ScheduleFree"))
OTHER_FORMS: list[dict] = [
    {"optimizer_type": "AdamW", "weight_decay": 0.1},
    {"optimizer_type": "adamw", "optimizer_args": ("betas=0.5,0.9", "amsgrad=True")},
    {"optimizer_type": "torch.optim.ASGD"},
    {"optimizer_type": "Adafactor", "optimizer_args": ("relative_step=False", "scale_parameter=False")},
    {"optimizer_type": "Adafactor", "optimizer_args": ("warmup_init=True",)},
    {
        "optimizer_type": "Prodigy",
        "optimizer_args": ("decouple=True", "use_bias_correction=True", "d_coef=2"),
    },
    {"optimizer_type": "Prodigy", "optimizer_args": ("slice_p=3", "safeguard_warmup=True")},
    {"optimizer_type": "DAdaptAdam", "optimizer_args": ("decouple=True", "weight_decay=0.1")},
    {"optimizer_type": "SGDNesterov", "optimizer_args": ("momentum=0.5",)},
    {"optimizer_type": "AdamWScheduleFree", "optimizer_args": ("warmup_steps=2",)},
]


def fresh() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(5)
    return [torch.nn.Parameter(torch.randn(*size, generator=generator)) for size in ((4, 6), (6, 4), (3,))]


def groups_of(weights: list[torch.nn.Parameter], rate: float, other: float | None = None) -> list[dict]:
    return [
        {"name": "text_encoder", "params": weights[:1], "lr": rate},
        {"name": "unet", "params": weights[1:], "lr": rate if other is None else other},
    ]


class Run:
    """Training on a loss that differs from step to step."""

    def __init__(self, settings: OptimizerGroup) -> None:
        self.weights = fresh()
        self.optimizer = build_optimizer(settings, groups_of(self.weights, settings.learning_rate))
        self.schedule = build_schedule(settings, self.optimizer)

    def learn(self, first: int, last: int) -> None:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            self.optimizer.zero_grad(set_to_none=True)
            loss = sum(
                (weight - torch.randn(weight.shape, generator=generator)).square().mean()
                for weight in self.weights
            )
            loss.backward()
            self.optimizer.step()
            self.schedule.step()

    def saved(self) -> io.BytesIO:
        """As a checkpoint keeps it: tensors and plain values, read back without running code."""
        file = io.BytesIO()
        state = [self.weights, self.optimizer.state_dict(), self.schedule.state_dict()]
        torch.save(state, file)
        file.seek(0)
        return file

    def restore(self, file: io.BytesIO) -> None:
        weights, optimizer, schedule = torch.load(file, weights_only=True)
        with torch.no_grad():
            for own, kept in zip(self.weights, weights, strict=True):
                own.copy_(kept)
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict(schedule)


def settings_of(**changes: object) -> OptimizerGroup:
    return OptimizerGroup(
        **{"learning_rate": 0.1, "max_train_steps": 10, "lr_scheduler": "cosine", **changes}
    )


def assert_same(one: Run, other: Run) -> None:
    for left, right in zip(one.weights, other.weights, strict=True):
        assert torch.equal(left, right)


def goes_on(settings: OptimizerGroup) -> Run:
    """Nine steps at once, which are those of a run that was saved and loaded after four."""
    whole, first, second = Run(settings), Run(settings), Run(settings)
    whole.learn(0, 9)
    first.learn(0, 4)
    second.restore(first.saved())
    second.learn(4, 9)
    assert_same(whole, second)
    return whole


@pytest.mark.parametrize("changes", [*({"optimizer_type": name} for name in HERE), *OTHER_FORMS], ids=str)
def test_saved_and_loaded_it_goes_on_to_the_same_bits(changes: dict) -> None:
    whole = goes_on(settings_of(**changes))
    assert not torch.equal(whole.weights[1], fresh()[1])
    assert all(torch.isfinite(weight).all() for weight in whole.weights)


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_looking_at_the_averaged_weights_does_not_change_the_run(name: str) -> None:
    settings = settings_of(optimizer_type=name)
    plain, looked_at = Run(settings), Run(settings)
    plain.learn(0, 9)
    for step in range(9):
        looked_at.learn(step, step + 1)
        learning = [weight.detach().clone() for weight in looked_at.weights]
        for _ in range(2):
            optimizer_mode(looked_at.optimizer, training=False)
        if step > 6:  # RAdam does nothing at first
            assert not torch.equal(looked_at.weights[1], learning[1])
        for _ in range(2):
            optimizer_mode(looked_at.optimizer, training=True)
    assert_same(plain, looked_at)


def test_other_optimizers_have_no_modes() -> None:
    run = Run(settings_of())
    run.learn(0, 2)
    before = copy.deepcopy(run.weights)
    optimizer_mode(run.optimizer, training=False)
    optimizer_mode(run.optimizer, training=True)
    assert all(torch.equal(*pair) for pair in zip(before, run.weights, strict=True))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "torch.optim.adamw.AdamW"),
        ({"weight_decay": 0.1}, "torch.optim.adamw.AdamW(weight_decay=0.1)"),
        (
            {"optimizer_args": ("betas=0.9,0.99", "eps=1e-6")},
            "torch.optim.adamw.AdamW(betas=(0.9, 0.99),eps=1e-06)",
        ),
        ({"optimizer_type": "SGDNesterov"}, "torch.optim.sgd.SGD(momentum=0.9)"),
        ({"optimizer_type": "Lion"}, "lion_pytorch.lion_pytorch.Lion"),
        ({"optimizer_type": "Adafactor"}, "transformers.optimization.Adafactor(relative_step=True)"),
    ],
)
def test_the_optimizer_is_named_as_kohya_names_it(changes: dict, text: str) -> None:
    settings = settings_of(**changes)
    assert describe(build_optimizer(settings, groups_of(fresh(), 0.1)), settings) == text


def test_each_group_keeps_its_name_and_rate() -> None:
    weights = fresh()
    optimizer = build_optimizer(settings_of(weight_decay=0.1), groups_of(weights, 1e-5, 1e-4))
    assert [group["lr"] for group in optimizer.param_groups] == [1e-5, 1e-4]
    assert [group["name"] for group in optimizer.param_groups] == ["text_encoder", "unet"]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1}


def test_adamw_is_the_fused_one_with_torchs_weight_decay() -> None:
    (group, _) = build_optimizer(settings_of(), groups_of(fresh(), 0.1)).param_groups
    assert group["fused"]
    assert group["weight_decay"] == 0.01


def test_sgd_has_nesterovs_momentum() -> None:
    (group, _) = build_optimizer(
        settings_of(optimizer_type="sgdnesterov"), groups_of(fresh(), 1)
    ).param_groups
    assert (group["momentum"], group["nesterov"]) == (0.9, True)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"optimizer_args": ("beta=0.9",)}, "optimizer_args", "Did you mean betas?"),
        ({"optimizer_args": ("betas=0.9",)}, "optimizer_args", "AdamW refuses its arguments"),
        ({"optimizer_args": ("betas=5,5",)}, "optimizer_args", "AdamW refuses its arguments"),
        ({"optimizer_args": ("betas=fast",)}, "optimizer_args", "AdamW refuses its arguments"),
        ({"optimizer_type": "Prodigy", "optimizer_args": ("x=1",)}, "optimizer_args", "x"),
        ({"optimizer_type": "torch.optim.Rprop", "weight_decay": 0.1}, "weight_decay", "no"),
        ({"optimizer_type": "torch.optim.LBFGS"}, "optimizer_type", "no optimizer that takes one step"),
        ({"optimizer_type": "os.path"}, "optimizer_type", "no optimizer"),
        ({"optimizer_type": "torch.optim.NoSuch"}, "optimizer_type", "There is no optimizer"),
        ({"optimizer_type": "no_such_package.Adam"}, "optimizer_type", "There is no optimizer"),
    ],
)
def test_wrong_arguments_and_classes_are_told(changes: dict, field: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build_optimizer(settings_of(**changes), groups_of(fresh(), 0.1))
    assert refusal.value.field == field
    assert words in f"{refusal.value.message} {refusal.value.hint}"


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"optimizer_type": "AdamQ"}, "optimizer_type", "Did you mean Adam"),
        ({"optimizer_type": "os; rm"}, "optimizer_type", "there is no"),
        ({"optimizer_type": "os.x y"}, "optimizer_type", "package.module.Class"),
        ({"optimizer_args": ("decouple",)}, "optimizer_args", "'decouple'"),
        ({"optimizer_args": ("betas=(0.9,",)}, "optimizer_args", "gives betas a value that can't be read"),
        ({"optimizer_args": ("eps=__import__('os')",)}, "optimizer_args", "gives eps a value"),
        ({"optimizer_args": ("lr=1",)}, "optimizer_args", "learning_rate"),
        ({"optimizer_args": "weight_decay=0.1", "weight_decay": 0.2}, "optimizer_args", "different weight"),
        ({"lr_scheduler": "adafactor:1e-3"}, "lr_scheduler", "optimizer_type Adafactor"),
        ({"lr_scheduler": "adafactor:fast", "optimizer_type": "Adafactor"}, "lr_scheduler", "adafactor:1e-3"),
        ({"optimizer_type": "Adafactor", "lr_warmup_steps": 5}, "lr_warmup_steps", "warmup_init"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_loaded(
    make_config: ConfigMaker, changes: dict, field: str, words: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        make_config(**changes)
    assert refusal.value.field == field
    assert words in refusal.value.message


def test_arguments_are_literals_and_words(make_config: ConfigMaker) -> None:
    typed = "betas=0.9, 0.99 decouple=true eps = 1e-6 mode=fast none=None name='a b'"
    config = make_config(optimizer_args=typed.replace(" = ", "="))
    assert config.optimizer.optimizer_arguments() == {
        "betas": (0.9, 0.99),
        "decouple": True,
        "eps": 1e-6,
        "mode": "fast",
        "none": None,
        "name": "a b",
    }
    assert make_config(optimizer_args=["d_coef=2"]).optimizer.optimizer_arguments() == {"d_coef": 2}
    assert make_config(optimizer_args="").optimizer.optimizer_args == ()


@pytest.mark.parametrize("name", ["adamw8bit", "ADAMW8BIT", "AdamW8bit"])
def test_names_are_understood_in_any_case(make_config: ConfigMaker, name: str) -> None:
    assert make_config(optimizer_type=name).optimizer.optimizer_type == "AdamW8bit"


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [
        ("AdamW8bit", "bitsandbytes", "bitsandbytes"),
        ("Lion", "lion_pytorch", "lion-pytorch"),
        ("Prodigy", "prodigyopt", "prodigyopt"),
        ("AdamWScheduleFree", "schedulefree", "schedulefree"),
        ("DAdaptAdam", "dadaptation", "dadaptation"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, install: str
) -> None:
    for module in [loaded for loaded in sys.modules if loaded.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ConfigError) as refusal:
        build_optimizer(settings_of(optimizer_type=name), groups_of(fresh(), 1))
    assert f"pip install {install}" in refusal.value.hint
    assert refusal.value.field == "optimizer_type"


@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdam", "DAdaptation"])
def test_one_rate_for_all_is_asked_of_those_that_find_it(name: str) -> None:
    with pytest.raises(ConfigError, match=r"several: 0\.5, 1") as refusal:
        build_optimizer(settings_of(optimizer_type=name), groups_of(fresh(), 1, 0.5))
    assert refusal.value.field == "learning_rate"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "cosine"}, "lr_scheduler is ignored"),
        ({"optimizer_type": "Adafactor", "lr_scheduler": "cosine"}, "Adafactor finds its own"),
        ({"optimizer_type": "Prodigy", "learning_rate": 1e-4}, "1 is usual"),
        ({"lr_scheduler_type": "ConstantLR", "lr_scheduler": "linear"}, "lr_scheduler_type takes its place"),
        ({"lr_scheduler_power": 2}, "lr_scheduler_power is ignored"),
        ({"lr_decay_steps": 2}, "lr_decay_steps is ignored"),
        ({"noise_offset_random_strength": True}, "there is no noise_offset"),
        ({"ip_noise_gamma_random_strength": True}, "there is no ip_noise_gamma"),
        ({"multires_noise_discount": 0.5}, "multires_noise_discount is ignored"),
        ({"huber_c": 0.5}, "huber_c is ignored: loss_type l2"),
        ({"loss_type": "huber", "huber_scale": 2}, "the snr schedule has none"),
        ({"zero_terminal_snr": True}, "meant for v-prediction"),
    ],
)
def test_what_has_no_effect_is_said(make_config: ConfigMaker, changes: dict, words: str) -> None:
    from lora_studio.runtime import find_device

    assert any(words in note for note in ignored_settings(make_config(**changes), find_device()))


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU:UserWarning")
@pytest.mark.parametrize("name", EIGHT_BIT)
def test_those_of_bitsandbytes_go_on_to_the_same_bits(name: str) -> None:
    pytest.importorskip("bitsandbytes")
    whole = goes_on(settings_of(optimizer_type=name, optimizer_args=("min_8bit_size=16",)))
    kept = whole.optimizer.state[whole.weights[1]]["state1"].dtype
    assert kept == (torch.uint8 if "8bit" in name else torch.float32)
