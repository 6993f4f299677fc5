"""Networks that others stand on: a detector's backbone, the encoder that masked images or views train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from holotype.errors import ParameterError, UnknownModelError
from holotype.names import nearest
from holotype.tasks import Task
from holotype.vision.models.interface import ImageClassifier


def build_encoder(
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    in_channels: int = 3,
    size: int | tuple[int, int] | None = None,
    what: str = "encoder",
) -> ImageClassifier:
    """A network without classes, by the name of an architecture or of a pretrained entry.

    An entry gives its weights, except on the meta device and where a file is about to fill the network: there
    nothing is fetched.

    Args:
        name: such as ``"convnext_v2_tiny"`` or ``"efficientnet_lite0_imagenet1k"``; may be qualified.
        params: further parameters of the architecture; none of an entry, whose config they would contradict.
        in_channels: C.
        size: of its images; None for its own.
        what: how messages call it.

    Raises:
        ParameterError: the network is unknown, or has no stages.
    """
    from holotype.catalog.registry import default_registry as registry

    given = {"num_classes": 0, "in_channels": in_channels, **({} if size is None else {"size": size})}
    taken = sorted(set(params or {}) & set(given))
    if taken:
        raise ParameterError(f"{what}_params: {', '.join(taken)} is set by the model itself.", given=taken)
    net: Any
    if registry.exists(name):
        net = registry.create_model(name, **{**(params or {}), **given})
    elif registry.pretrained_exists(name):
        if params:
            raise ParameterError(
                f"{what}_params: the entry {name!r} has a config of its own.", given=dict(params)
            )
        net = _of_entry(name, given)
    else:
        known = registry.list_models(task=Task.IMAGE_CLASSIFICATION) + registry.list_pretrained_models()
        raise ParameterError(
            f"{what}: no architecture or pretrained entry named {name!r}.",
            given=name,
            nearest=nearest(name, known),
            hint="See them all: holotype list --task image_classification",
        )
    missing = [
        part
        for part in ("forward_intermediates", "stage_channels", "stage_strides")
        if not hasattr(net, part)
    ]
    if missing:
        raise ParameterError(
            f"{what}: {name!r} offers no stages (it has no {', no '.join(missing)}).", given=name
        )
    return net  # type: ignore[no-any-return]  # of another zoo it may only look like one


def build_backbone(
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    in_channels: int = 3,
    size: int | tuple[int, int] | None = None,
) -> ImageClassifier:
    """`build_encoder`, without the parts after its last stage: only `forward_intermediates` works."""
    net = build_encoder(name, params, in_channels=in_channels, size=size, what="backbone")
    if hasattr(net, "remove_head"):
        net.remove_head()
    return net


def _of_entry(name: str, given: Mapping[str, Any]) -> ImageClassifier:
    from holotype.catalog.registry import default_registry as registry

    if _empty_parameters():
        meta = registry.get_pretrained_metadata(name)
        try:
            return registry.create_model(meta.network, **{**meta.config, **given})  # type: ignore[return-value]
        except UnknownModelError as error:
            raise ParameterError(f"the entry {name!r} is of {meta.network!r}: {error}", given=name) from error
    from holotype.weights.open import load_pretrained_model

    size = given.get("size")
    net, _ = load_pretrained_model(name, num_classes=0, in_channels=given["in_channels"], size=size)
    return net  # type: ignore[return-value]


def _empty_parameters() -> bool:
    """Is a network being built whose weights come afterwards?"""
    probe = torch.nn.ParameterList([torch.empty(0)])  # registered, as `weights.empty` needs it
    return bool(probe[0].is_meta)


def is_pyramid(strides: Sequence[int]) -> bool:
    """Does each stage have a larger stride than the one before? In a plain ViT all have the same."""
    return all(before < after for before, after in pairwise(strides))
