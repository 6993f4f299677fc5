"""Masked image models: what is hidden stays hidden, the loss looks at it alone, and the encoder can be used."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from holotype.catalog.registry import default_registry as registry  # noqa: E402
from holotype.errors import ParameterError, ShapeError  # noqa: E402
from holotype.vision.models.mim.interface import patchify, unpatchify  # noqa: E402
from holotype.vision.models.mim.masks import masked_count, random_mask, seen_units  # noqa: E402

VIT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 48, "patch_size": 8}
HIERA = {"depths": (1, 1, 2, 1), "embed_dim": 8}
CONVNEXT = {"widths": (8, 16, 24, 32), "depths": (1, 1, 2, 1)}
DECODER = {"decoder_dim": 16, "decoder_layers": 1, "decoder_heads": 2}

VITS = [
    "vit_t16",
    "vit_reg4_t16_pn_npn_nps_ls_aps",
    "vit_t16_rms_qkn_hmlp_bn_quick_gelu_nap_avg",
    "vit_t16_hmlp_nf_soft_moe_4e_2s_eps",
    "rope_vit_t16",
    "rope_a_vit_reg1_t16_nape_nf_swiglu_ap",
    "rope_i_vit_t14_ls",
    "deit_t16",
    "deit3_reg4_t16",
]
HIERAS = ["hiera_tiny", "hiera_abswin_base_plus_ap"]
CONVNEXTS = ["convnext_v1_atto", "convnext_v2_atto"]
CASES = [
    *(("mae_vit", name) for name in VITS),
    *(("mae_hiera", name) for name in HIERAS),
    *(("fcmae", name) for name in CONVNEXTS),
    *(("simmim", name) for name in (*VITS, *HIERAS, "hieradet_tiny", "hieradet_d_tiny", *CONVNEXTS)),
]
ONE_OF_EACH = [
    ("mae_vit", "vit_reg4_t16_pn_npn_nps_ls_aps"),
    ("mae_hiera", "hiera_abswin_base_plus_ap"),
    ("fcmae", "convnext_v2_atto"),
    ("simmim", "vit_t16"),
    ("simmim", "hieradet_tiny"),
    ("simmim", "convnext_v1_atto"),
]
each_case = pytest.mark.parametrize(("method", "encoder"), CASES)
each_method = pytest.mark.parametrize(("method", "encoder"), ONE_OF_EACH)


def params_of(encoder: str) -> dict[str, Any]:
    if encoder.startswith("convnext"):
        return CONVNEXT
    if encoder.startswith("hieradet"):
        return {**HIERA, "global_att_blocks": (3,)}
    return HIERA if encoder.startswith("hiera") else VIT


def size_of(encoder: str) -> tuple[int, int]:
    return (32, 48) if params_of(encoder) is VIT else (64, 96)


def make(method: str, encoder: str, **more: Any) -> Any:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "size": size_of(encoder),
        "encoder": encoder,
        "encoder_params": params_of(encoder),
    }
    if method == "simmim":
        given["mask_patch_size"] = 16
    else:
        given |= {key: DECODER[key] for key in DECODER if method != "fcmae" or key != "decoder_heads"}
    return registry.create_model(method, **{**given, **more})


def inputs_of(net: Any, batch: int = 3) -> tuple[Any, Any]:
    torch.manual_seed(1)
    images, mask = net.example_inputs(batch)
    return images, mask


def no_mask(net: Any, batch: int) -> tuple[Any, Any]:
    """A mask that hides nothing, and all places."""
    mask = torch.zeros(batch, *net.grid)
    return mask, seen_units(mask, mask[0].numel())


# -- masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "ratio", "count"), [(196, 0.75, 147), (49, 0.6, 29), (4, 0.9, 3), (5, 0.01, 1)]
)
def test_each_image_hides_the_same_number_of_units(units: int, ratio: float, count: int) -> None:
    assert masked_count(units, ratio) == count
    mask = random_mask(5, (1, units), ratio, like=torch.zeros(()))
    assert mask.sum((1, 2)).tolist() == [count] * 5
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_masks_are_drawn_by_torchs_random_numbers() -> None:
    like = torch.zeros(())
    torch.manual_seed(3)
    first, second = random_mask(4, (7, 7), 0.6, like=like), random_mask(4, (7, 7), 0.6, like=like)
    torch.manual_seed(3)
    assert torch.equal(first, random_mask(4, (7, 7), 0.6, like=like))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    often = random_mask(2000, (2, 3), 0.5, like=like).mean(0)
    assert bool(((often - 0.5).abs() < 0.06).all()), "each place is hidden as often as any other"


def test_what_is_seen_is_where_the_mask_is_0() -> None:
    mask = random_mask(4, (3, 5), 0.6, like=torch.zeros(()))
    keep = seen_units(mask, 6)
    assert keep.shape == (4, 6)
    assert mask.flatten(1).gather(1, keep).count_nonzero() == 0
    assert bool((keep.diff(dim=1) > 0).all()), "each once, in order"


def test_patches_are_put_together_again() -> None:
    images = torch.randn(2, 3, 16, 24)
    patches = patchify(images, 8)
    assert patches.shape == (2, 6, 3 * 8 * 8)
    assert torch.equal(patches[:, 4].view(2, 3, 8, 8), images[:, :, 8:, 8:16])
    assert torch.equal(unpatchify(patches, 8, images.shape), images)


# -- what the encoder sees ----------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", VITS)
def test_a_vit_that_keeps_all_patches_sees_the_image(encoder: str) -> None:
    net = make("mae_vit", encoder).eval().encoder
    images = torch.randn(2, 3, *net.size)
    everything = torch.arange(net.grid[0] * net.grid[1]).expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(net.tokens(images, everything), net.tokens(images))


@pytest.mark.parametrize("encoder", HIERAS)
def test_a_hiera_that_keeps_all_units_sees_the_image(encoder: str) -> None:
    net = make("mae_hiera", encoder).eval()
    images = torch.randn(2, 3, *net.size)
    with torch.no_grad():
        seen = net.seen_stages(images, *no_mask(net, 2))
        dense = net.encoder.forward_intermediates(images)
    rows, columns = net.grid
    for got, expected in zip(seen, dense, strict=True):
        batch, dim, height, side = got.shape
        assert height == rows * columns * side
        grid = got.view(batch, dim, rows, columns, side, side).transpose(3, 4)
        torch.testing.assert_close(grid.reshape(expected.shape), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("encoder", CONVNEXTS)
def test_a_convnext_of_which_nothing_is_hidden_sees_the_image(encoder: str) -> None:
    net = lively(make("fcmae", encoder)).eval()
    images = torch.randn(2, 3, *net.size)
    with torch.no_grad():
        seen = net.seen_features(images, no_mask(net, 2)[0])
        torch.testing.assert_close(seen, net.encoder.forward_features(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("encoder", CONVNEXTS)
def test_a_convnext_that_sees_one_unit_does_as_on_that_unit_alone(encoder: str) -> None:
    """The emulation is that of sparse convolution, down to the statistics of global response norm."""
    net = lively(make("fcmae", encoder)).eval()
    images = torch.randn(2, 3, *net.size)
    mask = torch.ones(2, *net.grid)
    mask[:, 1, 2] = 0
    with torch.no_grad():
        seen = net.seen_features(images, mask)[:, :, 1:2, 2:3]
        alone = net.encoder.forward_features(images[:, :, 32:64, 64:96])
    torch.testing.assert_close(seen, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("encoder", [name for method, name in CASES if method == "simmim"])
def test_simmim_of_which_nothing_is_hidden_sees_the_image(encoder: str) -> None:
    net = make("simmim", encoder).eval()
    images = torch.randn(2, 3, *net.size)
    with torch.no_grad():
        seen = net.masked_features(images, no_mask(net, 2)[0])
        torch.testing.assert_close(seen, net.encoder.forward_features(images), atol=1e-5, rtol=1e-4)


def lively(net: Any) -> Any:
    """Global response norm starts as an identity, LayerScale as nearly nothing: let them do something."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "layer_scale" in name or name.endswith(("gamma", "beta")):
                value.copy_(torch.randn_like(value))
    return net


