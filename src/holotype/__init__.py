"""Holotype binds a model's name to one exact thing: its code, its weights, and the record of both.

    >>> import holotype
    >>> "v2" in holotype.list_models(task="protein_interaction")
    True
    >>> holotype.get_model_info("v2").complexity
    'medium'

Importing this package costs a few milliseconds; everything else is imported when it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module

__version__ = "0.1.0"

# Methods of the default registry, offered as functions.
_OF_REGISTRY = frozenset(
    {
        "check_config",
        "count_parameters",
        "create_from_config",
        "create_model",
        "exists",
        "get_available_models",
        "get_model_class",
        "get_model_info",
        "get_model_infos",
        "get_pretrained_metadata",
        "get_pretrained_metadatas",
        "list_models",
        "list_pretrained_models",
        "list_problems",
        "list_tasks",
        "list_zoos",
        "net_factory",
        "pretrained_exists",
        "register_alias",
        "register_model",
        "register_model_config",
        "register_weights",
        "zoo",
    }
)
_ELSEWHERE = {
    "registry": ("holotype.catalog.registry", "default_registry"),
    "model_registry": ("holotype.catalog.registry", "default_registry"),
    "Registry": ("holotype.catalog.registry", "Registry"),
    "Zoo": ("holotype.catalog.registry", "Zoo"),
    "Task": ("holotype.tasks", "Task"),
    "HolotypeError": ("holotype.errors", "HolotypeError"),
    "ModelInfo": ("holotype.records", "ModelInfo"),
    "PretrainedMetadata": ("holotype.records", "PretrainedMetadata"),
    "load_checkpoint": ("holotype.weights.open", "load_checkpoint"),
    "load_pretrained_model": ("holotype.weights.open", "load_pretrained_model"),
    "save_pretrained": ("holotype.weights.save", "save_pretrained"),
}

__all__ = sorted([*_OF_REGISTRY, *_ELSEWHERE, "__version__"])

if TYPE_CHECKING:
    from typing import Any

    from holotype.catalog.registry import Registry as Registry
    from holotype.catalog.registry import Zoo as Zoo
    from holotype.catalog.registry import default_registry
    from holotype.errors import HolotypeError as HolotypeError
    from holotype.records import ModelInfo as ModelInfo
    from holotype.records import PretrainedMetadata as PretrainedMetadata
    from holotype.tasks import Task as Task
    from holotype.weights.open import load_checkpoint as load_checkpoint
    from holotype.weights.open import load_pretrained_model as load_pretrained_model
    from holotype.weights.save import save_pretrained as save_pretrained

    registry = model_registry = default_registry
    check_config = registry.check_config
    count_parameters = registry.count_parameters
    create_from_config = registry.create_from_config
    create_model = registry.create_model
    exists = registry.exists
    get_available_models = registry.get_available_models
    get_model_class = registry.get_model_class
    get_model_info = registry.get_model_info
    get_model_infos = registry.get_model_infos
    get_pretrained_metadata = registry.get_pretrained_metadata
    get_pretrained_metadatas = registry.get_pretrained_metadatas
    list_models = registry.list_models
    list_pretrained_models = registry.list_pretrained_models
    list_problems = registry.list_problems
    list_tasks = registry.list_tasks
    list_zoos = registry.list_zoos
    net_factory = registry.net_factory
    pretrained_exists = registry.pretrained_exists
    register_alias = registry.register_alias
    register_model = registry.register_model
    register_model_config = registry.register_model_config
    register_weights = registry.register_weights
    zoo = registry.zoo


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _OF_REGISTRY:
        value = getattr(import_module("holotype.catalog.registry").default_registry, name)
    elif name in _ELSEWHERE:
        module, attribute = _ELSEWHERE[name]
        value = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
