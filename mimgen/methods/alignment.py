"""How far a student's vector of an image is from a teacher's, or from the image's label."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

AlignmentKind = Literal["kl", "mse", "ce"]


def distillation_loss(
    kind: Literal["kl", "mse"], student: Tensor, teacher: Tensor, temperature: float = 4.0
) -> Tensor:
    """Distance of two vectors per image, a scalar.

    "kl": KL(softmax(teacher / T) || softmax(student / T)) T^2, the vectors read as logits (Hinton et al.,
    arXiv 1503.02531); "mse": minus the mean over ALL entries of the product of the normalised vectors, which
    is the cosine divided by D (as MergeVQ's release computes it).

    Args:
        kind: which one.
        student: [B, D].
        teacher: [B, D].
        temperature: T.
    """
    student, teacher = student.float(), teacher.float()
    if kind == "mse":
        return -(F.normalize(student, dim=-1) * F.normalize(teacher, dim=-1)).mean()
    logs = F.log_softmax(student / temperature, dim=-1)
    wanted = F.softmax(teacher / temperature, dim=-1)
    return F.kl_div(logs, wanted, reduction="batchmean") * temperature**2


def label_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy of logits [B, K] with class ids [B], smoothed: the alignment without a teacher."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
