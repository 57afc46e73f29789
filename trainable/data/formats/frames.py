"""The frames of a sequence, by their numbers from 1: images of a folder, or those of a video."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

from trainable.data.faults import DataError, Fault
from trainable.data.formats.numbers import numbers
from trainable.data.listing import IMAGE_SUFFIXES, files_by_id

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg")


class Frames(ABC):
    """The frames of a sequence.

    Attributes:
        location: the folder or file that they are of.
        numbers: of the frames that there are, in rising order.
    """

    location: Path
    numbers: list[int]

    @abstractmethod
    def per_second(self) -> float:
        """Frames a second.

        Raises:
            DataError: nothing says it.
        """

    @abstractmethod
    def files(self, wanted: Collection[int]) -> dict[int, Path]:
        """An image file of each frame that is wanted, by its number.

        Raises:
            DataError: one cannot be read.
        """


class FolderFrames(Frames):
    """Images that are named by their numbers, in `img1` or in the folder itself; `seqinfo.ini` has their rate.

    Raises:
        DataError: there are none.
    """

    def __init__(self, folder: Path):
        self.location = folder / "img1" if (folder / "img1").is_dir() else folder
        self._rate = folder / "seqinfo.ini"
        found = files_by_id(self.location, IMAGE_SUFFIXES)
        self._files = {int(id_): paths[0] for id_, paths in found.items() if id_.isdecimal()}
        self.numbers = sorted(self._files)
        if not self._files:
            advice = "name the images by their numbers: 000001.jpg"
            raise DataError([Fault("no frames", str(self.location), None, "", advice)])

    def per_second(self) -> float:
        """That of `seqinfo.ini`."""
        settings = ConfigParser()
        try:
            settings.read_string(self._rate.read_text(encoding="utf-8-sig"))
            found = numbers([settings["Sequence"]["frameRate"]], 1)
        except (OSError, ValueError, KeyError, ConfigError):
            found = None
        if not found or found[0] <= 0:
            raise DataError([Fault("no frameRate", str(self._rate), None, "", "give --fps, the frames a second")])
        return found[0]

    def files(self, wanted: Collection[int]) -> dict[int, Path]:
        """The images as they lie there."""
        return {number: self._files[number] for number in wanted}


class VideoFrames(Frames):
    """The frames of a video file, decoded once, in order, since few formats know where a frame begins.

    Args:
        file: the video.
        scratch: folder for the frames that are wanted, as PNG.

    Raises:
        DataError: it cannot be read.
    """

    def __init__(self, file: Path, scratch: Path):
        # OpenCV takes memory and time to import: only where it is asked for.
        import cv2

        self.location, self._scratch = file, scratch
        video = cv2.VideoCapture(str(file))
        count, self._fps = (int(video.get(cv2.CAP_PROP_FRAME_COUNT)), float(video.get(cv2.CAP_PROP_FPS)))
        video.release()
        self.numbers = list(range(1, count + 1))
        if not self.numbers:
            advice = "convert it to .mp4, or to images: ffmpeg -i VIDEO frames/%06d.jpg"
            raise DataError([Fault("no frames", str(file), None, "", advice)])

    def per_second(self) -> float:
        """That of the file."""
        if self._fps <= 0:
            raise DataError([Fault("no frame rate", str(self.location), None, "", "give --fps, the frames a second")])
        return self._fps

    def files(self, wanted: Collection[int]) -> dict[int, Path]:
        """The frames, written to the scratch folder."""
        import cv2

        video, found = cv2.VideoCapture(str(self.location)), {}
        for number in range(1, max(wanted, default=0) + 1):
            if not video.grab():
                break
            if number in wanted:
                whole, pixels = video.retrieve()
                file = self._scratch / f"{number:06d}.png"
                if whole and cv2.imwrite(str(file), pixels):
                    found[number] = file
        video.release()
        if lost := sorted(set(wanted) - found.keys()):
            advice = "the file is cut off or damaged; write it anew, or convert it to images"
            raise DataError([Fault("frames that cannot be read", str(self.location), None, f"frame {lost[0]}", advice)])
        return found
