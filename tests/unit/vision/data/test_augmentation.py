"""Augmentation: one seed, one result; shapes, ranges, boxes and labels; and what cannot be asked for."""

import pytest

torch = pytest.importorskip("torch")

from holotype.errors import ParameterError, ShapeError  # noqa: E402
from holotype.vision.data.augmentation.augment import make_augmentation  # noqa: E402  # after the check that torch is there
from holotype.vision.data.augmentation.geometry import crops, identity, mirrored, placed, turns  # noqa: E402
from holotype.vision.data.augmentation.presets import (  # noqa: E402
    PRESETS,
    check_augmentation,
    count_views,
    presets_of,
)
from holotype.vision.data.augmentation.trivial_augment import OPERATIONS, trivial_augment  # noqa: E402

SMALL = {"dino": {"local_size": 8, "local_crops": 3}, "digits_views": {"local_size": 8, "local_crops": 2}}
every_preset = pytest.mark.parametrize(("name", "kind"), PRESETS)


def made(name, kind, size=(16, 20), **options):
    return make_augmentation({"name": name, **SMALL.get(name, {}), **options}, size, kind=kind, num_classes=5)


def images(count=6, height=24, width=26):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def targets(kind, count=6):
    if kind == "classification":
        return torch.arange(count) % 5
    if kind == "detection":
        return torch.tensor([[[4.0, 5, 14, 20, 2], [0, 0, 26, 24, 1], [0, 0, 0, 0, -1]]]).repeat(count, 1, 1)
    return None


def applied(augment, x, seed=3, wanted=None):
    torch.manual_seed(seed)
    return list(augment(x) if augment.kind == "views" else augment(x, wanted))


# -- every preset --------------------------------------------------------------------------------------


@every_preset
def test_one_seed_gives_one_result_and_leaves_the_input_alone(name, kind):
    augment, x, y = made(name, kind), images(), targets(kind)
    before = x.clone()
    first = applied(augment, x, wanted=y)
    again = applied(made(name, kind), x, wanted=y)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert torch.equal(x, before)
    other = applied(augment, x, seed=4, wanted=y)
    assert (name == "none") == torch.equal(first[0], other[0])


@every_preset
def test_shapes_and_range(name, kind):
    augment, x = made(name, kind), images()
    got = applied(augment, x, wanted=targets(kind))
    views = got if kind == "views" else got[:1]
    assert [tuple(view.shape[2:]) for view in views] == list(augment.view_sizes)
    assert augment.view_sizes[0] == augment.size == (16, 20) and augment.read_size >= augment.size
    for view in views:
        assert view.shape[:2] == (6, 3) and view.dtype == torch.float32 and bool(view.isfinite().all())
        assert float(view.min()) >= 0 and float(view.max()) <= 1
    if kind == "classification":
        assert torch.equal(got[1], targets(kind)) and not augment.soft_targets
    if kind == "detection":
        assert got[1].shape == (6, 3, 5) and bool((got[1][:, 2, 4] == -1).all())


@every_preset
def test_each_image_is_changed_in_its_own_way(name, kind):
    x = images(1).repeat(16, 1, 1, 1)
    view = applied(made(name, kind), x)[0]
    different = {tuple(one.flatten().tolist()) for one in view}
    assert (
        len(different) == 1
        if name == "none"
        else len(different) == 2
        if name == "flip"
        else len(different) > 8
    )


@every_preset
def test_a_batch_of_none_and_of_one(name, kind):
    augment = made(name, kind)
    for count in (0, 1):
        got = applied(augment, images(count), wanted=targets(kind, count))
        assert [len(one) for one in got] == [count] * len(got)


@every_preset
def test_a_fresh_seed_is_the_only_source_of_chance(name, kind):
    augment, x = made(name, kind), images()
    torch.manual_seed(0)
    applied(augment, x)
    state = torch.random.get_rng_state()
    applied(augment, x)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_views_are_as_many_as_is_told_without_torch():
    for name in presets_of("views"):
        augment = made(name, "views")
        large, small = count_views({"name": name, **SMALL.get(name, {})})
        assert len(augment.view_sizes) == large + small
        assert augment.view_sizes[large:] == ((8, 8),) * small
    assert count_views("dino") == (2, 8) and count_views({"name": "simclr", "views": 4}) == (4, 0)


# -- what each does ------------------------------------------------------------------------------------


def test_nothing_is_done_to_an_image_of_the_right_size():
    x = images()
    for kind in ("classification", "detection"):
        assert torch.equal(made("none", kind, (24, 26))(x)[0], x)
    assert torch.equal(made("none", "views", (24, 26), views=3)(x)[2], x)


