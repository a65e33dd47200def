"""Images without a daemon: a tarball of one layer, in the format that `ctr images import` reads."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

from .. import packages, tools
from ..paths import TARGET

IMAGES = TARGET / "images"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class Image(NamedTuple):
    tarball: Path
    tag: str  # a hash of the content, so that a Deployment rolls out when the content changes


def build(name, files, config, links=None, tag="dev"):
    """An image of the static binaries {path in the image: path here}, tagged `tag` and by content."""
    layer = _layer(files, links or {})
    digest = hashlib.sha256(layer).hexdigest()
    settings = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    by_content = digest[:12]
    tags = [f"{name}:{tag}", f"{name}:{by_content}"]
    manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": ["layer.tar"]}]
    IMAGES.mkdir(parents=True, exist_ok=True)
    tarball = IMAGES / f"{name}.tar"
    with tarfile.open(tarball, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
        _add(tar, "config.json", json.dumps(settings).encode(), 0o644)
        _add(tar, "layer.tar", layer, 0o644)
    return Image(tarball, by_content)


def pause():
    return build("pause", {"pause": tools.pause()}, {"Entrypoint": ["/pause"]})


def busybox():
    """A shell for recorder pods, under the name that the examples use; None where there is no apt."""
    unpacked = packages.debian("busybox", ["busybox-static"])
    if not unpacked:
        return None
    binary = unpacked / "bin" / "busybox"
    applets = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    return build("busybox", {"bin/busybox": binary}, {"Cmd": ["/bin/sh"]}, links, tag="stable")


def _layer(files, links):
    """A layer without times and owners, so that the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        scratch = tarfile.TarInfo("tmp")
        scratch.type, scratch.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(scratch)
        for path, source in sorted(files.items()):
            _add(tar, path, source.read_bytes(), 0o755)
        for path, target in sorted(links.items()):
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    return buffer.getvalue()


def _add(tar, path, content, mode):
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
