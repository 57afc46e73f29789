"""Fuzzes one reader guided by coverage: `python tests/fuzz/coverage_guided.py TARGET -runs=1000000`.

Needs atheris, which is no dependency of the tests. What follows the target is for libFuzzer.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trainable", "results", "yaml"]):
    import test_data_yaml
    import test_labels
    import test_recipe_yaml
    import test_tables
    from journals import JOURNAL

TARGETS = {
    "labels": (lambda folder, content: test_labels.check(folder, (content, 3)), test_labels.GOOD),
    "data_yaml": (test_data_yaml.check_yaml, test_data_yaml.GOOD),
    "recipe_yaml": (test_recipe_yaml.check, test_recipe_yaml.GOOD),
    "journal": (lambda folder, content: test_tables.check(folder, (content, "json")), [JOURNAL]),
}
"""A check of a folder and a file's contents, and good contents to start from."""


def main() -> None:
    name, *arguments = sys.argv[1:]
    check, good = TARGETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder, corpus = Path(scratch, "folder"), Path(scratch, "corpus")
        folder.mkdir()
        corpus.mkdir()
        for number, content in enumerate(good):
            (corpus / str(number)).write_bytes(content)
        atheris.Setup([sys.argv[0], *arguments, str(corpus)], lambda content: check(folder, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
