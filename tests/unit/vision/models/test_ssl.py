"""Self-supervised models: losses as in their papers, teachers that follow, masks that keep apart."""

import copy
import hashlib
import math

import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402  # after the check that torch is there

from holotype.errors import ParameterError, ShapeError  # noqa: E402
from holotype.vision import create_model, get_model_class, list_models, registry  # noqa: E402
from holotype.vision.models.ssl.barlow_twins import barlow_loss, cross_correlation  # noqa: E402
from holotype.vision.models.ssl.byol import byol_loss  # noqa: E402
from holotype.vision.models.ssl.dino_v1 import DINOHead, distillation  # noqa: E402
from holotype.vision.models.ssl.dino_v2 import (  # noqa: E402
    block_mask,
    koleo,
    patch_loss,
    random_masks,
    sinkhorn,
)
from holotype.vision.models.ssl.i_jepa import random_blocks  # noqa: E402
from holotype.vision.models.ssl.interface import mlp  # noqa: E402
from holotype.vision.models.ssl.simclr import nt_xent  # noqa: E402
from holotype.vision.models.ssl.teacher import Teacher, cosine, linear, warmed_up  # noqa: E402
from holotype.vision.models.ssl.vicreg import covariance_term, variance_term  # noqa: E402

NAMES = ["simclr", "byol", "vicreg", "barlow_twins", "dino_v1", "dino_v2", "i_jepa"]
COMPARING = ["simclr", "byol", "vicreg", "barlow_twins"]
WITH_TEACHER = ["byol", "dino_v1", "dino_v2", "i_jepa"]
NEEDS_VIT = ["dino_v2", "i_jepa"]
RESNET = {
    "encoder": "resnet_v1_18",
    "encoder_params": {"filter_list": [4, 4, 8, 8, 8], "units": [1, 1, 1, 1]},
}


def build(name, *, seed=0, **params):
    torch.manual_seed(seed)
    return create_model(name, **{**get_model_class(name).small_parameters, **params})


def views_for(net, images=4, *, seed=0, local=2):
    torch.manual_seed(seed)
    count = {"one": 1, "two": 2, "multi_crop": 2}[net.views]
    base = torch.randn(images, net.in_channels, *net.size)
    views = [base + 0.1 * torch.randn_like(base) for _ in range(count)]
    if net.views == "multi_crop":
        views += [F.interpolate(base, net.local_size) for _ in range(local)]
    return views


def step(net, optimizer, views, done):
    net.before_step(done)
    loss = net.loss(views)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    net.after_step(done)
    return float(loss.detach())


def learned(net):
    return [value for value in net.parameters() if value.requires_grad]


def state_of(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


# -- losses, against loops and figures by hand -----------------------------------------------------


def test_nt_xent_is_equation_1():
    torch.manual_seed(0)
    first, second = torch.randn(3, 5), torch.randn(3, 5)
    z = [*first, *second]
    total = 0.0
    for i in range(6):
        similar = [float(F.cosine_similarity(z[i], z[k], dim=0)) / 0.5 for k in range(6)]
        others = sum(math.exp(similar[k]) for k in range(6) if k != i)
        total += -math.log(math.exp(similar[(i + 3) % 6]) / others)
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(total / 6, rel=1e-5)


def test_nt_xent_by_hand():
    """Two images whose views agree and that are at right angles: log(1 + 2 / e)."""
    z = torch.eye(2)
    assert float(nt_xent(z, 3 * z, 1.0)) == pytest.approx(math.log(1 + 2 / math.e), rel=1e-6)


def test_byol_loss_is_that_of_unit_vectors():
    prediction, target = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [5.0, 0.0]])
    assert float(byol_loss(prediction, target)) == pytest.approx((2.0 + 0.0) / 2)


def test_barlow_twins_is_equations_1_and_2():
    torch.manual_seed(0)
    first, second = torch.randn(8, 3), torch.randn(8, 3)
    loss = 0.0
    for i in range(3):
        for j in range(3):
            a, b = first[:, i] - first[:, i].mean(), second[:, j] - second[:, j].mean()
            c = float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))
            assert float(cross_correlation(first, second)[i, j]) == pytest.approx(c, abs=1e-4)
            loss += (1 - c) ** 2 if i == j else 0.1 * c**2
    assert float(barlow_loss(first, second, 0.1)) == pytest.approx(loss, rel=1e-3)


