"""Roles of the people who use the studio, and the visitor on whose behalf something is done."""
