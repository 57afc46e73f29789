"""`search/run.py` for nodes whose GPUs are there for Ray alone, and torch has none.

All that is asked of nodes before the first trial is asked but for the GPU. Each trial notes in `gpus.jsonl` where it
runs and which GPU Ray gave it, waits after each epoch that it has reported while there is a file `hold` beside the run
folder, and trains on the CPU.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import ray
import ray.tune

import search.cluster.preflight
import search.tuner
from search.command_line import app

asked = search.cluster.preflight.answer
trained = search.tuner.tune_trainable


def asked_without_gpu(node: str, board: Any, task: list[Any]) -> list[str]:
    return asked(node, board, [ray.put(dataclasses.replace(ray.get(task[0]), gpus=0))])


def noted_and_trained(config: dict[str, Any], **given: Any) -> None:
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    note = {
        "trial": config["number"],
        "node": ray.get_runtime_context().get_node_id(),
        "given": ray.get_gpu_ids(),
        "visible": visible,
    }
    run, report = Path(config["folder"]).parents[1], ray.tune.report
    with (run / "gpus.jsonl").open("a") as file:
        file.write(json.dumps(note) + "\n")

    def report_and_hold(metrics: dict[str, Any]) -> None:
        report(metrics)
        while "epoch" in metrics and run.with_name("hold").exists():
            time.sleep(0.1)

    try:
        with mock.patch.object(ray.tune, "report", report_and_hold):
            trained(config, **given | {"gpus": 0})
    finally:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible  # For the next trial of this process.


# Defined in the program that is run, they travel to the nodes as they are.
search.cluster.preflight.answer = asked_without_gpu
search.tuner.tune_trainable = noted_and_trained

if __name__ == "__main__":
    app()