def test_vicreg_terms_are_equations_1_to_4():
    torch.manual_seed(0)
    z = 0.3 * torch.randn(6, 4)
    variance = sum(max(0.0, 1 - math.sqrt(float(z[:, j].var()) + 1e-4)) for j in range(4)) / 4
    assert float(variance_term(z)) == pytest.approx(variance, rel=1e-5)
    covariance = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                covariance += float(torch.cov(z.T)[i, j]) ** 2 / 4
    assert float(covariance_term(z)) == pytest.approx(covariance, rel=1e-4)


def test_vicreg_weighs_its_terms():
    net = build("vicreg", invariance=2.0, variance=3.0, covariance=5.0)
    views = views_for(net)
    one, other = (net(view).detach() for view in views)
    expected = 2 * F.mse_loss(one, other) + 3 * (variance_term(one) + variance_term(other))
    expected = expected + 5 * (covariance_term(one) + covariance_term(other))
    assert float(net.loss(views).detach()) == pytest.approx(float(expected), rel=1e-5)


def test_koleo_by_hand():
    """Unit vectors at 0, 90 and 100 degrees: nearest are 90, 10 and 10 degrees away."""
    angles = torch.tensor([0.0, 90.0, 100.0]).deg2rad()
    x = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [2.0], [7.0]])
    apart = [2 * math.sin(math.radians(degrees) / 2) for degrees in (90, 10, 10)]
    assert float(koleo(x)) == pytest.approx(-sum(map(math.log, apart)) / 3, rel=1e-4)
    assert float(koleo(x[:1])) == 0.0


def test_sinkhorn_is_what_alternating_by_hand_gives():
    torch.manual_seed(0)
    logits = torch.randn(6, 4)
    table = [[math.exp(float(value) / 0.5) for value in row] for row in logits]
    for _ in range(3):
        sums = [sum(row[k] for row in table) for k in range(4)]
        table = [[row[k] / sums[k] / 4 for k in range(4)] for row in table]
        table = [[value / sum(row) / 6 for value in row] for row in table]
    assert torch.allclose(sinkhorn(logits, 0.5), 6 * torch.tensor(table), atol=1e-5)
    balanced = sinkhorn(logits, 0.5, iterations=100)
    assert torch.allclose(balanced.sum(0), torch.full((4,), 1.5), atol=1e-3)
    assert torch.allclose(sinkhorn(100 * logits, 0.04).sum(1), torch.ones(6))


def test_distillation_leaves_out_a_view_with_itself():
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 2, 5), torch.randn(2, 2, 5).softmax(2)
    total, pairs = 0.0, 0
    for g in range(2):
        for v in range(4):
            if v != g:
                pairs += 1
                for image in range(2):
                    total -= float((targets[g, image] * logits[v, image].softmax(0).log()).sum()) / 2
    assert pairs == 6
    assert float(distillation([*logits], [*targets])) == pytest.approx(total / pairs, rel=1e-5)


def test_patch_loss_is_the_mean_in_each_crop_then_over_crops():
    mask = torch.tensor([[True, True, False], [False, False, False], [False, True, False]])
    targets, logits = torch.eye(3), torch.zeros(3, 3)
    assert float(patch_loss(logits, targets, mask)) == pytest.approx(2 / 3 * math.log(3), rel=1e-6)
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 50.0]])
    assert float(patch_loss(logits, targets, mask)) == pytest.approx(math.log(3) / 3, rel=1e-5)


def test_the_loss_is_the_mean_over_images_where_images_do_not_meet():
    """Portions of a batch add up: BYOL in evaluation, where batch norms hold still, and DINO."""
    for name in ("byol", "dino_v1"):
        net = build(name).eval()
        views = views_for(net)
        each = [float(net.loss([view[at : at + 1] for view in views]).detach()) for at in range(4)]
        assert float(net.loss(views).detach()) == pytest.approx(sum(each) / 4, rel=1e-5)


# -- schedules -------------------------------------------------------------------------------------


def test_schedules_at_their_beginning_middle_and_end():
    assert [cosine(0.9, 1.0, done) for done in (0, 0.5, 1)] == pytest.approx([0.9, 0.95, 1.0])
    assert cosine(0.9, 1.0, 0.25) == pytest.approx(1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2)
    assert [linear(0.9, 1.0, done) for done in (0, 0.5, 1)] == pytest.approx([0.9, 0.95, 1.0])
    assert [warmed_up(0.04, 0.07, done, 0.5) for done in (0, 0.25, 0.5, 1)] == pytest.approx(
        [0.04, 0.055, 0.07, 0.07]
    )
    assert warmed_up(0.04, 0.07, 0.0, 0.0) == 0.07


