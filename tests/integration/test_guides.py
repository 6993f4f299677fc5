"""The two ways in which people expect to call a model registry, each as a small story that runs.

The first is a decorator over model files, in a project of its own. The second is a catalog that knows tasks
and weights.
"""

import pytest
import torch

import holotype
from holotype.errors import UnknownModelError, UnknownPretrainedError
from holotype.vision import EfficientNet_Lite, Task, registry

ARCHITECTURES = """
from torch import nn
from holotype.proteins import BaseProteinModel as Base


class BaseProteinModel(Base):
    '''What all models of this project share.'''

    def __init__(self, input_dim: int = 960, hidden_dim: int = 256, dropout: float = 0.3):
        super().__init__()
        self.input_dim, self.hidden_dim = input_dim, hidden_dim
        self.head = nn.Linear(2 * input_dim, 1)

    def forward(self, emb_a, emb_b, lengths_a, lengths_b):
        import torch
        pooled = torch.cat([emb_a.mean(1), emb_b.mean(1)], -1)
        return self.head(pooled).squeeze(-1)
"""
V1 = """
from .registry import register_model
from .architectures import BaseProteinModel

@register_model(
    'v1',
    description='Average of the residues, then an MLP',
    features=['average_pooling', 'mlp_layers'],
    complexity='low'
)
class SimplifiedProteinClassifier(BaseProteinModel):
    pass
"""
V2 = """
from .registry import register_model
from .architectures import BaseProteinModel

@register_model('v2', description='With attention', complexity='medium')
class AttentionProteinClassifier(BaseProteinModel):
    def __init__(self, num_heads: int = 8, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

@register_model('multihead_attention', description='With several layers of attention', complexity='high')
class MultiHeadAttentionProteinClassifier(BaseProteinModel):
    pass

@register_model('cross_attention', complexity='high')
class CrossAttentionProteinClassifier(BaseProteinModel):
    pass
"""
ADVANCED = """
from .registry import register_model
from .architectures import BaseProteinModel

@register_model(
    'advanced_model',
    description='An advanced model',
    features=['cross_attention', 'residual_connections', 'layer_norm'],
    complexity='high',
    paper_reference='Smith et al. 2024',
    recommended_use_cases=['large_datasets', 'complex_interactions']
)
class AdvancedModel(BaseProteinModel):
    pass
"""
V3 = """
from .registry import register_model
from .architectures import BaseProteinModel

@register_model('v3', description='The next one', complexity='very_high')
class NextGenModel(BaseProteinModel):
    def __init__(self, **kwargs):
        super().__init__()

    def forward(self, emb_a, emb_b, lengths_a, lengths_b):
        pass
"""
INIT = """
from .registry import (
    create_model,
    get_available_models,
    get_model_class,
    model_registry
)

from . import v1
from . import v2
"""
OWN_REGISTRY = """
import holotype

model_registry = holotype.zoo(__package__)
register_model = model_registry.register_model
create_model = model_registry.create_model
get_available_models = model_registry.get_available_models
get_model_class = model_registry.get_model_class
"""
PROTEIN_REGISTRY = """
from holotype.proteins import (
    create_model, get_available_models, get_model_class, model_registry, register_model
)
"""
CONFIG = """
model:
  name: "v2"
  params:
    input_dim: 960
    hidden_dim: 256
    num_heads: 8
"""
USE = """
import sys, yaml
sys.path.insert(0, ".")
from src.model import create_model, get_available_models
from src.model import model_registry, get_model_class

result = {"available": get_available_models()}

simple_model = create_model('v1', input_dim=960, hidden_dim=128)
attention_model = create_model('v2', input_dim=960, hidden_dim=256, num_heads=8)
result["classes"] = [type(simple_model).__name__, type(attention_model).__name__]
result["module"] = type(simple_model).__module__

result["infos"] = []
for model_name in get_available_models():
    info = model_registry.get_model_info(model_name)
    result["infos"].append([model_name, info['description'], info['complexity'], info['features'], info['task']])

ModelClass = get_model_class('v2')
result["loaded"] = ModelClass.__name__
custom_model = ModelClass(input_dim=512, hidden_dim=64)
result["custom"] = custom_model.input_dim

def main(config):
    model = create_model(
        config['model']['name'],
        **config['model']['params']
    )
    return type(model).__name__

with open("config.yaml") as file:
    result["from_config"] = main(yaml.safe_load(file))

import torch, holotype
logits = create_model('v1', input_dim=8)(torch.zeros(2, 3, 8), torch.zeros(2, 3, 8), torch.tensor([3, 3]), torch.tensor([3, 3]))
result["shape"] = list(logits.shape)
result["from_file"] = type(model_registry.create_from_config("config.yaml")).__name__
result["problems"] = list(map(str, holotype.list_problems()))
"""
TREE = {
    "src/__init__.py": "",
    "src/model/__init__.py": INIT,
    "src/model/architectures.py": ARCHITECTURES,
    "src/model/registry.py": OWN_REGISTRY,
    "src/model/v1.py": V1,
    "src/model/v2.py": V2,
    "config.yaml": CONFIG,
}
AVAILABLE = ["v1", "v2", "multihead_attention", "cross_attention"]


