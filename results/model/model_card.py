"""The model card: `README.md` beside the best model, with the front matter that the Hugging Face hub reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from results.description import figures_at, settings, trains
from results.formatting import ratio
from results.markdown import markdown_code, markdown_table, markdown_text
from trainable.alignment import OFF
from trainable.data.model_input import read_config_file
from trainable.data.pairs import PairData
from trainable.detector.families.registry import FAMILIES
from trainable.detector.hub import name_and_revision
from trainable.detector.signal_models import class_name_of
from trainable.metric import METRICS
from trainable.model_signal import DIFFERENCE, FEATURES, STACKED
from trainable.recipe import Input, Recipe
from trainable.sample import CHECKPOINT
from trainable.storage.durable_file import write_atomically
from trainable.text.command_line import documented

FIGURES = {
    "mAP": "mAP, IoU 0.50 to 0.95",
    "mAP50": "mAP at IoU 0.50",
    "mAP75": "mAP at IoU 0.75",
    "AR": "AR, at most 100 detections",
}
"""The keys of `metrics.json` that the card shows, and what it calls them."""

REGISTERED = """It was trained on pairs whose before image was registered to the after image first (alignment
`{alignment}`), which the lines above leave out: where the camera moved, have `predict.py` do it, or put this before the
difference, from the project that trained it:

```python
from trainable.data.registration import aligned, registration

before = aligned(before, after, registration(before, after, "{alignment}"))
```

"""

PLAIN_USE = """The model's input is a difference, so make one first. Plain transformers and Pillow do:

```python
from PIL import Image, ImageChops
from transformers import AutoImageProcessor, pipeline

model = "path/to/this/folder"
processor = AutoImageProcessor.from_pretrained(model, backend="pil")  # the resizing that it was trained with
detector = pipeline("object-detection", model=model, image_processor=processor)

before = Image.open("before.png").convert("RGB")
after = Image.open("after.png").convert("RGB")
print(detector(ImageChops.difference(before, after), threshold={score_threshold:g}))
```

"""

OWN_USE = """The model is given two images in a row, which no pipeline of transformers makes. Its weights load in
`{model_class}`; in a checkout of the project that trained it, this makes its input and runs it:

```python
from PIL import Image
from results.prediction.torch_detector import torch_detector

before, after = (Image.open(file).convert("RGB") for file in ("before.png", "after.png"))
found = torch_detector("path/to/this/folder").detect(before, after)
print(found.boxes_xyxy_normalised[found.scores >= {score_threshold:g}])
```

"""

GIVEN = {
    DIFFERENCE: "whose input is the absolute difference of the two images. A difference shows",
    STACKED: "whose input is the absolute difference of the two images and the after image. A difference shows",
    FEATURES: "whose backbone is given both images; the absolute difference of its maps goes on. A difference shows",
}
"""What a model is given of a pair."""

TAGS = ("object-detection", "change-detection", "moved-objects", "before-after")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        run: the search's name.
        trial: number of the trial in it.
        epoch: whose weights these are.
        checkpoint: what it was fine-tuned from, a folder or a name on the hub, with its commit.
    """

    run: str
    trial: int
    epoch: float
    checkpoint: str


def write_model_card(model: Path, origin: Origin, pairs: PairData, recipe: Recipe, metrics: dict[str, Any]) -> None:
    """Writes `README.md` into a model's folder.

    Args:
        model: folder of the saved model.
        origin: where it comes from.
        pairs: the data set that it was trained and validated on.
        recipe: how it was trained.
        metrics: contents of `metrics.json`, measured on the validation pairs.
    """
    kind = read_config_file(model)["model_type"]
    sections = [
        f"---\n{_front_matter(origin, pairs, metrics, kind).to_yaml()}\n---\n",
        f"# Moved objects: {markdown_text(', '.join(pairs.names))}\n",
        "Finds what moved between a before and an after image of a camera that stands still. The model is "
        f"{FAMILIES[kind].title} {GIVEN[recipe.input.signal]} a moved object twice, where it was and where it is now; "
        "which of them are found is as in the labels that it was trained on.\n",
        _use(metrics["counted_at"], recipe.input),
        _measured(pairs, metrics),
        _data(pairs),
        _training(origin, recipe),
        _limits(pairs, metrics, recipe.input.signal),
    ]
    write_atomically(model / "README.md", "\n".join(sections))


def _front_matter(origin: Origin, pairs: PairData, metrics: dict[str, Any], kind: str) -> ModelCardData:
    data_set = " ".join(Path(pairs.location).stem.split())
    figures = {name: (label, metrics[name]) for name, label in FIGURES.items()}
    if point := metrics["recommended"]:
        at_point = f"at IoU 0.5 and score {point['score_threshold']:.2f}"
        figures |= {name: (f"{name} {at_point}", point[name]) for name in ("precision", "recall", "f1")}
    results = [
        EvalResult(
            task_type="object-detection",
            dataset_type="before-after-pairs",
            dataset_name=data_set,
            dataset_split="validation",
            metric_type=name,
            metric_name=label,
            metric_value=round(value, 4),
        )
        for name, (label, value) in figures.items()
        if value is not None
    ]
    return ModelCardData(
        license="apache-2.0" if _is_embedded(origin) else "unknown",
        library_name="transformers",
        pipeline_tag="object-detection",
        tags=[kind, *TAGS],
        base_model=None if Path(origin.checkpoint).exists() else name_and_revision(origin.checkpoint)[0],
        model_name=f"{origin.run}-{origin.trial:04d}",
        eval_results=results,
    )