@pytest.mark.parametrize("name", ["dino_v1", "dino_v2"])
def test_the_teachers_temperature_is_warmed_up(name):
    net = build(name, warm_up=0.5, freeze_last_layer=0.25)
    found = []
    for done in (0.0, 0.25, 0.5, 1.0):
        net.before_step(done)
        found.append((round(float(net.teacher_temperature), 4), float(net.last_layer_learns)))
    assert found == [(0.04, 0.0), (0.055, 1.0), (0.07, 1.0), (0.07, 1.0)]


@pytest.mark.parametrize("name", ["dino_v1", "dino_v2"])
def test_the_last_layer_does_not_learn_at_first(name):
    net = build(name, freeze_last_layer=0.5)
    for done, learns in ((0.0, False), (0.5, True)):
        net.before_step(done)
        net.zero_grad()
        net.loss(views_for(net)).backward()
        assert bool(net.projector.prototypes.grad.count_nonzero()) is learns
        assert bool(net.projector.layers[0].weight.grad.count_nonzero())


def test_the_head_ignores_the_length_of_its_prototypes():
    torch.manual_seed(0)
    head, x = DINOHead(6, 8, 4, 10), torch.randn(3, 6)
    before = head(x)
    with torch.no_grad():
        head.prototypes.mul_(3.0)
    assert torch.allclose(before, head(x), atol=1e-6)
    assert float(before.detach().abs().max()) <= 1 + 1e-6


# -- teachers --------------------------------------------------------------------------------------


def test_a_teacher_moves_by_its_momentum():
    torch.manual_seed(0)
    student = torch.nn.Linear(2, 2)
    teacher = Teacher({"encoder": student})
    before = teacher.encoder.weight.clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    teacher.follow({"encoder": student}, 0.75)
    assert torch.allclose(teacher.encoder.weight, before + 0.25)
    teacher.copy_from({"encoder": student})
    assert torch.equal(teacher.encoder.weight, student.weight)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_the_teacher_begins_as_the_student_and_follows_it(name):
    net = build(name, momentum=0.5)
    student = {f"encoder.{key}": value for key, value in net.encoder.state_dict().items()}
    assert same(student, net.teacher.state_dict())
    assert not any(value.requires_grad for value in net.teacher.parameters())
    before = copy.deepcopy(net.teacher.encoder)
    with torch.no_grad():
        for value in net.encoder.parameters():
            value.add_(1.0)
    net.after_step(0.0)
    for one, other in zip(before.parameters(), net.teacher.encoder.parameters(), strict=True):
        assert torch.allclose(other, one + 0.5, atol=1e-6)
    net.after_step(1.0)  # by now the momentum is 1
    for one, other in zip(before.parameters(), net.teacher.encoder.parameters(), strict=True):
        assert torch.allclose(other, one + 0.5, atol=1e-6)
    net.reset_teacher()
    student = {f"encoder.{key}": value for key, value in net.encoder.state_dict().items()}
    assert same(student, net.teacher.state_dict())


def test_a_teacher_drops_nothing_and_its_batch_norms_see_the_batch():
    net = build("byol", **RESNET, size=64).train()
    modes = {type(module).__name__: module.training for module in net.teacher.modules()}
    assert modes["BatchNorm2d"] and modes["BatchNorm1d"] and not modes["ReLU"] and not modes["Teacher"]
    net.eval()
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_a_teacher_gets_no_gradient(name):
    net = build(name).train()
    net.loss(views_for(net)).backward()
    assert all(value.grad is None for value in net.teacher.parameters())


def test_heads_of_a_tied_dino_v2_are_one_in_the_teacher_too():
    net = build("dino_v2", tie_heads=True)
    assert net.patch_projector is None and not any("patch_projector" in name for name in net.state_dict())
    net.loss(views_for(net)).backward()
    assert all(value.grad is not None for value in learned(net))