def test_a_mirror_is_exact():
    x = images(40, 8, 8)
    got, _ = applied(made("flip", "classification", 8), x)
    mirrors = 0
    for one, other in zip(got, x, strict=True):
        is_mirror = torch.allclose(one, other.flip(-1), atol=1e-5)
        mirrors += is_mirror
        assert is_mirror or torch.allclose(one, other, atol=1e-5)
    assert 8 < mirrors < 32


def test_digits_are_never_mirrored():
    x = torch.zeros(64, 3, 16, 16)
    x[:, :, :, :8] = 1  # white on the left
    for kind, name in (("classification", "digits"), ("views", "digits_views")):
        view = applied(made(name, kind, 16), x)[0]
        assert bool((view[..., :4].mean((1, 2, 3)) > view[..., -4:].mean((1, 2, 3))).all())


def test_crops_lie_in_the_image_and_keep_the_asked_area():
    torch.manual_seed(0)
    theta = crops(500, 0.2, 0.5)
    size, centre = theta[:, [0, 1], [0, 1]], theta[:, :, 2]
    assert float((centre.abs() + size).max()) <= 1 + 1e-6
    area = size.prod(1)
    assert float(area.min()) > 0.15 and float(area.max()) < 0.5 + 1e-6 and float(area.std()) > 0.05


def test_turns_keep_angles_on_oblong_images():
    theta = turns(1, 0, 0, 0)
    torch.testing.assert_close(theta, identity(1))
    torch.manual_seed(1)
    theta = turns(50, 40, 0, 0, aspect=0.5)
    # In pixels the map is a rotation: its transpose is its inverse.
    scale = torch.diag(torch.tensor([2.0, 1.0]))
    matrix = scale @ theta[:, :, :2] @ scale.inverse()
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(2).expand(50, 2, 2))


def test_what_becomes_much_smaller_is_smoothed():
    stripes = (torch.arange(128) % 2).float().expand(1, 3, 128, 128)
    small = placed(stripes, identity(1), (16, 16))
    assert float((small - 0.5).abs().max()) < 0.2


def test_every_operation_of_trivial_augment_keeps_shape_and_range():
    x = images(4)
    ones = torch.ones(4)
    for operation in OPERATIONS:
        for sign in (ones, -ones):
            got = operation(x, ones * 0.7, sign)
            assert got.shape == x.shape and bool(got.isfinite().all())
    torch.manual_seed(0)
    got = trivial_augment(x.repeat(16, 1, 1, 1))
    assert float(got.min()) >= 0 and float(got.max()) <= 1


# -- boxes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets_of("detection"))
def test_boxes_stay_on_their_objects(name):
    x = torch.zeros(32, 3, 60, 80)
    boxes = torch.zeros(32, 2, 5)
    boxes[:, :, 4] = -1
    for at in range(32):
        left, top = 5 + at, 4 + at
        x[at, :, top : top + 16, left : left + 20] = 1
        boxes[at, 0] = torch.tensor([left, top, left + 20, top + 16, at % 3])
    options = {"colour": 0} if name == "standard" else {}
    got, moved = applied(made(name, "detection", (90, 90), **options), x, wanted=boxes)
    assert bool((moved[:, 1] == torch.tensor([0.0, 0, 0, 0, -1])).all())
    there = 0
    for at in range(32):
        bright = (got[at].amin(0) > 0.75).nonzero()
        if moved[at, 0, 4] < 0:
            assert name in ("light", "standard") and moved[at, 0].tolist() == [0, 0, 0, 0, -1]
            continue
        there += 1
        assert moved[at, 0, 4] == at % 3
        found = torch.cat([bright.amin(0).flip(0), bright.amax(0).flip(0) + 1]).float()
        assert float((found - moved[at, 0, :4]).abs().max()) <= 2.5
        assert float(moved[at, 0, :4].min()) >= 0 and float(moved[at, 0, :4].max()) <= 90
    assert there > 16


def test_boxes_that_leave_the_image_vanish():
    from holotype.vision.data.augmentation.geometry import move_boxes

    zoomed = torch.tensor([[[0.5, 0, -0.5], [0, 0.5, -0.5]]])  # the upper left quarter
    boxes = torch.tensor(
        [[[0.0, 0, 10, 10, 1], [60, 60, 90, 90, 2], [49, 49, 90, 90, 3], [40, 40, 60, 60, 4]]]
    )
    moved = move_boxes(boxes, zoomed, (100, 100), (200, 200))
    torch.testing.assert_close(moved[0, 0], torch.tensor([0.0, 0, 40, 40, 1]))
    assert moved[0, 1:3, 4].tolist() == [-1, -1]
    torch.testing.assert_close(moved[0, 3], torch.tensor([160.0, 160, 200, 200, 4]))
    flipped = move_boxes(boxes, mirrored(identity(1), 2.0), (100, 100), (50, 100))
    torch.testing.assert_close(flipped[0, 0], torch.tensor([90.0, 0, 100, 5, 1]))


