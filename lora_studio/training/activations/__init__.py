"""The tensors that a step keeps of its way forth for its way back, and those that it makes anew instead."""
