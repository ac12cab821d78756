"""Comparisons: arms trained with the same budget, measured and tested over seeds."""
