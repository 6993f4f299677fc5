"""The suite itself: it passes what is right, and names what is wrong with what is broken on purpose."""

import json
import random
import subprocess
import sys

import pytest
import torch
from torch import nn

import holotype
from holotype.errors import UnknownZooError
from holotype.testing import CAPABILITIES, ConformanceError, checks, conformance, write_snapshots
from holotype.testing.formats import round_trips
from holotype.testing.snapshots import check_stale, compare, path_of, show
from holotype.testing.subjects import difference, subjects


class Toy(nn.Module):
    """A classifier that does everything right.

    Source: our own work.
    """

    task = "image_classification"
    capabilities = frozenset({"num_classes", "reset_classifier", "in_channels", "size", "compile", "export"})
    small_parameters = {"size": 4}  # noqa: RUF012

    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int | tuple[int, int] = 32) -> None:
        super().__init__()
        self.in_channels, self.size = in_channels, size
        self.stem = nn.Conv2d(in_channels, 6, 1)
        self.norm = nn.BatchNorm2d(6)
        self.dropout = nn.Dropout(0.5)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes):
        like = self.stem.weight
        self.head = nn.Identity()
        if num_classes:
            self.head = nn.Linear(6, num_classes, device=like.device, dtype=like.dtype).train(self.training)

    def features(self, images):
        return self.dropout(self.norm(self.stem(images)).mean((2, 3)))

    def forward(self, images):
        return self.head(self.features(images))


class Pair(nn.Module):
    """Scores pairs. Source: our own work."""

    task = "protein_interaction"

    def __init__(self, input_dim: int = 4) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.layer = nn.Linear(input_dim, 1)

    symmetric = True
    encodes_alone = True

    def encode(self, emb, lengths):
        keep = torch.arange(emb.shape[1]) < lengths[:, None]
        return self.layer((emb * keep[..., None]).sum(1)).squeeze(-1)

    def score(self, a, b):
        return a + b

    def forward(self, emb_a, emb_b, lengths_a, lengths_b):
        return self.score(self.encode(emb_a, lengths_a), self.encode(emb_b, lengths_b))


class Encoder(nn.Module):
    """Embeds residues. Source: our own work."""

    task = "protein_embedding"
    embedding_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(26, 3)

    def tokenize(self, sequence):
        return torch.tensor([ord(letter) - ord("A") for letter in sequence])

    def forward(self, tokens, lengths):
        there = torch.arange(tokens.shape[1]) < lengths[:, None]
        return self.table(tokens.where(there, 0)) * there[..., None]


class Counter(Encoder):
    """Counts residues, and learns nothing. Source: our own work."""

    whole_protein = True
    embedding_dim = 1

    def __init__(self) -> None:
        super().__init__()
        del self.table

    def forward(self, tokens, lengths):
        return lengths.view(-1, 1, 1).float()


def subject_of(target, **metadata):
    """What the suite makes of one class, registered in a registry of its own."""
    registry = holotype.Registry()
    registry.register_model("toy", **metadata)(target)
    (subject,) = subjects(registry.zoo(registry.list_zoos()[0].name))
    return subject


@pytest.mark.parametrize("target", [Toy, Pair, Encoder, Counter])
def test_a_good_network_passes_every_check(target, tmp_path):
    subject = subject_of(target)
    assert len(checks.checks_of(subject)) >= {Toy: 11, Pair: 11}.get(target, 10)
    for check in checks.checks_of(subject):
        if check is not checks.names_its_source or target is Toy:
            check(subject)
    for format in round_trips():
        checks.saves_and_loads(subject, format)
    write_snapshots(subject.zoo, tmp_path)
    compare(subject, tmp_path)


# -- networks that are broken on purpose ----------------------------------------------------------------


class UnusedParameter(Toy):
    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(2, 2)


class PlainTensor(Toy):
    def __init__(self):
        super().__init__()
        self.scale = torch.ones(1, requires_grad=True)