def test_images_without_boxes():
    for boxes in (torch.zeros(6, 0, 5), None):
        _, moved = applied(made("light", "detection"), images(), wanted=boxes)
        assert moved is None if boxes is None else moved.shape == (6, 0, 5)


# -- mixing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 0.5}])
def test_mixed_images_have_the_shares_of_their_classes(options):
    augment = made("digits", "classification", 16, degrees=0, shift=0, zoom=0, **options)
    assert augment.soft_targets
    labels = torch.tensor([0, 1, 2, 3, 4, -1] * 3)
    # Each image is of one colour, by its class: the mean tells its share.
    x = (labels.clamp(min=0).float() / 4)[:, None, None, None].expand(-1, 3, 16, 16)
    for seed in range(5):
        got, shares = applied(augment, x, seed=seed, wanted=labels)
        assert shares.shape == (18, 5) and float(shares.min()) >= 0
        known = shares.sum(1)
        assert float(known.max()) <= 1 + 1e-5
        colour = (shares * torch.arange(5) / 4).sum(1)
        torch.testing.assert_close(got.mean((1, 2, 3)), colour, atol=1e-4, rtol=0)


def test_mixing_needs_labels_and_classes():
    with pytest.raises(ParameterError, match="needs num_classes"):
        make_augmentation({"name": "digits", "mixup": 0.2}, 16)
    with pytest.raises(ParameterError, match="need labels"):
        made("digits", "classification", mixup=0.2)(images())


# -- what cannot be asked for --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("standrad", "classification", "did you mean 'standard'"),
        ("simclr", "classification", "it is for views"),
        ("standard", "views", "it is for classification, detection"),
        (3, "classification", "expected one of none, flip"),
        (None, "classification", "expected one of none"),
        ({}, "classification", "name: missing"),
        ({"crop": 0.5}, "classification", "name: missing"),
        ({"name": "standard", "crp": 0.5}, "classification", "did you mean 'crop'"),
        ({"name": "none", "crop": 0.5}, "classification", "crop: no such key"),
        ({"name": "standard", "crop": 0}, "classification", "crop: a number from 0.01 to 1, not 0"),
        ({"name": "standard", "crop": "half"}, "classification", "not 'half'"),
        ({"name": "standard", "crop": True}, "classification", "not True"),
        ({"name": "standard", "crop": float("nan")}, "classification", "not nan"),
        ({"name": "dino", "local_crops": 2.5}, "views", "a whole number from 0 to 32, not 2.5"),
        ({"name": "light", "jitter": 0.5}, "detection", "jitter: a number from 1 to 10"),
    ],
)
def test_an_augmentation_that_is_none(value, kind, message):
    (problem,) = check_augmentation(value, kind)
    assert message in problem
    with pytest.raises(ParameterError) as caught:
        make_augmentation(value, 16, kind=kind)
    assert caught.value.problems == (problem,)


def test_several_problems_are_told_at_once():
    assert len(check_augmentation({"name": "dino", "local_crops": -1, "local_size": 0, "x": 1}, "views")) == 3
    assert check_augmentation({"name": "dino", "local_crops": 4, "local_size": 16}, "views") == []
    with pytest.raises(ParameterError, match="no kind"):
        check_augmentation("none", "detecton")
    for size in (0, (3,), (4, "5"), (1.5, 2)):
        with pytest.raises(ParameterError, match="size"):
            make_augmentation("none", size)


def test_defaults_hold_what_they_ask_for():
    for (name, kind), preset in PRESETS.items():
        assert check_augmentation(name, kind) == [] and preset.meaning
        given = {key: option.default for key, option in preset.options.items()}
        assert check_augmentation({"name": name, **given}, kind) == []


def test_batches_of_another_shape():
    augment, boxes = made("light", "classification"), made("light", "detection")
    for wrong in (
        torch.rand(2, 1, 8, 8),
        torch.rand(3, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        torch.rand(2, 3, 0, 8),
    ):
        with pytest.raises(ShapeError, match="images"):
            augment(wrong)
    with pytest.raises(ShapeError, match="targets"):
        augment(images(), torch.arange(5))
    with pytest.raises(ShapeError, match="targets"):
        boxes(images(), torch.arange(6))
    with pytest.raises(ParameterError, match="views"):
        made("ijepa", "views")(images(), torch.arange(6))