def _is_embedded(origin: Origin) -> bool:
    return Path(origin.checkpoint) == CHECKPOINT


def _use(score_threshold: float, given: Input) -> str:
    if given.signal == DIFFERENCE:
        use = PLAIN_USE.format(score_threshold=score_threshold)
        use += "" if given.alignment == OFF else REGISTERED.format(alignment=given.alignment)
    else:
        use = OWN_USE.format(score_threshold=score_threshold, model_class=class_name_of(given.signal))
    return f"""## Use

{use}The program that trained it also writes label files and images of what was found, for whole folders:

```
{documented("predict")} --model path/to/this/folder before/ after/ --out predictions/
```
"""


def _measured(pairs: PairData, metrics: dict[str, Any]) -> str:
    rows = [
        *((label, ratio(metrics[name])) for name, label in FIGURES.items()),
        ("validation loss", f"{metrics['val_loss']:.4f}"),
    ]
    by_class = [(name, *(ratio(metrics["per_class"][name][column]) for column in FIGURES)) for name in pairs.names]
    return "\n".join(
        [
            "## How good it is\n",
            f"On {metrics['pairs']} validation pairs with {metrics['boxes']} labelled boxes:\n",
            markdown_table(("", "all classes"), rows),
            "Measured on this model as it is saved, in float32. What its training reported differs by rounding: within "
            "1e-6 of the loss where it ran in float32 on a CPU, by more on a GPU or in half precision.\n",
            *_where_to_run(metrics),
            markdown_table(("class", *FIGURES), by_class),
        ]
    )


def _where_to_run(metrics: dict[str, Any]) -> list[str]:
    point = metrics["recommended"]
    if point is None:
        return [f"**No score threshold can be recommended**: {metrics['not_recommended']}.\n"]
    return [
        f"Run it at **score >= {point['score_threshold']:.2f}**, which `config.json` keeps as `score_threshold`. "
        f"There, at IoU 0.5 over all classes: {figures_at(point)}; in brackets the 95 % intervals over images.\n"
    ]


def _data(pairs: PairData) -> str:
    boxes = {side: sum(len(pair.labels.class_ids) for pair in getattr(pairs, side)) for side in ("train", "val")}
    rows = [("training", len(pairs.train), boxes["train"]), ("validation", len(pairs.val), boxes["val"])]
    return "\n".join(
        [
            "## Data\n",
            f"{markdown_code(Path(pairs.location).name)}, classes {', '.join(map(markdown_code, pairs.names))}.\n",
            markdown_table(("", "pairs", "boxes"), rows),
            f"Fingerprint of names, split and files (SHA-256): `{pairs.fingerprint}`.\n",
        ]
    )


def _training(origin: Origin, recipe: Recipe) -> str:
    base = "the program's embedded checkpoint" if _is_embedded(origin) else markdown_code(Path(origin.checkpoint).name)
    if not Path(origin.checkpoint).exists():
        name, revision = name_and_revision(origin.checkpoint)
        base = markdown_code(name) + (f" at revision {markdown_code(revision)}" if revision else "")
    metric = METRICS[recipe.metric]
    rows = [
        (
            number,
            stage.name,
            trains(stage.trainable),
            stage.epochs,
            f"{stage.learning_rate:.3g}",
            stage.restart_cycles,
        )
        for number, stage in enumerate(recipe.stages, start=1)
    ]
    return "\n".join(
        [
            "## Training\n",
            f"Fine-tuned from {base}, in trial {origin.trial} of the search {markdown_code(origin.run)}; weights of "
            f"epoch {origin.epoch:g}, the one of the {metric.best} {metric.title} on the validation pairs.\n",
            markdown_table(("stage", "name", "trains", "epochs", "peak learning rate", "restart cycles"), rows),
            f"AdamW, gradients clipped at {recipe.max_grad_norm:g}, {settings(recipe)}.\n",
        ]
    )


def _limits(pairs: PairData, metrics: dict[str, Any], signal: str) -> str:
    unmeasured = [name for name in pairs.names if metrics["per_class"][name]["mAP"] is None]
    unsigned = signal != STACKED
    lines = [
        "The camera must stand still, and both images must be of one size. What else changes between them, such as "
        "light, shadows, rain or leaves, is in the difference too.",
        *(["A difference has no sign: the model cannot tell an object that came from one that left."] * unsigned),
        f"It was chosen and measured on the same {metrics['pairs']} validation pairs, so these figures flatter it. "
        "Measure it on pairs of its own before relying on it.",
        "It knows the scenes, the distances and the classes of its training pairs, and no others.",
        *(
            [f"Without a label in the validation pairs, and so not measured: {markdown_text(', '.join(unmeasured))}."]
            * bool(unmeasured)
        ),
        "The license depends on the checkpoint that it was fine-tuned from and on the data; set it in the first lines "
        "of this file before sharing the model.",
    ]
    return "## Limits\n\n" + "".join(f"- {line}\n" for line in lines)
