"""Set-prediction detectors: matching, deformable attention, `detr` and `deformable_detr`."""

import itertools
import sys

import pytest
import torch
from torch.nn import functional as F

from holotype.errors import DataError, MissingExtraError, ParameterError, ShapeError, TrainingError
from holotype.vision import registry
from holotype.vision.models.detection.boxes import centers_to_corners, giou
from holotype.vision.models.detection.deformable_attention import DeformableAttention, look
from holotype.vision.models.detection.interface import Boxes
from holotype.vision.models.detection.matching import box_cost, focal_cost, match, pad, softmax_cost
from holotype.vision.models.detection.transformer import sine_positions

NAMES = ("detr", "deformable_detr")
BACKBONES = (
    "vit_t16",
    "rope_vit_reg1_t16",
    "hieradet_tiny",
    "hiera_tiny",
    "convnext_v2_atto",
    "resnet_v1_18",
    "efficientnet_lite0",
)
NONE = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))


def small(name, **params):
    torch.manual_seed(0)
    return registry.create_model(name, **{**registry.get_model_class(name).small_parameters, **params})


def over(backbone):
    params = dict(registry.get_model_class(backbone).small_parameters)
    params = {key: value for key, value in params.items() if key not in ("size", "num_classes")}
    return {"backbone": backbone, "backbone_params": params}


def some_targets():
    return [
        Boxes(torch.tensor([[4.0, 4, 30, 40], [20, 10, 60, 60], [0, 0, 9, 64]]), torch.tensor([0, 3, 3])),
        NONE,
        Boxes(torch.tensor([[10.0, 20, 30, 25]]), torch.tensor([4])),
    ]


def images(batch=3):
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(1))


# -- matching ---------------------------------------------------------------------------------------------


