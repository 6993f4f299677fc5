"""Which part of a picture a network bases its answer on, as a map over the picture.

Sources: Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2, for networks with feature maps, and for the
patches that the last block of a vision transformer looks at; Abnar and Zuidema 2020, "Quantifying Attention
Flow in Transformers", section 3, equation 1 (attention rollout), for vision transformers. Rollout shows
where attention goes, whatever the class; Grad-CAM shows what supports one class.

Legend of shapes: B images, C channels, H and W pixels, F features, T tokens, N heads, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the name that everybody knows

from holotype.errors import DataError, ParameterError, ShapeError
from holotype.files import check_new
from holotype.names import nearest
from holotype.vision.data.decode import AnyPath, open_image
from holotype.vision.data.preprocessing import Preprocessing
from holotype.vision.prediction.files import save_picture
from holotype.vision.prediction.model import (
    Model,
    check_classifier,
    class_names,
    image_task,
    model_name,
    opened,
)

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "check_picture",
    "class_of",
    "draw_saliency",
    "saliency",
    "saliency_picture",
    "save_saliency",
]

Method = Literal["auto", "grad_cam", "rollout"]
_METHODS = ("auto", "grad_cam", "rollout")
# Dark blue, violet, red, orange, nearly white: from dark to light, for colour-blind readers.
_COLOURS = ((12, 8, 70), (98, 20, 128), (196, 54, 84), (248, 138, 30), (252, 240, 150))


@runtime_checkable
class VisionTransformer(Protocol):
    """What a network offers whose attention can be followed; `holotype.vision.models.vit.ViT` does.

    Attributes:
        read_tokens: the tokens that its head reads.
        last_block: the last module that mixes patches; its first argument is the (B, T, F) tokens.
    """

    @property
    def read_tokens(self) -> slice: ...  # see above
    @property
    def last_block(self) -> nn.Module: ...  # see above

    def attention_weights(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) images → for each block (B, N, T, T)."""

    def patch_map(self, tokens: Tensor) -> Tensor:
        """(B, T, F) values of tokens → (B, F, h, w) of the patches."""


def saliency(
    net: nn.Module,
    image: Tensor,
    method: Method = "auto",
    class_index: int | None = None,
) -> Tensor:
    """Which pixels a network bases its answer on.

    Args:
        net: an image classifier; it is used in evaluation mode and left as it was.
        image: (C, H, W) or (1, C, H, W), normalised as the weights expect.
        method: ``"grad_cam"``; ``"rollout"``, for a vision transformer only; ``"auto"``: rollout for a vision
            transformer that no class is asked of, else Grad-CAM.
        class_index: what Grad-CAM explains; the class that the network finds most probable if None.

    Returns:
        (H, W) from 0 to 1, on the device of the network; all zero where nothing supports the class.

    Raises:
        ParameterError: an unknown method or class, or a network that the method is not for.
        ShapeError: not one image.
    """
    if method not in _METHODS:
        raise ParameterError(f"method is one of {', '.join(_METHODS)}; got {method!r}.", given=method)
    if image.dim() == 3:
        image = image[None]
    if image.dim() != 4 or image.shape[0] != 1:
        raise ShapeError(f"saliency is of one image (C, H, W), got {tuple(image.shape)}.", given=image.shape)
    if method == "auto":
        transformer = isinstance(net, VisionTransformer)
        method = "rollout" if transformer and class_index is None else "grad_cam"
    if method == "rollout" and not isinstance(net, VisionTransformer):
        raise ParameterError(
            f"{type(net).__name__} is no vision transformer, whose attention could be followed.",
            given=method,
            hint='method="grad_cam" works for every network with feature maps.',
        )
    if method == "rollout" and class_index is not None:
        raise ParameterError(
            "attention rollout is the same for every class.",
            given=class_index,
            hint='method="grad_cam" distinguishes classes.',
        )
    like = next((p for p in net.parameters() if p.is_floating_point()), image)
    image = image.to(device=like.device, dtype=like.dtype)
    was_training = net.training
    net.eval()
    try:
        if method == "rollout" and isinstance(net, VisionTransformer):
            found = _rollout(net, image)
        else:
            found = _grad_cam(net, image, class_index)
    finally:
        net.train(was_training)
    resized = F.interpolate(found[None, None].float(), tuple(image.shape[2:]), mode="bilinear")[0, 0]
    low, high = resized.min(), resized.max()
    # Grad-CAM has a zero, and keeps it; rollout is positive everywhere, and only differences have a meaning.
    low = torch.zeros_like(low) if method == "grad_cam" else low
    return (resized - low) / (high - low) if bool(high > low) else torch.zeros_like(resized)


def saliency_picture(
    name: Model,
    path: AnyPath,
    *,
    method: Method = "auto",
    class_index: int | None = None,
    device: str = "cpu",
) -> Image:
    """A picture with its map of saliency drawn over it.

    Args:
        name: a pretrained entry, a weight file, or a run's folder; or a network and its record.
        path: the picture.
        method: as for `saliency`.
        class_index: as for `saliency`.
        device: where to run.

    Raises:
        ImageError: the file is no picture.
        DataError: the model classifies no images.
        ParameterError: as for `saliency`.
    """
    net, info = opened(name, device)
    check_classifier(model_name(name, info), image_task(net, info), "a map of saliency")
    how = Preprocessing.of(info)
    image = open_image(path)
    found = saliency(net, how(image), method, class_index)
    return draw_saliency(image, found, how.window(image.width, image.height))


