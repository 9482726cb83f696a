"""A run's beginning, the states it may go on from, and its way back to its last good point."""
