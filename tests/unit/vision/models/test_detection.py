"""Boxes, suppression, pyramids and the dense detectors: what they compute, learn, refuse and load."""

import hashlib
import math
import sys

import numpy as np
import pytest
import torch

import holotype
from holotype.errors import DataError, MetadataError, MissingExtraError, ParameterError, ShapeError
from holotype.records import PretrainedMetadata
from holotype.tasks import Task
from holotype.vision import registry
from holotype.vision.models.detection import fcos, retinanet
from holotype.vision.models.detection.boxes import (
    area,
    centers_to_corners,
    clip,
    corners_to_centers,
    decode_deltas,
    encode_deltas,
    giou,
    iou,
    pairwise_giou,
    pairwise_iou,
)
from holotype.vision.models.detection.focal_loss import PRIOR, sigmoid_focal_loss
from holotype.vision.models.detection.interface import Boxes
from holotype.vision.models.detection.nms import BLOCK, best_of_each_image, nms
from holotype.vision.training.initial import statistics_of_entry
from shapes import draw_shapes

DENSE = ["retinanet", "fcos"]
TINY_VIT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 48}
BACKBONES = {
    "convnext_v1_atto": {"widths": (8, 12, 16, 24), "depths": (1, 1, 1, 1)},
    "resnet_v1_18": {"filter_list": (8, 16, 16, 24, 32), "units": (1, 1, 1, 1)},
    "hieradet_tiny": {"depths": (1, 1, 2, 1), "embed_dim": 8, "global_att_blocks": (3,)},
    "hiera_abswin_base_plus_ap": {"depths": (1, 1, 2, 1), "embed_dim": 8},
    "efficientnet_lite0": {"width": 0.25, "depth": 0.5},
    "vit_t16": TINY_VIT,
    "vit_t14": TINY_VIT,
    "vit_reg4_t16_nps_ls": {**TINY_VIT, "patch_size": 8},
    "rope_vit_t16": TINY_VIT,
    "deit_t16": {**TINY_VIT, "patch_size": 32},
}


def small(name, seed=0, **params):
    torch.manual_seed(seed)
    cls = registry.get_model_class(name)
    return registry.create_model(name, **{**cls.small_parameters, **params})


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def target(*boxes):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    return Boxes(rows[:, :4], rows[:, 4].long())


def random_boxes(count, seed, *, side=60):
    """On whole pixels, and some scores alike: ties and overlaps of exactly a half do occur."""
    rng = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, side, (count, 2), generator=rng)
    sides = torch.randint(0, 30, (count, 2), generator=rng)
    scores = torch.randint(0, max(2, count // 2), (count,), generator=rng) / count
    labels = torch.randint(0, 3, (count,), generator=rng)
    return torch.cat((corner, corner + sides), 1).float(), scores, labels


# -- boxes ------------------------------------------------------------------------------------------


def test_overlaps_by_hand():
    one = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 2, 2], [1, 1, 1, 1]])
    other = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 6, 2], [1, 1, 1, 1]])
    assert torch.allclose(iou(one, other), torch.tensor([1, 8 / 24, 0, 0]))
    # The third: union 8, enclosing box 12.
    assert torch.allclose(giou(one, other), torch.tensor([1, 8 / 24, -4 / 12, 0]))
    assert torch.equal(area(one), torch.tensor([16.0, 16, 4, 0]))


def test_pairs_are_every_one_with_every_other():
    one, other = random_boxes(5, 0)[0], random_boxes(7, 1)[0]
    for pairwise, single in ((pairwise_iou, iou), (pairwise_giou, giou)):
        found = pairwise(one, other)
        assert found.shape == (5, 7)
        assert found[3, 6] == single(one[3], other[6])
        assert pairwise(one[:0], other).shape == (0, 7) and pairwise(one, other[:0]).shape == (5, 0)


def test_giou_has_a_gradient_where_boxes_do_not_touch():
    box = torch.tensor([[0.0, 0, 2, 2]], requires_grad=True)
    giou(box, torch.tensor([[10.0, 10, 12, 12]])).sum().backward()
    assert (box.grad[0, 2:] > 0).all()


def test_half_precision_does_not_overflow():
    box = torch.tensor([[0.0, 0, 1000, 1000]], dtype=torch.float16)
    assert iou(box, box).item() == 1.0 and giou(box, box).item() == 1.0


def test_centers_and_corners_are_inverse():
    box = torch.tensor([[2.0, 4, 6, 12]])
    assert corners_to_centers(box).tolist() == [[4, 8, 4, 8]]
    assert torch.equal(centers_to_corners(corners_to_centers(box)), box)


