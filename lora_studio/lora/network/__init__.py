"""The network that is trained: kinds, layers, ranks, attaching, first weights."""
