"""A whole search of labels as people have them: trained on COCO's, tested on the tracks of a sequence."""

import json

from tests.trainable.data.formats.test_convert import IS, WAS, coco, sequence
from tests.whole_search import table_of


def test_a_search_takes_coco_for_its_data_and_tracks_for_its_test_set(start, storage, checkpoint, tmp_path, paint):
    for number in range(10):
        paint(tmp_path / "images" / f"yard_{number}_before.png", WAS)
        paint(tmp_path / "images" / f"yard_{number}_after.png", IS)
    labelled = [
        {"image_id": image, "category_id": 1, "bbox": list(WAS if image % 2 else IS)} for image in range(20)
    ]  # Of each pair, the image after comes first by its name.
    instances = coco(tmp_path, labelled, categories=[{"id": 1, "name": "pedestrian"}])
    tracks = sequence(tmp_path / "MOT-01", paint, 12, {"1": lambda frame: 4 * frame})
    search = start(
        *("--data", instances, "--test", tracks, "--model", checkpoint, "--storage", storage, "--name", "formats"),
        *("--trials", 2, "--max-epochs", 3),
    )
    code, output = search.wait()
    assert code == 0, output
    run = storage / "formats"
    assert f"{instances}: 8 training and 2 validation pairs of pedestrian" in output
    assert table_of(run)["status"].tolist()[0] == "COMPLETED"
    on_test = json.loads((run / "best" / "test" / "metrics.json").read_text())
    assert on_test["pairs"] == 4 and on_test["boxes"] == 8
