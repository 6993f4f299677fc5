"""A training on pairs of proteins: audit and embeddings before it, calibration and a report after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import holotype
from holotype.errors import ConfigError, DataError
from holotype.proteins.data.audit import Audit, audit_splits
from holotype.proteins.data.datasets import Dataset, load_dataset
from holotype.proteins.data.embedding_writer import hash_sequence
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.training.batches import PairBatches, PairReader, PairsToScore
from holotype.proteins.training.objectives import PairObjective, balancing_weight
from holotype.proteins.training.recipe import ProteinRecipe, architecture_of
from holotype.training.folder import write_json
from holotype.training.job import Amount, Job, Tell, Tested, Work

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch import nn

    from holotype.proteins.data.embeddings import Embeddings


class ProteinJob(Job[ProteinRecipe]):
    """A training on pairs of proteins; see `Job`."""

    dataset: Dataset
    embeddings: Embeddings
    audit: Audit

    def prepare(self, device: Any, say: Tell, progress: Amount | None) -> None:
        """Data, audit and embeddings."""
        recipe = self.recipe
        given = {key: value for key, value in recipe.to_dict()["data"].items() if value is not None}
        say(f"data: {given.get('name') or given.get('train') or given.get('pairs')}")
        self.dataset = dataset = load_dataset(given["name"] if set(given) == {"name"} else given)
        missing = [part for part in ("train", "val") if part not in dataset.splits]
        if missing:
            raise DataError(
                f"{dataset.name} has no {' and no '.join(missing)} pairs; "
                f"it has {', '.join(dataset.splits)}.",
                given=dataset.name,
                hint="Divide it in the recipe: data.split={protocol: c3, seed: 1}",
            )
        labels = np.asarray(dataset.splits["val"].labels)
        if recipe.trainer.monitor != "val_loss" and (labels == labels[0]).all():
            raise DataError(
                f"the validation pairs of {dataset.name} are all of one label, so "
                f"{recipe.trainer.monitor} cannot choose the best epoch.",
                given=dataset.name,
                hint="Give pairs of both labels, or trainer.monitor=val_loss",
            )
        for note in dataset.notes:
            say(f"  {note}")
        say("audit of the split")
        self.audit = audit_splits(dataset.splits, dataset.sequences, protocol=dataset.protocol)
        self.audit.raise_if_leaking()
        self.embeddings = _embeddings(recipe, dataset, say, device, progress)

    def begin(self, folder: Path) -> None:
        """The audit."""
        write_json(folder / "audit.json", self.audit.to_dict())

    def network(self) -> nn.Module:
        """As wide as the embeddings."""
        params = {**self.recipe.model.params, "input_dim": self.embeddings.dim}
        return holotype.create_model(self.recipe.model.name, **params)

    def binding(self) -> Mapping[str, Any]:
        """The pairs and the embeddings."""
        return {"data": dict(self.dataset.digests), "encoder": _plain(self.embeddings.record)}

    def work(self, net: nn.Module, fabric: Fabric, say: Tell) -> Work:
        """Batches of pairs and their objective."""
        recipe, splits = self.recipe, self.dataset.splits
        pairwise = not getattr(net, "encodes_alone", False)
        readers = {
            part: PairReader(self.embeddings, splits[part], pairwise=pairwise, device=fabric.device)
            for part in ("train", "val")
        }
        # A network that knows the scale of its features takes it from all training proteins, each once.
        fit_features = getattr(net, "fit_features", None)
        if fit_features is not None:
            fit_features((emb.cpu(), lengths.cpu()) for emb, lengths in readers["train"].proteins())
        world = {"rank": fabric.global_rank, "world_size": fabric.world_size}
        training = PairBatches(
            readers["train"],
            pairs=recipe.batch.pairs,
            residues=recipe.batch.residues,
            sharing=recipe.batch.sharing,
            accumulate=recipe.trainer.accumulate,
            seed=recipe.seed,
            **world,
        )
        weight = recipe.loss.positive_weight
        labels = np.asarray(splits["train"].labels)
        objective = PairObjective(
            positive_weight=balancing_weight(labels) if isinstance(weight, str) else weight,
            label_smoothing=recipe.loss.label_smoothing,
        )
        say(f"training on {len(readers['train']):,} pairs, {training.steps_in(0):,} steps an epoch")
        return Work(
            objective, training, PairsToScore(readers["val"], residues=recipe.batch.residues, **world)
        )

    def sources(self) -> Mapping[str, Any]:
        """The records of the encoders."""
        return {"encoder": _plain(self.embeddings.record)}

    def save(self, net: nn.Module, folder: Path, record: Mapping[str, Any]) -> None:
        """The network, with the records of the encoders, from which `holotype predict` embeds."""
        super().save(net, folder, {**self.sources(), **record})

    def test(self, net: nn.Module, fabric: Fabric, folder: Path, say: Tell) -> Tested | None:
        """The temperature, fitted on the validation pairs, and the figures on the test pairs."""
        from holotype.proteins.evaluation.calibration import fit_temperature

        dataset, embeddings = self.dataset, self.embeddings
        say("calibration on the validation pairs")
        scores = _Scores(net, embeddings, str(fabric.device), self.recipe.batch.residues)
        val_logits = scores(dataset.splits["val"])
        temperature = fit_temperature(val_logits, np.asarray(dataset.splits["val"].labels))
        _write_predictions(folder / "predictions_val.tsv", dataset, "val", val_logits, temperature)
        figures: dict[str, float] = {}
        about = dict(self.sources())
        if "test" in dataset.splits:
            say("the test pairs")
            logits = scores(dataset.splits["test"])
            figures, subset = _measure(self.recipe, dataset, embeddings, logits, temperature, folder)
            # Which pairs the figures are of: the headline is C3, and all of them where these are too few.
            about["test_pairs"] = subset
        return Tested(
            figures=figures,
            about_figures={name: {"pairs": about["test_pairs"]} for name in figures},
            saved={"calibration": {"temperature": temperature}},
            about=about,
            temperature=temperature,
        )


# -- before --------------------------------------------------------------------------------------


def _embeddings(
    recipe: ProteinRecipe, dataset: Dataset, say: Tell, device: Any, progress: Amount | None
) -> Embeddings:
    files = [part.file for part in recipe.encoder if part.file is not None]
    if files:
        from holotype.proteins.data.embeddings import open_embeddings

        say(f"embeddings: {', '.join(files)}")
        opened = open_embeddings(files[0] if len(files) == 1 else files)
        _check_width(recipe, opened.dim)
        _check_proteins(opened, dataset)
        return opened
    _check_width(recipe, _width(recipe))
    from holotype.proteins.prediction.embedding import EncoderSpec, embeddings_for

    specs = [EncoderSpec.parse(part) for part in recipe.to_dict()["encoder"]]
    say(f"embeddings: {', '.join(str(part.name) for part in recipe.encoder)}")
    used = {name for table in dataset.splits.values() for name in table.compact().proteins}
    sequences = {name: text for name, text in dataset.sequences.items() if name in used}
    return embeddings_for(sequences, specs, progress=progress, device=device)


def _width(recipe: ProteinRecipe) -> int:
    """The width of what the encoders will give; they are built without weights to ask them."""
    import torch

    total = 0
    for part in recipe.encoder:
        with torch.device("meta"):
            encoder: Any = holotype.create_model(architecture_of(str(part.name)))
        total += encoder.embedding_dim * len(part.pooling.split("+"))
    return total


def _check_width(recipe: ProteinRecipe, width: int) -> None:
    given = recipe.model.params.get("input_dim")
    if given not in (None, width):
        raise ConfigError(
            f"model.params.input_dim is {given}, and the embeddings are {width} wide.",
            given=given,
            hint="Leave input_dim out: it is filled in.",
        )


def _check_proteins(embeddings: Embeddings, dataset: Dataset) -> None:
    """Refuse embeddings of other proteins, or of other sequences, than this dataset has."""
    used = {name for table in dataset.splits.values() for name in table.compact().proteins}
    missing = [name for name in used if name not in embeddings]
    other = [
        name
        for name in used.difference(missing)
        if embeddings.sequence_sha256(name) != hash_sequence(dataset.sequences[name]).hex()
    ]
    for names, what in ((missing, "have no embedding"), (other, "were embedded with another sequence")):
        if names:
            raise DataError(
                f"{len(names)} of {len(used)} proteins {what}: {', '.join(sorted(names)[:5])}"
                f"{', …' if len(names) > 5 else ''}.",
                given=sorted(names)[0],
                hint="Make the embeddings from the sequences of this dataset: holotype embed",
            )


# -- after ---------------------------------------------------------------------------------------


class _Scores:
    """Logits of a split's pairs."""

    def __init__(self, net: nn.Module, embeddings: Embeddings, device: str, residues: int | None) -> None:
        self._of = net, embeddings
        self._how: dict[str, Any] = {"device": device}
        if residues is not None:
            self._how["residues_per_batch"] = residues

    def __call__(self, pairs: PairTable) -> np.ndarray:
        from holotype.proteins.prediction.scoring import score_pairs

        return score_pairs(*self._of, pairs, **self._how)


