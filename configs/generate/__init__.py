"""Runs that train a text-to-image generator."""