def test_the_centre_follows_what_the_teacher_said():
    """Equation 4, also where a step has several portions."""
    net = build("dino_v1", center_momentum=0.75).train()
    views, whole = views_for(net), []
    for portion in (slice(0, 1), slice(1, 4)):
        net.loss([view[portion] for view in views])
        for view in views[:2]:
            whole.append(net.teacher.projector(net.teacher.encoder.embedding(view[portion])))
    assert not bool(net.center.count_nonzero())
    net.after_step(0.0)
    assert torch.allclose(net.center, 0.25 * torch.cat(whole).mean(0), atol=1e-6)
    before = net.center.clone()
    net.after_step(0.0)  # nothing was said since
    assert torch.equal(net.center, before)


def test_dino_v1_centres_and_sharpens():
    net = build("dino_v1", student_temperature=0.2, first_teacher_temperature=0.05).eval()
    net.center.uniform_(-0.1, 0.1)
    views = views_for(net, local=1)
    targets = [
        ((net.teacher.projector(net.teacher.encoder.embedding(view)) - net.center) / 0.05).softmax(1)
        for view in views[:2]
    ]
    logits = [net(view) / 0.2 for view in views]
    assert float(net.loss(views).detach()) == pytest.approx(
        float(distillation(logits, targets).detach()), rel=1e-5
    )


# -- every model -----------------------------------------------------------------------------------


def test_all_are_listed_under_their_task():
    assert set(NAMES) <= set(list_models(task="self_supervised_learning"))


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_loss_reach_every_learned_parameter(name):
    for run in (lambda net: net(*net.example_inputs(4)).square().sum(), lambda net: net.loss(views_for(net))):
        net = build(name).train()
        net.before_step(1.0)
        run(net).backward()
        missing = [key for key, value in net.named_parameters() if value.requires_grad and value.grad is None]
        assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_made_for_another_size(name):
    net, other = build(name).eval(), build(name, size=(48, 64)).eval()
    net.adjust_size((48, 64))
    assert net.size == net.encoder.size == (48, 64)
    shapes = {key: value.shape for key, value in other.state_dict().items()}
    assert {key: value.shape for key, value in net.state_dict().items()} == shapes
    assert net.loss(views_for(net)).isfinite()
    if name == "i_jepa":
        assert torch.equal(net.predictor.position, other.predictor.position)
        with pytest.raises(ParameterError, match="at least 4"):
            net.adjust_size((8, 24))
        assert net.encoder.size == (48, 64)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_changes_nothing(name):
    found = []
    for enable in (False, True):
        net = build(name).train()
        net.set_grad_checkpointing(enable)
        assert net.encoder.grad_checkpointing == enable
        net.loss(views_for(net)).backward()
        found.append([value.grad for value in net.parameters() if value.requires_grad])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_double_precision(name):
    net = build(name).eval()
    views = views_for(net)
    torch.manual_seed(2)
    expected = net.loss(views).double()
    torch.manual_seed(2)
    loss = net.double().loss([view.double() for view in views])
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(name):
    # DINO's targets move with its teacher and its centre: here they hold still.
    still = {"momentum": 1.0, "center_momentum": 1.0} if name == "dino_v1" else {}
    net = build(name, **still).train()
    views = views_for(net, 8)
    optimizer = torch.optim.AdamW(learned(net), lr=2e-3)
    losses = []
    for at in range(20):
        torch.manual_seed(1)  # the same masks each time
        losses.append(step(net, optimizer, views, at / 20))
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) < 0.97 * sum(losses[:3])


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_as_if_it_had_never_stopped(name):
    def run(net, optimizer, steps):
        for at in steps:
            torch.manual_seed(100 + at)
            step(net, optimizer, views_for(net, seed=at), at / 4)

    whole = build(name).train()
    run(whole, optimizer := torch.optim.AdamW(learned(whole), lr=1e-3), range(2))
    resumed = build(name, seed=9).train()
    resumed.load_state_dict(whole.state_dict())
    other = torch.optim.AdamW(learned(resumed), lr=1e-3)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(whole, optimizer, range(2, 4))
    run(resumed, other, range(2, 4))
    assert same(state_of(whole), resumed.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_in_evaluation_loss_changes_nothing_and_takes_a_single_image(name):
    encoder = {} if name in NEEDS_VIT else {**RESNET, "size": 64}
    net = build(name, **encoder).train()
    net.loss(views_for(net))
    net.after_step(0.1)
    net.eval()
    before = state_of(net)
    with torch.no_grad():
        for images in (1, 3):
            assert math.isfinite(float(net.loss(views_for(net, images))))
    net.after_step(1.0)  # momentum 1: the teacher stays, and evaluation left nothing for the centre
    assert same(before, net.state_dict())


@pytest.mark.parametrize("name", COMPARING)
def test_a_single_image_cannot_be_compared_in_training(name):
    net = build(name).train()
    with pytest.raises(ShapeError, match="at least 2"):
        net.loss(views_for(net, 1))


@pytest.mark.parametrize("name", NAMES)
def test_wrong_views_are_refused(name):
    net = build(name)
    views = views_for(net)
    with pytest.raises(ShapeError, match="takes a list of"):
        net.loss(views[0])
    with pytest.raises(ShapeError, match="takes a list of"):
        net.loss([])
    with pytest.raises(ShapeError, match="channels"):
        net.loss([view[:, :1] for view in views])
    if len(views) > 1:
        with pytest.raises(ShapeError, match="same images"):
            net.loss([views[0], views[1][:2], *views[2:]])


@pytest.mark.parametrize("name", NAMES)
def test_the_trained_encoder_is_a_classifier_but_for_its_last_layer(name):
    net = build(name)
    params = net.small_parameters
    classifier = create_model(params["encoder"], num_classes=3, size=32, **params["encoder_params"])
    missing, unexpected = classifier.load_state_dict(net.trained_encoder.state_dict(), strict=False)
    assert not unexpected and set(missing) == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", NAMES)
def test_the_embedding_is_that_of_the_trained_encoder(name):
    net = build(name).eval()
    if name in WITH_TEACHER:
        with torch.no_grad():
            for value in net.teacher.parameters():
                value.mul_(1.1)
    (images,) = net.example_inputs(2)
    assert torch.allclose(net.embedding(images), net.trained_encoder.embedding(images), atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(NEEDS_VIT)))