def _write_predictions(
    path: Path, dataset: Dataset, part: str, logits: np.ndarray, temperature: float
) -> None:
    from holotype.proteins.data.splits import pair_classes
    from holotype.proteins.evaluation.calibration import apply_temperature
    from holotype.proteins.evaluation.predictions import write_predictions

    pairs = dataset.splits[part]
    classes = pair_classes(dataset.splits["train"], pairs)
    scores = apply_temperature(logits, temperature)
    write_predictions(path, pairs, scores, logits=logits, classes=classes)


def _measure(
    recipe: ProteinRecipe,
    dataset: Dataset,
    embeddings: Embeddings,
    logits: np.ndarray,
    temperature: float,
    folder: Path,
) -> tuple[dict[str, float], str]:
    """Predictions, evaluation and report of the test pairs; the figures, and of which pairs they are."""
    from holotype.proteins.data.splits import pair_classes
    from holotype.proteins.evaluation.baselines import baseline_scores
    from holotype.proteins.evaluation.calibration import apply_temperature
    from holotype.proteins.evaluation.evaluate import evaluate_predictions
    from holotype.proteins.evaluation.report import write_report

    training, pairs = dataset.splits["train"], dataset.splits["test"]
    _write_predictions(folder / "predictions_test.tsv", dataset, "test", logits, temperature)
    evaluation = evaluate_predictions(
        np.asarray(pairs.labels),
        apply_temperature(logits, temperature),
        classes=pair_classes(training, pairs),
        baselines=baseline_scores(training, pairs, dataset.sequences, embeddings),
        logits=logits,
        temperature=temperature,
        title=f"{recipe.model.name} on {dataset.name}, test pairs",
        about={"data": dataset.name, "split": "test", "recipe_sha256": recipe.digest(), "seed": recipe.seed},
        notes=dataset.notes,
    )
    write_report(evaluation, folder, overwrite=True)
    figures = {name: value for name, value in evaluation.metrics.items() if np.isfinite(value)}
    return figures, evaluation.headline.name


def _plain(record: Any) -> Any:
    """A record, or several, as plain data."""
    if isinstance(record, Mapping):
        return {key: _plain(value) for key, value in record.items()}
    return [_plain(one) for one in record] if isinstance(record, (list, tuple)) else record
