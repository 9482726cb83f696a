"""The page in the language of who reads it: whatever Gradio sends is translated at its door."""
