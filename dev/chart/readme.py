"""The chart's README, made from the comments in values.yaml: each value has one."""

import re
from dataclasses import dataclass, field

from . import CHART

README = CHART / "README.md"

HEAD = """\
# The chart of recording-operator

```
kubectl create namespace recording-operator
kubectl create secret generic recording-operator-aws -n recording-operator \\
  --from-file=accessKeyID=FILE --from-file=secretAccessKey=FILE
helm install recording-operator charts/recording-operator -n recording-operator \\
  --set image.repository=REGISTRY/recording-operator --set platform.principalARN=arn:aws:iam::103850359708:user/RingDNA_Web
helm test recording-operator -n recording-operator
```

Kubernetes 1.33 or later. What an upgrade, a rollback and an uninstall do: [docs/upgrade.md](../../docs/upgrade.md).
What to watch, and what to do about it: [docs/operations.md](../../docs/operations.md).

## Values

Made from [values.yaml](values.yaml) by `make generate`; [values.schema.json](values.schema.json) refuses what is not one of
them.

| value | default | |
|---|---|---|
"""


@dataclass
class Value:
    path: str
    comment: str
    default: str
    inner: list = field(default_factory=list)


def render():
    return HEAD + "".join(_rows(parse((CHART / "values.yaml").read_text())))


def parse(text):
    """The tree of values.yaml, which is restricted to mappings with one `key: value` a line."""
    top, stack, comment = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        indent, stripped = len(line) - len(line.lstrip()), line.strip()
        if not stripped:
            comment = []
        elif stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
        elif found := re.fullmatch(r"([A-Za-z]+):(?: (.+))?", stripped):
            while stack and stack[-1][0] >= indent:
                stack.pop()
            name, default = found.groups()
            path = f"{stack[-1][1].path}.{name}" if stack else name
            value = Value(path, " ".join(comment), default or "")
            (stack[-1][1].inner if stack else top).append(value)
            stack.append((indent, value))
            comment = []
        else:
            raise ValueError(f"values.yaml:{number}: write `key: value`, one a line: {stripped}")
    return top


def undocumented(values):
    """Paths of values that have no comment, neither their own nor one of the mapping around them."""
    for value in values:
        if not value.comment and not value.inner:
            yield value.path
        elif any(inner.comment for inner in value.inner) or not value.comment:
            yield from undocumented(value.inner)


def _rows(values):
    for value in values:
        if any(inner.comment for inner in value.inner):
            if value.comment:
                yield f"| **{value.path}** | | {_cell(value.comment)} |\n"
            yield from _rows(value.inner)
        else:
            yield f"| `{value.path}` | `{_cell(_inline(value))}` | {_cell(value.comment)} |\n"


def _inline(value):
    if not value.inner:
        return value.default
    return "{" + ", ".join(f"{it.path.rpartition('.')[2]}: {_inline(it)}" for it in value.inner) + "}"


def _cell(text):
    return text.replace("|", "\\|")
