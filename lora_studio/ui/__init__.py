"""The page and its API: the only package that imports Gradio."""
