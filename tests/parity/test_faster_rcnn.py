"""Faster R-CNN, which needs torchvision, and our boxes against torchvision's. Run by `make parity`."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import holotype
from holotype.testing.checks import checks_of, saves_and_loads
from holotype.testing.formats import round_trips
from holotype.testing.subjects import subjects
from holotype.vision.models.detection.boxes import decode_deltas, giou, iou, pairwise_giou, pairwise_iou
from holotype.vision.models.detection.focal_loss import sigmoid_focal_loss
from holotype.vision.models.detection.interface import Boxes
from holotype.vision.models.detection.nms import nms

sys.path.append(str(Path(__file__).parents[1]))
from shapes import draw_shapes

pytestmark = pytest.mark.filterwarnings("ignore")
ops = pytest.importorskip("torchvision.ops")

(FASTER_RCNN,) = subjects("vision", names=["faster_rcnn"])
TINY = {
    "num_classes": 3,
    "size": 64,
    "width": 16,
    "hidden_dim": 32,
    "backbone": "resnet_v1_18",
    "backbone_params": {"filter_list": (8, 16, 16, 24, 32), "units": (1, 1, 1, 1)},
}


def random_boxes(count, seed):
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=rng) * 200
    boxes = torch.cat((corner, corner + torch.rand(count, 2, generator=rng) * 80 + 1), 1)
    scores, labels = torch.rand(count, generator=rng), torch.randint(0, 5, (count,), generator=rng)
    return boxes, scores, labels


def shapes(count):
    pictures, boxes, labels = draw_shapes(count, 64, seed=3)
    images = torch.stack(
        [torch.from_numpy(np.array(p)).permute(2, 0, 1).float() / 255 - 0.5 for p in pictures]
    )
    return images, [
        Boxes(torch.from_numpy(b), torch.from_numpy(c)) for b, c in zip(boxes, labels, strict=True)
    ]


# -- boxes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("count", [0, 1, 50, 2000])
def test_suppression(count, threshold):
    boxes, scores, labels = random_boxes(count, count)
    assert torch.equal(
        nms(boxes, scores, threshold, labels), ops.batched_nms(boxes, scores, labels, threshold)
    )
    assert torch.equal(nms(boxes, scores, threshold), ops.nms(boxes, scores, threshold))


def test_overlaps():
    one, other = random_boxes(40, 1)[0], random_boxes(30, 2)[0]
    assert torch.allclose(pairwise_iou(one, other), ops.box_iou(one, other), atol=1e-6)
    assert torch.allclose(pairwise_giou(one, other), ops.generalized_box_iou(one, other), atol=1e-6)
    assert torch.allclose(1 - giou(one[:30], other), ops.generalized_box_iou_loss(one[:30], other), atol=1e-6)
    assert torch.allclose(iou(one[:30], other), ops.box_iou(one[:30], other).diag(), atol=1e-6)


def test_focal_loss():
    rng = torch.Generator().manual_seed(0)
    logits, wanted = torch.randn(50, 4, generator=rng) * 3, (torch.rand(50, 4, generator=rng) < 0.2).float()
    theirs = ops.sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2.0)
    assert torch.allclose(sigmoid_focal_loss(logits, wanted), theirs, atol=1e-6)


def test_deltas():
    from torchvision.models.detection._utils import BoxCoder

    anchors, deltas = (
        random_boxes(40, 3)[0],
        torch.randn(40, 4, generator=torch.Generator().manual_seed(4)) * 3,
    )
    theirs = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(deltas, anchors)
    assert torch.allclose(decode_deltas(deltas, anchors), theirs, rtol=1e-5, atol=1e-3)


# -- the detector ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", checks_of(FASTER_RCNN), ids=lambda check: check.__name__)
def test_conforms(check):
    check(FASTER_RCNN)


@pytest.mark.parametrize("format", list(round_trips()))
def test_conforms_in_files(format):
    saves_and_loads(FASTER_RCNN, format)


def test_it_learns_and_finds():
    images, targets = shapes(2)
    torch.manual_seed(0)
    net = holotype.create_model("faster_rcnn", **TINY)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    seen = []
    for _ in range(20):
        losses = net.loss(images, targets)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert set(losses) == {"objectness", "proposals", "classification", "boxes"}
    assert seen[-1] < 0.5 * seen[0], seen
    for found in net.eval().detect(images, score_threshold=0.0, max_detections=10):
        assert 0 < len(found.boxes) <= 10 and (found.scores.diff() <= 0).all()
        assert (found.boxes >= 0).all() and (found.boxes <= 64).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and found.labels.max() < 3


def test_images_without_objects():
    images, _ = shapes(2)
    net = holotype.create_model("faster_rcnn", **TINY)
    nothing = Boxes(torch.zeros(0, 4), torch.zeros(0).long())
    losses = net.loss(images, [nothing, nothing])
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values()) and losses["boxes"] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    torch.manual_seed(0)
    net = holotype.create_model("faster_rcnn", **TINY).to(dtype)
    images, targets = shapes(2)
    losses = net.loss(images.to(dtype), targets)
    sum(losses.values()).backward()
    assert all(bool(value.isfinite()) for value in losses.values())
    (found,) = net.eval().detect(images[:1].to(dtype), score_threshold=0.0)
    assert len(found.boxes) and bool(found.boxes.isfinite().all())


def test_losses_of_portions_add_up():
    """Where sampling leaves no choice: fewer anchors and regions than would be sampled."""
    images, targets = shapes(3)
    torch.manual_seed(0)
    net = holotype.create_model("faster_rcnn", **TINY).eval()
    net.rpn.fg_bg_sampler.batch_size_per_image = net.roi_heads.fg_bg_sampler.batch_size_per_image = 100_000
    with torch.no_grad():
        whole, one, two = (net.loss(images[s], targets[s]) for s in (slice(3), slice(1), slice(1, 3)))
    for key, value in whole.items():
        assert torch.isclose(value, (one[key] + 2 * two[key]) / 3, rtol=1e-3), key


def test_a_new_head_and_a_plain_transformer():
    vit = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 48}
    net = holotype.create_model(
        "faster_rcnn", **{**TINY, "backbone": "vit_t16", "backbone_params": vit}
    ).eval()
    net.reset_classifier(7)
    with torch.no_grad():
        logits, boxes, *_ = net(torch.randn(2, 3, 64, 64))
    assert logits.shape[-1] == 8 and boxes.shape[2:] == (7, 4)
    with pytest.raises(holotype.errors.ParameterError, match="power of two"):
        holotype.create_model(
            "faster_rcnn", **{**TINY, "size": 56, "backbone": "vit_t14", "backbone_params": vit}
        )
