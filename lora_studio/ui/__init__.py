"""The page and its API: the only package that imports Gradio."""

from lora_studio.ui.component_stubs import leave_out_stubs

leave_out_stubs()  # before any module in here loads it
