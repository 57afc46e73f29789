"""Ray Tune's face of a trial: from a config to a recipe, from epochs to reports."""

import contextlib
import dataclasses
import logging
import os
import shutil
import socket
import traceback
from pathlib import Path
from typing import Any

from trainable.imports import uncollected

# A trial's worker begins with these. Trainer collects garbage at every stage, and would walk them, 0.4 s each time.
with uncollected():
    import ray
    import torch
    import transformers
    from ray import tune

    from trainable.compute import Compute, compute_with, memory_share, most_memory
    from trainable.data.pairs import PairData
    from trainable.data.source import on_this_machine
    from trainable.history import EpochRow
    from trainable.reuse.config import ReuseConfig
    from trainable.sample import checkpoint_of
    from trainable.storage.durable_file import write_atomically
    from trainable.storage.mirror import Mirror
    from trainable.storage.remote import Remote
    from trainable.storage.working_folder import begin_work, working_mirror
    from trainable.training.exhaustion import storage_fault
    from trainable.training.node_fault import node_fault
    from trainable.training.staged_trainer import train_recipe
    from trainable.training.trial_process import end_with_parent, only_process


class _Notes(logging.Handler):
    """Keeps what the project's own modules warn of, to go to the search with the next report."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def take(self) -> list[str]:
        """All lines since the last call."""
        lines, self._lines = self._lines, []
        return lines


_notes = _Notes()
logging.getLogger("trainable").addHandler(_notes)


def tune_trainable(
    config: dict[str, Any],
    pairs: PairData,
    model: str,
    cpus: int,
    gpus: float,
    reuse: ReuseConfig,
    run: Remote | None = None,
) -> None:
    """Trains the recipe of `config` and reports every epoch to Ray Tune.

    The trial keeps its own checkpoint in its folder and reports its whole history when it starts anew, so that
    neither a lost worker nor a lost driver needs Ray's own checkpoints. A failure is reported, not raised: Ray would
    run a trial that raises again, and never tell the searcher why it failed. Where the disk or the storage has given
    out, or the node cannot train, that is reported in the place of a failure. The first report says that it has begun.

    Args:
        config: `number`, the trial's number; `recipe`, its recipe; `folder`, its own folder; `failure`, why the trial
            has no recipe, or None; `reported`, the epochs that the search knows of, if any.
        pairs: the data set.
        model: folder or hub name of the DETR to start from, or `sample.EMBEDDED`, unless the recipe says it.
        cpus: cores that the trial may use.
        gpus: GPUs that the trial may use; with 0 it trains on the CPU, whatever the machine has.
        reuse: what trials do once.
        run: where the run lies, if in a remote storage; the trial is then worked on in this machine's own folder, which
            has the name of `folder`, and nothing of it is left here.
    """
    if _is_worker():
        end_with_parent()
    compute = _prepare_process(cpus, gpus)
    origin, node, pid = {"trial": config["number"]}, socket.gethostname(), os.getpid()
    if ray.is_initialized():
        origin["node_id"] = ray.get_runtime_context().get_node_id()

    def report(row: EpochRow) -> None:
        memory = most_memory(compute.device), memory_share(gpus, trials=1)
        # `epoch` and `val_loss` are what Ray's scheduler compares trials by.
        told = {"row": dataclasses.replace(row, node=node, pid=pid), "epoch": row.epoch, "val_loss": row.val_loss}
        tune.report(told | origin | {"notes": _notes.take(), "memory": memory})

    def wait(note: str) -> None:
        # Raises where Ray ends the trial meanwhile.
        tune.report({"notes": [f"trial {config['number']}: {note}"]} | origin)

    recipe = config["recipe"]
    if config["failure"]:
        tune.report({"failure": config["failure"]} | origin)
        return
    tune.report({"begun": True} | origin)
    folder, mirror, held = Path(config["folder"]), None, contextlib.ExitStack()
    try:
        if gpus and compute.device.type == "cpu":
            raise RuntimeError("No CUDA GPUs are available to torch, though Ray gave the trial one")
        if run:
            mirror = working_mirror(run)
            folder = mirror.local / "trials" / folder.name
            begin_work(mirror)
        # What is fetched from a storage replaces the folder, so that the lock must lie elsewhere.
        held.enter_context(only_process(mirror.local / "locks" / folder.name if mirror else folder, wait))
        if mirror:
            held.callback(shutil.rmtree, folder, ignore_errors=True)
        pairs = on_this_machine(pairs)
        known = config.get("reported", ())
        train_recipe(recipe, pairs, checkpoint_of(recipe.model or model), folder, report, compute, reuse, mirror, known)
    except Exception as error:
        if fault := node_fault(error, folder if run else None):
            tune.report({"node_fault": fault, "notes": _notes.take()} | origin)
            held.close()
            # Kept warm, the process would be given the next trial whatever becomes of its node.
            os._exit(1)
        if fault := storage_fault(error, folder):
            # No fault of the recipe: the search pauses, and the trial goes on when it is resumed.
            tune.report({"pause": fault, "notes": _notes.take()} | origin)
            return
        _keep_traceback(folder, mirror)
        if isinstance(error, torch.AcceleratorError):
            # The device's context is broken for good: the next trial needs a process of its own, and so does this one.
            os._exit(1)
        tune.report({"failure": f"{type(error).__name__}: {error}", "notes": _notes.take()} | origin)
    finally:
        held.close()


def _is_worker() -> bool:
    """Whether Ray started this process for a trial; a test, or a user's own program, is none."""
    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def _prepare_process(cpus: int, gpus: float) -> Compute:
    """Gives the process what the trial may use of the machine, and keeps transformers quiet."""
    if not gpus:
        # Ray 2.60 leaves every GPU visible to a process that asked for none.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    compute = compute_with(max(1, cpus), gpus)
    # Two trials that each take all cores run many times slower than with their own.
    torch.set_num_threads(compute.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return compute


def _keep_traceback(folder: Path, mirror: Mirror | None) -> None:
    """Writes the error that is being handled to `error.txt`, if the disk and the storage take it."""
    # The names of files that it tells of need not be text.
    text = traceback.format_exc().encode(errors="backslashreplace")
    with contextlib.suppress(OSError):  # The search is told of the error all the same.
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "error.txt", text)
        if mirror:
            mirror.push(folder / "error.txt")
