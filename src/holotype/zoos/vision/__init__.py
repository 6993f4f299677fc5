"""Models of vision.

    >>> from holotype.zoos.vision import Task, registry
    >>> registry.list_models(task=Task.IMAGE_CLASSIFICATION, include_filter="*lite0")
    ['efficientnet_lite0']
    >>> registry.get_pretrained_metadata("efficientnet_lite0_imagenet1k")["resolution"]
    (224, 224)

The functions are those of `holotype`, seen through this zoo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holotype.registries import default_registry
from holotype.tasks import Task

if TYPE_CHECKING:
    from holotype.zoos.vision.convnext import ConvNeXt_v1, ConvNeXt_v2
    from holotype.zoos.vision.efficientnet_lite import EfficientNet_Lite
    from holotype.zoos.vision.hiera import Hiera, HieraDet
    from holotype.zoos.vision.resnet import ResNet_v1
    from holotype.zoos.vision.vit import DeiT, RoPE_ViT, ViT

registry = model_registry = default_registry.zoo("vision")

create_model = registry.create_model
get_available_models = registry.get_available_models
get_model_class = registry.get_model_class
get_model_info = registry.get_model_info
get_pretrained_metadata = registry.get_pretrained_metadata
list_models = registry.list_models
list_pretrained_models = registry.list_pretrained_models
net_factory = registry.net_factory
register_alias = registry.register_alias
register_model = registry.register_model
register_model_config = registry.register_model_config
register_weights = registry.register_weights

_CLASSES = {
    "ConvNeXt_v1": "convnext",
    "ConvNeXt_v2": "convnext",
    "DeiT": "vit",
    "EfficientNet_Lite": "efficientnet_lite",
    "Hiera": "hiera",
    "HieraDet": "hiera",
    "ResNet_v1": "resnet",
    "RoPE_ViT": "vit",
    "ViT": "vit",
}

__all__ = [
    "ConvNeXt_v1",
    "ConvNeXt_v2",
    "DeiT",
    "EfficientNet_Lite",
    "Hiera",
    "HieraDet",
    "ResNet_v1",
    "RoPE_ViT",
    "Task",
    "ViT",
    "create_model",
    "get_available_models",
    "get_model_class",
    "get_model_info",
    "get_pretrained_metadata",
    "list_models",
    "list_pretrained_models",
    "model_registry",
    "net_factory",
    "register_alias",
    "register_model",
    "register_model_config",
    "register_weights",
    "registry",
]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_CLASSES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
