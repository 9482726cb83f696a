"""LoRA Studio: from a handful of pictures to a model of your own, on one page, on any machine."""

__version__ = "0.1.0"