class RandomEval(Toy):
    def forward(self, images):
        return super().forward(images) + torch.rand(1)


class CountsCalls(Toy):
    def forward(self, images):
        self.norm.num_batches_tracked.add_(1)
        return super().forward(images)


class OtherInTraining(Toy):
    def forward(self, images):
        return super().forward(images) * (2.0 if self.training else 1.0)


class StaysInEvaluation(Toy):
    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self


class SharedState(Toy):
    table = torch.zeros(5)

    def forward(self, images):
        if self.training:
            SharedState.table += 1
        return super().forward(images) + self.table


class SharedBuffer(Toy):
    table = torch.zeros(5)

    def __init__(self):
        super().__init__()
        self.register_buffer("bias", self.table)


class SeedsEverything(Toy):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__()


class SeedsPython(Toy):
    def forward(self, images):
        random.seed(0)
        return super().forward(images)


class ChangesTheDtype(Toy):
    def forward(self, images):
        torch.set_float32_matmul_precision("high")
        return super().forward(images)


class OwnRandomNumbers(Toy):
    made = 0

    def __init__(self):
        super().__init__()
        OwnRandomNumbers.made += 1
        nn.init.constant_(self.head.bias, OwnRandomNumbers.made)


class LooksAtValues(Toy):
    def __init__(self):
        super().__init__()
        self.scale = float(self.stem.weight.max())


class ChangesItsInput(Toy):
    def forward(self, images):
        return super().forward(images.mul_(2))


class NotFinite(Toy):
    def forward(self, images):
        return super().forward(images) / 0


class MixesSamples(Toy):
    def forward(self, images):
        logits = super().forward(images)
        return logits - logits.mean(0)


class InfiniteGradient(Toy):
    def forward(self, images):
        return super().forward(images) + (self.head.bias * 0).abs().sqrt()


class Lambda(Toy):
    def __init__(self):
        super().__init__()
        self.act = lambda x: x


class WrongShape(Toy):
    def forward(self, images):
        return super().forward(images[:, :2])


class KeepsItsHead(Toy):
    def reset_classifier(self, num_classes):
        if not hasattr(self, "head"):
            super().reset_classifier(num_classes)


class AlwaysAHead(Toy):
    def reset_classifier(self, num_classes):
        super().reset_classifier(num_classes or 5)


class ResetsTooMuch(Toy):
    def reset_classifier(self, num_classes):
        super().reset_classifier(num_classes)
        nn.init.normal_(self.stem.weight)


class HeadForgetsItsMode(Toy):
    def reset_classifier(self, num_classes):
        super().reset_classifier(num_classes)
        self.head.train()


class IgnoresSize(Toy):
    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int | tuple[int, int] = 32) -> None:
        super().__init__(num_classes, in_channels, 4)


class FixedSize(Toy):
    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int | tuple[int, int] = 32) -> None:
        super().__init__(num_classes, in_channels, size)
        self.position = nn.Parameter(torch.zeros(4, 4))

    def forward(self, images):
        return super().forward(images + self.position)


class IgnoresChannels(Toy):
    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int | tuple[int, int] = 32) -> None:
        super().__init__(num_classes, 3, size)


class BreaksTheGraph(Toy):
    def forward(self, images):
        if float(images.sum()) > 0:
            return super().forward(images)
        return super().forward(images) + 1


class FixedBatch(Toy):
    def forward(self, images):
        logits = super().forward(images)
        return (
            logits + torch.zeros(images.shape[0]).tolist()[0] if images.shape[0] != 3 else logits.view(3, -1)
        )


class OutsideState(Toy):
    """It depends on what is neither a parameter nor made by the constructor. Source: none."""

    def __init__(self):
        super().__init__()
        self.offset = float(torch.rand(1)) if torch.get_default_device().type != "meta" else 0.0

    def forward(self, images):
        return super().forward(images) + self.offset


class NotSymmetric(Pair):
    def score(self, a, b):
        return a - b


class SymmetricAfterAll(Pair):
    symmetric = False