def draw_saliency(
    image: Image | AnyPath, saliency: Tensor, window: tuple[int, int, int, int] | None = None
) -> Image:
    """A copy of a picture with a map drawn over it: what matters glows, the rest darkens.

    Args:
        image: a picture, or its path.
        saliency: (H, W) from 0 to 1, of any size.
        window: what of the picture the map is of (left, top, right, bottom); all of it if None.
    """
    from PIL import Image as pillow  # noqa: N813  # a module

    drawn = open_image(image)
    left, top, right, bottom = window or (0, 0, drawn.width, drawn.height)
    values = saliency.detach().float().cpu().clamp(0, 1)[None, None]
    heat = F.interpolate(values, (bottom - top, right - left), mode="bilinear")[0, 0]
    table = torch.tensor(_COLOURS, dtype=torch.float32)
    place = heat * (len(table) - 1)
    first = place.floor().long().clamp(max=len(table) - 2)
    share = (place - first)[..., None]
    colours = (1 - share) * table[first] + share * table[first + 1]
    # The picture shows through everywhere, least where the map is strongest.
    opacity = (0.35 + 0.3 * heat)[..., None]
    part = drawn.crop((left, top, right, bottom))
    pixels = torch.frombuffer(bytearray(part.tobytes()), dtype=torch.uint8).view(*heat.shape, 3)
    mixed = ((1 - opacity) * pixels + opacity * colours).round().to(torch.uint8).contiguous()
    drawn.paste(pillow.frombytes("RGB", part.size, mixed.numpy().tobytes()), (left, top))
    return drawn


def save_saliency(image: Image, path: str | Path, *, overwrite: bool = False) -> None:
    """Write the picture, wholly or not at all.

    Raises:
        DataError: as `check_picture`.
    """
    check_picture(Path(path), overwrite=overwrite)
    save_picture(image, Path(path))


def check_picture(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a picture that is there already, or whose name ends in neither ``.png`` nor ``.jpg``.

    Raises:
        DataError: so it is.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"{path}: a picture is written as .png or .jpg.", given=str(path))
    check_new(path, overwrite=overwrite)


def class_of(model_info: object, name: str) -> int:
    """The index of a class, by its name or as it is.

    Raises:
        ParameterError: an unknown class.
    """
    names = class_names(model_info)
    found = next((index for index, known in names.items() if known == name), None)
    if found is not None:
        return found
    if name.isascii() and name.isdigit():
        return int(name)
    raise ParameterError(
        f"the model has no class named {name!r}.", given=name, nearest=nearest(name, names.values())
    )


# -- Grad-CAM -----------------------------------------------------------------------------------


def _grad_cam(net: nn.Module, image: Tensor, class_index: int | None) -> Tensor:
    """(1, C, H, W) → (h, w): equation 2, the feature maps weighted by equation 1, and what is above zero."""
    kept: list[Tensor] = []
    watched = _watched_patches(net, kept) if isinstance(net, VisionTransformer) else _watched_map(net, kept)
    with torch.enable_grad(), watched:
        logits = net(image)
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            raise ParameterError(
                f"{type(net).__name__} gives no logits of classes.", given=type(net).__name__
            )
        if not kept:
            raise ParameterError(
                f"{type(net).__name__} makes its logits without `forward_features`: Grad-CAM needs its map.",
                given=type(net).__name__,
            )
        count = logits.shape[1]
        if class_index is not None and not -count <= class_index < count:
            raise ParameterError(f"classes are 0 to {count - 1}, got {class_index}.", given=class_index)
        wanted = int(logits[0].argmax()) if class_index is None else class_index
        (gradient,) = torch.autograd.grad(logits[0, wanted], kept[-1])
    features = kept[-1].detach()
    if isinstance(net, VisionTransformer):
        features, gradient = net.patch_map(features), net.patch_map(gradient)
    features, gradients = features[0].float(), gradient[0].float()
    weights = gradients.mean((1, 2), keepdim=True)
    return (weights * features).sum(0).relu()


@contextmanager
def _watched_map(net: nn.Module, kept: list[Tensor]) -> Iterator[None]:
    """Keep the map that `forward_features` gives, as the leaf from which gradients are wanted."""
    own: Callable[[Tensor], Tensor] | None = getattr(net, "forward_features", None)
    if own is None:
        raise ParameterError(
            f"{type(net).__name__} offers no feature map (it has no `forward_features`).",
            given=type(net).__name__,
        )

    def watched(images: Tensor) -> Tensor:
        with torch.no_grad():
            found = own(images)
        if not isinstance(found, Tensor) or found.dim() != 4:
            raise ParameterError(
                f"`forward_features` of {type(net).__name__} gives no map (B, F, h, w).",
                given=type(net).__name__,
            )
        kept.append(found.detach().requires_grad_())
        return kept[-1]

    vars(net)["forward_features"] = watched
    try:
        yield
    finally:
        del vars(net)["forward_features"]


@contextmanager
def _watched_patches(net: VisionTransformer, kept: list[Tensor]) -> Iterator[None]:
    """Keep the tokens that the last block reads: after it, patches no longer count."""

    def watch(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        kept.append(given[0].detach().requires_grad_())
        return (kept[-1], *given[1:])

    hook = net.last_block.register_forward_pre_hook(watch)
    try:
        yield
    finally:
        hook.remove()


def _rollout(net: VisionTransformer, image: Tensor) -> Tensor:
    """(1, C, H, W) → (h, w): how much of each patch flows into the tokens that the head reads."""
    attentions = [weights[0].mean(0) for weights in net.attention_weights(image)]
    flow = unit = torch.eye(len(attentions[0]), device=image.device)
    for attention in attentions:
        # Half of what a token becomes is the token itself: the residual connection.
        flow = (0.5 * attention + 0.5 * unit) @ flow
    read = flow[net.read_tokens].mean(0)
    return net.patch_map(read[None, :, None])[0, 0]
