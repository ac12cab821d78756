"""Checkpoints of others: reading them safely, and official names to ours and back."""

__all__: list[str] = []
