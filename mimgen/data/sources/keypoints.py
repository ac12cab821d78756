"""Joints of a body in an image: COCO's names, and how they follow when the image is cropped or mirrored."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["COCO_JOINTS", "crop_person", "mirror_person"]

COCO_JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip

# for each joint the one on the other side of the body
_OTHER_SIDE = (0, *(other for left in range(1, 17, 2) for other in (left + 1, left)))


def crop_person(
    image: Tensor, keypoints: Tensor, box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Cut a rectangle out and resize it; joints outside it are no longer seen.

    Args:
        image: [3, H, W] uint8.
        keypoints: [J, 3] column and row in pixels, and 1 where the joint was seen, else 0.
        box: left, top, right and bottom of the rectangle in pixels, rounded to whole ones.
        size: rows and columns of the result.

    Returns:
        The image [3, *size] uint8 (bicubic, antialiased) and its joints [J, 3].
    """
    left, top, right, bottom = (round(side) for side in box)
    cut = image[:, top:bottom, left:right].float()
    resized = functional.interpolate(cut[None], size, mode="bicubic", antialias=True, align_corners=False)[0]
    scale = torch.tensor([size[1] / (right - left), size[0] / (bottom - top)])
    positions = (keypoints[:, :2] - torch.tensor([left, top])) * scale
    inside = ((positions >= 0) & (positions < torch.tensor([size[1], size[0]]))).all(1)
    return resized.round().clamp(0, 255).byte(), torch.cat([positions, (keypoints[:, 2] * inside)[:, None]], dim=1)


def mirror_person(image: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror an image [3, H, W] and its 17 joints [17, 3]: what was a left hand is a right one then."""
    mirrored = keypoints[list(_OTHER_SIDE)].clone()
    mirrored[:, 0] = image.shape[-1] - mirrored[:, 0]
    return image.flip(-1), mirrored
