"""What a model takes is read from the small files of its checkpoint, as transformers would read them."""

import json
import shutil

import pytest
from huggingface_hub.errors import EntryNotFoundError
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import DetrImageProcessorPil
from transformers.image_transforms import get_size_with_aspect_ratio

from trainable.data.model_input import ModelInput, SizeRule, read_model_input
from trainable.detector.loading import ModelError, load_processor
from trainable.sample import CHECKPOINT

SIDES = st.integers(1, 6000)


@given(width=SIDES, height=SIDES, shortest=st.integers(16, 900), longest=st.integers(16, 1400))
@example(width=4, height=4000, shortest=96, longest=128)
@example(width=640, height=480, shortest=480, longest=640)
def test_sizes_are_those_of_transformers_for_the_thinnest_images_too(width, height, shortest, longest):
    rule = SizeRule.of({"size": {"shortest_edge": shortest, "longest_edge": longest}})
    assert rule.resized((width, height))[::-1] == get_size_with_aspect_ratio((height, width), shortest, longest)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": 64},
        {"size": 64, "max_size": 80},
        {"size": [40, 70]},
        {"size": {"height": 40, "width": 70}},
        {"size": {"max_height": 40, "max_width": 70}},
        {"size": {"shortest_edge": 96, "longest_edge": 128}},
        {"size": 64, "do_resize": False},
    ],
)
def test_every_way_to_write_a_size_is_read_as_transformers_reads_it(tmp_path, settings):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "detr", "num_queries": 7}))
    kind = {"image_processor_type": "DetrImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, **kind}))
    processor = load_processor(tmp_path)
    expected = SizeRule.of({"do_resize": processor.do_resize, "size": dict(processor.size)})
    assert read_model_input(tmp_path) == ModelInput(expected, 7)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, {"shortest_edge": 480, "longest_edge": 800}),
        ({"size": 64, "max_size": 80}, {"shortest_edge": 480, "longest_edge": 600}),
        ({"size": {"height": 70, "width": 40}}, {"height": 840, "width": 480}),
        ({"size": {"max_height": 40, "max_width": 70}}, {"max_height": 480, "max_width": 840}),
        ({"size": 64, "do_resize": False}, {"shortest_edge": 480, "longest_edge": 800}),
    ],
)
def test_at_another_size_the_longer_edge_keeps_its_ratio_and_the_saved_processor_the_size(tmp_path, settings, size):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "detr"}))
    kind = {"image_processor_type": "DetrImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, **kind}))
    load_processor(tmp_path, 480).save_pretrained(tmp_path / "saved")
    shutil.copy(tmp_path / "config.json", tmp_path / "saved")
    again = load_processor(tmp_path / "saved")
    assert again.do_resize and {name: value for name, value in dict(again.size).items() if value} == size
    assert read_model_input(tmp_path, 480) == read_model_input(tmp_path / "saved")
    assert read_model_input(tmp_path, 480).size.settings == size


def test_the_embedded_checkpoint_and_one_within_a_whole_processor_are_read(tmp_path):
    assert read_model_input(CHECKPOINT) == ModelInput(SizeRule(("shortest_edge", "longest_edge"), (96, 128)), 16)
    (tmp_path / "config.json").write_text("{}")
    nested = {"image_processor": {"size": {"height": 40, "width": 70}}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert read_model_input(tmp_path) == ModelInput(SizeRule(("height", "width"), (40, 70)), 100)


def test_one_on_the_hub_is_read_at_its_revision(monkeypatch):
    def download(repository, name, revision):
        assert (repository, revision) == ("somebody/detr", "abc123")
        if name == "processor_config.json":
            raise EntryNotFoundError(name)
        return str(CHECKPOINT / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert read_model_input("somebody/detr@abc123") == read_model_input(CHECKPOINT)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"size": {"shortest_edge": 96}}', '{"size": "large"}'])
def test_a_checkpoint_that_cannot_be_read_is_not_known_and_left_to_whoever_loads_it(tmp_path, text):
    (tmp_path / "config.json").write_text("{}")
    assert read_model_input(tmp_path) is None
    (tmp_path / "preprocessor_config.json").write_text(text)
    assert read_model_input(tmp_path) is None
    assert read_model_input("nobody/has-this") is None


def test_a_processor_that_cannot_resize_is_refused_with_what_it_says(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "detr"}))
    DetrImageProcessorPil(size={"shortest_edge": 96}).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"its size must be of shortest_edge and longest_edge, or .*96"):
        load_processor(tmp_path)
