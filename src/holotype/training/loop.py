"""The training loop: one for every objective, on Lightning Fabric's devices, precisions and strategies.

Fabric handles what differs between machines: GPUs, mixed precision, processes, clusters. The loop itself is
here, so that a run can continue exactly: a step depends only on the state in a checkpoint and on the numbers
(seed, epoch, step, process). Each step seeds its randomness from these numbers, so a checkpoint needs no
state of a random generator.
"""

from __future__ import annotations

import io
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from holotype.errors import TrainingError
from holotype.training.folder import replace_file
from holotype.training.logs import Logs
from holotype.training.objective import Objective, Outcome
from holotype.training.optimizers import LearningRate, make_optimizer
from holotype.training.randomness import own_randomness, seed_all
from holotype.training.recipe_parts import OptimizerPart, SchedulerPart, TrainerPart
from holotype.training.steps import TrainingBatches, read_ahead

if TYPE_CHECKING:
    from lightning.fabric import Fabric

LAST, BEST = "last.ckpt", "best.ckpt"
_LAYOUT = 1  # of a checkpoint


class Progress(NamedTuple):
    """The progress of a training.

    Attributes:
        epoch: counted from 1.
        epochs: the greatest number of epochs.
        step: steps done in this epoch.
        steps: steps of this epoch.
        loss: mean training loss of this epoch so far.
        metrics: figures on the validation examples, at the end of an epoch; empty within one.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Fitted:
    """The end of a training. The network holds the weights of the best epoch.

    Attributes:
        epochs: epochs that were run.
        steps: steps of the optimizer.
        best_epoch: counted from 1.
        best: figures on the validation examples in the best epoch.
        stopped_early: whether patience ended it.
        elapsed_s: over all continuations.
    """

    epochs: int
    steps: int
    best_epoch: int
    best: Mapping[str, float]
    stopped_early: bool
    elapsed_s: float


@dataclass
class _State:
    """What a checkpoint holds beside the tensors: plain numbers, so that no pickle is needed to read it."""

    epoch: int = 0
    step: int = 0  # in this epoch
    total_steps: int = 0
    loss_sum: float = 0.0  # of this epoch
    examples: int = 0
    window_sum: float = 0.0  # since the loss was last logged
    window_examples: int = 0
    best_epoch: int = -1
    bad_epochs: int = 0
    elapsed_s: float = 0.0
    finished: bool = False
    stopped_early: bool = False


# -- interruption --------------------------------------------------------------------------------


class _Interruption:
    """Ctrl-C and SIGTERM end the training after the current step; a second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


# -- the loop ------------------------------------------------------------------------------------


