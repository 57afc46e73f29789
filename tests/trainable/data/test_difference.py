import numpy as np
import pytest
from PIL import Image

from trainable.data.difference import ImageError, difference, open_image, stored_size


def colour_of(path):
    image = open_image(path)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


@pytest.mark.parametrize(
    ("mode", "stored", "seen"),
    [
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (0, 0, 0)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_grey_and_transparent_images_become_what_a_person_sees(tmp_path, mode, stored, seen):
    Image.new(mode, (4, 3), stored).save(tmp_path / "image.png")
    assert colour_of(tmp_path / "image.png") == seen


def test_a_palette_is_looked_up(tmp_path):
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "image.png")
    assert colour_of(tmp_path / "image.png") == (200, 100, 50)


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "image.tif")
    red, green, blue = colour_of(tmp_path / "image.tif")
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bits_are_scaled_to_8_and_not_clipped(tmp_path, suffix):
    values = np.array([[0, 257, 257 * 100 + 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"image{suffix}")
    assert np.asarray(open_image(tmp_path / f"image{suffix}"))[0, :, 1].tolist() == [0, 1, 100, 255]


def test_images_without_a_fixed_range_are_refused_by_name(tmp_path):
    Image.fromarray(np.full((3, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((3, 4), 70000, dtype=np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(ImageError, match=r"float\.tif.*8 or 16 bits"):
        open_image(tmp_path / "float.tif")
    with pytest.raises(ImageError, match=r"deep\.tif.*70000.*8 or 16 bits"):
        open_image(tmp_path / "deep.tif")


def test_an_image_stands_upright_as_its_exif_orientation_says(tmp_path):
    stored = Image.new("RGB", (40, 20))
    stored.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be rotated by 90 degrees clockwise
    stored.save(tmp_path / "turned.png", exif=exif)
    image = open_image(tmp_path / "turned.png")
    assert image.size == (20, 40)
    assert image.getpixel((10, 5)) == (255, 255, 255)
    assert image.getpixel((10, 35)) == (0, 0, 0)
    assert stored_size(tmp_path / "turned.png") == (40, 20)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_what_is_no_image_is_refused_by_name(tmp_path, content):
    if content is not None:
        (tmp_path / "broken.png").write_bytes(content)
    for reader in (open_image, stored_size):
        with pytest.raises(ImageError, match=r"broken\.png: cannot be read as an image"):
            reader(tmp_path / "broken.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".gif", ".webp"])
def test_a_truncated_image_is_refused_by_name(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole{suffix}")
    open_image(tmp_path / f"whole{suffix}")
    content = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match="cut"):
        open_image(tmp_path / f"cut{suffix}")


def test_the_difference_is_absolute_and_channel_by_channel():
    before, after = Image.new("RGB", (2, 2), (10, 200, 30)), Image.new("RGB", (2, 2), (15, 100, 30))
    assert difference(before, after).getpixel((0, 0)) == (5, 100, 0)
    assert difference(after, before).getpixel((0, 0)) == (5, 100, 0)


def test_images_of_different_size_have_no_difference():
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(3, 4\)"):
        difference(Image.new("RGB", (4, 3)), Image.new("RGB", (3, 4)))
