"""Actions of page and API on a whole set of pictures: all its captions changed, all of it as a file."""
