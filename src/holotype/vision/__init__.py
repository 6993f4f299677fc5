"""Models of vision: classification, detection, masked image modelling, self-supervision.

    >>> from holotype.vision import Task, registry
    >>> registry.list_models(task=Task.IMAGE_CLASSIFICATION, include_filter="*lite0")
    ['efficientnet_lite0']
    >>> registry.get_pretrained_metadata("efficientnet_lite0_imagenet1k")["resolution"]
    (224, 224)

The functions are those of `holotype`, seen through this zoo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holotype.catalog.registry import default_registry
from holotype.tasks import Task

if TYPE_CHECKING:
    from holotype.vision.models.convnext import ConvNeXt_v1, ConvNeXt_v2
    from holotype.vision.models.detection.deformable_detr import Deformable_DETR
    from holotype.vision.models.detection.detr import DETR
    from holotype.vision.models.detection.faster_rcnn import FasterRCNN
    from holotype.vision.models.detection.fcos import FCOS
    from holotype.vision.models.detection.retinanet import RetinaNet
    from holotype.vision.models.efficientnet_lite import EfficientNet_Lite
    from holotype.vision.models.hiera import Hiera, HieraDet
    from holotype.vision.models.mim.fcmae import FCMAE
    from holotype.vision.models.mim.mae_hiera import MAE_Hiera
    from holotype.vision.models.mim.mae_vit import MAE_ViT
    from holotype.vision.models.mim.simmim import SimMIM
    from holotype.vision.models.resnet import ResNet_v1
    from holotype.vision.models.ssl.barlow_twins import BarlowTwins
    from holotype.vision.models.ssl.byol import BYOL
    from holotype.vision.models.ssl.dino_v1 import DINO_v1
    from holotype.vision.models.ssl.dino_v2 import DINO_v2
    from holotype.vision.models.ssl.i_jepa import I_JEPA
    from holotype.vision.models.ssl.simclr import SimCLR
    from holotype.vision.models.ssl.vicreg import VICReg
    from holotype.vision.models.vit import DeiT, RoPE_ViT, ViT

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

        return getattr(import_module(f"{__name__}.models.{_CLASSES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