def test_matching_is_the_cheapest_of_all_assignments():
    cost = torch.randn(4, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    counts = [3, 0, 1, 2]
    found = match(cost, counts)
    assert len(found.image) == 2 * sum(counts)
    for image, count in enumerate(counts):
        for layer in range(2):
            here = (found.image == image) & (found.layer == layer)
            queries, boxes = found.query[here], found.box[here]
            assert sorted(boxes.tolist()) == list(range(count))
            assert len(set(queries.tolist())) == count
            paid = float(cost[image, layer, queries, boxes].sum())
            cheapest = min(
                sum(float(cost[image, layer, q, b]) for b, q in enumerate(chosen))
                for chosen in itertools.permutations(range(5), count)
            )
            assert paid == pytest.approx(cheapest, abs=1e-5)


def test_matching_of_a_batch_without_boxes_is_empty():
    assert all(len(field) == 0 for field in match(torch.zeros(2, 1, 5, 0), [0, 0]))


def test_padding_is_not_looked_at():
    cost = torch.zeros(1, 1, 3, 2)
    cost[..., 1] = torch.nan
    assert match(cost, [1]).box.tolist() == [0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_cost_that_is_not_finite_is_an_error(value):
    cost = torch.zeros(2, 1, 3, 2)
    cost[1, 0, 2, 1] = value
    with pytest.raises(TrainingError, match="image 1"):
        match(cost, [2, 2])


def test_more_boxes_than_queries_is_an_error_that_says_how_many():
    with pytest.raises(DataError, match="image 0 has 4 boxes") as caught:
        match(torch.zeros(1, 1, 3, 4), [4])
    assert caught.value.hint == "Give it num_queries=4 or more."


def test_other_shapes_of_costs_are_an_error():
    with pytest.raises(ShapeError):
        match(torch.zeros(2, 1, 3, 4), [4])


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match=r"holotype\[vision-training\]"):
        match(torch.zeros(1, 1, 3, 1), [1])


def test_costs_are_those_of_the_papers():
    torch.manual_seed(0)
    logits, size = torch.randn(2, 1, 3, 4), (40, 80)
    centers = torch.rand(2, 1, 3, 4) * 0.4 + 0.3
    boxes = centers_to_corners(centers) * torch.tensor([80.0, 40, 80, 40])
    truth = torch.tensor([[0.5, 0.5, 0.25, 0.5], [0.2, 0.4, 0.1, 0.2]])
    corners = centers_to_corners(truth) * torch.tensor([80.0, 40, 80, 40])
    padded = pad([Boxes(corners, torch.tensor([2, 0])), Boxes(corners[:1], torch.tensor([1]))], logits.device)
    assert padded.counts == [2, 1]
    by_box = box_cost(boxes, padded.boxes, size)
    by_softmax, by_focal = softmax_cost(logits, padded.labels), focal_cost(logits, padded.labels)
    for image, query, box in [(0, 0, 0), (0, 1, 1), (0, 2, 0), (1, 2, 0)]:
        label = int(padded.labels[image, box])
        distance = (centers[image, 0, query] - truth[box]).abs().sum()
        expected = 5 * distance - 2 * giou(boxes[image, 0, query], corners[box])
        assert float(by_box[image, 0, query, box]) == pytest.approx(float(expected), abs=1e-5)
        p = float(logits[image, 0, query].softmax(0)[label])
        assert float(by_softmax[image, 0, query, box]) == pytest.approx(-p, abs=1e-6)
        p = logits[image, 0, query, label].sigmoid()
        expected = -0.25 * (1 - p) ** 2 * p.log() + 0.75 * p**2 * (1 - p).log()
        assert float(by_focal[image, 0, query, box]) == pytest.approx(float(expected), abs=1e-5)


# -- attention --------------------------------------------------------------------------------------------


def at(image, y, x):
    """(d, h, w) at a place in cells, between cells bilinearly, outside 0."""
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    y0, x0 = int(y.floor()), int(x.floor())
    for row, column in itertools.product((y0, y0 + 1), (x0, x0 + 1)):
        if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
            total = total + (1 - (y - row).abs()) * (1 - (x - column).abs()) * image[:, row, column]
    return total


@pytest.mark.parametrize("width", [2, 4])
def test_deformable_attention_is_what_a_loop_over_queries_computes(width):
    torch.manual_seed(0)
    shapes, heads, points = [(5, 3), (2, 4)], 2, 3
    layer = DeformableAttention(8, heads, 2, points).double()
    for value in layer.parameters():
        torch.nn.init.normal_(value, std=0.5)
    queries, memory = torch.randn(2, 4, 8).double(), torch.randn(2, 23, 8).double()
    references = torch.rand(2, 4, width).double()
    values = layer.value(memory)
    offsets = layer.offsets(queries).view(2, 4, heads, 2, points, 2)
    weights = layer.weights(queries).view(2, 4, heads, -1).softmax(-1).view(2, 4, heads, 2, points)
    expected = torch.zeros(2, 4, 8).double()
    for b, q, m, level, k in itertools.product(range(2), range(4), range(heads), range(2), range(points)):
        rows, columns = shapes[level]
        start = 15 * level
        part = values[b, start : start + rows * columns, 4 * m : 4 * m + 4].T.reshape(4, rows, columns)
        scale = 1 / torch.tensor([columns, rows]) if width == 2 else references[b, q, 2:] / 2 / points
        x, y = references[b, q, :2] + offsets[b, q, m, level, k] * scale
        seen = at(part, y * rows - 0.5, x * columns - 0.5)
        expected[b, q, 4 * m : 4 * m + 4] += weights[b, q, m, level, k] * seen
    torch.testing.assert_close(layer(queries, references, memory, shapes), layer.proj(expected))


def test_looking_at_the_middle_of_a_cell_gives_that_cell():
    values = torch.arange(6.0).view(1, 6, 1, 1)  # 2 rows, 3 columns
    points = torch.tensor([[2.5 / 3, 0.25], [0.5 / 3, 0.75], [-1.0, 0.5]]).view(1, 3, 1, 1, 1, 2)
    assert look(values, [(2, 3)], points, torch.ones(1, 3, 1, 1, 1)).flatten().tolist() == [2, 3, 0]


def test_heads_first_look_into_directions_of_their_own():
    layer = DeformableAttention(64, 8, 3, 4)
    offsets = layer.offsets.bias.view(8, 3, 4, 2).detach().round(decimals=4)
    assert len({tuple(offset.tolist()) for offset in offsets[:, 0, 0]}) == 8
    assert offsets.abs().amax(-1)[:, 1].tolist() == [[1, 2, 3, 4]] * 8


def test_positions_tell_places_apart():
    places = sine_positions(5, 7, 32, torch.zeros(1))
    assert places.shape == (35, 32)
    gaps = torch.cdist(places, places) + 9 * torch.eye(35)
    assert float(gaps.min()) > 0.1
    grid = places.view(5, 7, 2, 16)
    assert torch.equal(grid[:, 0, 0], grid[:, 6, 0])  # the first half says the row
    assert torch.equal(grid[0, :, 1], grid[4, :, 1])


# -- networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", NAMES)
def test_every_family_is_a_backbone_and_every_parameter_learns(name, backbone):
    net = small(name, **over(backbone)).train()
    logits, boxes, earlier_logits, earlier_boxes = net(images())
    classes = 6 if name == "detr" else 5
    assert logits.shape == (3, 7, classes) and boxes.shape == (3, 7, 4)
    assert earlier_logits.shape == (3, 1, 7, classes) and earlier_boxes.shape == (3, 1, 7, 4)
    sum(net.loss(images(), some_targets()).values()).backward()
    without = [key for key, value in net.named_parameters() if value.grad is None]
    assert without == []
    assert all(bool(value.grad.isfinite().all()) for value in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_it_stands_on_an_entry_and_is_built_without_memory(name):
    with torch.device("meta"):
        net = registry.create_model(name, num_classes=3, backbone="efficientnet_lite0_imagenet1k")
        assert net(torch.zeros(2, 3, 64, 96))[1].shape[2] == 4
        assert registry.create_model(name, backbone="convnext_v2_tiny").num_classes == 80


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
@pytest.mark.parametrize("backbone", ["vit_t16", "resnet_v1_18"])
def test_there_are_as_many_levels_as_asked_for(backbone, levels):
    net = small("deformable_detr", num_levels=levels, **over(backbone)).eval()
    maps = net.levels(net.backbone.forward_intermediates(images(), net.levels.stages))
    expected = {
        "vit_t16": [8, 4, 2, 1, 1] if levels > 1 else [4],
        "resnet_v1_18": [[2], [2, 1], [4, 2, 1], [], [16, 8, 4, 2, 1]][levels - 1],
    }[backbone][:levels]
    assert [x.shape[2] for x in maps] == expected
    assert all(value.isfinite().all() for value in net(images()))


@pytest.mark.parametrize(("patch", "rows"), [(8, [8, 4, 2, 1]), (32, [8, 4, 2, 1]), (4, [16, 8, 4, 2])])
def test_levels_of_a_plain_transformer_begin_at_a_stride_of_8(patch, rows):
    given = over("vit_t16")
    given["backbone_params"]["patch_size"] = patch  # a stride below 8 stays
    net = small("deformable_detr", **given).eval()
    maps = net.levels(net.backbone.forward_intermediates(images(), net.levels.stages))
    assert [x.shape[2] for x in maps] == rows


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_its_company(name):
    net = small(name).eval()
    for alone, together in zip(net(images()[1:2]), net(images()), strict=True):
        torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_half_precision_by_autocast(name):
    net = small(name)
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.loss(images(), some_targets())
    assert all(bool(value.isfinite()) and value.dtype == torch.float32 for value in losses.values())


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_double_precision(name):
    net = small(name).eval()
    expected = net.loss(images(), some_targets())
    for key, value in net.double().loss(images().double(), some_targets()).items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, expected[key].double(), rtol=1e-4, atol=1e-4)


def test_boxes_of_deformable_detr_begin_a_tenth_wide():
    net = small("deformable_detr", num_decoder_layers=1).eval()
    boxes = net(images())[1]
    torch.testing.assert_close(boxes[..., 2:] - boxes[..., :2], torch.full((3, 7, 2), 6.4))


@pytest.mark.parametrize("name", NAMES)
def test_a_new_head_has_other_classes_and_the_rest_stays(name):
    net = small(name).eval()
    before = net(images())[1]
    net.reset_classifier(2)
    logits, boxes = net(images())[:2]
    assert logits.shape[2] == (3 if name == "detr" else 2)
    assert torch.equal(before, boxes)
    with pytest.raises(ParameterError):
        net.reset_classifier(0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"num_queries": 0}, "num_queries is at least 1"),
        ({"num_decoder_layers": 0}, "num_decoder_layers is at least 1"),
        ({"hidden_dim": 36}, "multiple of 8"),
        ({"num_heads": 3}, "num_heads"),
        ({"num_heads": 0}, "num_heads"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_classes": 0}, "at least 1 class"),
    ],
)
def test_parameters_that_cannot_be_are_refused(name, params, told):
    with pytest.raises(ParameterError, match=told):
        small(name, **params)


