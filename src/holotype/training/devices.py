"""The devices, processes and precision of a training, as Lightning Fabric provides them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from holotype.errors import TrainingError
from holotype.extras import missing_extra
from holotype.training.recipe_parts import TrainerPart

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def make_fabric(trainer: TrainerPart) -> Fabric:
    """Lightning's view of this machine, and of the processes that torchrun or Slurm have started; launched.

    Raises:
        TrainingError: the accelerator does not exist, or has fewer devices.
        MissingExtraError: Lightning is not installed.
    """
    try:
        from lightning.fabric import Fabric  # seconds of CPU, so only for a training that begins
    except ModuleNotFoundError as error:
        raise missing_extra(error, "training") or error from error
    devices, num_nodes, strategy = _world(trainer, os.environ)
    with _quiet():
        try:
            fabric = Fabric(
                accelerator=trainer.accelerator,
                devices=devices,
                num_nodes=num_nodes,
                strategy=strategy,
                precision=trainer.precision,
            )
            fabric.launch()
            return fabric
        except Exception as error:
            # Lightning raises errors of its own, which derive from nothing more telling.
            raise TrainingError(
                f"the trainer cannot be set up: {' '.join(str(error).split())}",
                hint="See trainer.accelerator, devices, num_nodes, strategy and precision in the recipe.",
            ) from error


def _world(trainer: TrainerPart, environment: Mapping[str, str]) -> tuple[int | str, int, str]:
    """Devices, machines and strategy; processes that torchrun or Slurm started are used."""
    devices, num_nodes = trainer.devices, trainer.num_nodes
    if "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        devices, num_nodes = local, int(environment["WORLD_SIZE"]) // local
    elif (
        int(environment.get("SLURM_NTASKS", 1)) > 1 and environment.get("SLURM_NTASKS_PER_NODE", "").isdigit()
    ):
        devices = int(environment["SLURM_NTASKS_PER_NODE"])
        num_nodes = int(environment["SLURM_NTASKS"]) // devices
    several = num_nodes > 1 or (isinstance(devices, int) and devices > 1)
    return devices, num_nodes, "ddp" if several else trainer.strategy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the messages of Lightning on devices and processes."""
    loggers = [logging.getLogger(f"lightning.{package}") for package in ("fabric", "pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
