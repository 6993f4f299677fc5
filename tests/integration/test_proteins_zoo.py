"""The protein models as a user meets them: by name, through the registry."""

import inspect

import pytest
import torch

import holotype
from holotype import proteins
from holotype.errors import ParameterError

NAMES = ["v1", "v2", "multihead_attention", "cross_attention"]
COMPLEXITY = {"v1": "low", "v2": "medium", "multihead_attention": "high", "cross_attention": "high"}
COUNTS = {"v1": 411_649, "v2": 740_609, "multihead_attention": 2_056_961, "cross_attention": 1_003_777}


def test_the_zoo_lists_them_in_the_order_of_their_registration():
    assert proteins.get_available_models()[:4] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_info_describes_them(name):
    info = holotype.get_model_info(f"proteins/{name}")
    assert info.task == holotype.Task.PROTEIN_INTERACTION
    assert info.complexity == COMPLEXITY[name]
    assert info.description
    assert info.features
    assert info.problem is None
    assert info.class_name == holotype.get_model_class(name).__name__
    assert info.docstring


@pytest.mark.parametrize("name", NAMES)
def test_what_the_source_says_is_what_python_sees(name):
    known = holotype.get_model_info(name).parameters
    real = inspect.signature(holotype.get_model_class(name)).parameters.values()
    assert [(p.name, p.default) for p in known] == [(p.name, p.default) for p in real]
    assert all(p.annotation for p in known)


@pytest.mark.parametrize("name", NAMES)
def test_built_by_name_they_score_a_batch(name):
    assert holotype.count_parameters(name) == COUNTS[name] == holotype.get_model_info(name).params
    model = holotype.create_model(name, input_dim=16, hidden_dim=8, symmetry="average")
    assert isinstance(model, proteins.get_model_class(name))
    logits = model(torch.randn(2, 5, 16), torch.randn(2, 3, 16), torch.tensor([5, 1]), torch.tensor([3, 2]))
    assert logits.shape == (2,)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_that_fit_no_signature_are_refused_before_building(name):
    with pytest.raises(ParameterError):
        holotype.create_model(name, hidden_dims=8)
    with pytest.raises(ParameterError):
        holotype.create_model(name, symmetry="mean")
