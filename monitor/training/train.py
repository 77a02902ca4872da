"""The training loop: seeded, resumable from its last checkpoint, on a GPU if there is one and on the CPU otherwise.

A batch depends only on the seed and the number of the step, so an interrupted run resumes as if nothing had happened.
"""

from __future__ import annotations

import json
import math
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch

from monitor.training.errors import TrainingError
from monitor.training.loss import nt_xent
from monitor.training.model import Encoder, Shape
from monitor.training.pairs import AugmentationStrength, Batch, Pairs

log = structlog.get_logger(__name__)

CHECKPOINT_S = 180.0
PROGRESS_STEPS = 25
PREFETCHED_BATCHES = 4
EASY_DB = 8.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run's result depends on, except the cache and the versions of the libraries."""

    steps: int = 8000
    pairs: int = 192
    seed: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    warm_up: int = 300
    temperature: float = 0.05
    average: float = 0.999  # decay of the moving average of the weights, which is exported
    clip_norm: float = 2.0
    # An untrained network learns nothing from inaudible music: voices reach full level over this share of the run.
    easy_share: float = 0.25
    bank: int = 1500
    shape: Shape = field(default_factory=Shape)
    strength: AugmentationStrength = field(default_factory=AugmentationStrength)


@dataclass(slots=True)
class State:
    """A run between two steps."""

    model: Encoder
    average: Encoder
    optimizer: torch.optim.Optimizer
    step: int = 0
    share: float = 0.0


class Schedule:
    """The progress of a run from 0 to 1: by its steps, or by the elapsed time if that is ahead of them."""

    def __init__(self, steps: int, share: float, within_s: float | None) -> None:
        self._steps, self._first, self._within_s = steps, share, within_s
        self._began = time.monotonic()

    def share(self, step: int) -> float:
        """The progress at a step, 0 to 1."""
        by_steps = step / self._steps
        if self._within_s is None:
            return min(1.0, by_steps)
        elapsed = (time.monotonic() - self._began) / self._within_s
        return min(1.0, max(by_steps, self._first + (1 - self._first) * elapsed))


def train(
    pairs: Pairs,
    recipe: Recipe,
    folder: Path,
    *,
    threads: int = 1,
    within_s: float | None = None,
    stop_at: int | None = None,
    start_from: Path | None = None,
) -> Path:
    """Starts or resumes training in `folder`, and returns the path of the last checkpoint.

    threads: of torch. On a busy machine, two cost more than they gain, because each waits for the other at every layer.
    within_s: shortens the run, learning-rate schedule included, to end after this time. A run is reproducible to the
        bit only without it.
    stop_at: ends at this step with a checkpoint to resume from, as SIGTERM and SIGINT do.
    start_from: a checkpoint to initialize a new run, of a network with fewer or as many blocks.

    Raises:
        TrainingError: the checkpoint in `folder` is of another network, or the gradient is not finite.
    """
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    state = _begin(recipe, device)
    path = folder / "checkpoint.pt"
    if path.exists():
        _resume(path, state)
    elif start_from is not None:
        _start(start_from, state)
    parameters = sum(p.numel() for p in state.model.parameters())
    log.info("train.started", step=state.step, of=recipe.steps, device=str(device), parameters=parameters)
    schedule = Schedule(recipe.steps, state.share, within_s)
    stop = threading.Event()
    with _stopped_by_signals(stop), _ahead(pairs, recipe, state.step, schedule) as batches:
        _loop(state, batches, recipe, path, lambda: stop.is_set() or state.step == stop_at, schedule, device)
    _save(path, state)
    return path


def _begin(recipe: Recipe, device: torch.device) -> State:
    torch.manual_seed(recipe.seed)
    model = Encoder(recipe.shape).to(device, memory_format=torch.channels_last)
    average = Encoder(recipe.shape).to(device, memory_format=torch.channels_last)
    average.load_state_dict(model.state_dict())
    average.requires_grad_(False)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    other = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": other, "weight_decay": 0.0}]
    return State(model, average, torch.optim.AdamW(groups, recipe.learning_rate))


def _loop(
    state: State,
    batches: Iterator[Batch],
    recipe: Recipe,
    path: Path,
    is_stopped: Callable[[], bool],
    schedule: Schedule,
    device: torch.device,
) -> None:
    progress = Progress(recipe.steps, state.step, state.share, path.with_name("progress.jsonl"))
    saved = time.monotonic()
    state.model.train()
    for batch in batches:
        for group in state.optimizer.param_groups:
            group["lr"] = rate(state.step, state.share, recipe)
        loss, accuracy = _step(state, batch, recipe, device)
        state.step += 1
        state.share = schedule.share(state.step)
        progress.add(state.step, state.share, loss, accuracy)
        now = time.monotonic()
        if now - saved > CHECKPOINT_S:
            _save(path, state)
            saved = now
        if state.share >= 1 or is_stopped():
            return


