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

from typing import TYPE_CHECKING

from holotype.catalog.registry import default_registry
from holotype.catalog.zoo_module import class_getter, public_names
from holotype.tasks import Task as Task

if TYPE_CHECKING:
    from holotype.proteins.models.attention import AttentionProteinClassifier as AttentionProteinClassifier
    from holotype.proteins.models.attention import (
        MultiHeadAttentionProteinClassifier as MultiHeadAttentionProteinClassifier,
    )
    from holotype.proteins.models.bilinear import (
        SymmetricBilinearProteinClassifier as SymmetricBilinearProteinClassifier,
    )
    from holotype.proteins.models.contact_map import (
        ContactMapProteinClassifier as ContactMapProteinClassifier,
    )
    from holotype.proteins.models.cross_attention import (
        CrossAttentionProteinClassifier as CrossAttentionProteinClassifier,
    )
    from holotype.proteins.models.encoders.composition import Composition as Composition
    from holotype.proteins.models.encoders.composition import ConjointTriad as ConjointTriad
    from holotype.proteins.models.encoders.esm import Esm2 as Esm2
    from holotype.proteins.models.encoders.esm import EsmC as EsmC
    from holotype.proteins.models.encoders.interface import ProteinEncoder as ProteinEncoder
    from holotype.proteins.models.encoders.near import Near as Near
    from holotype.proteins.models.encoders.sequence_statistics import SequenceStatistics as SequenceStatistics
    from holotype.proteins.models.encoders.unirep import UniRep as UniRep
    from holotype.proteins.models.interface import BaseProteinModel as BaseProteinModel
    from holotype.proteins.models.intra_inter import (
        IntraInterAttentionProteinClassifier as IntraInterAttentionProteinClassifier,
    )
    from holotype.proteins.models.mean_pool import SimplifiedProteinClassifier as SimplifiedProteinClassifier
    from holotype.proteins.models.symmetric_mlp import (
        SymmetricMLPProteinClassifier as SymmetricMLPProteinClassifier,
    )

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
    "BaseProteinModel": "models.interface",
    "SimplifiedProteinClassifier": "models.mean_pool",
    "AttentionProteinClassifier": "models.attention",
    "MultiHeadAttentionProteinClassifier": "models.attention",
    "CrossAttentionProteinClassifier": "models.cross_attention",
    "SymmetricBilinearProteinClassifier": "models.bilinear",
    "SymmetricMLPProteinClassifier": "models.symmetric_mlp",
    "IntraInterAttentionProteinClassifier": "models.intra_inter",
    "ContactMapProteinClassifier": "models.contact_map",
    "ProteinEncoder": "models.encoders.interface",
    "UniRep": "models.encoders.unirep",
    "Near": "models.encoders.near",
    "Esm2": "models.encoders.esm",
    "EsmC": "models.encoders.esm",
    "Composition": "models.encoders.composition",
    "ConjointTriad": "models.encoders.composition",
    "SequenceStatistics": "models.encoders.sequence_statistics",
}

__all__ = public_names(globals(), registry, _CLASSES)
__getattr__ = class_getter(__name__, _CLASSES)
