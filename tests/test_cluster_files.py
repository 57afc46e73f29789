"""What launches a cluster, held as far as it can be without one: schemas, versions, ports, tokens, commands."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_command_line
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

from search.command_line import app

PROJECT = Path(__file__).parent.parent
RAY_UP = ["cluster.yaml", "deploy/gcp.yaml", "deploy/on_premises.yaml"]
CLOUDS = ["cluster.yaml", "deploy/gcp.yaml"]
GUIDE = "docs/cluster.md"


def text_of(file: str) -> str:
    return (PROJECT / file).read_text(encoding="utf-8")


def yaml_of(file: str) -> dict[str, Any]:
    return yaml.safe_load(text_of(file))


def as_ray_sees_it(file: str) -> dict[str, Any]:
    """The file with what Ray fills in, which it takes over wherever the file is silent."""
    return prepare_config(yaml_of(file))


def pinned() -> dict[str, Version]:
    lines = [line for line in text_of("deploy/constraints.txt").splitlines() if not line.startswith("#")]
    return {name: Version(version) for name, version in (line.split("==") for line in lines)}


def start_commands(file: str) -> list[str]:
    """Every `ray start` of a file for `ray up`, the head's first."""
    config = as_ray_sees_it(file)
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


def commands_of(file: str) -> list[str]:
    """Every shell command of a file for `ray up`."""
    return [command for key, value in yaml_of(file).items() if key.endswith("_commands") for command in value]


def words_after(command: str, start: str) -> list[str]:
    """The arguments that follow `start` in a shell command, up to where it ends."""
    rest = command.partition(start)[2].replace("\\\n", " ").split("\n")[0]
    return shlex.split(re.split(r"[;|&`]| > ", rest)[0], comments=True)


def is_option(command: click.Command, word: str) -> bool:
    return any(word.split("=")[0] in parameter.opts + parameter.secondary_opts for parameter in command.params)


@pytest.mark.parametrize("file", RAY_UP)
def test_ray_takes_the_file(file):
    validate_config(as_ray_sees_it(file))


@pytest.mark.parametrize("file", CLOUDS)
def test_a_worker_is_a_spot_machine_of_one_gpu_that_comes_and_goes(file):
    config = yaml_of(file)
    head, worker = (config["available_node_types"][name] for name in ("head", "gpu_worker"))
    assert config["head_node_type"] == "head" and head["resources"] == {"CPU": 0}
    assert worker["resources"]["GPU"] == 1 and worker["min_workers"] == 0
    assert worker["max_workers"] == config["max_workers"] > 0
    assert "spot" in str(worker["node_config"]).lower() and "spot" not in str(head["node_config"]).lower()
    assert config["idle_timeout_minutes"] == 10


@pytest.mark.parametrize("file", CLOUDS)
def test_clouds_differ_in_their_machines_alone(file):
    machines = {"provider", "available_node_types", "head_setup_commands"}
    aws, cloud = yaml_of("cluster.yaml"), yaml_of(file)
    assert {key: value for key, value in cloud.items() if key not in machines} == {
        key: value for key, value in aws.items() if key not in machines
    }
    assert cloud["head_setup_commands"][1:] == aws["head_setup_commands"][1:]


def test_aws_lets_in_ssh_alone():
    pytest.importorskip("boto3", reason="Ray's launcher for AWS needs boto3")
    from ray.autoscaler._private.aws.config import _create_default_inbound_rules

    config = as_ray_sees_it("cluster.yaml")
    more = config["provider"].get("security_group", {}).get("IpPermissions", [])
    rules = _create_default_inbound_rules(["the cluster's own"], more)
    assert [(rule["FromPort"], rule["ToPort"]) for rule in rules if "IpRanges" in rule] == [(22, 22)]
    nodes = config["available_node_types"].values()
    assert not any("SecurityGroupIds" in node["node_config"] for node in nodes)


@pytest.mark.parametrize("file", RAY_UP)
def test_every_node_starts_with_a_token_and_has_it(file):
    assert len(start_commands(file)) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in start_commands(file))
    user = yaml_of(file)["auth"]["ssh_user"]
    mounts = yaml_of(file)["file_mounts"]
    assert mounts == {f"/home/{user}/project": ".", f"/home/{user}/.ray/auth_token": "~/.ray/auth_token"}
    assert "chmod 600 ~/.ray/auth_token" in yaml_of(file)["setup_commands"]


@pytest.mark.parametrize("file", RAY_UP)
def test_the_dashboard_answers_on_the_head_alone(file):
    head, worker = start_commands(file)
    assert "--dashboard-host=127.0.0.1" in head and "host=0.0.0.0" not in text_of(file)
    assert "--head" in head and "--address=$RAY_HEAD_IP:6379" in worker


@pytest.mark.parametrize("file", RAY_UP)
def test_runs_and_the_history_of_the_code_stay_at_home(file):
    assert yaml_of(file)["rsync_exclude"] == [".git"] and yaml_of(file)["rsync_filter"] == [".gitignore"]
    assert {"runs/", ".venv/"} <= set(text_of(".gitignore").split())


def test_pins_are_what_the_project_asks_for():
    asked = [Requirement(line) for line in tomllib.loads(text_of("pyproject.toml"))["project"]["dependencies"]]
    assert {requirement.name for requirement in asked} <= set(pinned())
    wrong = [str(requirement) for requirement in asked if pinned()[requirement.name] not in requirement.specifier]
    assert not wrong


