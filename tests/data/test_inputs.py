"""Files, folders, lists and tars as one listing."""

import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from ltad.data import inputs
from ltad.data.inputs import Input, find_files, locate, signature
from ltad.types import DatasetError


def put(path: Path, content: bytes = b"image") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def put_tar(path: Path, members: list[tuple[str, bytes]]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, BytesIO(content))
    return str(path)


def test_folders_are_searched_in_depth_and_sorted_and_every_file_comes_once(tmp_path, monkeypatch):
    b, a = put(tmp_path / "in/b.PNG"), put(tmp_path / "in/a/z.jpg")
    put(tmp_path / "in/.hidden.png"), put(tmp_path / "in/.git/c.png"), put(tmp_path / "in/a.json")
    tar = put_tar(tmp_path / "in/c.tar", [])
    monkeypatch.chdir(tmp_path)
    assert find_files(["in"]) == [a, b, tar]
    assert find_files([b, "in", "in/a/../b.PNG"]) == [b, a, tar]
    named = put(tmp_path / "no suffix")
    assert find_files([Path("no suffix"), "gone.png"]) == [named, str(tmp_path / "gone.png")]


def test_a_list_has_a_path_a_line(tmp_path):
    a, b = put(tmp_path / "in/a b.png"), put(tmp_path / "ü.png")
    listed = tmp_path / "list.txt"
    listed.write_bytes(f"\ufeff{b}\r\n\n{tmp_path / 'in'}\n".encode())
    assert find_files([], listed) == [b, a]
    listed.write_bytes(b"\xff\n")
    with pytest.raises(DatasetError, match=r"list\.txt cannot be read"):
        find_files([], listed)


@pytest.mark.parametrize(("name", "told"), [
    ("nowhere", "neither a file nor a folder"), ("a.tar.gz", "unpack it to a plain .tar"),
])
def test_what_cannot_be_listed_is_named(tmp_path, name, told):
    with pytest.raises(DatasetError, match=f"{name}.* {told}"):
        find_files([tmp_path / name])


def test_a_compressed_tar_in_a_folder_is_not_passed_over(tmp_path):
    put(tmp_path / "a.png"), put(tmp_path / "b.tgz")
    with pytest.raises(DatasetError, match="compressed"):
        find_files([tmp_path])


def test_a_name_that_no_table_can_hold_is_named(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(b"image")
    with pytest.raises(DatasetError, match="not UTF-8"):
        find_files([tmp_path])


def test_the_images_of_a_tar_are_found_in_its_order_and_read_from_their_place(tmp_path):
    long = f"{'x' * 200}.jpg"
    tar = put_tar(tmp_path / "0.tar", [
        ("./b.jpg", b"old"), ("b.json", b"{}"), (long, b"long"), ("deep/a.png", b"deep" * 300),
        ("._b.jpg", b"junk"), ("b.jpg", b"new"),
    ])
    alone = put(tmp_path / "z.png")
    found = locate([alone, tar])
    assert [image.path for image in found] == [
        alone, f"{tar}/b.jpg", f"{tar}/{long}", f"{tar}/deep/a.png"]
    assert found[0] == Input(alone) and found[0].source() == Path(alone)
    assert [image.source() for image in found[1:]] == [b"new", b"long", b"deep" * 300]


def test_no_more_of_an_image_is_read_than_is_accepted(tmp_path, monkeypatch):
    tar = put_tar(tmp_path / "0.tar", [("a.png", b"x" * 5000)])
    monkeypatch.setattr(inputs, "MAX_BYTES", 999)
    assert len(locate([tar])[0].source()) == 1000


def test_a_damaged_tar_is_named(tmp_path):
    whole = Path(put_tar(tmp_path / "0.tar", [("a.png", b"x" * 5000), ("b.png", b"y" * 5000)]))
    with pytest.raises(DatasetError, match=r"1\.tar cannot be read as a tar"):
        locate([put(tmp_path / "1.tar", b"no tar at all")])
    with pytest.raises(DatasetError, match=r"2\.tar cannot be read as a tar"):
        locate([put(tmp_path / "2.tar", whole.read_bytes()[:4000])])


def test_the_signature_knows_files_and_archives_and_no_order(tmp_path):
    a, tar = put(tmp_path / "a.png"), put_tar(tmp_path / "0.tar", [("a.png", b"x")])
    before = signature([a, tar])
    assert signature([tar, a]) == before != signature([a])
    put_tar(tmp_path / "0.tar", [("a.png", b"y" * 20000)])
    assert signature([a, tar]) != before
    Path(tar).unlink()
    with pytest.raises(DatasetError, match=r"0\.tar cannot be opened"):
        signature([a, tar])
