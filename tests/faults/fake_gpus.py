"""`search/run.py` for nodes whose GPUs are there for Ray alone, and torch has none.

All that is asked of nodes before the first trial is asked but for the GPU. Each trial notes in `gpus.jsonl` where it
runs and which GPU Ray gave it, waits while there is a file `wait` beside the run folder, and trains on the CPU.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import ray

import search.preflight
import search.tuner
from search.command_line import app

asked = search.preflight.inspect
trained = search.tuner.tune_trainable


def asked_without_gpu(task: search.preflight.Task) -> list[str]:
    return asked(dataclasses.replace(task, gpu=False))


def noted_and_trained(config: dict[str, Any], **given: Any) -> None:
    note = {
        "trial": config["number"],
        "node": ray.get_runtime_context().get_node_id(),
        "given": ray.get_gpu_ids(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    run = Path(config["folder"]).parents[1]
    with (run / "gpus.jsonl").open("a") as file:
        file.write(json.dumps(note) + "\n")
    while run.with_name("wait").exists():
        time.sleep(0.1)
    trained(config, **given)


# Defined in the program that is run, they travel to the nodes as they are.
search.preflight.inspect = asked_without_gpu
search.tuner.tune_trainable = noted_and_trained

if __name__ == "__main__":
    app()
