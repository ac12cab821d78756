"""Runs that train a tokenizer."""
