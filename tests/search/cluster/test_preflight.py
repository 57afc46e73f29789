"""What is wrong with a node is found before the first trial, said in words, and the node is left out."""

import dataclasses
import shutil
from types import SimpleNamespace

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from search.cluster import inspection, preflight
from search.cluster.capacity import trial_size
from search.cluster.cluster import ClusterError, Resources
from search.cluster.inspection import Task, inspect, room_faults
from search.options import Options
from search.run_folder.identity import code_version
from trainable.sample import CHECKPOINT
from trainable.storage.remote import Remote

PLENTY = SimpleNamespace(free=10**12)


@pytest.fixture
def task(pair_data, checkpoint, tmp_path, monkeypatch):
    """What a node without fault can do; the run folder is `tmp_path`."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: PLENTY)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node"))
    folder = Remote((tmp_path / "preflight").as_uri(), retry_seconds=0)
    folder.write("driver", b"token")
    model = str(checkpoint)
    what = (pair_data, folder, "token", True, 0, (model,), trial_size(model, None, pair_data, gpus=0))
    return Task(code_version(), inspection.packages(), *what)


def moved(pairs, folder):
    """The data set's pairs as if they lay elsewhere."""

    def elsewhere(pair):
        return dataclasses.replace(pair, before=folder / pair.before.name, after=folder / pair.after.name)

    return dataclasses.replace(pairs, train=tuple(map(elsewhere, pairs.train)))


def test_a_good_node_has_no_fault_and_leaves_a_sign(task):
    assert inspect(task) == []
    assert task.folder.read("node") == b"token"


def test_another_version_of_the_project_or_of_a_library_is_a_fault(task):
    (fault,) = inspect(dataclasses.replace(task, code="0123456789abcdef"))
    assert fault.startswith("has another version of the project") and "0123456789abcdef" in fault
    (fault,) = inspect(dataclasses.replace(task, packages=task.packages | {"torch": "1.0"}))
    assert fault.startswith("has torch ") and fault.endswith(", the search 1.0")


def test_too_little_memory_for_its_trials_is_a_fault(task):
    (fault,) = inspect(dataclasses.replace(task, trials=10**6))
    assert fault.startswith("has 0.0 GiB of memory for a trial, its share of ") and "1000000 at a time" in fault


def test_images_that_are_not_there_are_a_fault(task, tmp_path):
    (fault,) = inspect(dataclasses.replace(task, pairs=moved(task.pairs, tmp_path)))
    assert fault.startswith("does not see 16 of the data set's 24 images, such as ")
    assert task.pairs.train[0].before.name in fault


def test_other_images_under_the_same_names_are_a_fault(task, tmp_path):
    for pair in task.pairs.train:
        for path in (pair.before, pair.after):
            (tmp_path / path.name).write_bytes(b"another image")
    (fault,) = inspect(dataclasses.replace(task, pairs=moved(task.pairs, tmp_path)))
    assert fault.startswith("sees other images than the search, such as ")


def test_a_run_folder_that_is_not_shared_is_a_fault(task):
    (fault,) = inspect(dataclasses.replace(task, folder=task.folder.at("elsewhere")))
    assert "the storage must be one of all nodes" in fault
    task.folder.write("driver", b"another run's")
    (fault,) = inspect(task)
    assert fault.startswith("reads something else from")


def test_a_model_that_cannot_be_loaded_there_is_a_fault(task, tmp_path):
    (fault,) = inspect(dataclasses.replace(task, models=(str(tmp_path / "nowhere"),)))
    assert fault.startswith(f"cannot load the model: model {tmp_path / 'nowhere'}: neither a folder")
    (fault,) = inspect(dataclasses.replace(task, models=(*task.models, f"somebody/detr@{'a' * 40}")))
    assert "neither a folder with a config.json nor a checkpoint of the Hugging Face hub that is cached or can" in fault


def test_each_gpu_that_runs_no_kernel_is_named(task, monkeypatch):
    def ones(size, device):
        if device == "cuda:1":
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with ...")
        return SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: size))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H100")
    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [4, 5])
    assert inspection._device_faults(dataclasses.replace(task, gpus=2)) == [
        "its GPU 5 (H100) runs no kernel: CUDA error: uncorrectable ECC error encountered; "
        "start Ray there with CUDA_VISIBLE_DEVICES without it"
    ]


def test_what_a_node_does_next_is_told(task):
    told = []
    inspect(task, told.append)
    assert told[0] == "compares its code and libraries" and "loads the model" in told


def test_too_little_room_is_a_fault(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    disk, shared_memory = room_faults(loaders=True)
    assert "of disk left for its cache" in disk
    assert "of shared memory left" in shared_memory and "--cpus-per-trial 1" in shared_memory
    assert room_faults(loaders=False) == [disk]


@pytest.fixture(scope="module")
def cluster():
    """A head that trains nothing and two nodes of one core, joined."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        started.add_node(num_cpus=1)
    ray.init(address=started.address, logging_level="ERROR", log_to_driver=False)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def asked(cluster, tmp_path, pair_data):
    """Asks the cluster's nodes; gives what was said."""

    def ask():
        said = []
        options = Options("staged", None, "embedded", 1, 3, 2, str(tmp_path.parent), tmp_path.name, address="auto")
        trial = trial_size(str(CHECKPOINT), None, pair_data, gpus=0)
        preflight.preflight(options, Resources(1, 0.0, 2), pair_data, trial, said.append)
        return said

    return ask


def where_tasks_run(count):
    @ray.remote(num_cpus=1)
    def node():
        return ray.get_runtime_context().get_node_id()

    return set(ray.get([node.remote() for _ in range(count)]))


def test_all_nodes_of_a_good_cluster_train(asked, tmp_path):
    assert asked() == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "what the nodes wrote is gone"


def test_when_no_node_can_train_each_is_named_with_its_fault(asked, monkeypatch):
    monkeypatch.setattr(preflight, "_answers", lambda nodes, *_: [["has no room"], ["is on fire"]])
    with pytest.raises(ClusterError, match=r"(?s)no node can train:.*has no room.*is on fire"):
        asked()


def test_a_lone_bad_node_is_named_and_given_nothing(asked, monkeypatch):
    bad = []

    def answers(nodes, *_):
        bad.append(nodes[1]["NodeID"])
        return [[], ["has no room"]]

    monkeypatch.setattr(preflight, "_answers", answers)
    (line,) = asked()
    assert line.endswith("has no room; it is left out")
    assert len(where_tasks_run(4)) == 1 and bad[0] not in where_tasks_run(4)
