"""Promise 11: nothing is fetched unless the user names a checkpoint that is not on disk."""

import os
import subprocess
import sys

WITHOUT_NETWORK = """
import socket

def refuse(*arguments, **options):
    raise AssertionError(f"the network was asked for {arguments}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse

from trainable.data.pairs import read_pairs
from trainable.detector.loading import load_model, load_processor
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set

pairs = read_pairs(sample_data_set())
load_processor(checkpoint_of(EMBEDDED))
load_model(checkpoint_of(EMBEDDED), pairs.names)
try:
    load_model("facebook/detr-resnet-50", pairs.names)
except BaseException as error:
    print("the hub:", type(error).__name__)
"""


def test_the_embedded_default_is_loaded_without_a_single_connection(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hub")}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("the hub: "), "a name that is not on disk is what the network is for"
