"""Models of vision: classification, detection, masked image modelling, self-supervision.

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
    from holotype.zoos.vision.detection.deformable_detr import Deformable_DETR
    from holotype.zoos.vision.detection.detr import DETR
    from holotype.zoos.vision.detection.faster_rcnn import FasterRCNN
    from holotype.zoos.vision.detection.fcos import FCOS
    from holotype.zoos.vision.detection.retinanet import RetinaNet
    from holotype.zoos.vision.efficientnet_lite import EfficientNet_Lite
    from holotype.zoos.vision.hiera import Hiera, HieraDet
    from holotype.zoos.vision.mim.fcmae import FCMAE
    from holotype.zoos.vision.mim.mae_hiera import MAE_Hiera
    from holotype.zoos.vision.mim.mae_vit import MAE_ViT
    from holotype.zoos.vision.mim.simmim import SimMIM
    from holotype.zoos.vision.resnet import ResNet_v1
    from holotype.zoos.vision.ssl.barlow_twins import BarlowTwins
    from holotype.zoos.vision.ssl.byol import BYOL
    from holotype.zoos.vision.ssl.dino_v1 import DINO_v1
    from holotype.zoos.vision.ssl.dino_v2 import DINO_v2
    from holotype.zoos.vision.ssl.i_jepa import I_JEPA
    from holotype.zoos.vision.ssl.simclr import SimCLR
    from holotype.zoos.vision.ssl.vicreg import VICReg
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
    "BYOL": "ssl.byol",
    "BarlowTwins": "ssl.barlow_twins",
    "ConvNeXt_v1": "convnext",
    "ConvNeXt_v2": "convnext",
    "DETR": "detection.detr",
    "DINO_v1": "ssl.dino_v1",
    "DINO_v2": "ssl.dino_v2",
    "Deformable_DETR": "detection.deformable_detr",
    "DeiT": "vit",
    "EfficientNet_Lite": "efficientnet_lite",
    "FCMAE": "mim.fcmae",
    "FCOS": "detection.fcos",
    "FasterRCNN": "detection.faster_rcnn",
    "Hiera": "hiera",
    "HieraDet": "hiera",
    "I_JEPA": "ssl.i_jepa",
    "MAE_Hiera": "mim.mae_hiera",
    "MAE_ViT": "mim.mae_vit",
    "ResNet_v1": "resnet",
    "RetinaNet": "detection.retinanet",
    "RoPE_ViT": "vit",
    "SimCLR": "ssl.simclr",
    "SimMIM": "mim.simmim",
    "VICReg": "ssl.vicreg",
    "ViT": "vit",
}

__all__ = [
    "BYOL",
    "DETR",
    "FCMAE",
    "FCOS",
    "I_JEPA",
    "BarlowTwins",
    "ConvNeXt_v1",
    "ConvNeXt_v2",
    "DINO_v1",
    "DINO_v2",
    "Deformable_DETR",
    "DeiT",
    "EfficientNet_Lite",
    "FasterRCNN",
    "Hiera",
    "HieraDet",
    "MAE_Hiera",
    "MAE_ViT",
    "ResNet_v1",
    "RetinaNet",
    "RoPE_ViT",
    "SimCLR",
    "SimMIM",
    "Task",
    "VICReg",
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
