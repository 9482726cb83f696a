"""Samplers by A1111's and Forge's names, as diffusers schedulers with options.

A name is a method and, after it, the spacing of its steps: "DPM++ 2M Karras". The choice is what diffusers
has without further packages: LMS and the Beta spacing would need SciPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sampler:
    """A diffusers scheduler class with the options that make it the sampler people know under a name."""

    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)


SPACINGS: Mapping[str, Mapping[str, Any]] = {
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
    "SGM Uniform": {"timestep_spacing": "trailing"},
}
"""A1111's schedule types. Without one, the steps lie as the method or the base has them."""

_MULTISTEP, _SINGLESTEP = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_SDE = "sde-dpmsolver++"
_KARRAS = ("Karras",)
_SMOOTH = ("Karras", "Exponential")
_ALL = tuple(SPACINGS)

_METHODS: Mapping[str, tuple[Sampler, tuple[str, ...]]] = {
    "DDIM": (Sampler("DDIMScheduler"), ()),
    "Euler": (Sampler("EulerDiscreteScheduler"), _ALL),
    "Euler a": (Sampler("EulerAncestralDiscreteScheduler"), ("SGM Uniform",)),
    "Heun": (Sampler("HeunDiscreteScheduler"), _SMOOTH),
    "DPM2": (Sampler("KDPM2DiscreteScheduler"), _KARRAS),
    "DPM2 a": (Sampler("KDPM2AncestralDiscreteScheduler"), _KARRAS),
    "DPM++ 2M": (Sampler(_MULTISTEP, {"algorithm_type": "dpmsolver++", "solver_order": 2}), _ALL),
    "DPM++ 2M SDE": (Sampler(_MULTISTEP, {"algorithm_type": _SDE, "solver_order": 2}), _ALL),
    "DPM++ 2M SDE Heun": (
        Sampler(_MULTISTEP, {"algorithm_type": _SDE, "solver_order": 2, "solver_type": "heun"}),
        _SMOOTH,
    ),
    "DPM++ 3M SDE": (Sampler(_MULTISTEP, {"algorithm_type": _SDE, "solver_order": 3}), _SMOOTH),
    "DPM++ 2S": (
        Sampler(_SINGLESTEP, {"algorithm_type": "dpmsolver++", "solver_order": 2, "lower_order_final": True}),
        _KARRAS,
    ),
    "DPM++ SDE": (
        Sampler(_SINGLESTEP, {"algorithm_type": _SDE, "solver_order": 2, "lower_order_final": True}),
        _KARRAS,
    ),
    "UniPC": (Sampler("UniPCMultistepScheduler"), _KARRAS),
    "DEIS": (Sampler("DEISMultistepScheduler"), ()),
    "PNDM": (Sampler("PNDMScheduler", {"skip_prk_steps": True}), ()),
    "DDPM": (Sampler("DDPMScheduler"), ()),
    "LCM": (Sampler("LCMScheduler"), ()),
    "TCD": (Sampler("TCDScheduler"), ()),
}


def _all() -> dict[str, Sampler]:
    found: dict[str, Sampler] = {}
    for method, (sampler, spacings) in _METHODS.items():
        found[method] = sampler
        for spacing in spacings:
            options = {**sampler.options, **SPACINGS[spacing]}
            found[f"{method} {spacing}"] = Sampler(sampler.scheduler, options)
    return found


SAMPLERS: Mapping[str, Sampler] = _all()
_FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOW_SAMPLERS: Mapping[str, Sampler] = {
    "Euler": Sampler("FlowMatchEulerDiscreteScheduler"),
    "Heun": Sampler("FlowMatchHeunDiscreteScheduler"),
    "DPM++ 2M": Sampler(_MULTISTEP, {"algorithm_type": "dpmsolver++", "solver_order": 2, **_FLOW}),
    "UniPC": Sampler("UniPCMultistepScheduler", _FLOW),
}
"""Samplers of the same names for base models that are made for flow matching."""