@pytest.mark.parametrize("named", [True, False], ids=["named in pyproject", "only imported"])
def test_a_project_with_a_registry_module_of_its_own(project, named):
    project.write(TREE, **({} if named else {"pyproject": None}))
    found = project.run(USE)
    assert found["available"] == AVAILABLE
    assert found["classes"] == ["SimplifiedProteinClassifier", "AttentionProteinClassifier"]
    assert found["module"] == "src.model.v1"
    assert found["infos"][0] == [
        "v1",
        "Average of the residues, then an MLP",
        "low",
        ["average_pooling", "mlp_layers"],
        "protein_interaction",
    ]
    assert [info[2] for info in found["infos"]] == ["low", "medium", "high", "high"]
    assert found["loaded"] == found["from_config"] == found["from_file"] == "AttentionProteinClassifier"
    assert found["custom"] == 512
    assert found["shape"] == [2]
    assert found["problems"] == []


def test_a_project_that_uses_the_functions_of_the_protein_zoo(project):
    project.write(TREE | {"src/model/registry.py": PROTEIN_REGISTRY})
    found = project.run(
        USE.replace("    custom_model", "custom_model").replace(
            "create_model('v1', input_dim=8)(", "create_model('v1', input_dim=8).eval()("
        )
    )
    assert found["available"][:4] == AVAILABLE  # and then what else the protein zoo has
    assert found["classes"] == ["SimplifiedProteinClassifier", "AttentionProteinClassifier"]
    assert found["from_config"] == found["from_file"] == "AttentionProteinClassifier"
    assert found["custom"] == 512
    assert found["shape"] == [2]
    # What the project registers is the project's.
    assert (
        project.run("import holotype\nresult = holotype.zoo('src.model').get_available_models()") == AVAILABLE
    )


def test_a_new_file_is_a_new_model_without_an_edit_anywhere_else(project):
    project.write(TREE)
    listing = """
    import sys, holotype
    result = [holotype.zoo("src.model").get_available_models(), "torch" in sys.modules]
    """
    assert project.run(listing) == [AVAILABLE, False]
    project.write({"src/model/v3.py": V3, "src/model/advanced.py": ADVANCED})
    assert project.run(listing) == [["advanced_model", *AVAILABLE, "v3"], False]  # by file
    code = """
    import sys
    sys.path.insert(0, ".")
    from src.model import create_model, get_available_models, model_registry
    available = get_available_models()
    assert "src.model.v3" not in sys.modules
    info = model_registry.get_model_info("advanced_model")
    result = [available, type(create_model("v3")).__name__, info["paper_reference"], info["recommended_use_cases"],
              info["features"], info.class_name]
    """
    assert project.run(code) == [
        ["advanced_model", *AVAILABLE, "v3"],
        "NextGenModel",
        "Smith et al. 2024",
        ["large_datasets", "complex_interactions"],
        ["cross_attention", "residual_connections", "layer_norm"],
        "AdvancedModel",
    ]


def test_the_published_protein_models_are_there_by_the_same_calls():
    from holotype.proteins import create_model, get_available_models, get_model_class, model_registry

    assert get_available_models()[:4] == AVAILABLE
    assert [model_registry.get_model_info(name)["complexity"] for name in AVAILABLE] == [
        "low",
        "medium",
        "high",
        "high",
    ]
    assert all(model_registry.get_model_info(name)["features"] for name in AVAILABLE)
    simple = create_model("v1", input_dim=960, hidden_dim=128)
    attention = create_model("v2", input_dim=960, hidden_dim=256, num_heads=8)
    lengths = torch.tensor([3, 5])
    for network in (simple, attention):
        assert network(torch.randn(2, 5, 960), torch.randn(2, 5, 960), lengths, lengths).shape == (2,)
    custom = get_model_class("v2")(input_dim=512, hidden_dim=64)
    assert custom.input_dim == 512