@each_case
def test_what_is_hidden_does_not_matter_and_what_is_seen_does(method: str, encoder: str) -> None:
    net = lively(make(method, encoder)).eval()
    images, mask = inputs_of(net)
    hidden = mask.repeat_interleave(net.mask_size, 1).repeat_interleave(net.mask_size, 2)[:, None] > 0
    with torch.no_grad():
        expected, returned = net(images, mask)
        other, _ = net(torch.where(hidden, torch.randn_like(images), images), mask)
        changed, _ = net(torch.where(hidden, images, torch.randn_like(images)), mask)
    assert expected.shape == images.shape
    assert torch.equal(returned, mask)
    torch.testing.assert_close(other, expected)
    painted = (changed - expected).abs().masked_select(hidden)
    assert bool((painted > 0).any()), "the seen part decides what is painted"


@each_method
def test_an_image_alone_is_painted_as_in_company(method: str, encoder: str) -> None:
    net = make(method, encoder).eval()
    images, mask = inputs_of(net)
    with torch.no_grad():
        together, _ = net(images, mask)
        alone, _ = net(images[1:2], mask[1:2])
        torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)
        each = torch.stack([net.loss(images[i : i + 1], mask[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(net.loss(images, mask), each.mean(), atol=1e-5, rtol=1e-4)


@each_method
def test_a_mask_is_drawn_and_may_be_of_booleans(method: str, encoder: str) -> None:
    net = make(method, encoder).eval()
    images, _ = inputs_of(net)
    with torch.no_grad():
        torch.manual_seed(7)
        painted, drawn = net(images)
        assert drawn.sum((1, 2)).tolist() == [masked_count(drawn[0].numel(), net.mask_ratio)] * 3
        torch.testing.assert_close(net(images, drawn > 0)[0], painted)
        torch.manual_seed(7)
        torch.testing.assert_close(net.loss(images), net.error(painted, images, drawn))


# -- the loss -----------------------------------------------------------------------------------------


@each_method
def test_the_loss_looks_at_hidden_pixels_alone(method: str, encoder: str) -> None:
    net = make(method, encoder)
    images, mask = inputs_of(net)
    hidden = mask.repeat_interleave(net.mask_size, 1).repeat_interleave(net.mask_size, 2)[:, None]
    target, noise = net.target(images), torch.randn_like(images)
    assert float(net.error(target + noise * (1 - hidden), images, mask)) == 0
    off = net.error(target + noise * hidden, images, mask)
    expected = (noise.abs() if method == "simmim" else noise**2) * hidden
    torch.testing.assert_close(off, expected.sum() / (3 * hidden.sum()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_pixels_of_half_precision_are_counted(dtype: torch.dtype) -> None:
    net = make("mae_vit", "vit_t16", size=160, norm_pix_loss=False)
    images = torch.randn(1, 3, 160, 160).to(dtype)  # 76 800 numbers: more than half precision counts to
    error = net.error(torch.zeros_like(images), images, torch.ones(1, *net.grid, dtype=dtype))
    torch.testing.assert_close(error, images.float().square().mean())


def test_a_flat_patch_of_half_precision_has_pixels() -> None:
    net = make("mae_vit", "vit_t16")
    images = torch.full((1, 3, *net.size), 0.5, dtype=torch.float16)
    assert bool(net.in_pixels(torch.full_like(images, 3.0), images).gt(0.5).all())


def test_the_decoder_adds_up_in_single_precision_under_autocast() -> None:
    net, seen = make("mae_vit", "vit_t16"), []
    net.decoder.norm.register_forward_pre_hook(lambda module, given: seen.append(given[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        net(*inputs_of(net))
    assert seen == [torch.float32]


def test_targets_are_normalised_in_each_patch_where_asked() -> None:
    images = 5 + 3 * torch.randn(2, 3, 32, 48)
    patches = patchify(make("mae_vit", "vit_t16").target(images), 8)
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 24), atol=1e-4, rtol=0)
    torch.testing.assert_close(patches.std(-1), torch.ones(2, 24), atol=1e-4, rtol=0)
    assert torch.equal(make("mae_vit", "vit_t16", norm_pix_loss=False).target(images), images)


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_a_perfect_prediction_gives_the_images_back(norm_pix_loss: bool, monkeypatch: Any) -> None:
    net = make("mae_vit", "vit_t16", norm_pix_loss=norm_pix_loss).eval()
    images, mask = inputs_of(net)
    monkeypatch.setattr(net, "predict", lambda images, mask, keep: net.target(images))
    made = net.reconstruct(images, mask)
    torch.testing.assert_close(made.images, images, atol=1e-5, rtol=1e-4)
    assert float(net.loss(images, mask)) == 0


@each_method
def test_a_reconstruction_keeps_what_is_seen(method: str, encoder: str) -> None:
    net = make(method, encoder).eval()
    images, mask = inputs_of(net)
    masked, painted, _ = net.reconstruct(images, mask)
    hidden = mask.repeat_interleave(net.mask_size, 1).repeat_interleave(net.mask_size, 2)[:, None] > 0
    hidden = hidden.expand_as(images)
    assert torch.equal(painted[~hidden], images[~hidden])
    assert torch.equal(masked[~hidden], images[~hidden])
    assert not masked[hidden].any()
    assert not torch.equal(painted[hidden], images[hidden])
    assert not painted.requires_grad


@each_case
def test_the_loss_reaches_every_parameter_that_learns(method: str, encoder: str) -> None:
    net = make(method, encoder).train()
    images, mask = inputs_of(net)
    net.loss(images, mask).backward()
    learned = {name: value.grad for name, value in net.named_parameters() if value.requires_grad}
    assert [name for name, grad in learned.items() if grad is None or not grad.isfinite().all()] == []
    still = {name for name, value in net.named_parameters() if not value.requires_grad}
    unused = ("encoder.embedding_norm.", "encoder.attn_pool.", "encoder.features.")
    assert all(name.startswith(unused) for name in still), "only what comes after the encoder's last map"


@each_method
def test_the_loss_falls(method: str, encoder: str) -> None:
    net = make(method, encoder).train()
    images, mask = inputs_of(net, 4)
    images = torch.nn.functional.interpolate(images[:, :, ::8, ::8], scale_factor=8, mode="bilinear")
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(30):
        loss = net.loss(images, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses


# -- the encoder afterwards -----------------------------------------------------------------------------


@each_case
def test_the_encoder_is_that_of_a_classifier(method: str, encoder: str) -> None:
    net = make(method, encoder)
    classifier: Any = registry.create_model(
        encoder, num_classes=5, size=size_of(encoder), **params_of(encoder)
    )
    missing, unexpected = classifier.load_state_dict(net.trained_encoder.state_dict(), strict=False)
    heads = ("classifier.", "dist_classifier.")
    assert [name for name in missing if not name.startswith(heads)] == []
    assert unexpected == []
    images = torch.randn(2, 3, *net.size)
    with torch.no_grad():
        expected = net.eval().encoder.embedding(images)
        assert torch.equal(classifier.eval().embedding(images), expected)


def test_an_encoder_may_be_a_pretrained_entry() -> None:
    with torch.device("meta"):
        net: Any = registry.create_model("mae_vit", encoder="vit_l14_pn_bioclip-v2")
    assert type(net.encoder).__name__ == "ViT"
    assert (net.mask_size, net.encoder.num_classes) == (14, 0)


# -- the rest ----------------------------------------------------------------------------------------


@each_method
def test_it_can_be_made_for_another_size(method: str, encoder: str) -> None:
    net = make(method, encoder).eval()
    before = net.size
    with pytest.raises(ShapeError, match="adjust_size"):
        net(torch.randn(1, 3, 96, 96))
    with pytest.raises(ParameterError, match="multiple"):
        net.adjust_size(100)
    assert net.size == before
    net.adjust_size(96)
    with torch.no_grad():
        painted, mask = net(torch.randn(1, 3, 96, 96))
    assert painted.shape == (1, 3, 96, 96)
    assert mask.shape == (1, *net.grid)


@each_method
def test_gradient_checkpointing_changes_nothing(method: str, encoder: str) -> None:
    found = []
    for enable in (False, True):
        net = make(method, encoder).train()
        net.set_grad_checkpointing(enable)
        net.loss(*inputs_of(net)).backward()
        found.append([value.grad for value in net.parameters() if value.requires_grad])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


@each_method
def test_it_works_in_mixed_precision(method: str, encoder: str) -> None:
    net = make(method, encoder).train()
    images, mask = inputs_of(net)
    expected = net.loss(images, mask)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.loss(images, mask)
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("method", "encoder", "families"),
    [
        ("mae_vit", "convnext_v2_atto", "ViT, RoPE_ViT, DeiT"),
        ("mae_hiera", "hieradet_tiny", "Hiera"),
        ("fcmae", "vit_t16", "ConvNeXt_v1, ConvNeXt_v2"),
        ("simmim", "resnet_v1_18", "ViT, RoPE_ViT, DeiT, HieraDet, Hiera, ConvNeXt_v1, ConvNeXt_v2"),
    ],
)
def test_an_encoder_of_another_family_is_refused(method: str, encoder: str, families: str) -> None:
    with pytest.raises(ParameterError) as caught, torch.device("meta"):
        registry.create_model(method, encoder=encoder)
    assert caught.value.given == encoder
    assert f"it takes encoders of {families}." in str(caught.value)
    for example in registry.get_model_class(method).examples:  # type: ignore[attr-defined]
        assert repr(example) in str(caught.value)
        assert registry.exists(example)


@pytest.mark.parametrize(
    ("method", "encoder", "given", "match"),
    [
        ("mae_vit", "vit_t16", {"mask_ratio": 1.0}, "mask_ratio"),
        ("mae_vit", "vit_t16", {"size": 8}, "mask unit"),
        ("mae_vit", "vit_t16", {"decoder_dim": 18}, "decoder_dim"),
        ("mae_vit", "vit_t16", {"decoder_layers": 0}, "decoder_layers"),
        ("mae_vit", "no_such_net", {}, "no_such_net"),
        ("mae_vit", "vit_t16", {"encoder_params": {"size": 64}}, "size"),
        ("mae_hiera", "hiera_tiny", {"size": 48}, "48"),
        ("fcmae", "convnext_v2_atto", {"size": 48}, "48"),
        ("fcmae", "convnext_v2_atto", {"decoder_dim": 0}, "decoder_dim"),
        ("simmim", "vit_t16", {"mask_patch_size": 12}, "mask_patch_size"),
        ("simmim", "hieradet_tiny", {"size": 80}, "80"),
        ("simmim", "vit_t16", {"size": 40}, "40"),
    ],
)
def test_parameters_out_of_range_are_refused(
    method: str, encoder: str, given: dict[str, Any], match: str
) -> None:
    with pytest.raises(ParameterError, match=match):
        make(method, encoder, **given)


@each_method
def test_inputs_of_another_shape_are_refused(method: str, encoder: str) -> None:
    net = make(method, encoder)
    images, mask = inputs_of(net)
    with pytest.raises(ShapeError, match="channels"):
        net(images[:, :1], mask)
    with pytest.raises(ShapeError, match="a mask of these images"):
        net(images, mask[:2])
    with pytest.raises(ShapeError, match="a mask of these images"):
        net(images, mask.flatten(1))


@pytest.mark.parametrize(("method", "encoder"), [("mae_vit", "vit_t16"), ("mae_hiera", "hiera_tiny")])
def test_images_that_show_different_numbers_of_units_are_refused(method: str, encoder: str) -> None:
    net = make(method, encoder)
    images, mask = inputs_of(net)
    mask[0] = 0
    with pytest.raises(ShapeError, match="the same number"):
        net(images, mask)
    with pytest.raises(ShapeError, match="at least one"):
        net(images, torch.ones_like(mask))
