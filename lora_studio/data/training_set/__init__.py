"""Which pictures a run trains on: folders, subsets, dataset configs."""
