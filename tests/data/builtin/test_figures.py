"""Synthetic people: joints lie on the body, and follow crops and mirroring."""

import pytest
import torch

from mimgen.data.builtin.figures import COLOURS, open_figures
from mimgen.data.contract import Augmented, Dataset
from mimgen.data.loader import Loader
from mimgen.data.sources.keypoints import COCO_JOINTS, crop_person, mirror_person
from mimgen.errors import UserError


def colour_at(sample, joint):
    column, row, seen = sample.extras["keypoints"][joint].tolist()
    assert seen
    return sample.image[:, int(row), int(column)].float() / 255


def test_joints_lie_on_limbs_of_the_persons_colours():
    figures = open_figures(64, "val")
    assert isinstance(figures, Dataset) and isinstance(figures, Augmented)
    assert len(figures) == 800
    right = 0
    for index in range(0, 80, 4):
        sample = figures[index]
        assert sample.image.shape == (3, 64, 32) and sample.image.dtype == torch.uint8
        worn = figures.label_names["trousers"][sample.labels["trousers"]]
        # a leg or an arm in front may mask one knee
        right += any((colour_at(sample, joint) - torch.tensor(COLOURS[worn])).abs().max() < 0.02 for joint in (13, 14))
    assert right >= 18


def test_poses_differ_and_people_are_split():
    train, val = open_figures(32, "train"), open_figures(32, "val")
    assert train.labels["identity"].max() < val.labels["identity"].min()
    one, other = train[0], train[1]
    assert one.labels == other.labels and not torch.equal(one.extras["keypoints"], other.extras["keypoints"])
    assert torch.equal(open_figures(32, "train")[1].image, other.image)
    assert set(train.label_names) == {"identity", "shirt", "sleeves", "trousers"}


def test_keypoints_follow_a_crop():
    image = torch.zeros(3, 40, 20, dtype=torch.uint8)
    image[:, 20:24, 10:14] = 255
    keypoints = torch.tensor([[12.0, 22.0, 1.0], [1.0, 1.0, 1.0], [12.0, 22.0, 0.0]])
    cut, moved = crop_person(image, keypoints, (5, 10, 20, 40), (60, 30))
    assert moved.tolist() == [[14.0, 24.0, 1.0], [-8.0, -18.0, 0.0], [14.0, 24.0, 0.0]]
    assert cut.shape == (3, 60, 30) and cut[0, 24, 14] > 200 and cut[0, 40, 14] < 20


def test_mirroring_swaps_left_and_right():
    sample = open_figures(64, "val")[0]
    image, keypoints = mirror_person(sample.image, sample.extras["keypoints"])
    left, right = COCO_JOINTS.index("left wrist"), COCO_JOINTS.index("right wrist")
    old = sample.extras["keypoints"]
    for mine, other in ((left, right), (0, 0)):
        torch.testing.assert_close(keypoints[mine], torch.stack([32 - old[other, 0], *old[other, 1:]]))
    twice = mirror_person(image, keypoints)
    assert torch.equal(twice[0], sample.image)
    torch.testing.assert_close(twice[1], old)


def test_a_loader_hands_on_the_joints():
    batch = next(Loader(open_figures(32, "val"), 6, 0, prefetch=0).stream(0))[0]
    assert batch.images.shape == (6, 3, 32, 16) and batch.images.max() <= 1
    keypoints = batch.extras["keypoints"]
    assert keypoints.shape == (6, 17, 3)
    assert keypoints[..., 2].unique().tolist() in ([1.0], [0.0, 1.0])
    seen = keypoints[keypoints[..., 2] > 0]
    assert (seen[:, 0] < 16).all() and (seen[:, 1] < 32).all() and (seen[:, :2] >= 0).all()
    with pytest.raises(UserError, match="even number of pixels"):
        open_figures(33)
    with pytest.raises(UserError, match="no split"):
        open_figures(32, "test")
