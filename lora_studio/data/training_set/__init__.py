"""The pictures that a run trains on: folders, subsets, dataset configs."""
