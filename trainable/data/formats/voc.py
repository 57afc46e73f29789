"""Pascal VOC's XML: a file an image, named like it."""

from pathlib import Path
from xml.etree import ElementTree

from trainable.data.faults import Fault
from trainable.data.formats.labelled import Labelled, PixelBox, Place
from trainable.data.formats.numbers import numbers
from trainable.data.formats.pairing import Images, Rule, paired, unknown_images
from trainable.data.listing import Listing, id_of_file, is_file

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(labels: Path, folder: Path, rule: Rule) -> Labelled:
    """Reads all XML files below a folder; corners are taken as the edges of the box.

    Args:
        labels: the folder of the XML files.
        folder: of the images.
        rule: which of them are a pair.
    """
    found = Labelled()
    images = Images(folder, found.faults)
    files = [path for path in Listing.of(labels).entries if path.suffix.lower() == ".xml" and is_file(path)]
    boxes: dict[str, list[PixelBox]] = {}
    for file in files:
        place = Place(str(file))
        try:
            root = ElementTree.fromstring(file.read_bytes())
        except (OSError, ElementTree.ParseError, ValueError) as error:
            found.faults.append(place.fault("not readable as XML", error, "export it again as Pascal VOC"))
            continue
        # Beside the images, a label file is called as its image; elsewhere it says what that is called.
        own = id_of_file(file, labels)
        name = own if own in images.files else root.findtext("filename") or own
        if ids := unknown_images([(name, place)], images, found.faults):
            met = (_box(element, place, found.faults) for element in root.iter("object"))
            boxes.setdefault(ids[name], []).extend(box for box in met if box)
    paired(images, rule, boxes, found)
    return found


def _box(element: ElementTree.Element, place: Place, faults: list[Fault]) -> PixelBox | None:
    name = (element.findtext("name") or "").strip()
    if element.find("robndbox") is not None:
        faults.append(place.fault("oriented box", name, "export upright boxes (bndbox)"))
        return None
    texts = [element.findtext(f"bndbox/{corner}") for corner in _CORNERS]
    sides = numbers(texts, 4)
    if not name or not sides:
        met = f"{name or 'no name'}: {', '.join(str(text) for text in texts)}"
        faults.append(place.fault("no box", met, f"an object has a name and a bndbox of {', '.join(_CORNERS)}"))
        return None
    left, top, right, bottom = sides
    return PixelBox(name, place, left, top, right - left, bottom - top)
