"""What the files of a run folder must look like for the report to show them; a damaged one is left out as a whole."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from trainable.text.validation import rule

LARGE = 1e300
_CAN_BE_WRITTEN = rule(
    lambda value: not any("\ud800" <= character <= "\udfff" for character in str(value)), "should be of Unicode text"
)

Number = Annotated[float, Field(gt=-LARGE, lt=LARGE)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, _CAN_BE_WRITTEN]
Shown = Annotated[Any, _CAN_BE_WRITTEN]
"""Whatever it is, its text is shown."""


class _Written(BaseModel):
    """What a search has written; a field of a later version is ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Figures(_Written):
    mAP: Number | None = None  # noqa: N815 - the name in the file
    mAP50: Number | None = None  # noqa: N815
    mAP75: Number | None = None  # noqa: N815
    AR: Number | None = None


class _Point(_Written):
    precision: Share
    recall: Share
    f1: Share
    iou_threshold: Share
    score_threshold: Share
    constraint: Text | None = None
    interval: dict[Text, Annotated[list[Share], Field(min_length=2, max_length=2)]] | None = None


class _Unread(_Written):
    id: Text
    why: Text


class _Selection(_Written):
    trial: Count
    val_loss: Number
    optimism: Annotated[float, Field(ge=0, lt=LARGE)]
    trials: Count
    pairs: Count


class _Bin(_Written):
    count: Count
    mean_score: Share | None
    precision: Share | None


class _Calibration(_Written):
    lowest_score: Share | None = None
    expected_calibration_error: Share | None = None
    bins: list[_Bin] | None = None


class _PairLoss(_Written):
    id: Text
    loss: Number
    tp: Count
    fp: Count
    fn: Count
    flagged: bool | None = None


class _Flagged(_Written):
    count: Count
    ids: list[Text]
    rule: Text | None = None
    f1_flagged: Share | None
    f1_unflagged: Share | None


class _CameraOfPair(_Written):
    id: Text
    model: Text
    shift: Number
    inliers: Share
    residual_before: Number
    residual_after: Number
    fault: Text


class _Cameras(_Written):
    alignment: Text
    moved: Count
    not_registered: Count
    pairs: list[_CameraOfPair]


class _Metrics(_Figures):
    per_class: dict[Text, _Figures] | None = None
    recommended: _Point | None = None
    not_recommended: Text | None = None
    counted_at: Share | None = None
    pairs: Count | None = None
    boxes: Count | None = None
    unread: list[_Unread] | None = None
    errors: dict[Text, Count] | None = None
    calibration: _Calibration | None = None
    pairs_by_loss: list[_PairLoss] | None = None
    flagged: _Flagged | None = None
    cameras: _Cameras | None = None


class _WithMore(_Written):
    """Whose other fields are shown as well."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Shown]


class _Asked(_WithMore):
    trials: Count | None = None
    max_epochs: Count
    grace: Annotated[Count, Field(gt=0)]
    reduction: Annotated[Number, Field(gt=1)]
    command: Text | None = None
    identity: dict[Text, Shown] | None = None


class _Environment(_WithMore):
    resources: dict[Text, Shown] | None = None
    packages: dict[Text, Shown] | None = None


class _Notice(_Written):
    about: Text
    found: Text
    names: list[Text]
    advice: Text


METRICS = TypeAdapter(_Metrics)
ASKED = TypeAdapter(_Asked)
ENVIRONMENT = TypeAdapter(_Environment)
SELECTION = TypeAdapter(_Selection)
NOTICES = TypeAdapter(list[_Notice])
