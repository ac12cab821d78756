"""LatentMIM: tell the latents of hidden patches from those of few visible ones (arXiv 2407.15837)."""

__all__: list[str] = []
