"""MergeVQ: a tokenizer whose encoder merges tokens, for generation and representation at once."""

from mimgen.tokenizers.mergevq.codes import MergedCodes
from mimgen.tokenizers.mergevq.features import MergeVQEncoder
from mimgen.tokenizers.mergevq.model import MergeVQ
from mimgen.tokenizers.mergevq.recovery import SourceRecovery, hard_source, recovery_loss
from mimgen.tokenizers.mergevq.schedule import KeepCounts, keep_counts, layer_removals

__all__ = [
    "KeepCounts",
    "MergeVQ",
    "MergeVQEncoder",
    "MergedCodes",
    "SourceRecovery",
    "hard_source",
    "keep_counts",
    "layer_removals",
    "recovery_loss",
]