@pytest.mark.parametrize("file", [*RAY_UP, "deploy/Dockerfile", "deploy/slurm.sbatch", GUIDE])
def test_whatever_a_node_installs_is_pinned(file):
    installs = [line for line in text_of(file).splitlines() if "pip install" in line]
    assert installs and all("constraints.txt" in line for line in installs)


def test_versions_that_must_be_spelt_out_are_the_pinned_ones():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    ray = pinned()["ray"]
    cluster = yaml_of("deploy/rayjob.yaml")["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == str(ray)
    image, python = re.findall(r"^FROM rayproject/ray:(.+)-py3(\d+)-gpu$", text_of("deploy/Dockerfile"), re.M)[0]
    assert image == str(ray) and Version(f"3.{python}") in Requirement(f"x{project['requires-python']}").specifier
    images = re.findall(
        r"moved-object-search:(\S+)", "".join(map(text_of, ["deploy/rayjob.yaml", "deploy/Dockerfile"]))
    )
    guide_images = re.findall(r"moved-object-search:(\d\S+)", text_of(GUIDE))
    assert set(images + guide_images) == {f"{project['version']}-ray{ray}"}


def test_kubernetes_runs_one_gpu_a_worker_under_a_token_and_cleans_up():
    job = yaml_of("deploy/rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] > 0
    assert cluster["authOptions"] == {"mode": "token"} and cluster["enableInTreeAutoscaling"]
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    (worker,) = cluster["workerGroupSpecs"]
    assert worker["replicas"] == worker["minReplicas"] == 0 < worker["maxReplicas"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], worker)]
    containers = [container for pod in pods for container in pod["containers"]]
    assert [container["resources"]["limits"].get("nvidia.com/gpu", 0) for container in containers] == [0, 1]
    assert all(container["resources"]["limits"] == container["resources"]["requests"] for container in containers)
    for pod, container in zip(pods, containers, strict=True):
        assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    flags = shlex.split(spec["entrypoint"])
    assert flags[flags.index("--max-concurrent") + 1] == str(worker["maxReplicas"])


@pytest.mark.parametrize("file", RAY_UP)
def test_shell_commands_are_well_formed(file):
    for command in commands_of(file):
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0, command


def test_the_batch_script_is_well_formed_and_asks_for_a_token_of_its_own():
    assert subprocess.run(["bash", "-n", PROJECT / "deploy/slurm.sbatch"], capture_output=True).returncode == 0
    script = text_of("deploy/slurm.sbatch")
    assert "RAY_AUTH_MODE=token" in script and "umask 077" in script
    before, after = script.index("RAY_AUTH_TOKEN_PATH="), script.index("srun")
    assert before < after


def test_the_batch_script_starts_ray_as_this_version_of_it_can():
    words = words_after(text_of("deploy/slurm.sbatch").replace("\\\n", " "), '"$@"\' symmetric-run')
    start, search = words[: words.index("--")], words[words.index("--") + 1 :]
    options = [word for word in curate_and_validate_ray_start_args(start) if word.startswith("--")]
    assert {"--num-cpus", "--num-gpus", "--dashboard-host"} <= set(options)
    assert all(is_option(ray_command_line.commands["start"], option) for option in options)
    assert search[:4] == ["python", "search/run.py", "--address", "auto"]


@pytest.mark.parametrize("file", [*RAY_UP, GUIDE])
def test_every_ray_start_has_options_that_this_version_knows(file):
    commands = start_commands(file) if file in RAY_UP else re.findall(r"^ +.*ray start .*$", text_of(file), re.M)
    start = ray_command_line.commands["start"]
    assert commands
    for command in commands:
        options = [word for word in words_after(command, "ray start") if word.startswith("--")]
        assert options and all(is_option(start, option) for option in options), command


@pytest.mark.parametrize("file", ["deploy/rayjob.yaml", "deploy/slurm.sbatch", GUIDE])
def test_every_search_has_flags_that_exist(file):
    search = typer.main.get_command(app)
    text = re.sub(r"\\\n\s*", "", text_of(file))
    lines = [yaml_of(file)["spec"]["entrypoint"]] if file.endswith("job.yaml") else text.splitlines()
    commands = [line for line in lines if re.search(r"(search/run\.py|slurm\.sbatch) .*--", line)]
    assert commands
    for command in commands:
        start = "search/run.py" if "search/run.py" in command else "slurm.sbatch"
        flags = [word for word in words_after(command.replace("'", ""), start) if word.startswith("--")]
        assert flags and all(is_option(search, flag) for flag in flags), command


@pytest.mark.parametrize("file", [GUIDE, "deploy/rayjob.yaml", "deploy/slurm.sbatch"])
def test_searches_run_on_the_cluster_and_never_through_a_ray_client(file):
    assert "--address auto" in text_of(file)
    assert not re.search(r"--address[ =]ray://\w", text_of(file))


def test_the_guide_names_every_file_and_links_none_that_is_missing():
    guide = text_of(GUIDE)
    named = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "deploy").iterdir()} | {"cluster.yaml"}
    assert not [file for file in named if file not in guide]
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", guide) if "://" not in target]
    assert not [target for target in targets if not (PROJECT / "docs" / target).exists()]
