"""Requests with all decided that they leave open."""
