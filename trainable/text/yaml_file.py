"""The YAML that people write and we write: plain values only, and nothing that is lost or blown up on the way."""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from trainable.text.shown import printable, shown
from trainable.text.text_file import text_of

MOST_VALUES = 1_000_000
"""Values of a file, those that aliases repeat counted each time; a few lines of aliases of aliases make billions."""
WHOLE_NUMBERS = range(-(2**63), 2**63)
"""Whole numbers that the tables can hold."""


class YamlError(ValueError):
    """A file cannot be read as YAML; the message says why and, where it is known, in which line. It names no file."""


def read_yaml(path: Path) -> Any:
    """What a YAML file holds: dicts, lists, texts, numbers, truth values, dates and None.

    As people write it, `1e-4` is a number, and a byte-order mark is fine. Tags that would make objects are refused, and
    so are keys that are there twice, of which YAML's own loader silently drops one.

    Raises:
        YamlError: it cannot be read, or is not such a file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise YamlError(error.strerror or str(error)) from None
    except ValueError as error:
        raise YamlError(f"no file can have this path: {error}") from None
    return yaml_of(content)


def yaml_of(content: bytes) -> Any:
    """The same of a file's contents.

    Raises:
        YamlError: they are not such a file's.
    """
    try:
        loader = _Loader(text_of(content))
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise YamlError(" ".join(str(error).split())) from None
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise YamlError(_told(error)) from None
    except RecursionError:
        raise YamlError("it is nested too deep") from None
    except (ValueError, OverflowError) as error:  # An escape such as "\UFFFFFFFF", which PyYAML takes for a character.
        raise YamlError(f"line {loader.get_mark().line + 1}: {error}") from None
    finally:
        loader.dispose()


def yaml_text(plain: Any) -> str:
    """Plain values as YAML that `read_yaml` gives back unchanged, dicts in their order."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _values(node, {}) > MOST_VALUES:
            raise _error(f"its aliases repeat more than {MOST_VALUES:,} values", node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:  # `!!bool x`, a 13th month and the like make PyYAML raise nearly anything.
            raise _error(f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}", node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            written = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if written in seen:
                raise _error(f"the key {shown(key.value)} is there twice", key)
            seen.add(written)
        return super().construct_mapping(node, deep)

    def whole_number(self, node: yaml.ScalarNode) -> int:
        value = self.construct_yaml_int(node)
        if value not in WHOLE_NUMBERS:
            raise _error(f"a whole number of more than 64 bits: {shown(node.value)}", node)
        return value


class _Dumper(yaml.SafeDumper):
    """Quotes a text such as `1e-4`, which `_Loader` would read as a number."""


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)
for _yaml_class in (_Loader, _Dumper):  # YAML 1.1 wants `1.0e-4`.
    _yaml_class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def _values(node: yaml.Node, counted: dict[yaml.Node, int]) -> int:
    """Values at and below a node once its aliases are written out."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if node not in counted:
        counted[node] = 0  # Until it is known: a value that meets itself is below itself.
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        counted[node] = 1 + sum(_values(part, counted) for part in parts)
    if not counted[node]:
        raise _error("it holds itself", node)
    return counted[node]


def _error(problem: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)


def _told(error: yaml.MarkedYAMLError) -> str:
    line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
    return line + printable(", ".join(part for part in (error.context, error.problem) if part))