def test_deltas_are_those_of_the_paper_and_invert():
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 0, 25, 20]])
    deltas = encode_deltas(box, anchor)
    assert torch.allclose(deltas, torch.tensor([[1.0, 0.0, math.log(2.0), 0.0]]))
    assert torch.allclose(decode_deltas(deltas, anchor), box)
    huge = decode_deltas(torch.full((1, 4), 1000.0), anchor)
    assert huge.isfinite().all() and torch.isclose(huge[0, 2] - huge[0, 0], anchor[0, 2] * 62.5)
    assert encode_deltas(box[:0], anchor[:0]).shape == decode_deltas(deltas[:0], anchor[:0]).shape == (0, 4)


def test_clip():
    box = torch.tensor([[-5.0, -5, 50, 50], [60, 60, 70, 70]])
    assert clip(box, (20, 40)).tolist() == [[0, 0, 40, 20], [40, 20, 40, 20]]


# -- suppression ------------------------------------------------------------------------------------


def greedy(boxes, scores, threshold, labels):
    """The definition, box by box."""
    kept, threshold = [], torch.tensor(threshold).item()  # as single precision has it
    overlap, labels = pairwise_iou(boxes, boxes).tolist(), labels.tolist()
    for at in sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i)):
        if all(labels[at] != labels[i] or overlap[at][i] <= threshold for i in kept):
            kept.append(at)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_nms_is_the_greedy_one(seed, threshold):
    boxes, scores, labels = random_boxes([0, 1, 2, 40, 40, 40][seed], seed)
    assert nms(boxes, scores, threshold, labels).tolist() == greedy(boxes, scores, threshold, labels)


def test_nms_across_blocks():
    boxes, scores, labels = random_boxes(2 * BLOCK + 40, 7)
    assert nms(boxes, scores, 0.3, labels).tolist() == greedy(boxes, scores, 0.3, labels)


def test_nms_follows_long_chains():
    """Each box overlaps only its neighbours: every second one stays, however long the chain is."""
    left = torch.arange(300.0)
    boxes = torch.stack((left, torch.zeros(300), left + 2, torch.ones(300)), 1)
    assert nms(boxes, -left, 0.3).tolist() == list(range(0, 300, 2))


def test_nms_refuses():
    boxes, scores, labels = random_boxes(4, 0)
    with pytest.raises(ShapeError, match=r"boxes are \(n, 4\)"):
        nms(boxes, scores[:3], 0.5)
    with pytest.raises(ParameterError, match="iou_threshold"):
        nms(boxes, scores, 1.5, labels)


def test_the_best_of_a_batch_are_those_of_each_image():
    scores = torch.rand(3, 50, 4, generator=torch.Generator().manual_seed(2))
    boxes = torch.stack([random_boxes(50, seed)[0] for seed in range(3)])
    how = {"score_threshold": 0.3, "iou_threshold": 0.4, "max_detections": 7}
    together = best_of_each_image(scores, boxes, (64, 48), **how)
    for image, found in enumerate(together):
        (alone,) = best_of_each_image(scores[image : image + 1], boxes[image : image + 1], (64, 48), **how)
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))
        inside, flat = clip(boxes[image], (64, 48)).repeat_interleave(4, 0), scores[image].flatten()
        fits = (flat > 0.3) & (area(inside) > 0)
        label = torch.arange(200) % 4
        order = greedy(inside[fits], flat[fits], 0.4, label[fits])[:7]
        assert torch.equal(found.scores, flat[fits][order]) and torch.equal(found.boxes, inside[fits][order])
        assert torch.equal(found.labels, label[fits][order])


# -- losses and assignment ----------------------------------------------------------------------------


def test_focal_loss_is_its_definition():
    logits, wanted = torch.tensor([2.0, 2.0, -300.0]), torch.tensor([1.0, 0.0, 1.0])
    p = torch.sigmoid(torch.tensor(2.0))
    found = sigmoid_focal_loss(logits, wanted)
    assert torch.isclose(found[0], -0.25 * (1 - p) ** 2 * p.log())
    assert torch.isclose(found[1], -0.75 * p**2 * (1 - p).log())
    assert found[2] == 75.0
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    assert torch.allclose(sigmoid_focal_loss(logits, wanted, alpha=0.5, gamma=0.0), plain / 2)


