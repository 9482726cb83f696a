"""Captions written by models: engines behind one interface, and a run of one over pictures."""