@pytest.mark.parametrize("encoder", ["convnext_v2_atto", "hiera_tiny", "deit_t16"])
def test_any_encoder_will_do(name, encoder):
    small = get_model_class(encoder).small_parameters
    own = {key: value for key, value in small.items() if key not in ("size", "num_classes")}
    net = build(name, encoder=encoder, encoder_params=own, size=small["size"]).train()
    net.loss(views_for(net, 2)).backward()
    assert all(value.grad is not None for value in learned(net))


@pytest.mark.parametrize("name", NEEDS_VIT)
def test_what_masks_patches_needs_a_vision_transformer(name):
    with pytest.raises(ParameterError, match="vision transformer, not a ResNet_v1"):
        build(name, **RESNET)
    with pytest.raises(ParameterError, match="patches"):
        build(name, size=8)


def test_i_jepa_refuses_a_pool_that_would_learn_nothing():
    with pytest.raises(ParameterError, match="attention pool"):
        build("i_jepa", encoder="vit_t16_ap")


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("simclr", {"temperature": 0.0}),
        ("byol", {"momentum": 1.5}),
        ("vicreg", {"covariance": -1.0}),
        ("barlow_twins", {"redundancy": 0.0}),
        ("dino_v1", {"warm_up": 2.0}),
        ("dino_v2", {"mask_ratio": (0.5, 0.1)}),
        ("i_jepa", {"predictor_dim": 18}),
        ("i_jepa", {"target_scale": (0.3, 0.2)}),
        ("i_jepa", {"loss_type": "l3"}),
    ],
)
def test_parameters_out_of_range_are_refused(name, params):
    with pytest.raises(ParameterError):
        build(name, **params)


def test_local_crops_have_the_size_that_the_encoder_takes():
    assert build("dino_v1").local_size == (16, 16)
    assert build("dino_v1", size=(64, 32)).local_size == (24, 16)
    fixed = get_model_class("hiera_tiny").small_parameters
    params = {key: value for key, value in fixed.items() if key not in ("size", "num_classes")}
    net = build("dino_v1", encoder="hiera_tiny", encoder_params=params, size=fixed["size"])
    assert net.local_size == net.size


def test_an_mlp_has_norms_between_its_layers_only():
    assert [type(layer).__name__ for layer in mlp((2, 3, 4), norm=True)] == [
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
    ]
    assert len(mlp((2, 3, 4, 5), norm=False)) == 5