SAME: Mapping[str, str] = {
    "PLMS": "PNDM",
    "k_euler": "Euler",
    "k_euler_a": "Euler a",
    "euler_ancestral": "Euler a",
    "k_heun": "Heun",
    "k_dpm_2": "DPM2",
    "dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a",
    "dpm_2_ancestral": "DPM2 a",
    "k_dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde": "DPM++ SDE",
    "uni_pc": "UniPC",
    "DPM2 Karras v2": "DPM2 Karras",
    "kdpm_2": "DPM2",
    "kdpm_2_a": "DPM2 a",
}
"""Other programs' names for the very same method."""
NEAR: Mapping[str, str] = {
    "LMS": "DPM++ 2M",
    "DPM++ 2S a": "DPM++ SDE",
    "DPM fast": "DPM++ 2S",
    "DPM adaptive": "DPM++ 2S",
    "Restart": "Heun",
    "HeunPP2": "Heun",
    "IPNDM": "PNDM",
    "IPNDM_V": "PNDM",
    "DDIM CFG++": "DDIM",
    "Euler CFG++": "Euler",
    "Euler a CFG++": "Euler a",
    "Euler A CFG++": "Euler a",
    "DPM++ 2M CFG++": "DPM++ 2M",
    "DPM++ 2M Turbo": "DPM++ 2M",
    "UniPC bh2": "UniPC",
    "SA-Solver": "DPM++ 2M SDE",
    "Euler Max": "Euler",
}
"""Methods that are not here, each with the one whose pictures are nearest."""
NEAR_SPACINGS: Mapping[str, str] = {
    "Automatic": "",
    "Uniform": "",
    "Normal": "",
    "DDIM": "",
    "Simple": "SGM Uniform",
    "Polyexponential": "Exponential",
    "KL Optimal": "Karras",
    "Align Your Steps": "Karras",
    "Align Your Steps 11": "Karras",
    "Align Your Steps 32": "Karras",
    "Align Your Steps GITS": "Karras",
    "Beta": "",
    "Turbo": "SGM Uniform",
    "DDPM": "",
    "DDIM Uniform": "",
    "Linear Quadratic": "SGM Uniform",
}
_ENDINGS = {*SPACINGS, *NEAR_SPACINGS} - {"Turbo", "DDIM", "DDPM"}
LONGEST_NAME = 100
SILENT_SPACINGS = ("", "Automatic", "Uniform", "Normal", "DDIM", "DDPM", "DDIM Uniform")
"""Schedule types that stand for the method's usual spacing."""
AUTOMATIC: Mapping[str, str] = {
    "DPM++ 2M": "Karras",
    "DPM++ SDE": "Karras",
    "DPM++ 2M SDE": "Exponential",
    "DPM++ 2M SDE Heun": "Exponential",
    "DPM++ 3M SDE": "Exponential",
    "DPM2": "Karras",
    "DPM2 a": "Karras",
    "DPM++ 2S a": "Karras",
    "Restart": "Karras",
}
"""The spacing that A1111 takes for "Schedule type: Automatic", by method."""


@dataclass(frozen=True)
class Named:
    """The sampler for a name from elsewhere: empty when none is near; `note` says the difference."""

    sampler: str
    note: str = ""


def sampler_named(name: str, schedule: str = "") -> Named:
    """Our sampler for a name from elsewhere; `schedule` is A1111's "Schedule type"."""
    name, schedule = (" ".join(text[:LONGEST_NAME].split()) for text in (name, schedule))
    spacings = {_letters(spelling): spelling for spelling in (*SPACINGS, *NEAR_SPACINGS)}
    schedule = spacings.get(_letters(schedule), schedule)
    if not name:
        return Named("")
    method, written = _method_and_spacing(name)
    spacing = schedule or written
    if spacing == "Automatic":
        spacing = AUTOMATIC.get(method, "")
    wanted = f"{method} {spacing}".strip()
    ours = _exact(method)
    nearest = ours or _lookup(NEAR, method)
    if not nearest:
        return Named("", f"There is no sampler “{wanted}” here; the base model's own is taken.")
    for candidate in (spacing, NEAR_SPACINGS.get(spacing, ""), ""):
        found = f"{nearest} {candidate}".strip()
        if found in SAMPLERS:
            same = bool(ours) and (candidate == spacing or spacing in SILENT_SPACINGS)
            return Named(found, "" if same else f"The sampler “{wanted}” isn't here; {found} is the nearest.")
    return Named(nearest, f"The sampler “{wanted}” isn't here; {nearest} is the nearest.")


def _method_and_spacing(name: str) -> tuple[str, str]:
    """Method and spacing of "DPM++ 2M Karras", also of "dpmpp_2m_karras"; the spacing may be empty."""
    for spacing in sorted(_ENDINGS, key=len, reverse=True):
        method, ending = name[: -len(spacing) - 1], name[-len(spacing) - 1 :]
        if method and ending.replace("_", " ").lower() == f" {spacing.lower()}":
            return method, spacing
    return name, ""


def _exact(method: str) -> str:
    by_letters = {_letters(spelling): spelling for spelling in _METHODS}
    return by_letters.get(_letters(method), "") or _lookup(SAME, method)


def _lookup(table: Mapping[str, str], name: str) -> str:
    return next((ours for theirs, ours in table.items() if _letters(theirs) == _letters(name)), "")


def _letters(name: str) -> str:
    """A name's letters without the differences between programs: "DPM++ 2S a", "k_dpmpp_2s_ancestral" and
    ComfyUI's ending for noise from the GPU."""
    plain = name.lower().removeprefix("k_").removesuffix("_gpu").replace("ancestral", "a")
    return plain.replace("++", "pp").replace("_", "").replace(" ", "").replace("-", "")
