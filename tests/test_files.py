"""Files are written whole or not at all: the old one or the new one is there, whatever happens."""

import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from file_kinds import READ, WRITE
from schedulers import _files

OLD, NEW = "old\n" * 1000, "new\n" * 200_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.json"
    path.write_text(OLD)
    return path


def only(file):
    """Whether there is nothing else in the folder."""
    return [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_file_is_replaced_whole(file):
    _files.write_text(file, NEW)
    assert file.read_text() == NEW
    assert only(file)
    _files.write_text(file.parent / "another", "naïve\n")
    assert (file.parent / "another").read_bytes() == "naïve\n".encode()


def test_what_is_no_file_is_left(tmp_path):
    (tmp_path / "folder").mkdir()
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "file")
    for name in ("folder", "loop", "dangling", "loop/below"):
        with pytest.raises(OSError, match=r"^\[Errno \d+\] [^.]*$"):  # no word of a temporary file
            _files.write_text(tmp_path / name, NEW)
    assert loop.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["dangling", "folder", "loop"]


def test_a_link_to_what_is_not_there_makes_it(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    _files.write_text(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == NEW


def test_a_link_stays_one(file):
    link = file.with_name("link")
    link.symlink_to(file)
    _files.write_text(link, NEW)
    assert link.is_symlink()
    assert file.read_text() == NEW


@pytest.mark.parametrize("path", [5, None, ["a"]])
def test_no_path(path):
    with pytest.raises(TypeError, match="path must be a str or a path"):
        _files.write_text(path, NEW)


def test_text_that_has_no_encoding_leaves_the_old_file(file):
    with pytest.raises(UnicodeEncodeError):
        _files.write_text(file, NEW + "\ud800")
    assert file.read_text() == OLD
    assert only(file)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_end_leaves_the_old_file(file, step, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        _files.write_text(file, NEW)
    assert file.read_text() == OLD
    assert only(file)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # write then says EFBIG
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
from file_kinds import WRITE
try:
    WRITE[sys.argv[1]](sys.argv[2], 1000)
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files by POSIX")
@pytest.mark.parametrize("most", [0, 1, 4096, 10**6])
@pytest.mark.parametrize("kind", WRITE)
def test_a_file_where_there_is_no_room(tmp_path, kind, most):
    WRITE[kind](tmp_path, 7)
    command = [sys.executable, "-c", LIMITED, kind, str(tmp_path), str(most)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    found = said.stdout, READ[kind](tmp_path)
    assert found == (("", 1000) if most == 10**6 else ("File too large\n", 7))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="takes the rights away by POSIX")
@pytest.mark.parametrize("kind", WRITE)
def test_a_read_only_folder_keeps_its_file(kind):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITE[kind](folder, 7)
        folder.chmod(0o555)
        as_root = os.geteuid() == 0  # who may write anywhere
        if as_root:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                WRITE[kind](folder, 8)
            assert READ[kind](folder) == 7
            assert len(list(folder.iterdir())) == 1
        finally:
            if as_root:
                os.seteuid(0)
            folder.chmod(0o700)


WRITES = """
import itertools, sys
from schedulers import _files
print("begun", flush=True)
for n in itertools.count():
    _files.write_text(sys.argv[1], f"{n % 10}" * 1_000_000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX")
def test_a_process_that_is_killed_leaves_a_whole_file(file):
    rng = random.Random(0)
    file.write_text("0" * 1_000_000)
    for _ in range(8):
        command = [sys.executable, "-c", WRITES, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as writer:
            writer.stdout.readline()
            time.sleep(0.05 * rng.random())
            writer.send_signal(signal.SIGKILL)
        text = file.read_text()
        assert len(text) == 1_000_000
        assert len(set(text)) == 1


WRITES_KIND = """
import itertools, sys
from file_kinds import WRITE
print("begun", flush=True)
for n in itertools.count():
    WRITE[sys.argv[1]](sys.argv[2], 100 + n % 2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX")
@pytest.mark.parametrize("kind", WRITE)
def test_a_process_that_is_killed_leaves_a_whole_file_of_each_kind(tmp_path, kind):
    rng = random.Random(0)
    WRITE[kind](tmp_path, 100)
    for _ in range(3):
        command = [sys.executable, "-c", WRITES_KIND, kind, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as writer:
            writer.stdout.readline()
            time.sleep(0.1 * rng.random())
            writer.send_signal(signal.SIGKILL)
        assert READ[kind](tmp_path) in (100, 101)


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
