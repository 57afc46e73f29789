"""Writes labels of other formats as this project's layout: before/, after/, labels/ and classes.txt.

python trainable/data/convert.py instances_train.json my_pairs/ --before "{stem}_before" --after "{stem}_after"

python trainable/data/convert.py MOT17-02/ my_pairs/ --pairs 200 --gap 5

Reads COCO's JSON, a folder of Pascal VOC's XML, a CSV of boxes, a video or a
folder of frames with MOT-challenge tracks, and text files of matched boxes;
docs/data.md shows each. Labels of a pair may be on either of its images, or on both.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import typer

from trainable.alignment import ALIGNMENTS, OFF
from trainable.data.faults import DataError, write_report
from trainable.data.formats.layout_writer import write_layout
from trainable.data.formats.mot import Sampling
from trainable.data.formats.pairing import AFTER, BEFORE, Rule, template_fault
from trainable.data.formats.reading import Format, format_of, read_format
from trainable.text.command_line import Command, command_line, stop
from trainable.text.console import plain_console

app = Command()


@app.command(help=__doc__)
def main(
    source: Annotated[Path, typer.Argument(help="A .json of COCO's, a .csv, a video, or a folder", metavar="IN")],
    out: Annotated[Path, typer.Argument(help="Folder to write, which must not be there yet", metavar="OUT")],
    labels: Annotated[
        Format | None, typer.Option("--format", help="How IN is written", show_default="as it looks")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images", show_default="images/ beside or in IN, or IN's own")
    ] = None,
    before: Annotated[
        str, typer.Option(help="How before images are called, with {stem} for what a pair shares")
    ] = BEFORE,
    after: Annotated[str, typer.Option(help="How after images are called")] = AFTER,
    pair_list: Annotated[
        Path | None, typer.Option(help="CSV with the columns before,after (and id) that says what is a pair")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Of tracks: so many pairs at most, spread over the frames")] = 100,
    gap: Annotated[float, typer.Option(min=0.01, help="Of tracks: seconds between the frames of a pair")] = 4.0,
    min_move: Annotated[
        float, typer.Option(min=0, help="Of tracks: what moved less, as a share of its own size, stayed")
    ] = 0.5,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, help="Of tracks: frames a second", show_default="as seqinfo.ini or the video says"),
    ] = None,
    align: Annotated[
        str, typer.Option(help=f"Where the camera moved, take boxes of before images along: {', '.join(ALIGNMENTS)}")
    ] = OFF,
) -> None:
    console = plain_console(soft_wrap=True)
    if out.exists():
        stop(f"{out}: is there already; choose another folder")
    if fault := template_fault(before, after):
        stop(fault)
    if align not in ALIGNMENTS:
        stop(f"--align {align}: one of {', '.join(ALIGNMENTS)}")
    rule, how = Rule(before, after, pair_list), Sampling(pairs, gap, min_move, fps)
    try:
        with tempfile.TemporaryDirectory(prefix="frames-") as scratch:
            found = read_format(source, labels or format_of(source), images, rule, how, Path(scratch))
            written = write_layout(found, out, align)
    except DataError as error:
        report = out.with_name(f"{out.name}-faults.csv")
        write_report(error.faults, report)
        stop(f"{error}\nall of them: {report}")
    except OSError as error:
        stop(f"{out}: cannot be written: {error}")
    console.print(
        f"{out}: {written.pairs} pairs, {written.boxes} boxes of {', '.join(written.names)}; "
        f"in {written.empty} nothing moved",
        highlight=False,
    )
    words = ("--data", str(out), "--subset", "20", "--trials", "4", "--max-epochs", "6")
    console.print(f"try it: {command_line('search', *words)}", highlight=False)


if __name__ == "__main__":
    app()