# -- losses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_boxes_does_not_matter(name):
    net, targets = small(name).eval(), some_targets()
    turned = [Boxes(target.boxes.flip(0), target.labels.flip(0)) for target in targets]
    one, other = net.loss(images(), targets), net.loss(images(), turned)
    for key, value in one.items():
        torch.testing.assert_close(value, other[key])


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_portions_add_up(name):
    net, targets = small(name).eval(), some_targets()
    whole = net.loss(images(), targets)
    first, rest = net.loss(images()[:1], targets[:1]), net.loss(images()[1:], targets[1:])
    for key, value in whole.items():
        torch.testing.assert_close(value, (first[key] + 2 * rest[key]) / 3, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_images_without_boxes_teach_that_there_is_nothing(name):
    net = small(name)
    losses = net.loss(images(), [NONE] * 3)
    assert float(losses["l1"].detach()) == 0.0 and float(losses["giou"].detach()) == 0.0
    sum(losses.values()).backward()
    head = net.class_head if name == "detr" else net.class_heads[-1]
    assert float(head.weight.grad.abs().sum()) > 0.0


def says(net, logits, boxes):
    """A network that answers with these, after its last layer and after an earlier one."""
    net.forward = lambda images: (logits, boxes, logits[:, None], boxes[:, None])
    return net


def test_the_loss_of_detr_is_that_of_the_paper():
    torch.manual_seed(0)
    boxes = torch.tensor([[[0.0, 0, 32, 32], [32, 16, 64, 48], [0, 0, 64, 64]]])
    logits = torch.randn(1, 3, 6)
    truth = Boxes(torch.tensor([[32.0, 16, 64, 64]]), torch.tensor([2]))
    losses = says(small("detr"), logits, boxes).loss(images(1), [truth])
    logp, weights = logits[0].log_softmax(1), torch.tensor([0.1, 1.0, 0.1])
    entropy = -(torch.stack((logp[0, 5], logp[1, 2], logp[2, 5])) * weights).sum() / weights.sum()
    torch.testing.assert_close(losses["classes"], 2 * entropy)  # two layers
    torch.testing.assert_close(losses["l1"], torch.tensor(2 * 5 * (8 / 64 + 16 / 64)))
    torch.testing.assert_close(losses["giou"], torch.tensor(2 * 2 * (1 - 2 / 3)))


def test_the_class_loss_of_deformable_detr_is_focal():
    boxes = torch.tensor([[[0.0, 0, 32, 32], [32, 16, 64, 48], [0, 0, 64, 64]]])
    logits = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))
    truth = Boxes(boxes[0, 1:], torch.tensor([2, 0]))
    losses = says(small("deformable_detr"), logits, boxes).loss(images(1), [truth])
    p, wanted = logits[0].sigmoid(), torch.zeros(3, 5)
    wanted[1, 2] = wanted[2, 0] = 1.0
    hit, miss = -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log()
    expected = torch.where(wanted == 1, hit, miss).sum() / 2  # of two boxes
    torch.testing.assert_close(losses["classes"], 2 * 2 * expected)  # two layers, a weight of 2
    assert float(losses["l1"]) == 0.0
    assert float(losses["giou"]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_learnt_is_refused(name):
    net = small(name)
    crowd = Boxes(torch.tensor([[0.0, 0, 9, 9]]).repeat(8, 1), torch.zeros(8, dtype=torch.long))
    with pytest.raises(DataError, match="8 boxes"):
        net.loss(images(1), [crowd])
    with pytest.raises(DataError, match="class 5"):
        net.loss(images(1), [Boxes(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([5]))])
    with pytest.raises(ShapeError):
        net.loss(images(2), [NONE])
    with pytest.raises(ShapeError):
        net(torch.zeros(3, 64, 64))
    with torch.no_grad():
        net.queries.fill_(torch.nan)
    with pytest.raises(TrainingError, match="not finite"):
        net.loss(images(3), some_targets())


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name):
    net = small(name, dropout=0.0).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    totals = []
    for _ in range(6):
        total = sum(net.loss(images(), some_targets()).values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]