class OtherScore(Pair):
    def forward(self, emb_a, emb_b, lengths_a, lengths_b):
        return 2 * super().forward(emb_a, emb_b, lengths_a, lengths_b)


class LacksALetter(Encoder):
    def tokenize(self, sequence):
        if "J" in sequence:
            raise KeyError("J")
        return super().tokenize(sequence)


class NarrowTokens(Encoder):
    def tokenize(self, sequence):
        return super().tokenize(sequence).int()


class OtherWidth(Encoder):
    embedding_dim = 4


class FillsPadding(Encoder):
    def forward(self, tokens, lengths):
        return self.table(tokens)


class ReadsPadding(Encoder):
    def forward(self, tokens, lengths):
        return super().forward(tokens, lengths) + self.table(tokens[:, -1:]) * super().forward(
            tokens, lengths
        ).ne(0)


class CountsPadding(Counter):
    def forward(self, tokens, lengths):
        return torch.full((len(tokens), 1, 1), float(tokens.shape[1]))


class LooksAtTheOrder(Encoder):
    def forward(self, tokens, lengths):
        scale = torch.arange(len(tokens))[:, None, None] > 2
        return super().forward(tokens, lengths) * (1 + scale)


class LearnsNothing(Pair):
    def __init__(self):
        super().__init__()
        self.layer.requires_grad_(False)


class Raises(Toy):
    def forward(self, images):
        raise RuntimeError("out of luck")


BROKEN = [
    (UnusedParameter, "backwards", "2 of 8 parameters receive no gradient: 'extra.weight', 'extra.bias'"),
    (PlainTensor, "builds", "'scale': requires a gradient, and is not an nn.Parameter"),
    (OwnRandomNumbers, "builds", "has other values in head.bias"),
    (RandomEval, "eval_is_deterministic", "another result the second time.*differs by up to"),
    (CountsCalls, "eval_is_deterministic", "forward changes norm.num_batches_tracked"),
    (OtherInTraining, "training_differs_only_by_dropout_and_norm", "training and evaluation still differ"),
    (StaysInEvaluation, "training_differs_only_by_dropout_and_norm", "'norm' are not in training mode"),
    (SharedState, "leaves_no_trace", "after a second network.*class attribute"),
    (SharedBuffer, "leaves_no_trace", "two networks share the memory of 'bias'"),
    (SeedsEverything, "leaves_no_trace", "seeds torch's random numbers"),
    (SeedsPython, "leaves_no_trace", "seeds Python's random numbers"),
    (ChangesTheDtype, "leaves_no_trace", "the whole program's 'matmul precision'"),
    (LooksAtValues, "builds_on_meta", "on the meta device.*must not look at the values"),
    (ChangesItsInput, "forwards", "changes its arguments"),
    (NotFinite, "forwards", "not finite"),
    (MixesSamples, "forwards", "sample 0 of 3 gives another result than alone"),
    (WrongShape, "forwards", r"forward on \(1, 3, 4, 4\) raised RuntimeError"),
    (Raises, "forwards", "raised RuntimeError: out of luck"),
    (InfiniteGradient, "backwards", "gradients that are not finite: 'head.bias'"),
    (Lambda, "copies_and_pickles", "pickle raised.*no lambdas"),
    (KeepsItsHead, "reset_classifier", r"its output is \(2, 5\), not 7 wide"),
    (ResetsTooMuch, "reset_classifier", "changes what is not the head: 'stem.weight'"),
    (HeadForgetsItsMode, "reset_classifier", "'head' are in training mode"),
    (AlwaysAHead, "num_classes", "with num_classes=0, it has a head all the same"),
    (IgnoresSize, "size", r"built with size=\(8, 8\), its example inputs have shape \(2, 3, 4, 4\)"),
    (FixedSize, "size", "raised RuntimeError"),
    (IgnoresChannels, "in_channels", "built with in_channels=1, its example inputs have shape"),
    (BreaksTheGraph, "compiles", "torch.compile"),
    (BreaksTheGraph, "exports", "torch.export"),
    (FixedBatch, "exports", "torch.export|another result"),
    (NotSymmetric, "symmetric", r"scoring \(b, a\) is not scoring \(a, b\)"),
    (SymmetricAfterAll, "symmetric", "says that it is not"),
    (LacksALetter, "embeds_proteins", r"tokenize\('J'\) raised KeyError"),
    (NarrowTokens, "embeds_proteins", r"\(1,\) of torch.int32, not \(1,\) of torch.int64"),
    (OtherWidth, "embeds_proteins", r"forward returned \(5, 9, 3\), not \(5, 9, 4\)"),
    (FillsPadding, "embeds_proteins", "not 0 at padding"),
    (ReadsPadding, "embeds_proteins", "with more padding, proteins have other embeddings"),
    (CountsPadding, "embeds_proteins", "with more padding, proteins have other embeddings"),
    (LooksAtTheOrder, "embeds_proteins", "in another order, proteins have other embeddings"),
    (LearnsNothing, "backwards", "nothing can be trained"),
    (OtherScore, "encodes_alone", r"score\(encode\(a\), encode\(b\)\) is not forward"),
]