def test_retinanet_gives_anchors_to_boxes():
    anchors = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 22], [50, 50, 60, 60], [0, 0, 10, 14], [90, 90, 99, 99]]
    )
    boxes = torch.tensor([[0.0, 0, 10, 10], [56, 56, 60, 60]])
    found = retinanet.match(anchors, boxes)
    # 1.0; 0.4545 counts for nothing; the closest one of a small box, though by 0.16; 0.71; background.
    assert found.positive.tolist() == [True, False, True, True, False]
    assert found.counts.tolist() == [True, False, True, True, True]
    assert found.box[found.positive].tolist() == [0, 1, 0]


def test_retinanet_has_the_anchors_of_the_paper():
    anchors = retinanet.anchors_of(2, 3, 8.0, 4.0, torch.device("cpu"))
    assert anchors.shape == (2 * 3 * 9, 4)
    sides = anchors[:9, 2:] - anchors[:9, :2]
    assert torch.allclose(area(anchors[:9]).sqrt(), 32 * 2 ** (torch.arange(9) // 3 / 3))
    assert torch.allclose(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1, 2]).repeat(3))
    assert torch.allclose(
        corners_to_centers(anchors[9 * 4])[:2], torch.tensor([12.0, 12.0])
    )  # row 1, column 1


def test_fcos_gives_places_to_boxes():
    at = torch.tensor([[12.0, 12], [20, 12], [60, 12], [12, 12], [12, 12]])
    stride = torch.tensor([8.0, 8, 8, 16, 8])
    reach = torch.tensor([[0.0, 64], [0, 64], [0, 64], [64, 128], [0, 5]])
    boxes = torch.tensor([[0.0, 0, 24, 24], [4, 4, 20, 20]])
    box, positive = fcos.assign(fcos.Places(at, stride, reach), boxes)
    # The smaller of two; only the larger one holds it; neither; two whose level does not see it.
    assert positive.tolist() == [True, True, False, False, False] and box[:2].tolist() == [1, 0]
    far = torch.tensor([[0.0, 0, 60, 60]])
    assert fcos.assign(fcos.Places(at, stride, reach), far)[1].tolist() == [False, False, False, False, False]


def test_fcos_centerness_by_hand():
    at, box = torch.tensor([[5.0, 5], [2, 5], [0, 5]]), torch.tensor([[0.0, 0, 10, 10]] * 3)
    assert torch.allclose(fcos.centerness_of(at, box), torch.tensor([1.0, 0.5, 0.0]))


