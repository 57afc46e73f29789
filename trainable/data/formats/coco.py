"""COCO's JSON: `images`, `annotations` and `categories` in one file."""

import json
from pathlib import Path
from typing import Any

from trainable.data.faults import DataError, Fault
from trainable.data.formats.labelled import Labelled, PixelBox, Place
from trainable.data.formats.numbers import numbers
from trainable.data.formats.pairing import Images, Rule, paired, unknown_images

KEYS = ("images", "annotations", "categories")


def read_coco(file: Path, folder: Path, rule: Rule) -> Labelled:
    """Reads `instances_*.json`; segments become the boxes around them where there is no `bbox`.

    Args:
        file: the JSON.
        folder: of the images.
        rule: which of them are a pair.

    Raises:
        DataError: it is no JSON of COCO's.
    """
    content = _content(file)
    found = Labelled()
    names = {}
    for index, category in enumerate(content["categories"]):
        place = Place(str(file), within=f"categories[{index}]")
        if not isinstance(category, dict) or not isinstance(category.get("name"), str) or "id" not in category:
            found.faults.append(place.fault("no category", category, 'write {"id": 1, "name": "person"}'))
        else:
            names[category["id"]] = category["name"]
    found.names = list(dict.fromkeys(names.values()))
    images = Images(folder, found.faults)
    file_names: dict[Any, str] = {}
    places: dict[str, Place] = {}
    for index, image in enumerate(content["images"]):
        place = Place(str(file), within=f"images[{index}]")
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or "id" not in image:
            found.faults.append(place.fault("no image", image, 'write {"id": 1, "file_name": "yard_before.jpg"}'))
        else:
            file_names[image["id"]] = image["file_name"]
            places[image["file_name"]] = place
    ids = unknown_images(places.items(), images, found.faults)
    boxes: dict[str, list[PixelBox]] = {id_: [] for id_ in ids.values()}
    for index, annotation in enumerate(content["annotations"]):
        place = Place(str(file), within=f"annotations[{index}]")
        box = _box(annotation, names, file_names, place, found.faults)
        if box and (id_ := ids.get(file_names[annotation["image_id"]])):
            boxes[id_].append(box)
    paired(images, rule, boxes, found)
    return found


def _content(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            [Fault("not readable as JSON", str(file), None, str(error)[:80], "give a file of COCO's")]
        ) from None
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in KEYS):
        keys = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        advice = f"COCO's object detection has lists {', '.join(KEYS)}"
        raise DataError([Fault("no COCO", str(file), None, keys[:80], advice)])
    return content


def _box(
    annotation: Any, names: dict[Any, str], images: dict[Any, str], place: Place, faults: list[Fault]
) -> PixelBox | None:
    if not isinstance(annotation, dict):
        faults.append(place.fault("no annotation", annotation, "an annotation is a mapping"))
        return None
    for key, known in (("image_id", images), ("category_id", names)):
        if annotation.get(key) not in known:
            within = Place(place.file, within=f"{place.within}.{key}")
            faults.append(within.fault(f"unknown {key}", annotation.get(key), "give the id of one that is listed"))
            return None
    bbox, where = annotation.get("bbox"), Place(place.file, within=f"{place.within}.bbox")
    if isinstance(bbox, list) and len(bbox) == 5:
        faults.append(where.fault("oriented box", bbox, "export upright boxes: x, y, width, height"))
        return None
    if bbox is None:
        return _around(annotation, names, place, faults)
    sides = numbers(bbox, 4)
    if not sides:
        faults.append(where.fault("no box", bbox, "a bbox is x, y, width and height in pixels"))
        return None
    return PixelBox(names[annotation["category_id"]], where, *sides)


def _around(annotation: dict[str, Any], names: dict[Any, str], place: Place, faults: list[Fault]) -> PixelBox | None:
    """The box around the polygons of an annotation without one."""
    where, polygons = Place(place.file, within=f"{place.within}.segmentation"), annotation.get("segmentation")
    corners = _corners(polygons)
    if not corners:
        faults.append(where.fault("no box", polygons, "give a bbox; of segments, polygons are read and no masks"))
        return None
    left, top = (min(corners[axis::2]) for axis in (0, 1))
    right, bottom = (max(corners[axis::2]) for axis in (0, 1))
    return PixelBox(names[annotation["category_id"]], where, left, top, right - left, bottom - top)


def _corners(polygons: Any) -> list[float]:
    """x and y of all corners in turn; none where these are no polygons."""
    if not isinstance(polygons, list):
        return []
    found = [numbers(polygon, len(polygon)) if isinstance(polygon, list) else None for polygon in polygons]
    whole = all(corners and len(corners) >= 6 and len(corners) % 2 == 0 for corners in found)
    return [value for corners in found for value in corners or ()] if whole else []
