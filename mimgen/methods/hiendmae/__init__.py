"""Hi-End-MAE: mask tokens ask the encoder's layers, from deep to shallow (arXiv 2502.08347)."""

__all__: list[str] = []