# -- detection --------------------------------------------------------------------------------------------


def test_detr_gives_the_best_class_of_each_query_best_first():
    boxes = torch.tensor([[[0.0, 0, 32, 32], [0, 0, 32, 32], [-8, 16, 72, 48], [1, 1, 2, 2]]])
    logits = torch.zeros(1, 4, 6)
    logits[0, 0, 1], logits[0, 1, 1], logits[0, 2, 4], logits[0, 3, 5] = 3.0, 4.0, 5.0, 9.0
    (found,) = says(small("detr"), logits, boxes).detect(images(1))
    assert found.labels.tolist() == [4, 1, 1]  # the same box twice stays; the fourth is no object
    assert found.boxes[0].tolist() == [0, 16, 64, 48]  # cut at the edges
    expected = F.softmax(torch.tensor([5.0, 0, 0, 0, 0, 0]), 0)[0]
    assert float(found.scores[0]) == pytest.approx(float(expected))
    assert len(says(small("detr"), logits, boxes).detect(images(1), max_detections=2)[0].labels) == 2


def test_deformable_detr_gives_the_best_pairs_of_query_and_class():
    boxes = torch.tensor([[[0.0, 0, 32, 32], [8, 8, 72, 48]]])
    logits = torch.full((1, 2, 5), -9.0)
    logits[0, 0, 1], logits[0, 0, 3], logits[0, 1, 0] = 1.0, 3.0, 2.0
    (found,) = says(small("deformable_detr"), logits, boxes).detect(images(1))
    assert found.labels.tolist() == [3, 0, 1]
    assert found.boxes.tolist() == [[0, 0, 32, 32], [8, 8, 64, 48], [0, 0, 32, 32]]
    assert found.scores.tolist() == torch.tensor([3.0, 2, 1]).sigmoid().tolist()
    (found,) = says(small("deformable_detr"), logits, boxes).detect(images(1), max_detections=1)
    assert found.labels.tolist() == [3]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_above_the_threshold_is_nothing(name):
    for found in small(name).eval().detect(images(), score_threshold=1.0):
        assert found.boxes.shape == (0, 4) and len(found.scores) == len(found.labels) == 0