# -- masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(14, 14), (4, 4), (2, 2), (3, 5), (1, 4)])
def test_blocks_of_i_jepa(grid):
    torch.manual_seed(0)
    patches = grid[0] * grid[1]
    for images in (1, 5):
        context, targets = random_blocks(
            images,
            grid,
            blocks=4,
            target_scale=(0.15, 0.2),
            target_aspect=(0.75, 1.5),
            context_scale=(0.85, 1.0),
        )
        assert context.shape[0] == images and targets.shape[:2] == (images, 4)
        assert 1 <= context.shape[1] < patches
        for image in range(images):
            seen = set(context[image].tolist())
            assert len(seen) == context.shape[1]
            assert not seen & set(targets[image].flatten().tolist())
            assert all(0 <= place < patches for place in seen)
            for block in targets[image]:
                rows, columns = block // grid[1], block % grid[1]
                height, width = (int(x.max() - x.min()) + 1 for x in (rows, columns))
                assert height * width == len(set(block.tolist())) == targets.shape[2]


def test_target_blocks_of_i_jepa_have_the_size_of_the_paper():
    shares = []
    for seed in range(50):
        torch.manual_seed(seed)
        _, targets = random_blocks(
            1,
            (32, 32),
            blocks=1,
            target_scale=(0.15, 0.2),
            target_aspect=(0.75, 1.5),
            context_scale=(0.85, 1.0),
        )
        rows, columns = targets // 32, targets % 32
        height, width = (int(x.max() - x.min()) + 1 for x in (rows, columns))
        shares.append(height * width / 1024)
        assert 0.7 < height / width < 1.6
    assert min(shares) > 0.14 and max(shares) < 0.21 and max(shares) - min(shares) > 0.03


def test_i_jepa_sees_the_context_only():
    net = build("i_jepa").eval()
    (images,) = net.example_inputs(1)
    context, targets = torch.tensor([[0, 1]]), torch.tensor([[[4, 5]]])
    other = images.clone()
    other[:, :, 8:] = 0.0  # all rows of patches but the first
    assert torch.equal(net.predict(images, context, targets), net.predict(other, context, targets))
    assert not torch.equal(
        net.predict(images, context, targets), net.predict(images, context, torch.tensor([[[6, 7]]]))
    )


def test_masks_of_dino_v2():
    torch.manual_seed(0)
    masks = random_masks(8, (6, 6), 0.5, (0.1, 0.5))
    counts = sorted(masks.sum(1).tolist())
    assert masks.shape == (8, 36) and counts[:4] == [0] * 4
    assert counts[4] >= 3 and counts[-1] <= 18 and len(set(counts[4:])) > 1
    assert int(random_masks(2, (2, 1), 0.1, (0.1, 0.9)).sum()) == 1


@pytest.mark.parametrize("count", [1, 7, 50, 99, 100])
def test_a_block_mask_has_as_many_patches_as_asked(count):
    torch.manual_seed(count)
    assert int(block_mask((10, 10), count).sum()) == count


def test_dino_v2_does_not_look_behind_its_masks():
    net = build("dino_v2").eval()
    (images,) = net.example_inputs(1)
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, :4] = True
    other = images.clone()
    other[:, :, :8] = 0.0  # the first row of patches
    assert torch.equal(net.masked_tokens(images, mask), net.masked_tokens(other, mask))
    assert not torch.equal(net.masked_tokens(images), net.masked_tokens(other))


# -- pretrained encoders ---------------------------------------------------------------------------


@pytest.fixture
def entry(tmp_path):
    """A pretrained entry of a tiny vision transformer, and its weights."""
    small = get_model_class("simclr").small_parameters
    config = {**small["encoder_params"], "size": 32, "num_classes": 2}
    torch.manual_seed(7)
    net = create_model(small["encoder"], **config)
    torch.save(net.state_dict(), path := tmp_path / "ssl_tiny.pt")
    registry.register_weights(
        "ssl_tiny",
        {
            "network": small["encoder"],
            "tag": "tiny",
            "url": path.as_uri(),
            "formats": {
                "pt": {
                    "size_bytes": path.stat().st_size,
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
            },
            "config": config,
            "resolution": (32, 32),
            "task": "image_classification",
        },
        replace=True,
    )
    return net.state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_a_pretrained_entry_gives_its_weights_to_student_and_teacher(name, entry):
    net = build(name, encoder="ssl_tiny", encoder_params=None)
    assert net.encoder.training and all(value.requires_grad for value in net.encoder.parameters())
    for encoder in {net.encoder, net.trained_encoder}:
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, entry[key])
    with torch.device("meta"):
        empty = build(name, encoder="ssl_tiny", encoder_params=None)
    assert list(empty.state_dict()) == list(net.state_dict())
