"""Picture files that say how they were made, our way and other programs'; labelled sheets."""
