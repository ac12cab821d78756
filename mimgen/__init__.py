"""mimgen: masked image generation and masked image representation learning in one house."""

__all__ = ["__version__"]

__version__ = "0.1.0"