@pytest.mark.parametrize(
    ("target", "check", "message"), BROKEN, ids=[f"{cls.__name__}-{check}" for cls, check, _ in BROKEN]
)
def test_a_broken_network_fails_and_is_told_why(target, check, message):
    if "small_parameters" not in vars(target) and issubclass(target, Toy):
        own = target.__init__ is not Toy.__init__ and "size" not in target.__init__.__annotations__
        target.small_parameters = {} if own else Toy.small_parameters
    precision = torch.get_float32_matmul_precision()
    subject = subject_of(target, resolution=[4, 4])
    if not subject.small and issubclass(target, Toy):
        subject.__dict__["example_inputs"] = lambda net, batch: (torch.randn(batch, 3, 4, 4),)
    try:
        with checks.untouched(), pytest.raises(ConformanceError, match=f"(?s){message}"):
            getattr(checks, check)(subject)
    finally:
        torch.set_float32_matmul_precision(precision)


def test_state_outside_the_file_shows_when_it_is_loaded():
    subject = subject_of(OutsideState)
    subject.__dict__.update(small={}, example_inputs=lambda net, batch: (torch.randn(batch, 3, 4, 4),))
    for format in round_trips():
        with pytest.raises(ConformanceError, match="it gives another result"):
            checks.saves_and_loads(subject, format)


def test_dropout_that_is_a_rate_is_understood():
    class Functional(Toy):
        def __init__(self):
            super().__init__()
            self.drop_rate = 0.5

        def forward(self, images):
            return torch.dropout(super().forward(images), self.drop_rate, self.training)

    Functional.small_parameters = {}
    subject = subject_of(Functional)
    checks.training_differs_only_by_dropout_and_norm(subject)


# -- sources, declarations, inputs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doc", "fine"),
    [
        ("A.\n\n    Source: Vaswani et al. 2017.", True),
        ("A.\n\n    Paper: Tan and Le 2019.", True),
        ("Source:\n        the lab's own work", True),
        ("It has a data source: see below.", False),
        ("A.\n\n    Source:", False),
        ("A.", False),
        (None, False),
    ],
)
def test_a_docstring_names_its_source(doc, fine):
    subject = subject_of(type("Documented", (Toy,), {"__doc__": doc, "__module__": __name__}))
    assert __doc__ is not None
    if fine:
        checks.names_its_source(subject)
    else:
        with pytest.raises(ConformanceError, match="the docstring of Documented names no source"):
            checks.names_its_source(subject)


def test_an_unknown_capability_is_a_failure_that_names_the_nearest():
    class Wishful(Toy):
        capabilities = frozenset({"in_chanels"})

    subject = subject_of(Wishful)
    assert checks.checks_of(subject) == [checks.builds]
    with pytest.raises(
        ConformanceError, match=r"'in_chanels' is not a capability. Did you mean 'in_channels'\?"
    ):
        checks.builds(subject)