def _step(state: State, batch: Batch, recipe: Recipe, device: torch.device) -> tuple[float, float]:
    images = torch.from_numpy(np.concatenate([batch.catalog, batch.heard])).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        vectors = state.model(images)
    first, second = vectors.chunk(2)
    loss, accuracy = nt_xent(first, second, recipe.temperature)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
    if not math.isfinite(float(norm)):
        raise TrainingError(f"the gradient is not finite at step {state.step}: lower the learning rate and resume")
    state.optimizer.step()
    _average(state, min(recipe.average, (1 + state.step) / (10 + state.step)))
    return loss.item(), accuracy


def _average(state: State, decay: float) -> None:
    new, kept = state.model.state_dict(), state.average.state_dict()
    with torch.no_grad():
        for name, value in kept.items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])


def rate(step: int, share: float, recipe: Recipe) -> float:
    """The learning rate: a linear warm-up, then half a cosine down to zero."""
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up) * 0.5 * (1 + math.cos(math.pi * share))


def strength_at(share: float, recipe: Recipe) -> AugmentationStrength:
    """The augmentation strength at a share of the run: voices start EASY_DB quieter."""
    easy_db = EASY_DB * max(0.0, 1 - share / max(1e-6, recipe.easy_share))
    base = recipe.strength
    eased = {name: tuple(db + easy_db for db in getattr(base, name)) for name in ("snr_db", "hard_db")}
    return AugmentationStrength(**(asdict(base) | eased))


@contextmanager
def _ahead(pairs: Pairs, recipe: Recipe, first: int, schedule: Schedule) -> Iterator[Iterator[Batch]]:
    """Yields an iterator over batches, starting at step `first`, that a separate thread prepares in advance."""
    made: queue.Queue[Batch | BaseException] = queue.Queue(PREFETCHED_BATCHES)
    ended = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not ended.is_set():
            try:
                return made.put(item, timeout=0.5)
            except queue.Full:
                continue
        return None

    def work() -> None:
        try:
            for step in range(first, recipe.steps):
                if ended.is_set():
                    return
                rng = np.random.default_rng([recipe.seed, step])
                put(pairs.batch(recipe.pairs, strength_at(schedule.share(step), recipe), rng))
        except Exception as error:  # raised again in the thread that waits for the batch
            put(error)

    def take() -> Iterator[Batch]:
        for _ in range(first, recipe.steps):
            item = made.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        ended.set()
        thread.join(timeout=30)


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """Writes a line to the log and to a file every PROGRESS_STEPS steps."""

    def __init__(self, steps: int, first: int, share: float, path: Path) -> None:
        self._steps, self._first, self._first_share, self._path = steps, first, share, path
        self._began = time.monotonic()
        self._losses: list[float] = []
        self._accuracies: list[float] = []

    def add(self, step: int, share: float, loss: float, accuracy: float) -> None:
        """Adds the result of a step, and writes a line if it is due."""
        self._losses.append(loss)
        self._accuracies.append(accuracy)
        if step % PROGRESS_STEPS and share < 1:
            return
        elapsed_s = time.monotonic() - self._began
        facts: dict[str, Any] = {
            "step": step,
            "of": self._steps,
            "share": round(share, 4),
            "loss": round(float(np.mean(self._losses)), 4),
            "accuracy": round(float(np.mean(self._accuracies)), 4),
            "step_s": round(elapsed_s / max(1, step - self._first), 3),
            "left_min": round(elapsed_s * (1 - share) / max(1e-6, share - self._first_share) / 60, 1),
        }
        self._losses, self._accuracies = [], []
        log.info("train.progress", **facts)
        with self._path.open("a") as file:
            file.write(json.dumps(facts) + "\n")


def _save(path: Path, state: State) -> None:
    """Saves a checkpoint atomically: a run killed while it saves keeps the previous one."""
    written = path.with_suffix(".part")
    facts = {
        "shape": asdict(state.model.shape),
        "step": state.step,
        "share": state.share,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    torch.save(facts, written)
    written.replace(path)


def _resume(path: Path, state: State) -> None:
    kept = _checkpoint(path)
    if kept["shape"] != asdict(state.model.shape):
        raise TrainingError(f"{path} is of another network ({kept['shape']}): use another folder")
    state.model.load_state_dict(kept["model"])
    state.average.load_state_dict(kept["average"])
    state.optimizer.load_state_dict(kept["optimizer"])
    state.step, state.share = int(kept["step"]), float(kept["share"])


def _start(path: Path, state: State) -> None:
    kept = _checkpoint(path)
    for network, weights in ((state.model, "model"), (state.average, "average")):
        network.take_over(kept[weights], Shape(**kept["shape"]))


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"there is no checkpoint {path}: run `airtrace model train` first") from error
    return kept


def averaged(path: Path) -> tuple[Encoder, int]:
    """Loads the network of a checkpoint with averaged weights, in evaluation mode; returns it and its step.

    Raises:
        TrainingError: there is no checkpoint.
    """
    kept = _checkpoint(path)
    model = Encoder(Shape(**kept["shape"]))
    model.load_state_dict(kept["average"])
    return model.eval(), int(kept["step"])
