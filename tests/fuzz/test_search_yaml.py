"""Whatever a run's search.yaml holds: its options, or one error that names the file or the options."""

import dataclasses

import yaml
from fuzzing import damaged, fuzz, yaml_bytes
from hypothesis import strategies as st

from search.options import Options, OptionsError
from search.run_folder.run_folder import RunFolderError, check_identity, resume_options

ASKED = dataclasses.asdict(
    Options(space="staged", data=None, model="embedded", trials=16, max_epochs=24, grace=4, storage="runs", name="one")
)
GOOD = yaml.safe_dump(ASKED | {"identity": {"data": "1", "code": "2"}}, sort_keys=False).encode()
FIELDS = {name: st.just(value) for name, value in ASKED.items()} | {"identity": st.just({"data": "1"})}


@fuzz(st.binary(max_size=60) | damaged([GOOD]) | yaml_bytes(FIELDS), examples=200)
def test_a_search_yaml_gives_options_or_one_error(folder, content):
    (folder / "search.yaml").write_bytes(content)
    try:
        options = resume_options(folder, {})
        assert options.run == folder.resolve()
        check_identity(options, {"data": "1"})
    except (RunFolderError, OptionsError) as error:
        assert all(line.isprintable() for line in str(error).split("\n"))