def test_a_builder_function_declares_in_its_registration():
    def toy(size: int | tuple[int, int] = 32) -> nn.Module:
        return Toy(size=size)

    subject = subject_of(
        toy, task="image_classification", capabilities=["size"], small_parameters={"size": 4}
    )
    assert subject.capabilities == {"size"}
    assert subject.build().size == 4
    assert checks.size in checks.checks_of(subject)


def test_small_parameters_that_do_not_fit_are_told():
    class Wrong(Toy):
        small_parameters = {"width": 4}  # noqa: RUF012

    with pytest.raises(ConformanceError, match="width: no such parameter"):
        checks.builds(subject_of(Wrong))


def test_a_task_without_inputs_is_told_what_to_write():
    class Homeless(Toy):
        task = "counting"

    with pytest.raises(
        ConformanceError, match=r"the inputs of .* are not known.*\n.*example_inputs\(self, batch\)"
    ):
        checks.forwards(subject_of(Homeless))


def test_own_inputs_go_first():
    class Fed(Toy):
        task = "counting"

        def example_inputs(self, batch):
            return (torch.randn(batch, 3, 2, 2),)

    checks.forwards(subject_of(Fed))
    Fed.example_inputs = lambda self, batch: torch.randn(batch, 3, 2, 2)
    with pytest.raises(ConformanceError, match="not a tuple"):
        checks.forwards(subject_of(Fed))


def test_every_capability_is_documented():
    page = (holotype_root() / "docs" / "testing-a-zoo.md").read_text("utf-8")
    assert [name for name in CAPABILITIES if f"`{name}`" not in page] == []
    tested = {check.__name__ for check in (*checks.ALWAYS, *checks.DECLARED.values())}
    assert [name for name in tested if f"`{name}`" not in page] == []


def holotype_root():
    from pathlib import Path

    return Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (torch.ones(2), torch.ones(2), True),
        (torch.ones(2), torch.ones(2) + 1e-7, True),
        (torch.ones(2), torch.ones(2) + 1e-2, False),
        (torch.ones(2), torch.tensor([1.0, float("nan")]), False),
        (torch.tensor([1.0, float("inf")]), torch.ones(2), False),
        (torch.ones(2), torch.ones(3), False),
        (torch.ones(2), torch.ones(2).double(), False),
        ({"a": torch.ones(1)}, {"b": torch.ones(1)}, False),
        ([torch.ones(1)], [torch.ones(1)], True),
        ((torch.ones(1),), (), False),
        (torch.ones(0), torch.ones(0), True),
    ],
)
def test_differences(before, after, same):
    assert (difference(before, after) is None) is same
    assert (difference(after, before) is None) is same


# -- snapshots ------------------------------------------------------------------------------------------


def test_a_snapshot_is_written_kept_and_compared(tmp_path):
    subject = subject_of(Toy)
    with pytest.raises(ConformanceError, match=r"has no snapshot(?s:.*)python -m holotype.testing .* toy"):
        compare(subject, tmp_path)
    assert write_snapshots(subject.zoo, tmp_path) == ["toy"]
    assert write_snapshots(subject.zoo, tmp_path) == []
    compare(subject, tmp_path)
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert kept["toy"]["params"] == sum(p.numel() for p in Toy().parameters())
    assert kept["toy"]["tensors"] == len(Toy().state_dict())

    kept["toy"]["params"] = 7
    path.write_text(json.dumps(kept))
    with pytest.raises(ConformanceError) as caught:
        compare(subject, tmp_path)
    message = str(caught.value)
    for part in (
        "'toy' differs from its snapshot",
        "71 learnable parameters, 7 in the snapshot",
        "If the change is on purpose: python -m holotype.testing",
        "toy --show",
    ):
        assert part in message
    path.write_text("{")
    with pytest.raises(ConformanceError, match="holds no snapshots"):
        compare(subject, tmp_path)


