"""The model card says what a stranger needs, and the hub can read it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from results.model.model_card import Origin, write_model_card
from trainable.data.pairs import PairData
from trainable.recipe import REFERENCE
from trainable.sample import CHECKPOINT

FIGURES = {"mAP": 0.4321, "mAP50": 0.7, "mAP75": 0.3, "AR": 0.5}


def metrics(**more: Any) -> dict[str, Any]:
    point = {"score_threshold": 0.37, "precision": 0.8, "recall": 0.6, "f1": 0.6857}
    interval = {"precision": [0.7, 0.9], "recall": [0.5, 0.7], "f1": [0.6, 0.75]}
    unmeasured = dict.fromkeys(FIGURES)
    return {
        **FIGURES,
        "val_loss": 1.25,
        "per_class": {"person": FIGURES, "car": unmeasured},
        "recommended": {**point, "interval": interval},
        "counted_at": 0.37,
        "pairs": 4,
        "boxes": 5,
    } | more


@pytest.fixture
def write(tmp_path: Path, pair_data: PairData):
    def written(
        checkpoint: str = str(CHECKPOINT), data: PairData = pair_data, kind: str = "detr", **more: Any
    ) -> ModelCard:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        write_model_card(tmp_path, Origin("my search", 7, 12, checkpoint), data, REFERENCE, metrics(**more))
        return ModelCard.load(tmp_path / "README.md")

    return written


def test_the_hub_reads_the_front_matter(write):
    data = write().data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "object-detection", "apache-2.0")
    assert "change-detection" in data.tags
    results = {result.metric_type: result for result in data.eval_results}
    assert results["mAP"].metric_value == 0.4321
    assert results["f1"].metric_name == "f1 at IoU 0.5 and score 0.37"
    assert {result.task_type for result in data.eval_results} == {"object-detection"}
    assert data.model_name == "my search-0007"


@pytest.mark.parametrize(("kind", "title"), [("detr", "a DETR"), ("rt_detr_v2", "an RT-DETR"), ("d_fine", "a D-FINE")])
def test_the_family_is_named_in_the_text_and_in_the_index(write, kind, title):
    card = write(kind=kind)
    assert f"The model is {title} whose input is the absolute difference" in card.text
    assert kind in card.data.tags


def test_only_a_base_model_of_the_hub_is_named(write, tmp_path):
    card = write("facebook/detr-resnet-50")
    assert card.data.base_model == "facebook/detr-resnet-50"
    assert card.data.license == "unknown", "only the embedded checkpoint's is known"
    assert "Fine-tuned from `facebook/detr-resnet-50`" in card.text
    assert write().data.base_model is None
    (tmp_path / "mine").mkdir()
    card = write(str(tmp_path / "mine"))
    assert card.data.base_model is None
    assert str(tmp_path) not in card.content, "a path of this computer is nobody else's business"


def test_the_commit_of_a_base_model_is_in_the_text_and_its_name_in_the_index(write):
    card = write(f"facebook/detr-resnet-50@{'a' * 40}")
    assert card.data.base_model == "facebook/detr-resnet-50"
    assert f"Fine-tuned from `facebook/detr-resnet-50` at revision `{'a' * 40}`" in card.text


def test_what_was_not_measured_is_left_out_of_the_index_and_named_in_the_text(write):
    card = write(mAP=None, AR=None)
    assert {result.metric_type for result in card.data.eval_results}.isdisjoint({"mAP", "AR"})
    assert "| AR, at most 100 detections | – |" in card.text
    assert "Without a label in the validation pairs, and so not measured: car." in card.text


def test_the_text_tells_data_recipe_operating_point_and_use(write, pair_data):
    text = write().text
    assert "score >= 0.37" in text
    assert "over all classes: precision 0.800 (0.700 to 0.900), recall 0.600 (0.500 to 0.700), F1 0.686" in text
    assert pair_data.fingerprint in text
    assert f"| training | {len(pair_data.train)} |" in text
    assert "| 2 | everything | everything | 20 | 5e-05 | 5 |" in text
    assert "trial 7 of the search `my search`; weights of epoch 12" in text
    assert "threshold=0.37" in text
    assert "What its training reported differs by rounding: within 1e-6 of the loss" in text


def test_without_a_threshold_to_recommend_the_card_says_why_and_indexes_none(write):
    why = "there is no labelled box to measure it by"
    card = write(recommended=None, not_recommended=why, counted_at=0.5, **dict.fromkeys(FIGURES))
    assert not card.data.eval_results
    assert f"**No score threshold can be recommended**: {why}." in card.text
    assert "threshold=0.5" in card.text and "score >=" not in card.text


def test_a_name_cannot_break_a_table(write, pair_data):
    per_class = {"a | b": FIGURES, "car": FIGURES}
    text = write(data=replace(pair_data, names=("a | b", "car")), per_class=per_class).text
    assert "| a \\| b | 0.432 |" in text


def test_the_code_of_the_card_runs(write, checkpoint, data_folder, tmp_path, monkeypatch, capsys):
    code = write().text.split("```python\n")[1].split("```")[0]
    for side in ("before", "after"):
        (tmp_path / f"{side}.png").write_bytes((data_folder / side / "v0.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(code.replace("path/to/this/folder", str(checkpoint)).replace("threshold=0.37", "threshold=0"))
    assert capsys.readouterr().out.count("'label':") == 6
