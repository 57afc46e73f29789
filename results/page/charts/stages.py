"""What was trained once: the tree of stages, a block for each that somebody trained."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from results.description import trains
from results.formatting import count, duration, figure, setting
from results.journal.journal import TrialRecord
from results.page.charts.chart import ACCENT, FAINT, GROUND, INK, Chart, chart, plain
from results.page.stage_tree import StageNode, stage_tree
from results.reuse import reuse

FEW_TRIALS = 50
"""Up to here, every stage is drawn."""
MOST_FIRST_STAGES = 24
"""Most first stages that a wider search shows, with what follows them."""
MOST_HEIGHT = 900
PIXELS_PER_TRIAL = 24
LEAST_PIXELS = 18
"""Stages of so few trials that their blocks would be lower are drawn together."""
STAGE_WIDTH = 235
"""Pixels at least, for its label."""
OPACITIES = (1.0, 0.5, 0.28, 0.12)
"""Opacities of the blocks, in as many bands of equally many, the lowest `val_loss` first; text can be read on each."""
MOST_NAMED = 12
"""Trials that are named where the pointer rests."""


@dataclass(frozen=True)
class Block:
    """A rectangle of the chart: a stage, or several that are drawn together."""

    stage: int
    """Its column, from 0."""
    top: int
    """Trials above it."""
    trials: int
    """Its height."""
    nodes: Sequence[StageNode]
    together: bool = False
    """Whether it stands for stages of few trials, and for what follows them."""


def stages_trained_once(records: Sequence[TrialRecord]) -> Chart | None:
    """Columns of stages, each block as high as it has trials; to its right, what they trained next.

    None where no epoch was reused.
    """
    total = reuse(records)
    if not total.reused:
        return None
    tree = stage_tree(records)
    drawn = tree if _trials(tree) <= FEW_TRIALS else tree[:MOST_FIRST_STAGES]
    trials = _trials(drawn)
    height = min(MOST_HEIGHT, PIXELS_PER_TRIAL * trials)
    blocks = stage_blocks(drawn, least=math.ceil(LEAST_PIXELS * trials / height))
    columns = 1 + max(block.stage for block in blocks)
    title = (
        f"{total.reused:,} of {count(total.reported, 'epoch')} were taken over from another trial, so that "
        f"{total.trained:,} had to be trained: {duration(total.seconds_saved)} of training saved"
    )
    if len(drawn) < len(tree):
        title += f"; of {len(tree):,} first stages, the {len(drawn)} of most trials are drawn"
    axis = {"tickvals": [column + 0.5 for column in range(columns)], "range": [0, columns], "showgrid": False}
    return chart(
        *("stages", title, _traces(blocks, gap=2 * trials / height)),
        height=height + 90,
        least_width=STAGE_WIDTH * columns,
        barmode="overlay",
        margin={"l": 2, "r": 2, "t": 10, "b": 40},
        xaxis={**axis, "side": "top", "ticktext": [f"stage {column + 1}" for column in range(columns)]},
        yaxis={"visible": False, "range": [trials, 0]},
        uniformtext={"minsize": 9, "mode": "hide"},
        legend={"y": -0.01, "yanchor": "top", "traceorder": "normal"},
    )


def stage_blocks(tree: Sequence[StageNode], least: int) -> list[Block]:
    """The blocks of a tree, each beside the one that it goes on from.

    Args:
        tree: first stages, as from `stage_tree`.
        least: trials of a stage that has a block of its own. (A stage never has more trials than the one before it, so
            that what is drawn hangs together.)
    """
    return list(_blocks(tree, top=0, least=least))


def _blocks(nodes: Sequence[StageNode], top: int, least: int) -> Iterator[Block]:
    """Blocks of nodes that follow the same one, those of most trials first."""
    small = [node for node in nodes if len(node.trials) < least]
    for node in nodes:
        if len(node.trials) >= least:
            yield Block(node.index, top, len(node.trials), [node])
            yield from _blocks(node.following, top, least)
            top += len(node.trials)
    if small:
        yield Block(small[0].index, top, _trials(small), small, together=True)


def _trials(nodes: Sequence[StageNode]) -> int:
    return sum(len(node.trials) for node in nodes)


def _traces(blocks: Sequence[Block], gap: float) -> list[go.Bar]:
    """Fills by `val_loss`, then what is written on them: in one trace with its fill, it would be as faint."""
    ranked = sorted((block for block in blocks if not block.together), key=lambda block: block.nodes[0].val_loss)
    ends = [len(ranked) * band // len(OPACITIES) for band in range(len(OPACITIES) + 1)]
    bands = [ranked[start:end] for start, end in pairwise(ends)]
    fills = [_fill(band, opacity, gap) for band, opacity in zip(bands, OPACITIES, strict=True) if band]
    strong = {id(block) for block in bands[0]}
    groups = (
        [block for block in ranked if block.nodes[0].shared],
        [block for block in ranked if not block.nodes[0].shared],
    )
    written = [_written(group, strong, gap) for group in groups if group]
    together = [block for block in blocks if block.together]
    return fills + written + ([_together(together, gap)] if together else [])


def _fill(blocks: Sequence[Block], opacity: float, gap: float) -> go.Bar:
    """Stages of about the same `val_loss`."""
    low, high = (figure(block.nodes[0].val_loss, 3) for block in (blocks[0], blocks[-1]))
    return _bars(
        blocks,
        gap,
        name=f"val_loss {low}" + (f" to {high}" if high != low else ""),
        marker={"color": ACCENT},
        opacity=opacity,
        hoverinfo="skip",
    )


def _written(blocks: Sequence[Block], strong: set[int], gap: float) -> go.Bar:
    """Labels of stages that all are shared or all are not, and frames round the shared ones."""
    nodes = [block.nodes[0] for block in blocks]
    shared = nodes[0].shared
    return _bars(
        blocks,
        gap,
        name="trained once for several trials",
        showlegend=shared,
        marker={"color": "rgba(0,0,0,0)", "line": {"color": INK, "width": 1.5 if shared else 0}},
        text=[_label(node) for node in nodes],
        insidetextfont={"size": 11, "color": [GROUND if id(block) in strong else INK for block in blocks]},
        customdata=[_details(node) for node in nodes],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _together(blocks: Sequence[Block], gap: float) -> go.Bar:
    texts = [f"{count(len(block.nodes), 'stage')} of {_size(block)}" for block in blocks]
    return _bars(
        blocks,
        gap,
        name="several stages",
        text=texts,
        customdata=[f"{text}, not drawn one by one" for text in texts],
        hovertemplate="%{customdata}<extra></extra>",
        marker={"color": FAINT, "pattern": {"shape": "/", "size": 6, "fillmode": "replace", "solidity": 0.2}},
        insidetextfont={"size": 11, "color": INK},
    )


def _bars(blocks: Sequence[Block], gap: float, **more: Any) -> go.Bar:
    return go.Bar(
        orientation="h",
        base=[block.stage for block in blocks],
        x=[0.985] * len(blocks),
        y=[block.top + block.trials / 2 for block in blocks],
        width=[max(block.trials - gap, block.trials / 2) for block in blocks],
        textposition="inside",
        insidetextanchor="start",
        textangle=0,
        **more,
    )


def _label(node: StageNode) -> str:
    """Such as `heads 4 @ 0.0003 · 6 trials`."""
    trials = len(node.trials)
    who = count(trials, "trial") if trials > 1 else f"trial {node.trials[0].number}"
    return f"{plain(node.stage.name)} {len(node.rows)} @ {node.stage.learning_rate:.2g} · {who}"


def _details(node: StageNode) -> str:
    stage = node.stage
    lines = [
        f"<b>stage {node.index + 1}: {plain(stage.name)}</b>",
        f"trains {trains(stage.trainable)}",
        f"{len(node.rows)} of {count(stage.epochs, 'epoch')} at learning rates up to {setting(stage.learning_rate)}",
        f"lowest val_loss {figure(node.val_loss)}",
        _who(node),
    ]
    return "<br>".join(lines)


def _who(node: StageNode) -> str:
    numbers = [str(trial.number) for trial in node.trials]
    if not node.shared:
        return f"trial {numbers[0]} alone"
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
    who = f"{'trials' if len(numbers) > 1 else 'trial'} {', '.join(numbers[:MOST_NAMED])}{more}"
    return f"{who}<br>trained by trial {int(node.trained_by)}, {count(node.reused_epochs, 'epoch')} not trained again"


def _size(block: Block) -> str:
    most = max(len(node.trials) for node in block.nodes)
    size = "one trial" if most == 1 else count(most, "trial")
    return size if len(block.nodes) == 1 else f"{'' if most == 1 else 'at most '}{size} each"