# -- detectors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DENSE)
def test_builds_as_the_guide_says(name):
    with torch.device("meta"):
        net = holotype.create_model(name, num_classes=80, backbone="convnext_v2_tiny")
        logits, boxes, *_ = net(torch.empty(2, 3, 512, 512))
    assert sum(value.numel() for value in net.parameters()) > 28e6
    places = sum(side**2 for side in (64, 32, 16, 8, 4)) * (9 if name == "retinanet" else 1)
    assert logits.shape == (2, places, 80) and boxes.shape == (2, places, 4)
    assert name in holotype.list_models(task=Task.OBJECT_DETECTION)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_any_family_is_a_backbone(name, backbone):
    size = (112, 112) if backbone == "vit_t14" else (64, 96)
    net = small(name, backbone=backbone, backbone_params=BACKBONES[backbone], size=size).eval()
    strides = net.pyramid.strides
    assert strides == ((7, 14, 28, 56, 112) if backbone == "vit_t14" else (8, 16, 32, 64, 128))
    with torch.no_grad():
        x = images(2, 3, *size)
        logits, boxes, *_ = net(x)
        maps = net.levels(x)
    expected = [tuple(-(-side // int(stride)) for side in size) for stride in strides]
    assert [tuple(level.shape[2:]) for level in maps] == expected
    places = sum(height * width for height, width in expected) * net.guesses
    assert logits.shape == (2, places, 5) and boxes.shape == (2, places, 4)
    assert abs(logits.sigmoid().mean().item() - PRIOR) < PRIOR, "everything starts rare"
    (found, _) = net.detect(x, score_threshold=0.0, max_detections=20)
    assert len(found.boxes) == 20 and (found.scores.diff() <= 0).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([size[1], size[0]] * 2)).all()
    assert found.labels.min() >= 0 and found.labels.max() < 5


@pytest.mark.parametrize("name", DENSE)
def test_sides_need_be_no_multiples(name):
    net = small(name).eval()
    (found,) = net.detect(images(1, 3, 75, 101), score_threshold=0.0)
    assert found.boxes[:, 0::2].max() <= 101 and found.boxes[:, 1::2].max() <= 75


@pytest.mark.parametrize("name", DENSE)
def test_losses_of_portions_add_up(name):
    net = small(name).eval()
    x = images(4, 3, 64, 64)
    targets = [
        target((4, 4, 30, 40, 1), (20, 20, 60, 60, 0), (1, 1, 9, 9, 4)),
        target(),
        target((10, 5, 50, 60, 2)),
        target((0, 0, 64, 64, 3), (30, 30, 50, 44, 2)),
    ]
    with torch.no_grad():
        whole = net.loss(x, targets)
        one, three = net.loss(x[:1], targets[:1]), net.loss(x[1:], targets[1:])
    for key, value in whole.items():
        assert value.shape == () and torch.isclose(value, (one[key] + 3 * three[key]) / 4, rtol=1e-4)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("boxes", [(), ((8, 8, 40, 40, 1),)], ids=["nothing", "a box"])
def test_every_parameter_learns_from_the_loss(name, boxes):
    net = small(name).train()
    losses = net.loss(images(2, 3, 64, 64), [target(*boxes)] * 2)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    if not boxes:
        assert losses["boxes"] == 0


@pytest.mark.parametrize("name", DENSE)
def test_it_learns_a_picture(name):
    pictures, boxes, labels = draw_shapes(1, 64, seed=3)
    x = torch.from_numpy(np.array(pictures[0])).permute(2, 0, 1)[None].float() / 255 - 0.5
    wanted = Boxes(torch.from_numpy(boxes[0]), torch.from_numpy(labels[0]))
    net = small(
        name, width=24, num_classes=3, backbone="resnet_v1_18", backbone_params=BACKBONES["resnet_v1_18"]
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    seen = []
    for _ in range(25):
        loss = sum(net.loss(x, [wanted]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.5 * seen[0], seen


@pytest.mark.parametrize("name", DENSE)
def test_a_new_head_leaves_the_rest(name):
    net = small(name).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.reset_classifier(9)
    assert net(images(1, 3, 64, 64))[0].shape[-1] == 9 == net.num_classes
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"class_logits.weight", "class_logits.bias"}
    with pytest.raises(ParameterError, match="at least 1 class"):
        net.reset_classifier(0)


def test_another_size_and_checkpointing():
    net = small("retinanet", backbone="vit_t16", backbone_params=TINY_VIT).train()
    x = images(2, 3, 64, 64)
    plain = net(x)[0]
    net.set_grad_checkpointing()
    assert torch.equal(net(x)[0], plain)
    net.adjust_size((96, 64))
    assert net.size == (96, 64) and net.eval()(images(1, 3, 96, 64))[0].isfinite().all()
    with pytest.raises(ParameterError, match="at least 32"):
        net.adjust_size(16)  # which its backbone would take
    assert net.size == net.backbone.size == (96, 64)


# -- what they refuse -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"num_classes": 0}, "at least 1 class"),
        ({"size": 16}, "at least 32"),
        (
            {"backbone": "convnext_v2_tinny", "backbone_params": None},
            "(?s)backbone: no architecture.*convnext_v2_tiny",
        ),
        ({"backbone_params": {"num_classes": 3}}, "set by the model itself"),
        ({"width": 0}, "width"),
        ({"head_depth": -1}, "head_depth"),
    ],
)
def test_parameters_that_do_not_fit(params, match):
    with pytest.raises(ParameterError, match=match):
        small("retinanet", **params)
    if "width" in params or "head_depth" in params:
        with pytest.raises(ParameterError, match=match):
            small("fcos", **params)


def test_anchors_have_a_size():
    with pytest.raises(ParameterError, match="anchor_scale"):
        small("retinanet", anchor_scale=0.0)


@pytest.mark.parametrize(
    ("targets", "error", "match"),
    [
        ([target()], ShapeError, "2 images have 2 targets"),
        ([target(), (torch.zeros(2, 5), torch.zeros(2).long())], ShapeError, r"image 1: boxes are \(n, 4\)"),
        ([target(), (torch.zeros(2, 4), torch.zeros(3).long())], ShapeError, "labels"),
        ([target(), (torch.ones(1, 4), torch.zeros(1))], DataError, "whole numbers"),
        (
            [target((1, 1, 5, 5, 0)), target((1, 1, 5, 5, 5))],
            DataError,
            "image 1, box 0: there is no class 5",
        ),
        ([target((1, 1, 5, 5, -1)), target()], DataError, "there is no class -1"),
        ([target((5, 5, 5, 9, 0)), target()], DataError, "image 0, box 0.*x1 < x2"),
        ([target((1, 1, 5, float("nan"), 0)), target()], DataError, "image 0, box 0"),
    ],
)
@pytest.mark.parametrize("name", DENSE)
def test_targets_that_cannot_be_learnt(name, targets, error, match):
    with pytest.raises(error, match=match):
        small(name).loss(images(2, 3, 64, 64), targets)


@pytest.mark.parametrize("name", DENSE)
def test_images_that_do_not_fit(name):
    net = small(name).eval()
    for x, match in (
        (images(3, 64, 64), r"images\[None\]"),
        (images(1, 64, 64, 3), "permute"),
        (images(1, 3, 16, 64), "at least 32"),
    ):
        with pytest.raises(ShapeError, match=match):
            net(x)
    for wrong in ({"score_threshold": 2.0}, {"iou_threshold": -1.0}, {"max_detections": 0}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            net.detect(images(1, 3, 64, 64), **wrong)


def test_faster_rcnn_names_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "faster_rcnn" in holotype.list_models(task=Task.OBJECT_DETECTION)
    with pytest.raises(MissingExtraError, match="pip install torchvision"):
        holotype.create_model("faster_rcnn")


# -- entries ----------------------------------------------------------------------------------------------


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """Save a network, register an entry for it, and give the entry's name."""
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)

    def make(network, name, /, **metadata):
        path = holotype.save_pretrained(network, tmp_path / f"{name}.safetensors")
        holotype.register_weights(
            name,
            {
                "url": tmp_path.as_uri(),
                "formats": {"safetensors": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}},
                **metadata,
            },
        )
        return name

    return make


TINY_NEXT = BACKBONES["convnext_v1_atto"]


@pytest.mark.parametrize("backbone", ["convnext_v2_atto", {"network": "convnext_v2_atto", "tag": "in1k"}])
def test_an_entry_names_its_backbone(entry, request, backbone):
    net = small("retinanet", backbone_params=TINY_NEXT).eval()
    name = f"retinanet_tiny_{'named' if isinstance(backbone, str) else 'tagged'}"
    config = {"num_classes": 5, "size": 64, "width": 16, "head_depth": 1, "backbone_params": TINY_NEXT}
    entry(net, name, net={"network": "retinanet", "tag": "test"}, backbone=backbone, config=config)
    meta = holotype.get_pretrained_metadata(name)
    assert meta["backbone"] == "convnext_v2_atto" and meta["task"] == Task.OBJECT_DETECTION
    loaded, info = holotype.load_pretrained_model(name, inference=True)
    x = images(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(loaded(x), net(x), strict=True))
    assert info.report.new == ()
    other, _ = holotype.load_pretrained_model(name, num_classes=3, size=(96, 64))
    assert other(images(1, 3, 96, 64))[0].shape[-1] == 3
    assert torch.equal(other.box_deltas.weight, net.box_deltas.weight)


def test_a_backbone_is_a_name():
    given = {"network": "retinanet", "url": "file:///x", "formats": {"pt": {}}}
    with pytest.raises(MetadataError, match="backbone: expected text"):
        PretrainedMetadata.parse("a", "session", {**given, "backbone": {"tag": "x"}})
    with pytest.raises(MetadataError, match="backbone: expected text"):
        PretrainedMetadata.parse("a", "session", {**given, "backbone": 5})


@pytest.mark.parametrize("name", DENSE)
def test_a_backbone_may_be_an_entry(entry, tmp_path, name):
    torch.manual_seed(5)
    body = holotype.create_model("convnext_v1_atto", num_classes=4, size=64, **TINY_NEXT)
    stats = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    of = f"convnext_tiny_for_{name}"
    config = {"num_classes": 4, "size": 64, **TINY_NEXT}
    entry(body, of, network="convnext_v1_atto", tag="test", config=config, preprocessing=stats)
    net = small(name, backbone=of, backbone_params=None).eval()
    assert torch.equal(net.backbone.stem[0].weight, body.stem[0].weight), "the weights are the entry's"
    assert statistics_of_entry(of) == ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2])
    assert statistics_of_entry("convnext_v1_atto") is None

    saved = f"{name}_on_an_entry"
    config = {"num_classes": 5, "size": 64, "width": 16, "head_depth": 1, "backbone": of}
    entry(net, saved, network=name, tag="test", config=config)
    for file in [tmp_path / f"{of}.safetensors", *(tmp_path / "home").rglob("*")]:
        if file.is_file():
            file.unlink()
    loaded, _ = holotype.load_pretrained_model(saved, inference=True)
    x = images(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(loaded(x), net(x), strict=True))
