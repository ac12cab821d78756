"""Runs that pretrain an encoder."""
