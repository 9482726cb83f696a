"""The page and its API: the only package that imports Gradio."""

from lora_studio.ui.gradio_loading import load_lightly

load_lightly()  # before any module in here loads it
