"""A training on images: classify them, detect objects, or learn an encoder without labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import holotype
from holotype.entry_points import resolve
from holotype.errors import ConfigError, DataError, HolotypeError
from holotype.training.folder import ENCODER, folder_of, replace_file
from holotype.training.job import Amount, Job, Tell, Tested, Work
from holotype.training.loop import Stepper, own_outcomes
from holotype.training.randomness import seed_all
from holotype.vision.data.augmentation.augment import Augmentation, make_augmentation
from holotype.vision.data.augmentation.presets import PRESETS
from holotype.vision.data.load import ImageDataset, load_image_dataset
from holotype.vision.evaluation.probe import wilson_interval
from holotype.vision.tasks import TASKS
from holotype.vision.training.batches import ImageBatches, ImageReader, ImagesToMeasure, fewest_at_once
from holotype.vision.training.initial import (
    HEADS,
    Initial,
    as_params,
    fill,
    load_initial,
    other_architecture,
    statistics_of_entry,
)
from holotype.vision.training.objectives import ImageObjective
from holotype.vision.training.recipe import ImageRecipe, whole_batch_problem
from holotype.vision.training.unreadable import content_of, note_unreadable, read_unreadable
from holotype.weights.empty import build_empty

if TYPE_CHECKING:
    from lightning.fabric import Fabric

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
# The preset whose views are those that a network takes.
_VIEWS = {"two": "simclr", "multi_crop": "dino", "one": "ijepa"}


class ImageJob(Job[ImageRecipe]):
    """A training on images; see `Job`."""

    dataset: ImageDataset
    initial: Initial | None
    params: dict[str, Any]
    _objective: ImageObjective

    def __init__(self, recipe: ImageRecipe) -> None:
        super().__init__(recipe)
        self.facts = TASKS[recipe.task]
        self._make_objective: type[ImageObjective] = resolve(self.facts.objective)

    # -- before --

    def prepare(self, device: Any, say: Tell, progress: Amount | None) -> None:
        """The data, the weights to begin with, and a network without weights to see whether all fits."""
        recipe = self.recipe
        say(f"data: {recipe.data_name}")
        self.dataset = dataset = load_image_dataset(recipe.data_spec, progress=False)
        for note in dataset.notes:
            say(f"  {note}")
        self._check_data()
        self.initial = None
        if recipe.from_pretrained is not None:
            say(f"weights to begin with: {recipe.from_pretrained}")
            self.initial = load_initial(recipe.from_pretrained, architecture=self._architecture())
        self.params = self._params()
        net = build_empty(lambda: holotype.create_model(recipe.model.name, **self.params))
        self._check_batches(net, 1)
        augment = self._augmentation(net)  # a missing extra is reported now
        if augment.kind == "views":
            _check_views(net, augment)
        if self.initial is not None:
            self.network()  # and what does not fit
        self._make_objective.check_extras()

    def _check_data(self) -> None:
        dataset = self.dataset
        missing = [part for part in ("train", "val") if not len(dataset.splits.get(part, ()))]
        if missing:
            raise DataError(
                f"{dataset.name} has no {' and no '.join(missing)} images; "
                f"it has {', '.join(dataset.splits) or 'none'}.",
                given=dataset.name,
                hint="Divide it in the recipe: data={images: FOLDER, split: {fractions: [0.8, 0.1, 0.1]}}",
            )
        wanted = self.facts.labelled
        for part, table in dataset.splits.items():
            if wanted is not None and len(table) and table.kind != wanted:
                raise DataError(
                    f"{self.recipe.model.name} learns from {wanted}, and the {part} images of {dataset.name} "
                    f"{'are' if table.kind == 'unlabelled' else 'have'} {table.kind}.",
                    given=dataset.name,
                )

        for part, table in dataset.splits.items() if wanted == "boxes" else ():
            needed = part == "train" or (part == "val" and self.recipe.trainer.monitor == "val_map")
            if needed and not any(len(one.labels) for one in table.boxes or ()):
                raise DataError(
                    f"none of the {len(table):,} {part} images of {dataset.name} has a box.",
                    given=dataset.name,
                )
        if self.recipe.trainer.monitor == "val_knn_accuracy" and dataset.splits["val"].kind != "classes":
            raise DataError(
                f"val_knn_accuracy needs classes, and the validation images of {dataset.name} have none.",
                given=dataset.name,
                hint="trainer.monitor=last",
            )

    def _check_batches(self, net: nn.Module, processes: int) -> None:
        """Refuse portions of a batch that is one whole, and batches that leave too few images to compare."""
        batch, least = self.recipe.batch, int(getattr(net, "least_images", 1))
        if batch.portion is not None and getattr(net, "needs_whole_batch", False):
            raise ConfigError(whole_batch_problem(self.recipe.model.name), given=batch.portion)
        fewest = fewest_at_once(
            len(self.dataset.splits["train"]), batch.images, batch.portion, self.recipe.trainer.accumulate
        )
        if least > 1 and fewest // processes < least:
            each = f" in each of {processes} processes" if processes > 1 else ""
            raise ConfigError(
                f"{self.recipe.model.name} compares the images of a batch: at least {least} at once{each}, "
                f"and some come by {fewest}.",
                given=fewest,
                hint="Raise batch.images or batch.portion, or choose them so that less is left over.",
            )

    def _architecture(self) -> str | None:
        """What the weights to begin with are to be of, as far as the recipe says."""
        part = self.facts.part
        named = self.recipe.model.name if part is None else self.recipe.model.params.get(part)
        return named if isinstance(named, str) else None

    def _params(self) -> dict[str, Any]:
        """The model's parameters: those of the recipe, then of the initial weights, then of the data."""
        params, part = dict(self.recipe.model.params), self.facts.part
        if self.initial is not None:
            if part is None:
                self._check_architecture(self.initial)
                params = {**as_params(self.initial, ("num_classes", "in_channels")), **params}
            elif part not in params or self._is_of(self.initial, params[part]):
                own = as_params(self.initial, ("num_classes", "in_channels", "size"))
                own |= params.get(f"{part}_params") or {}
                params = {**params, part: self.initial.architecture, f"{part}_params": own}
        if self.facts.labelled is not None:
            count = len(self.dataset.classes)
            if params.get("num_classes", count) != count:
                raise ConfigError(
                    f"model.params.num_classes is {params['num_classes']}, and {self.dataset.name} has "
                    f"{count} classes.",
                    given=params["num_classes"],
                    hint="Leave num_classes out: it is filled in.",
                )
            params["num_classes"] = count
        return params

    @staticmethod
    def _is_of(initial: Initial, name: object) -> bool:
        """Is it the architecture of that name?"""
        from holotype.catalog.registry import default_registry as registry

        known = isinstance(name, str) and registry.exists(name)
        return known and registry.get_model_info(str(name)).qualified_name == initial.architecture

    def _check_architecture(self, initial: Initial) -> None:
        from holotype.catalog.registry import default_registry as registry

        own = registry.get_model_info(self.recipe.model.name).qualified_name
        if own != initial.architecture:
            raise other_architecture(initial, own)

    def network(self) -> nn.Module:
        """With as many classes as the data have, and the weights to begin with."""
        net = holotype.create_model(self.recipe.model.name, **self.params).train()
        if self.initial is not None:
            self._fill(net)
        if self.recipe.freeze is not None:
            for module in self._frozen(net):
                module.requires_grad_(False)
            if self.facts.part is None:
                for name, parameter in net.named_parameters():
                    parameter.requires_grad_(name.partition(".")[0] in HEADS)
        return net

    def _fill(self, net: Any) -> None:
        initial, part = self.initial, self.facts.part
        if initial is None:
            return
        if part is None:
            fill(net, initial, head=bool(initial.classes) and initial.classes == self.dataset.classes)
            return
        fill(getattr(net, part), initial)
        if hasattr(net, "reset_teacher"):
            net.reset_teacher()

    def _frozen(self, net: nn.Module) -> list[nn.Module]:
        """The modules that keep their weights."""
        if self.recipe.freeze is None:
            return []
        if self.facts.part is not None:
            return [net.get_submodule(self.facts.part)]
        heads = [name for name, _ in net.named_children() if name in HEADS]
        if not heads:
            raise ConfigError(
                f"freeze: {self.recipe.model.name} has no classifier that could learn alone.", given="freeze"
            )
        return [module for name, module in net.named_children() if name not in HEADS]

    def binding(self) -> Mapping[str, Any]:
        """The images, and the weights to begin with."""
        parent = None if self.initial is None else self.initial.record["sha256"]
        # What could not be read has taught nothing yet: it may be mended.
        before = read_unreadable(folder_of(self.recipe))
        data = {part: content_of(table, before.get(part, {})) for part, table in self.dataset.splits.items()}
        return {"data": data, "parent": parent}

    # -- during --

    def work(self, net: nn.Module, fabric: Fabric, say: Tell) -> Work:
        """Batches of images and their objective."""
        recipe, size = self.recipe, self._size(net)
        augment = self._augmentation(net)
        self._readers = {}
        for part, table in self.dataset.splits.items():
            # Crops are cut from images that are somewhat larger.
            larger = part == "train" or augment.kind == "views"
            self._readers[part] = ImageReader(
                table,
                augment.read_size if larger else size,
                mode=self.facts.frame,
                exact=not larger,
                device=fabric.device,
                unreadable=partial(note_unreadable, folder_of(recipe), part, table),
            )
        self._check_batches(net, fabric.world_size)
        world = {"rank": fabric.global_rank, "world_size": fabric.world_size}
        training = ImageBatches(
            self._readers["train"],
            images=recipe.batch.images,
            portion=recipe.batch.portion,
            accumulate=recipe.trainer.accumulate,
            seed=recipe.seed,
            **world,
        )
        validation = ImagesToMeasure(self._readers["val"], images=self._at_once, **world)
        mean, std = self.statistics
        self._objective = self._make_objective(
            mean=mean,
            std=std,
            augment=augment,
            frozen=self._frozen(net),
            size=size,
            num_classes=len(self.dataset.classes),
            labelled=self._readers["val"].labelled,
            label_smoothing=recipe.loss.label_smoothing,
        )
        steps = training.steps_in(0)
        say(f"training on {len(self._readers['train']):,} images, {steps:,} steps an epoch")
        return Work(self._objective, training, validation)

    @property
    def _at_once(self) -> int:
        return self.recipe.batch.portion or self.recipe.batch.images

    def _size(self, net: nn.Module) -> tuple[int, int]:
        size: Any = getattr(net, "size", None)
        if size is None:
            raise ConfigError(f"{self.recipe.model.name} does not say the size of its images.", given="size")
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    @property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and std of pixels: those of the recipe, else of the initial weights, else ImageNet's."""
        stated = self.recipe.preprocessing
        if stated is not None:
            return stated.mean, stated.std
        if self.initial is not None:
            return self.initial.statistics or IMAGENET
        part = self.facts.part
        return statistics_of_entry(self.params.get(part) if part is not None else None) or IMAGENET

    def _augmentation(self, net: Any) -> Augmentation:
        """What the recipe names; for views, fitted to what the network takes."""
        kind, size = self.facts.augmented, self._size(net)
        if kind != "views":
            preset = self.recipe.augmentation or {"name": "none"}
            return make_augmentation(preset, size, kind=kind, num_classes=max(1, len(self.dataset.classes)))
        made = dict(self.recipe.augmentation or {"name": _VIEWS[net.views]})
        options = PRESETS[made["name"], kind].options
        fitting = {"views": 1 if net.views == "one" else 2}
        if net.views == "multi_crop":
            fitting["local_size"] = min(net.local_size)
        return make_augmentation(
            {**{key: value for key, value in fitting.items() if key in options}, **made}, size, kind=kind
        )

    # -- after --

    def sources(self) -> Mapping[str, Any]:
        """The weights that the training began with."""
        return {} if self.initial is None else {"parent": dict(self.initial.record)}

    def save(self, net: nn.Module, folder: Path, record: Mapping[str, Any]) -> None:
        """The network; and the encoder alone, if it was trained without labels."""
        mean, std = self.statistics
        preprocessing = {
            "size": list(self._size(net)),
            "mean": mean,
            "std": std,
            "crop_fraction": 1.0,
            "interpolation": "bilinear",
        }
        if self.facts.labelled is None:
            holotype.save_pretrained(
                self.facts.encoder_in(net),
                folder / ENCODER,
                preprocessing=preprocessing,
                overwrite=True,
                **record,
            )
        classes = {} if self.facts.labelled is None else {"classes": self.dataset.classes}
        super().save(net, folder, {"preprocessing": preprocessing, **classes, **record})

    def test(self, net: nn.Module, fabric: Fabric, folder: Path, say: Tell) -> Tested | None:
        """The figures on the test images; of classes with an interval, and a file of predictions."""
        if not len(self.dataset.splits.get("test", ())):
            return None
        say("the test images")
        loss, outputs, targets = self._outcomes(net, fabric)
        figures = {"loss": loss, **self._objective.measure(outputs, targets)}
        about: dict[str, Any] = {"test_images": len(targets)}
        about_figures: dict[str, Any] = {}
        if self.facts.classifies:
            correct = round(figures["accuracy"] * len(targets))
            interval = list(wilson_interval(correct, len(targets)))
            about["test_intervals"] = {"accuracy": interval}
            about_figures["accuracy"] = {"interval": interval}
            self._write_predictions(folder / "predictions_test.csv", outputs, targets)
        return Tested(figures=figures, about_figures=about_figures, about=about)

    def _outcomes(self, net: nn.Module, fabric: Fabric) -> tuple[float, Tensor, Tensor]:
        seed_all(self.recipe.seed, "test")
        batches = ImagesToMeasure(self._readers["test"], images=self._at_once)
        loss, outputs, targets = own_outcomes(Stepper(net, self._objective), batches, fabric)
        return loss / len(targets), outputs, targets

    def _write_predictions(self, path: Path, outputs: Tensor, targets: Tensor) -> None:
        classes = self.dataset.classes
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["image", "class", "predicted", "probability"])
        probabilities, found = outputs.softmax(1).max(1)
        names = self.dataset.splits["test"].names
        for name, label, one, probability in zip(
            names, targets.tolist(), found.tolist(), probabilities.tolist(), strict=True
        ):
            rows.writerow([name, classes[int(label)], classes[one], f"{probability:.6f}"])
        replace_file(path, text.getvalue().encode())


def _check_views(net: Any, augment: Augmentation) -> None:
    """Refuse views that the network does not take."""
    many = int(net.least_images)
    views = [torch.empty(many, 3, *size, device="meta") for size in augment.view_sizes]
    try:
        net.check_views(views)
    except HolotypeError as error:
        raise ConfigError(
            f"augmentation {augment.name!r} does not fit the model: {error}",
            given=augment.name,
            hint="Leave augmentation out: the model's own views are made.",
        ) from error
