"""Where a run begins, what it may go on from, and how it goes back to its last good point."""
