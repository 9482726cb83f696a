"""The way from a configuration to the first step."""
