"""Models of protein-protein interaction, and encoders that turn sequences into what these models take.

    >>> from holotype.proteins import create_model, get_available_models, model_registry
    >>> get_available_models()[:4]
    ['v1', 'v2', 'multihead_attention', 'cross_attention']
    >>> model_registry.get_model_info("v2")["complexity"]
    'medium'

The functions are those of `holotype`, seen through this zoo. A new file in this folder with a decorated class
is a new model; nothing has to be added here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holotype.catalog.registry import default_registry
from holotype.tasks import Task

if TYPE_CHECKING:
    from holotype.proteins.models.attention import (
        AttentionProteinClassifier,
        MultiHeadAttentionProteinClassifier,
    )
    from holotype.proteins.models.bilinear import SymmetricBilinearProteinClassifier
    from holotype.proteins.models.contact_map import ContactMapProteinClassifier
    from holotype.proteins.models.cross_attention import CrossAttentionProteinClassifier
    from holotype.proteins.models.encoders.composition import Composition, ConjointTriad
    from holotype.proteins.models.encoders.esm import Esm2, EsmC
    from holotype.proteins.models.encoders.interface import ProteinEncoder
    from holotype.proteins.models.encoders.near import Near
    from holotype.proteins.models.encoders.sequence_statistics import SequenceStatistics
    from holotype.proteins.models.encoders.unirep import UniRep
    from holotype.proteins.models.interface import BaseProteinModel
    from holotype.proteins.models.intra_inter import IntraInterAttentionProteinClassifier
    from holotype.proteins.models.mean_pool import SimplifiedProteinClassifier
    from holotype.proteins.models.symmetric_mlp import SymmetricMLPProteinClassifier

registry = model_registry = default_registry.zoo("proteins")

check_config = registry.check_config
count_parameters = registry.count_parameters
create_from_config = registry.create_from_config
create_model = registry.create_model
exists = registry.exists
get_available_models = registry.get_available_models
get_model_class = registry.get_model_class
get_model_info = registry.get_model_info
get_pretrained_metadata = registry.get_pretrained_metadata
list_models = registry.list_models
list_pretrained_models = registry.list_pretrained_models
register_alias = registry.register_alias
register_model = registry.register_model
register_model_config = registry.register_model_config
register_weights = registry.register_weights

_CLASSES = {
    "BaseProteinModel": "interface",
    "SimplifiedProteinClassifier": "mean_pool",
    "AttentionProteinClassifier": "attention",
    "MultiHeadAttentionProteinClassifier": "attention",
    "CrossAttentionProteinClassifier": "cross_attention",
    "SymmetricBilinearProteinClassifier": "bilinear",
    "SymmetricMLPProteinClassifier": "symmetric_mlp",
    "IntraInterAttentionProteinClassifier": "intra_inter",
    "ContactMapProteinClassifier": "contact_map",
    "ProteinEncoder": "encoders.interface",
    "UniRep": "encoders.unirep",
    "Near": "encoders.near",
    "Esm2": "encoders.esm",
    "EsmC": "encoders.esm",
    "Composition": "encoders.composition",
    "ConjointTriad": "encoders.composition",
    "SequenceStatistics": "encoders.sequence_statistics",
}

__all__ = [
    "AttentionProteinClassifier",
    "BaseProteinModel",
    "Composition",
    "ConjointTriad",
    "ContactMapProteinClassifier",
    "CrossAttentionProteinClassifier",
    "Esm2",
    "EsmC",
    "IntraInterAttentionProteinClassifier",
    "MultiHeadAttentionProteinClassifier",
    "Near",
    "ProteinEncoder",
    "SequenceStatistics",
    "SimplifiedProteinClassifier",
    "SymmetricBilinearProteinClassifier",
    "SymmetricMLPProteinClassifier",
    "Task",
    "UniRep",
    "check_config",
    "count_parameters",
    "create_from_config",
    "create_model",
    "exists",
    "get_available_models",
    "get_model_class",
    "get_model_info",
    "get_pretrained_metadata",
    "list_models",
    "list_pretrained_models",
    "model_registry",
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
