"""The page's place for whoever runs the studio."""