class Stepper(nn.Module):
    """The network inside its objective, so that strategies wrap one `forward`."""

    def __init__(self, net: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.net = net
        self._objective = objective

    def forward(self, batch: Any) -> Outcome:
        """The outcome of a batch."""
        return self._objective(self.net, batch)


def fit(
    net: nn.Module,
    objective: Objective,
    training: TrainingBatches,
    validation: Iterable[Any],
    *,
    fabric: Fabric,
    trainer: TrainerPart,
    optimizer: OptimizerPart,
    scheduler: SchedulerPart,
    seed: int,
    folder: Path,
    binding: str = "",
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Train a network, and leave it with the weights of its best epoch.

    Args:
        net: the network, trained in place.
        objective: the loss and the metrics.
        training: gives the steps of each epoch, for this process.
        validation: batches that are measured after each epoch, for this process.
        fabric: from `make_fabric`.
        trainer: the options of the loop.
        optimizer: its parameters.
        scheduler: how the learning rate changes.
        seed: of all random numbers.
        folder: where ``checkpoints/``, ``metrics.csv`` and ``tensorboard/`` go.
        binding: a digest of the recipe; a checkpoint with another one is not continued.
        resume: continue from ``checkpoints/last.ckpt`` if it exists.
        progress: called after each step and each epoch.

    Raises:
        TrainingError: the loss is not a number; or the checkpoint is of another training.
        KeyboardInterrupt: asked to stop; the checkpoint is that of the last step.
    """
    loop = _Loop(net, objective, fabric, trainer, optimizer, scheduler, seed, folder, binding)
    with own_randomness(), _Interruption() as interruption:
        if resume:
            loop.restore()
        if fabric.is_global_zero:
            loop.open_logs()
        try:
            loop.run(training, validation, interruption, progress)
        finally:
            loop.close()
        return loop.fitted()


class _Loop:
    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        fabric: Fabric,
        trainer: TrainerPart,
        optimizer: OptimizerPart,
        scheduler: SchedulerPart,
        seed: int,
        folder: Path,
        binding: str,
    ) -> None:
        self.net, self.objective, self.fabric, self.trainer = net, objective, fabric, trainer
        self.seed, self.binding = seed, binding
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        key = trainer.monitor.removeprefix("val_")
        self.monitor = trainer.monitor if key in (*objective.directions, "last") else "val_loss"
        self.sign = -1 if objective.directions.get(self.monitor.removeprefix("val_")) == "min" else 1
        self.rate = LearningRate(scheduler, optimizer.lr)
        self.stepper = Stepper(net, objective)
        self.model = fabric.setup_module(self.stepper)
        self.plain_optimizer = make_optimizer(net, optimizer)
        self.optimizer: Any = fabric.setup_optimizers(self.plain_optimizer)
        self.state = _State()
        self.best: dict[str, float] = {}
        self.logs: Logs | None = None
        self._since = self._saved = time.monotonic()

    # -- checkpoints --

    def restore(self) -> None:
        """Restore the state of the last checkpoint."""
        path = self.checkpoints / LAST
        if not path.exists():
            return
        saved = read_checkpoint(path)
        if saved.get("layout") != _LAYOUT or saved["binding"] != self.binding:
            raise TrainingError(
                f"{path} belongs to another training: its recipe, data or layout differ.",
                given=str(path),
                hint="Continue with its own recipe, or start in another folder: -o FOLDER",
            )
        self.net.load_state_dict(saved["net"])
        self.plain_optimizer.load_state_dict(saved["optimizer"])
        self.rate.restore(saved["rate"])
        self.fabric.strategy.precision.load_state_dict(saved["precision"])
        self.state = _State(**saved["state"])
        self.best = dict(saved["best"])

    def save(self) -> None:
        """Write the last checkpoint, on the first process."""
        self._saved = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        self.state.elapsed_s += self._saved - self._since
        self._since = self._saved
        _write_checkpoint(
            self.checkpoints / LAST,
            {
                "layout": _LAYOUT,
                "binding": self.binding,
                "net": self.net.state_dict(),
                "optimizer": self.plain_optimizer.state_dict(),
                "rate": self.rate.state(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "state": vars(self.state),
                "best": self.best,
            },
        )

    def open_logs(self) -> None:
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        figures = [f"val_{key}" for key in self.objective.directions]
        self.logs = Logs(
            self.folder, figures, after_step=self.state.total_steps, tensorboard=self.trainer.tensorboard
        )

    def close(self) -> None:
        if self.logs is not None:
            self.logs.close()

    # -- running --

    def run(
        self,
        training: TrainingBatches,
        validation: Iterable[Any],
        interruption: _Interruption,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        state = self.state
        while not state.finished:
            steps = training.steps_in(state.epoch)
            source = training.steps(state.epoch, state.step)
            if self.fabric.device.type == "cuda":
                source = read_ahead(source)
            self.model.train()
            for step in source:
                self._step(step, steps)
                if progress is not None:
                    progress(self._progress(steps, {}))
                if self._agreed(interruption.asked):
                    self.save()
                    raise KeyboardInterrupt
                if self._is_due():
                    self.save()
            metrics = self._validate(validation)
            if progress is not None:
                progress(self._progress(steps, metrics))
            self._end_epoch(metrics)
            self.save()
            if self._agreed(interruption.asked) and not state.finished:
                raise KeyboardInterrupt

    def _step(self, step: Any, steps: int) -> None:
        state = self.state
        seed_all(self.seed, state.total_steps, self.fabric.global_rank)
        rate = self.rate.at((state.epoch + state.step / steps) / self.trainer.max_epochs)
        for group in self.plain_optimizer.param_groups:
            group["lr"] = rate
        # Processes average their gradients; what is wanted is the sum over all examples by their number.
        scale = self.fabric.world_size / step.total
        self._call_network("before_step", state.step / steps)
        loss = torch.zeros((), dtype=torch.float64)
        last = len(step.portions) - 1
        for number, portion in enumerate(step.portions):
            with self.fabric.no_backward_sync(self.model, enabled=number < last):
                outcome = self.model(portion)
                self.fabric.backward(outcome.loss * scale)
            loss += outcome.loss.detach().double().cpu()
        if self.fabric.world_size > 1:
            loss = self._sum(loss)
        if not math.isfinite(float(loss)):
            raise self._no_number(float(loss))
        if self.trainer.gradient_clip is not None:
            self.fabric.clip_gradients(
                self.model, self.optimizer, max_norm=self.trainer.gradient_clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        self._call_network("after_step", state.step / steps)
        state.total_steps += 1
        state.loss_sum += float(loss)
        state.examples += step.total
        state.window_sum += float(loss)
        state.window_examples += step.total
        if state.total_steps % self.trainer.log_steps == 0:
            self._log({"loss": state.window_sum / state.window_examples, "learning_rate": rate})
            state.window_sum, state.window_examples = 0.0, 0

    def _call_network(self, hook: str, of_epoch: float) -> None:
        """Call a hook of the network, such as one that moves a teacher, with the share of training done."""
        found = getattr(self.net, hook, None)
        if found is not None:
            found((self.state.epoch + of_epoch) / self.trainer.max_epochs)

    def _validate(self, validation: Iterable[Any]) -> dict[str, float]:
        """Figures over the validation examples of all processes."""
        seed_all(self.seed, "validation", self.fabric.global_rank)  # the same masks and views each time
        if self.fabric.world_size > 1:
            for buffer in self.net.buffers():  # what is measured is what is saved: the first process's
                torch.distributed.broadcast(buffer, 0)
        loss, outputs, targets = outcomes(self.stepper, validation, self.fabric)
        return {
            "val_loss": loss / len(targets) if len(targets) else math.nan,
            **{f"val_{key}": value for key, value in self.objective.measure(outputs, targets).items()},
        }

    def _end_epoch(self, metrics: dict[str, float]) -> None:
        state = self.state
        value = float(state.epoch) if self.monitor == "last" else self.sign * metrics[self.monitor]
        if math.isnan(value):
            raise TrainingError(
                f"{self.monitor} is not a number after epoch {state.epoch + 1}.",
                hint="The validation examples may all be of one class. trainer.monitor=val_loss allows that.",
            )
        before = self.rate.best
        self.rate.observe(value)
        state.bad_epochs = 0 if value > before else state.bad_epochs + 1
        # The loss decides between epochs with the same value of a coarse metric.
        if value > before or (value == before and metrics["val_loss"] < self.best["val_loss"]):
            state.best_epoch, self.best = state.epoch, metrics
            if self.fabric.is_global_zero:
                _write_checkpoint(self.checkpoints / BEST, {"net": self.net.state_dict()})
        self._log({"epoch_loss": state.loss_sum / max(1, state.examples), **metrics})
        state.epoch += 1
        state.step, state.loss_sum, state.examples = 0, 0.0, 0
        patience = self.trainer.patience
        state.stopped_early = patience is not None and state.bad_epochs >= patience
        state.finished = state.stopped_early or state.epoch >= self.trainer.max_epochs

    def fitted(self) -> Fitted:
        """Restore the weights of the best epoch."""
        self.fabric.barrier()
        self.net.load_state_dict(read_checkpoint(self.checkpoints / BEST)["net"])
        self.net.eval()
        state = self.state
        return Fitted(
            epochs=state.epoch,
            steps=state.total_steps,
            best_epoch=state.best_epoch + 1,
            best=dict(self.best),
            stopped_early=state.stopped_early,
            elapsed_s=state.elapsed_s,
        )

    # -- helpers --

    def _agreed(self, asked: bool) -> bool:
        """Whether any process was asked to stop: all of them then stop after the same step."""
        if self.fabric.world_size == 1:
            return asked
        return bool(self._sum(torch.tensor(float(asked))) > 0)

    def _sum(self, value: Tensor) -> Tensor:
        """Over all processes, on the CPU."""
        reduced = self.fabric.all_reduce(value, reduce_op="sum")
        assert isinstance(reduced, Tensor)  # noqa: S101 - of a tensor, it is one
        return reduced.cpu()

    def _is_due(self) -> bool:
        every = self.trainer.checkpoint_steps
        if every is not None and self.state.total_steps % every == 0:
            return True
        return time.monotonic() - self._saved >= self.trainer.checkpoint_s

    def _log(self, figures: dict[str, float]) -> None:
        if self.logs is not None:
            elapsed_s = self.state.elapsed_s + time.monotonic() - self._since
            row = {"step": self.state.total_steps, "epoch": self.state.epoch + 1, **figures}
            self.logs.write({**row, "elapsed_s": round(elapsed_s, 3)})

    def _progress(self, steps: int, metrics: Mapping[str, float]) -> Progress:
        state = self.state
        loss = state.loss_sum / max(1, state.examples)
        return Progress(state.epoch + 1, self.trainer.max_epochs, state.step, steps, loss, metrics)

    def _no_number(self, loss: float) -> TrainingError:
        at = self.state
        advice = [f"lower optimizer.lr (now {self.rate.highest:g})"]
        if self.trainer.gradient_clip is None:
            advice.append("set trainer.gradient_clip=1.0")
        if self.trainer.precision != "32-true":
            advice.append(f"set trainer.precision=32-true (now {self.trainer.precision})")
        advice.append("look for NaN in the inputs of the network")
        return TrainingError(
            f"the loss is {loss} in step {at.step + 1} of epoch {at.epoch + 1} "
            f"(step {at.total_steps + 1} in all).",
            given=loss,
            hint=f"What may help: {'; '.join(advice)}.",
        )


def outcomes(stepper: nn.Module, batches: Iterable[Any], fabric: Fabric) -> tuple[float, Tensor, Tensor]:
    """The summed loss, the outputs and the targets of all batches of all processes, on the CPU.

    The network is used as it is, not as a strategy wraps it: processes may have different numbers of batches.
    """
    loss, outputs, targets = own_outcomes(stepper, batches, fabric)
    if fabric.world_size > 1:
        everywhere: list[Any] = [None] * fabric.world_size
        torch.distributed.all_gather_object(everywhere, (loss, outputs, targets))
        loss = sum(one[0] for one in everywhere)
        outputs = torch.cat([one[1] for one in everywhere if len(one[1])])
        targets = torch.cat([one[2] for one in everywhere if len(one[2])])
    return loss, outputs, targets


def own_outcomes(stepper: nn.Module, batches: Iterable[Any], fabric: Fabric) -> tuple[float, Tensor, Tensor]:
    """As `outcomes`, of this process alone."""
    stepper.eval()
    loss = torch.zeros((), dtype=torch.float64)
    kept: list[Outcome] = []
    with torch.no_grad(), fabric.autocast():
        for batch in batches:
            outcome = stepper(batch)
            loss += outcome.loss.double().cpu()
            kept.append(outcome)
    outputs = torch.cat([one.outputs.float() for one in kept]).cpu() if kept else torch.zeros(0)
    targets = torch.cat([one.targets for one in kept]).cpu() if kept else torch.zeros(0)
    return float(loss), outputs, targets


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: tensors and plain data; nothing in it is executed.

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises a dozen kinds of errors for a damaged file.
        raise TrainingError(
            f"the checkpoint {path} cannot be read: {str(error).splitlines()[0]}", given=str(path)
        ) from error
    return saved


def _write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; a crash leaves the old one or the new one."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_file(path, buffer.getvalue())