class Renamed(Toy):
    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int = 32):
        super().__init__(num_classes, in_channels, size)
        self.tail = self._modules.pop("head")


class Reshaped(Toy):
    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int = 32):
        super().__init__(num_classes, in_channels, size)
        self.head = nn.Linear(6, 5).half()


class Reconfigured(Toy):
    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int = 16):
        super().__init__(num_classes, in_channels, size)


class Reordered(Toy):
    def __init__(self, num_classes: int = 5, in_channels: int = 3, size: int = 32):
        super().__init__(num_classes, in_channels, size)
        self._modules = {"head": self._modules.pop("head"), **self._modules}


@pytest.mark.parametrize(
    ("cls", "what"),
    [
        (Renamed, "other names, dtypes, shapes or order"),
        (Reshaped, "other names, dtypes, shapes or order"),
        (Reordered, "other names, dtypes, shapes or order"),
        (Reconfigured, "other default parameters"),
    ],
)
def test_a_changed_name_dtype_order_or_default_differs_from_the_snapshot(tmp_path, cls, what):
    write_snapshots(subject_of(Toy).zoo, tmp_path)
    subject = subject_of(cls)
    (path,) = tmp_path.iterdir()
    path.rename(path_of(subject.zoo, tmp_path))
    with pytest.raises(ConformanceError, match=f"'toy' differs from its snapshot(?s:.*){what}"):
        compare(subject, tmp_path)


def test_what_a_snapshot_is_a_hash_of_can_be_shown():
    lines = show(subject_of(Toy)).splitlines()
    assert "size=32" in lines and "stem.weight: float32 (6, 3, 1, 1)" in lines


def test_snapshots_of_lost_architectures_are_removed_and_others_are_not(tmp_path):
    subject = subject_of(Toy)
    path = path_of(subject.zoo, tmp_path)
    path.write_text(json.dumps({"old": {"params": 1}}))
    (tmp_path / "elsewhere.json").write_text("{}")
    write_snapshots(subject.zoo, tmp_path, names=["toy"])
    assert set(json.loads(path.read_text())) == {"old", "toy"}
    with pytest.raises(ConformanceError, match="no longer has: old"):
        check_stale(subject.zoo, [subject], tmp_path)
    assert write_snapshots(subject.zoo, tmp_path) == ["old"]
    assert set(json.loads(path.read_text())) == {"toy"} and (tmp_path / "elsewhere.json").exists()


# -- as a user meets it ----------------------------------------------------------------------------------


def test_a_wrong_zoo_and_an_empty_one_are_errors_at_once(here):
    with pytest.raises(UnknownZooError, match="Did you mean: proteins"):
        conformance("protein")
    with pytest.raises(ConformanceError, match="no architectures"):
        conformance(_empty())


def _empty():
    registry = holotype.Registry()
    registry.register_model("x")(Toy)
    registry.register_model("x", replace=True)(Toy)
    zoo = registry.zoo(registry.list_zoos()[0].name)
    zoo.get_available_models = list
    return zoo


def test_known_failures_must_name_what_is_there():
    subject = subject_of(Toy)
    with pytest.raises(ConformanceError, match="'tay', which is not an architecture"):
        conformance(subject.zoo, known_failures={"tay": {"builds": "…"}})
    with pytest.raises(ConformanceError, match="'build', which is not a check"):
        conformance(subject.zoo, known_failures={"toy": {"build": "…"}})


MODEL = '''
"""Perceptrons. Source: our own work."""
import torch
from torch import nn
from holotype import register_model

@register_model("good", task="scoring")
class Good(nn.Module):
    """A perceptron.

    Source: our own work.
    """
    capabilities = {"compile"}

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(width, 1)

    def example_inputs(self, batch):
        return (torch.randn(batch, self.width),)

    def forward(self, x):
        return self.layer(x)

@register_model("bad", task="scoring")
class Bad(Good):
    """A perceptron with a part too many. Nobody says where it is from."""
    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.spare = nn.Linear(width, 1)
        self.table = float(self.spare.bias.max())
'''
TEST = """
from holotype.testing import conformance
TestConformance = conformance("src.model")
"""


