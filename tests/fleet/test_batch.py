"""Many launches: what is read, what comes back, and where."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.fleet import api
from kev.fleet.batch import BatchMachine, read_batch
from kev.guests.images import open_root_file_system
from kev.spec.errors import SpecError
from kev.spec.machine_spec import MachineSpec

ENOUGH = 60  # seconds


def batch(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["batch", *arguments])


def lines(result: Result) -> dict[str, dict[str, object]]:
    return {line["name"]: line for line in map(json.loads, result.stdout.splitlines())}


def own_guest(folder: Path, name: str) -> Path:
    image = folder / "own"
    with open_root_file_system() as files:
        image.write_bytes(files.open(name).read())
    return image


def test_a_file_has_what_its_machines_have_in_common(tmp_path: Path) -> None:
    file = tmp_path / "tests.toml"
    file.write_text(
        'memory = "64M"\n[[machine]]\nimage = "smp"\nsmp = 2\n[[machine]]\nname = "own"\nimage = "./own"\nexit_code = 7\n'
    )
    assert read_batch(str(file)) == [
        BatchMachine("tests[0]", MachineSpec("smp", vcpus=2, memory="64M")),
        BatchMachine("own", MachineSpec(str(tmp_path / "own"), memory="64M").replace(image=f"{tmp_path}/./own"), 7),
    ]


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    entries = [{"image": "smp", "smp": 2}, {"image": "gKeOS", "name": "second"}]
    for name, text in (
        ("a.json", json.dumps(entries)),
        ("a.jsonl", "\n".join(map(json.dumps, entries))),
        ("a.toml", '[[machine]]\nimage = "smp"\nsmp = 2\n[[machine]]\nimage = "gKeOS"\nname = "second"\n'),
    ):
        (tmp_path / name).write_text(text)
        assert read_batch(str(tmp_path / name)) == [
            BatchMachine("a[0]", MachineSpec("smp", vcpus=2)),
            BatchMachine("second", MachineSpec("gKeOS")),
        ]


def test_what_is_no_file_of_descriptions_is_an_image() -> None:
    assert read_batch("hypercalls") == [BatchMachine("hypercalls", MachineSpec("hypercalls"), 42)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "machine = 3", "a.toml: machine: it must be a list of descriptions"),
        ("a.toml", "[[machine", "a.toml: is not TOML: "),
        ("a.json", "3", "a.json: it must be the description of a machine, or a list of them"),
        ("a.jsonl", '{"image": "smp"}\nnothing', "a.jsonl: line 2: not descriptions of machines: "),
        ("a.toml", 'image = "smp"\nsmpp = 2', "a.toml: machine 0: "),
        ("a.toml", 'image = "smp"\nexit_code = 300', "a.toml: machine 0: exit_code: 300: it must be 0 to 255"),
        ("a.toml", 'image = "smp"\nname = ""', "a.toml: machine 0: name: '': it must be a text"),
    ],
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError) as error:
        read_batch(str(tmp_path / name))
    assert str(error.value).startswith(f"{tmp_path}/{message}")


@pytest.mark.slow
def test_every_machine_is_a_line_and_one_that_fails_is_seen(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('image = "hypercalls"\nexit_code = 41\n')
    result = batch("hypercalls", "crash", "absent", str(tmp_path / "wrong.toml"), "--jobs", "2", "-m", "64M")
    ended = lines(result)
    assert result.exit_code == 2
    assert {name: line["ok"] for name, line in ended.items()} == {
        "hypercalls": True,
        "crash": True,
        "absent": False,
        "wrong": False,
    }
    assert str(ended["absent"]["error"]).startswith("absent: there is no such file, and no such guest on the root file system")
    assert ended["hypercalls"]["output"] == ended["wrong"]["output"]
    assert result.stderr == f"kev: 2 of 4 machines have ended well; 1 could not be launched: {ended['absent']['error']}\n"


@pytest.mark.slow
def test_images_that_cannot_be_launched_are_a_mistake_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "no-image").write_text("no image")
    result = batch(*2 * [str(tmp_path / "no-image")], "--jobs", "1")
    assert result.exit_code == 2
    said = "kev: 0 of 2 machines have ended well; 2 could not be launched, the first: "
    assert result.stderr.startswith(f"{said}{tmp_path}/no-image: neither an ELF file, nor ")
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_guest_that_ends_wrong_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('image = "hypercalls"\nexit_code = 41\n')
    result = batch(str(tmp_path / "wrong.toml"))
    assert result.exit_code == 1
    assert result.stderr == "kev: 0 of 1 machines have ended well\n"


@pytest.mark.slow
def test_on_a_fleet_comes_out_what_comes_out_here(fleet: str, tmp_path: Path) -> None:
    machines = [
        *read_batch("smp"),
        *read_batch(str(own_guest(tmp_path, "hypercalls"))),
        BatchMachine("lost", MachineSpec("./lost")),
    ]
    here = {result.name: result for result in api.launch_all(machines)}
    for store in (None, str(tmp_path / "store")):
        there = {result.name: result for result in api.launch_all(machines, on=fleet, store=store)}
        assert there.keys() == here.keys()
        for name, result in there.items():
            report, expected = result.report, here[name].report
            assert (result.ok, result.output) == (here[name].ok, here[name].output)
            assert (report or {}).get("image") == (expected or {}).get("image")
            assert (report or {}).get("pages_loaded") == (expected or {}).get("pages_loaded")


@pytest.mark.slow
def test_what_would_be_lost_on_another_computer_is_refused(fleet: str, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    disk = str(tmp_path / "disk")
    for written in (disk, f"{disk},overlay={tmp_path}/kept"):
        (result,) = api.launch_all([BatchMachine("writes", MachineSpec("smp", disks=[written]))], on=fleet)
        assert result.error == f"disk {disk}: what is written on another computer would be lost: add ,overlay or ,ro"


@pytest.mark.slow
@pytest.mark.parametrize("on", ["local[2]", "fleet"])
def test_ctrl_c_ends_all_of_them(on: str, fleet: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kev", "batch", "hypercalls", "echo", "echo", "--on", fleet if on == "fleet" else on]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["name"] == "hypercalls"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=ENOUGH)
    assert process.returncode == 130
    assert errors == "kev: stopped by SIGINT: 1 of 3 machines have ended, 1 of them well\n"


def test_two_places_are_one_too_many() -> None:
    result = batch("smp", "--jobs", "2", "--on", "local[2]")
    assert result.exit_code == 2
    assert result.stderr == "kev: --jobs: 2: --on local[2] says where work is done: leave one of them out\n"
