"""Pictures and captions: reading, sorting into buckets, encoding once, batches."""