def pytest_in(project, *arguments, environment=None):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", *arguments],
        cwd=project.root,
        env=project.environment(PYTHONPATH=str(holotype_root() / "src")),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_users_project_inherits_it_in_two_lines(project):
    project.write({"src/model/nets.py": MODEL, "src/model/__init__.py": "", "tests/test_zoo.py": TEST})
    done = subprocess.run(
        [sys.executable, "-m", "holotype.testing", "src.model", "tests/snapshots"],
        cwd=project.root,
        env=project.environment(PYTHONPATH=str(holotype_root() / "src")),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["2 changed", "bad", "good"]
    code, text = pytest_in(project)
    assert code == 1, text
    failed = {line.split(" - ")[0] for line in text.splitlines() if line.startswith("FAILED")}
    assert failed == {
        f"FAILED tests/test_zoo.py::TestConformance::test_{check}[bad]"
        for check in ("backwards", "builds_on_meta")
    }, text
    assert "2 of 4 parameters receive no gradient: 'spare.weight', 'spare.bias'" in text
    assert "PASSED tests/test_zoo.py::TestConformance::test_compiles[good]" in text

    known = {"bad": {"backwards": "kept for old weights", "builds_on_meta": "a table"}}
    project.write({"tests/test_zoo.py": TEST.replace(")\n", f", known_failures={known})\n")})
    path = project.root / "tests/snapshots/src.model.json"
    path.write_text(json.dumps({"bad": json.loads(path.read_text())["bad"]}))
    code, text = pytest_in(project, "-k", "backwards or snapshot")
    assert "XFAIL tests/test_zoo.py::TestConformance::test_backwards[bad] - kept for old weights" in text
    assert "'good' has no snapshot" in text
    assert "Write it: python -m holotype.testing src.model tests/snapshots good" in text


OTHER = """
from torch import nn
from holotype import register_model

@register_model("other", task="scoring")
class Other(nn.Module):
    pass
"""


def test_files_that_cannot_be_imported_fail_and_the_others_are_tested(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/nets.py": MODEL,
            "src/model/lost.py": "import a_package_that_is_not_there\n" + OTHER.replace("other", "lost"),
            "src/model/late.py": OTHER + "raise RuntimeError('not today')",
            "tests/test_zoo.py": TEST,
        }
    )
    code, text = pytest_in(project, "-k", "builds or zoo_can")
    assert code == 1, text
    assert "PASSED tests/test_zoo.py::TestConformance::test_builds[good]" in text
    assert "'other' cannot be tested" in text
    assert "not today" in text
    assert "lost.py:1: needs the package 'a_package_that_is_not_there'" in text
    failed = [
        line for line in text.splitlines() if line.startswith("FAILED") and "builds_on_meta" not in line
    ]
    assert len(failed) == 2, text


def test_importing_holotype_imports_no_pytest():
    code = (
        "import sys, holotype, holotype.testing; sys.exit('pytest' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_needs_a_package_that_is_missing_is_skipped_and_says_so(tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("")
    (tmp_path / "lab" / "needy.py").write_text(
        '"""Source: our own work."""\n'
        "from torch import nn\nfrom holotype import register_model\n"
        "from holotype.errors import MissingExtraError\n\n\n"
        "@register_model('needy', task='image_classification')\n"
        "class Needy(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        raise MissingExtraError('it needs a package.', hint='pip install package')\n"
    )
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "lab.json").write_text('{"needy": {"params": 0}}')
    (tmp_path / "test_lab.py").write_text(
        "from holotype.testing import conformance\n\nTestLab = conformance('lab')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_lab.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "it needs a package." in done.stdout and "pip install package" in done.stdout
    assert " skipped" in done.stdout and "failed" not in done.stdout
