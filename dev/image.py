"""Images without a daemon: a tarball of one layer, in the format that `ctr images import` reads."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile

from . import packages, tools
from .paths import IMAGES

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def build(tag, files, *, links=None, config=None):
    """Writes the image of the static binaries {path in the image: path here} and returns the tarball's path."""
    layer = _layer(files, links or {})
    settings = json.dumps(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
    ).encode()
    name = hashlib.sha256(settings).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    IMAGES.mkdir(parents=True, exist_ok=True)
    tarball = IMAGES / f"{tag.replace(':', '-')}.tar"
    with tarfile.open(tarball, "w") as tar:
        for entry, content in (("manifest.json", manifest), (name, settings), ("layer.tar", layer)):
            _add(tar, entry, content, 0o644)
    return tarball


def pause():
    return build("pause:dev", {"pause": tools.pause() / "pause"}, config={"Entrypoint": ["/pause"]})


def busybox():
    """A shell for recorder pods; None where Debian's packages are out of reach."""
    unpacked = packages.debian("busybox", ["busybox-static"])
    if not unpacked:
        return None
    binary = unpacked / "bin" / "busybox"
    applets = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    return build("busybox:dev", {"bin/busybox": binary}, links=links, config={"Cmd": ["/bin/sh"]})


def _layer(files, links):
    """The same bytes for the same files: no times, no owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add_directory(tar, "tmp", 0o1777)
        for path, source in sorted(files.items()):
            _add(tar, path, source.read_bytes(), 0o755)
        for path, target in sorted(links.items()):
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    return buffer.getvalue()


def _add_directory(tar, path, mode):
    directory = tarfile.TarInfo(path)
    directory.type, directory.mode = tarfile.DIRTYPE, mode
    tar.addfile(directory)


def _add(tar, path, content, mode):
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
