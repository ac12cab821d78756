"""Readers of data on disk: folders, shards, tables, pairs, rasters and volumes."""

__all__: list[str] = []
