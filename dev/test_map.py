"""The map in dev/README.md names every module, and its order is that of the imports."""

import ast
import re
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAP = (HERE / "README.md").read_text()


def modules():
    """File of each module, by its dotted name below `dev`; a room is named by its directory."""
    found = {}
    for file in sorted(HERE.rglob("*.py")):
        parts = file.relative_to(HERE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(source, package, known):
    """The known modules that a module of the package imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else []
            parts = [*parts, *(node.module.split(".") if node.module else [])]
            base = ".".join(parts if node.level else parts[1:] if parts[0] == "dev" else ["?"])
            names = [f"{base}.{alias.name}".strip(".") for alias in node.names]
            found |= {name if name in known else base for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("dev.") for alias in node.names if alias.name.startswith("dev.")}
    return found & known.keys() - {""}


def graph():
    known = modules()
    edges = {}
    for name, file in known.items():
        package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
        edges[name] = imports(file.read_text(), [part for part in package if part], known) - {name}
    return edges


def room_of(module):
    """The room, or the module itself where it belongs to none."""
    return module.partition(".")[0]


def circle(edges):
    """Names along one circle, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(edges.get(name, ())):
            if found := visit(other):
                return found
        done.add(path.pop())
        return None

    return next((found for name in sorted(edges) if (found := visit(name))), None)


class MapTest(unittest.TestCase):
    def test_the_map_names_every_module_once_and_no_other(self):
        named = re.findall(r"^\| `([\w/]+)` \|", MAP.partition("## Programs in Go")[0], re.MULTILINE)
        there = [str(file.relative_to(HERE).with_suffix("")) for file in HERE.rglob("*.py") if file.name != "__init__.py"]
        self.assertEqual(sorted(named), sorted(there))

    def test_the_map_has_a_heading_for_every_room(self):
        rooms = {file.parent.name for file in HERE.glob("*/__init__.py")}
        self.assertEqual(set(re.findall(r"^## dev/([\w-]+): ", MAP, re.MULTILINE)), rooms)

    def test_the_map_names_every_go_module_of_the_top(self):
        named = set(re.findall(r"^\| `([\w-]+)` \|", MAP.partition("## Programs in Go")[2], re.MULTILINE))
        self.assertEqual(named, {file.parent.name for file in HERE.glob("*/go.mod")})


class ImportsTest(unittest.TestCase):
    def test_no_module_imports_itself_by_a_detour(self):
        self.assertIsNone(circle(graph()))

    def test_a_room_imports_only_what_the_map_names_above_it(self):
        order = []
        for heading, line in re.findall(r"^## dev/([\w-]+): |^\| `(\w+)` \|", MAP, re.MULTILINE):
            order.append(heading or line)
        place = {name: number for number, name in enumerate(order)}
        upwards = [
            f"{module} imports {other}"
            for module, others in graph().items()
            for other in sorted(others)
            if room_of(module) not in (room_of(other), "") and not self.is_test(module)
            and place[room_of(other)] > place[room_of(module)]
        ]  # fmt: skip
        self.assertEqual(upwards, [])

    def test_what_is_looked_for_would_be_found(self):
        edges = graph()
        self.assertIn("aws.accounts", edges["cluster.operator"])
        self.assertIn("chart", edges["cluster.operator"])
        self.assertIn("suite", edges["__main__"])
        self.assertGreater(sum(map(len, edges.values())), 200)
        self.assertEqual(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}), ["b", "c", "b"])

    @staticmethod
    def is_test(module):
        return module.rpartition(".")[2].startswith("test_")
