"""Bars, tables and streams of the terminal."""
