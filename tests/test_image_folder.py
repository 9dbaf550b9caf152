"""Folders of pictures as datasets."""

import numpy as np
import pytest

import tilework as tw
from tilework import data

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("dog/1.png", "cat/2.PNG", "cat/deeper/0.png", "cat/1.png"):
        write(tmp_path / name, rng.integers(0, 256, (6, 4, 3)))
    (tmp_path / "cat/notes.txt").write_text("no picture")
    return tmp_path


def test_folders_are_classes(root):
    pictures = data.ImageFolder(root)
    assert pictures.classes == ["cat", "dog"]
    assert pictures.class_to_idx == {"cat": 0, "dog": 1}
    names = [path.removeprefix(f"{root}/") for path, _ in pictures.samples]
    assert names == ["cat/1.png", "cat/2.PNG", "cat/deeper/0.png", "dog/1.png"]
    assert pictures.targets == [target for _, target in pictures.imgs] == [0, 0, 0, 1]
    assert len(pictures) == 4
    image, target = pictures[3]
    stored = np.asarray(Image.open(root / "dog/1.png"))
    assert image.dtype == tw.float32
    np.testing.assert_array_equal(image.numpy() * 255, stored.transpose(2, 0, 1))
    assert target == 1


def test_they_stack_into_batches(root):
    write(root / "dog/2.png", np.full((9, 11), 51))
    loader = data.DataLoader(data.ImageFolder(root, size=(5, 3), mode="L"), 5)
    ((images, labels),) = loader
    assert images.shape == (5, 1, 5, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(images.numpy()[4], 0.2, rtol=1e-6)  # grey stays grey at any size


def test_what_is_done_to_samples(root):
    pictures = data.ImageFolder(
        root, lambda image: image * 2, lambda target: target + 10, lambda path: tw.ones(1, 2, 2),
        lambda path: path.endswith("1.png"),
    )  # fmt: skip
    assert [(float(image.sum()), target) for image, target in pictures] == [(8, 10), (8, 11)]


def test_read_image(tmp_path):
    write(tmp_path / "grey.png", [[0, 255], [51, 102]])
    grey = data.read_image(tmp_path / "grey.png")
    np.testing.assert_allclose(grey[0].numpy(), [[0, 1], [0.2, 0.4]], rtol=1e-6)
    assert grey.shape == (3, 2, 2)
    deep = np.array([[0, 65535], [13107, 300]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = data.read_image(tmp_path / "deep.png", mode="L")[0].numpy()
    np.testing.assert_array_equal(found * 255, deep >> 8)
    write(tmp_path / "wide.jpg", np.full((8, 16, 3), 128), quality=95)
    assert data.read_image(tmp_path / "wide.jpg", 4).shape == (3, 4, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    write(tmp_path / "turned.jpg", np.full((8, 16, 3), 128), exif=exif)
    assert data.read_image(tmp_path / "turned.jpg").shape == (3, 16, 8)


def test_what_cannot_be_read_is_named(root):
    (root / "cat/broken.png").write_bytes(b"not a picture")
    (root / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"\[ImageFolder\] expected a picture of each class"
    ):
        data.ImageFolder(root)
    (root / "empty").rmdir()
    with pytest.raises(ValueError, match=r"\[read_image\] expected a picture .*broken.png"):
        list(data.ImageFolder(root))
    for missing in (root / "nothing", root / "dog"):
        with pytest.raises(FileNotFoundError, match=r"\[ImageFolder\] expected a folder with"):
            data.ImageFolder(missing)
    with pytest.raises(FileNotFoundError):
        data.read_image(root / "nothing.png")
    whole = (root / "cat/1.png").read_bytes()
    (root / "cat/broken.png").write_bytes(whole[: len(whole) - 30])
    with pytest.raises(ValueError, match=r"broken\.png"):
        data.read_image(root / "cat/broken.png")
    with pytest.raises(ValueError, match="a mode of"):
        data.read_image(root / "cat/1.png", mode="CMYK")
    with pytest.raises(ValueError, match="a size from 1"):
        data.read_image(root / "cat/1.png", 0)
    with pytest.raises(ValueError, match=r"\[ImageFolder\] expected a loader, or size"):
        data.ImageFolder(root, loader=data.read_image, size=3)


def test_what_other_programs_leave_is_no_picture(root):
    for name in (".ipynb_checkpoints/1.png", "cat/._1.png", "cat/.thumbs/1.png", ".DS_Store"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("no picture")
    pictures = data.ImageFolder(root)
    assert pictures.classes == ["cat", "dog"]
    assert len([image for image, _ in pictures]) == 4
