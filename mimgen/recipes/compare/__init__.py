"""Studies: arms trained with equal budgets, and what came of each."""

__all__: list[str] = []
