"""Which published systems mimgen covers: the built ones, found beside their code, and the planned ones."""

from mimgen.papers.paper import Kind, Paper, built
from mimgen.papers.planned import PLANNED

__all__ = ["PLANNED", "Kind", "Paper", "built"]
