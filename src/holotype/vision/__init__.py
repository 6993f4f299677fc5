"""Models of vision: classification, detection, masked image modelling, self-supervision.

    >>> from holotype.vision import Task, registry
    >>> registry.list_models(task=Task.IMAGE_CLASSIFICATION, include_filter="*lite0")
    ['efficientnet_lite0']
    >>> registry.get_pretrained_metadata("efficientnet_lite0_imagenet1k")["resolution"]
    (224, 224)

The functions are those of `holotype`, seen through this zoo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holotype.catalog.registry import default_registry
from holotype.catalog.zoo_module import class_getter, public_names
from holotype.tasks import Task as Task

if TYPE_CHECKING:
    from holotype.vision.models.convnext import ConvNeXt_v1 as ConvNeXt_v1
    from holotype.vision.models.convnext import ConvNeXt_v2 as ConvNeXt_v2
    from holotype.vision.models.detection.deformable_detr import Deformable_DETR as Deformable_DETR
    from holotype.vision.models.detection.detr import DETR as DETR
    from holotype.vision.models.detection.faster_rcnn import FasterRCNN as FasterRCNN
    from holotype.vision.models.detection.fcos import FCOS as FCOS
    from holotype.vision.models.detection.retinanet import RetinaNet as RetinaNet
    from holotype.vision.models.efficientnet_lite import EfficientNet_Lite as EfficientNet_Lite
    from holotype.vision.models.hiera import Hiera as Hiera
    from holotype.vision.models.hiera import HieraDet as HieraDet
    from holotype.vision.models.mim.fcmae import FCMAE as FCMAE
    from holotype.vision.models.mim.mae_hiera import MAE_Hiera as MAE_Hiera
    from holotype.vision.models.mim.mae_vit import MAE_ViT as MAE_ViT
    from holotype.vision.models.mim.simmim import SimMIM as SimMIM
    from holotype.vision.models.resnet import ResNet_v1 as ResNet_v1
    from holotype.vision.models.ssl.barlow_twins import BarlowTwins as BarlowTwins
    from holotype.vision.models.ssl.byol import BYOL as BYOL
    from holotype.vision.models.ssl.dino_v1 import DINO_v1 as DINO_v1
    from holotype.vision.models.ssl.dino_v2 import DINO_v2 as DINO_v2
    from holotype.vision.models.ssl.i_jepa import I_JEPA as I_JEPA
    from holotype.vision.models.ssl.simclr import SimCLR as SimCLR
    from holotype.vision.models.ssl.vicreg import VICReg as VICReg
    from holotype.vision.models.vit import DeiT as DeiT
    from holotype.vision.models.vit import RoPE_ViT as RoPE_ViT
    from holotype.vision.models.vit import ViT as ViT

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
    "BYOL": "models.ssl.byol",
    "BarlowTwins": "models.ssl.barlow_twins",
    "ConvNeXt_v1": "models.convnext",
    "ConvNeXt_v2": "models.convnext",
    "DETR": "models.detection.detr",
    "DINO_v1": "models.ssl.dino_v1",
    "DINO_v2": "models.ssl.dino_v2",
    "Deformable_DETR": "models.detection.deformable_detr",
    "DeiT": "models.vit",
    "EfficientNet_Lite": "models.efficientnet_lite",
    "FCMAE": "models.mim.fcmae",
    "FCOS": "models.detection.fcos",
    "FasterRCNN": "models.detection.faster_rcnn",
    "Hiera": "models.hiera",
    "HieraDet": "models.hiera",
    "I_JEPA": "models.ssl.i_jepa",
    "MAE_Hiera": "models.mim.mae_hiera",
    "MAE_ViT": "models.mim.mae_vit",
    "ResNet_v1": "models.resnet",
    "RetinaNet": "models.detection.retinanet",
    "RoPE_ViT": "models.vit",
    "SimCLR": "models.ssl.simclr",
    "SimMIM": "models.mim.simmim",
    "VICReg": "models.ssl.vicreg",
    "ViT": "models.vit",
}

__all__ = public_names(globals(), registry, _CLASSES)
__getattr__ = class_getter(__name__, _CLASSES)
