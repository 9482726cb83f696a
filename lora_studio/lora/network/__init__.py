"""The networks themselves: kinds, layers, ranks, how they are attached and started."""
