import os
import time

import pytest

from trainable.storage.remote import Remote
from trainable.storage.working_folder import UNUSED_SECONDS, begin_work, working_mirror

RUN = Remote("s3://bucket/my%20runs/one?region=eu-west-1")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_run_has_one_folder_of_its_name_in_the_cache(cache):
    mirror = working_mirror(RUN)
    assert mirror == working_mirror(RUN) and mirror.remote == RUN
    assert mirror.local.name == "one" and mirror.local.is_relative_to(cache)


def test_runs_of_one_name_in_other_storages_have_folders_of_their_own():
    others = [RUN.at(".."), Remote("s3://other/my%20runs/one"), Remote("s3://bucket/my%20runs/one?region=eu-west-2")]
    assert len({working_mirror(run).local for run in (RUN, *others)}) == 4


def test_only_folders_that_nobody_has_used_for_long_are_deleted():
    mirrors = [working_mirror(RUN.at(name)) for name in ("mine", "old", "young")]
    for mirror, age in zip(mirrors, (2, 2, 0.5), strict=True):
        mirror.local.mkdir(parents=True)
        (mirror.local / "left over").write_text("by a killed worker")
        os.utime(mirror.local.parent, times=(time.time() - age * UNUSED_SECONDS,) * 2)
    for _ in range(2):
        begin_work(mirrors[0])
    assert [(mirror.local / "left over").exists() for mirror in mirrors] == [True, False, True]