# -- the catalog -----------------------------------------------------------------------------------


def test_architectures_and_weights_by_task():
    assert "efficientnet_lite0" in registry.list_models(task=Task.IMAGE_CLASSIFICATION)
    assert "efficientnet_lite0_imagenet1k" in registry.list_pretrained_models(task=Task.IMAGE_CLASSIFICATION)
    every = set(holotype.list_models(zoo="vision"))
    for task in Task:
        assert set(registry.list_models(task=task)) <= every
        assert isinstance(registry.list_pretrained_models(task=task)[:5], list)
    assert "v1" not in registry.list_models()
    assert holotype.registry.list_models(task=Task.PROTEIN_INTERACTION, zoo="vision") == []


def test_by_naming_patterns():
    lite = [f"efficientnet_lite{n}" for n in range(5)]
    assert registry.list_models(include_filter="*lite*") == lite
    assert registry.list_models("*LITE[01]") == lite[:2]
    assert registry.list_pretrained_models("*lite0*") == ["efficientnet_lite0_imagenet1k"]
    assert registry.list_pretrained_models("*nothing like it*") == []


def test_an_entry_points_back_to_its_architecture():
    meta = registry.get_pretrained_metadata("efficientnet_lite0_imagenet1k")
    assert meta["network"] in registry.list_models()
    assert isinstance(meta["description"], str) and meta["description"]
    assert meta["task"] == Task.IMAGE_CLASSIFICATION
    assert meta["resolution"] == (224, 224)
    assert list(meta["formats"]) == ["pt"]
    assert "efficientnet_lite0_imagenet1k" in registry.get_model_info(meta["network"]).pretrained


def test_the_factory():
    network = registry.net_factory("efficientnet_lite0", num_classes=500)
    assert network.classifier.out_features == 500
    network = holotype.registry.net_factory("efficientnet_lite0", 7, 1, size=64).eval()
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


@pytest.fixture
def own():
    """A registry to extend, so that the default one stays as it is."""
    return holotype.Registry().zoo("vision")


def test_a_local_architecture_and_its_weights(own):
    own.register_model_config(
        "lite_custom",
        EfficientNet_Lite,
        config={
            "num_classes": 5,
            "width": 0.5,
            "depth": 1.0,
            "size": 96,
            "dropout": 0.1,
            "drop_path_rate": 0.15,
            "padding": "same",
        },
    )
    assert own.list_models(task=Task.IMAGE_CLASSIFICATION) == ["lite_custom"]
    assert own.create_model("lite_custom").classifier.out_features == 5
    assert own.net_factory("lite_custom", num_classes=3).classifier.out_features == 3
    with pytest.warns(UserWarning, match="sha256"):
        own.register_weights(
            "lite_custom_plankton",
            {
                "url": "https://example.org/your-org/lite_custom_plankton/resolve/main",
                "description": "A custom network trained on plankton",
                "resolution": (384, 384),
                "formats": {"pt": {"file_size": 358.4, "sha256": "<sha256>"}},
                "net": {"network": "lite_custom", "tag": "plankton"},
                "backbone": "lite_custom",
            },
        )
    meta = own.get_pretrained_metadata("lite_custom_plankton")
    assert (meta["network"], meta["tag"], meta["resolution"]) == ("lite_custom", "plankton", (384, 384))
    assert meta["formats"]["pt"]["file_size"] == 358.4
    assert meta["formats"]["pt"]["sha256"] is None
    assert meta["task"] == Task.IMAGE_CLASSIFICATION
    assert meta["backbone"] == "lite_custom"
    assert (
        meta.url_of("pt")
        == "https://example.org/your-org/lite_custom_plankton/resolve/main/lite_custom_plankton.pt"
    )
    assert own.list_pretrained_models("*plankton*") == ["lite_custom_plankton"]
    assert own.get_model_info("lite_custom").pretrained == ["lite_custom_plankton"]


def test_a_typo_in_either_layer():
    with pytest.raises(UnknownModelError) as error:
        registry.net_factory("efficientnet_lite00", num_classes=5)
    assert "efficientnet_lite0" in error.value.nearest
    with pytest.raises(UnknownPretrainedError) as error:
        registry.get_pretrained_metadata("efficientnet_lite0_imagenet")
    assert "efficientnet_lite0_imagenet1k" in error.value.nearest
