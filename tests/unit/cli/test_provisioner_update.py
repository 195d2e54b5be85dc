"""Changing and removing provisioners: what stands around them stays, and nothing is loosened by accident."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import forge_tokens
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acme_iid.cli import main
from acme_iid.config import ca_toml

FILE = """\
# The CA of the house.
[ca]
name = "My CA"  # as on the door
domains = ["local"]

# our web machines
[[provisioner]]
name = "Web"   # the first
type = "AWS"
accounts = [
    "123456789042", # production
    "000000000000",
]
regions = ["us-east-1"]
instance_age = "1h"
# allow = ["later.local"]

# Everything else.
#
[[provisioner]]
name = "Other"
type = "AWS"
accounts = ["123456789042"]
allow = [ "a.local", {names = ["b.local"], when = {region = "us-east-1"}} ]
[[provisioner.web_identity]]
account = "123456789042"
issuer = "https://x.example"

# Where we are.
[server]
url = "https://ca.local"

[[provisioner]]
name = "Last"
type = "GCP"
projects = ["p"]
# the end"""
"""With tables in an order that people write and programs would not."""


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), "provisioner", *arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "ca.toml").write_text(FILE)
    return tmp_path


def text(home: Path) -> str:
    return (home / "ca.toml").read_text()


def table(home: Path, name: str) -> dict[str, object]:
    tables: list[dict[str, object]] = tomllib.loads(text(home))["provisioner"]
    (found,) = [entry for entry in tables if entry["name"] == name]
    return found


def test_lists_grow_and_shrink_and_other_settings_are_replaced(home: Path) -> None:
    done = run(
        home,
        *("update", "Web", "--aws-account", "111111111111", "--remove-aws-account", "000000000000"),
        *("--region", "eu-west-1", "--region", "us-east-1", "--instance-age", "10m", "--zone", "us-east-1a"),
        *("--format", "aws-signature", "--disable-custom-sans"),
    )
    assert done.exit_code == 0, done.output
    assert table(home, "Web") == {
        "name": "Web",
        "type": "AWS",
        "accounts": ["123456789042", "111111111111"],
        "regions": ["us-east-1", "eu-west-1"],
        "instance_age": "10m",
        "zones": ["us-east-1a"],
        "formats": ["aws-signature"],
        "disable_custom_sans": True,
    }


def test_what_stands_around_the_table_and_its_comments_stay(home: Path) -> None:
    done = run(home, "update", "Web", "--remove-aws-account", "000000000000", "--zone", "us-east-1a")
    assert done.exit_code == 0, done.output
    before, rest = FILE.split('    "000000000000",\n')
    # New settings stand with the others, before the comments that follow the table.
    expected = (
        before
        + "]\n"
        + rest.removeprefix("]\n").replace('instance_age = "1h"\n', 'instance_age = "1h"\nzones = ["us-east-1a"]\n')
    )
    assert text(home) == expected


def test_tables_in_the_middle_and_at_the_end_are_changed_where_they_stand(home: Path) -> None:
    assert run(home, "update", "Other", "--vpc", "vpc-1").exit_code == 0
    assert run(home, "update", "Last", "--allow", "c.local").exit_code == 0
    assert text(home) == FILE.replace(
        "\n[[provisioner.web_identity]]", '\nvpcs = ["vpc-1"]\n[[provisioner.web_identity]]'
    ).replace('projects = ["p"]\n', 'projects = ["p"]\nallow = ["c.local"]\n')


def test_issuers_of_web_identity_tokens_are_known_by_their_account(home: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(forge_tokens.aws_issuer().key_set)
    changes = ["--web-identity-issuer", "123456789042=https://y.example"]
    changes += ["--web-identity-issuer", "000000000000=https://z.example"]
    done = run(home, "update", "Other", *changes, "--web-identity-jwks", f"000000000000={tmp_path}/keys.json")
    assert done.exit_code == 0, done.output
    assert table(home, "Other")["web_identity"] == [
        {"account": "123456789042", "issuer": "https://y.example"},
        {"account": "000000000000", "issuer": "https://z.example", "jwks": f"{tmp_path}/keys.json"},
    ]
    for account in ("123456789042", "000000000000"):
        assert run(home, "update", "Other", "--remove-web-identity-issuer", account).exit_code == 0
    assert "web_identity" not in table(home, "Other")


def test_measurements_are_added_and_removed_by_their_register(home: Path) -> None:
    one, two = "0a" * 48, "0b" * 48
    assert run(home, "update", "Web", "--pcr", f"4={one}", "--pcr", f"4={two}", "--pcr", f"7={one}").exit_code == 0
    assert run(home, "update", "Web", "--remove-pcr", f"4={one}").exit_code == 0
    assert (table(home, "Web")["pcr4"], table(home, "Web")["pcr7"]) == ([two], [one])


def test_the_last_name_that_is_taken_away_leaves_none_and_not_any(home: Path) -> None:
    assert run(home, "update", "Last", "--allow", "a.local").exit_code == 0
    done = run(home, "update", "Last", "--remove-allow", "a.local")
    assert (done.exit_code, "Warning" in done.output) == (0, False)
    assert ca_toml.load(home).provisioners[2].allow == ()
    done = run(home, "update", "Last", "--unset", "allow")
    assert "Warning: any instance that 'Last' admits may hold any name in local" in done.stderr
    assert ca_toml.load(home).provisioners[2].allow is None


def test_a_switch_is_turned_off_again(home: Path) -> None:
    assert run(home, "update", "Last", "--disable-custom-sans", "--disable-trust-on-first-use").exit_code == 0
    done = run(home, "update", "Last", "--no-disable-custom-sans", "--no-disable-trust-on-first-use")
    assert "Warning" in done.stderr
    (last,) = [entry for entry in ca_toml.load(home).provisioners if entry.name == "Last"]
    assert (last.disable_custom_sans, last.disable_trust_on_first_use) == (False, False)


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["update", "Web"], 2, "say what to change"),
        (["update", "None", "--zone", "z"], 1, "there is no provisioner named 'None'; there is 'Web', 'Other', 'Last'"),
        (["update", "Web", "--gcp-project", "p"], 2, "--gcp-project is for type GCP, and this is of type AWS"),
        (["update", "Web", "--remove-gcp-project", "p"], 2, "--remove-gcp-project is for type GCP"),
        (["update", "Web", "--remove-region", "r"], 2, "--remove-region: 'r' is not in regions, which is us-east-1"),
        (["update", "Web", "--remove-region", "us-east-1"], 2, "regions would be empty, so that nobody is admitted"),
        (["update", "Web", "--remove-zone", "z"], 2, "--remove-zone: 'z' is not in zones"),
        (["update", "Web", "--unset", "zones"], 2, "--unset zones: there is no such setting in 'Web'"),
        (["update", "Web", "--unset", "type"], 2, "--unset type: there is no such setting"),
        (
            ["update", "Web", "--unset", "accounts"],
            1,
            "--aws-account: is missing; without --aws-account or --organization",
        ),
        (["update", "Web", "--aws-account", "1"], 2, "--aws-account: '1' is no AWS account id"),
        (["update", "Web", "--allow", "{x}.local"], 1, "unknown placeholder {x}"),
        (["update", "Other", "--remove-allow", "b.local"], 2, "'b.local' is not in allow, which is a.local"),
        (["update", "Other", "--disable-custom-sans"], 1, "leaves only names that follow from the evidence"),
        (["remove", "None"], 1, "there is no provisioner named 'None'"),
    ],
)
def test_what_cannot_be_meant_leaves_the_file_as_it_was(
    home: Path, arguments: list[str], status: int, reason: str
) -> None:
    done = run(home, *arguments)
    assert done.exit_code == status, done.output
    assert reason in done.output
    assert text(home) == FILE
    assert [path.name for path in home.iterdir()] == ["ca.toml"]


def test_a_removed_provisioner_takes_only_the_comment_above_it_along(home: Path) -> None:
    assert run(home, "remove", "Web").exit_code == 0
    start, end = FILE.index("# our web machines"), FILE.index('# allow = ["later.local"]')
    assert text(home) == FILE[:start] + FILE[end:]
    assert run(home, "remove", "Other").exit_code == 0
    assert run(home, "remove", "Last").exit_code == 0
    left = text(home)
    assert "[[" not in left
    assert "# Where we are.\n[server]" in left
    assert left.endswith("# the end")
    assert ca_toml.load(home).provisioners == ()
    assert "There are no provisioners" in run(home, "list").stderr


INLINE = (
    'provisioner = [{name = "x", type = "GCP", projects = ["p"]}]\n[ca]\nname = "a"\n[server]\nurl = "https://a.b"\n'
)
IN_A_STRING = """\
[ca]
name = "a"
[server]
url = "https://a.b"
[[provisioner]]
name = "x"
type = "AZURE"
subscriptions = ["8a205152-b25a-417f-a676-80465535a6c9"]
audience = \"\"\"\\
[[provisioner]]\"\"\"
"""


@pytest.mark.parametrize("written", [INLINE, IN_A_STRING], ids=["inline", "in a string"])
@pytest.mark.parametrize("arguments", [["update", "x", "--allow", "a.b"], ["remove", "x"]], ids=["update", "remove"])
def test_a_form_that_would_not_be_kept_is_left_to_its_author(
    tmp_path: Path, written: str, arguments: list[str]
) -> None:
    (tmp_path / "ca.toml").write_text(written)
    assert ca_toml.load(tmp_path).provisioners[0].name == "x"
    done = run(tmp_path, *arguments)
    assert done.exit_code == 1, done.output
    assert "is written in a form that this command would not keep; edit it by hand" in done.output
    assert text(tmp_path) == written


names = st.lists(st.sampled_from(["A", "B b", "[[provisioner]]", '"', "#c", "é"]), min_size=1, max_size=4, unique=True)
between = st.lists(st.sampled_from(["", "# [[provisioner]]", "#", "  # a = 1"]), max_size=3)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, st.lists(between, min_size=5, max_size=5), st.data())
def test_in_any_file_one_provisioner_is_edited_and_all_else_stays(
    tmp_path: Path, listed: list[str], gaps: list[list[str]], data: st.DataObject
) -> None:
    written = '[ca]\nname = "My CA"\n[server]\nurl = "https://ca.local"\n'
    for number, name in enumerate(listed):
        quoted = name.replace('"', '\\"')
        written += "\n".join([*gaps[number], f'[[provisioner]]\nname = "{quoted}"\ntype = "GCP"\nprojects = ["p"]\n'])
    written += "\n".join(gaps[-1])
    (tmp_path / "ca.toml").write_text(written)
    chosen = data.draw(st.sampled_from(listed))
    done = run(tmp_path, "update", chosen, "--zone", "z")
    assert done.exit_code == 0, done.output
    changed = tomllib.loads(text(tmp_path))["provisioner"]
    assert [entry["name"] for entry in changed] == listed
    assert [entry["name"] for entry in changed if entry.get("zones") == ["z"]] == [chosen]
    assert text(tmp_path).replace('zones = ["z"]\n', "") == written
    assert run(tmp_path, "remove", chosen).exit_code == 0
    left = tomllib.loads(text(tmp_path))
    assert [entry["name"] for entry in left.pop("provisioner", [])] == [name for name in listed if name != chosen]
    assert left == {"ca": {"name": "My CA"}, "server": {"url": "https://ca.local"}}


def test_an_edit_waits_for_the_one_before_it_and_builds_on_it(home: Path) -> None:
    folder = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [sys.executable, "-m", "acme_iid.cli", "--home", home, "provisioner", "update", "Last", "--zone", "z"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not re.search(rf"-> FLOCK .* {second.pid} ", Path("/proc/locks").read_text()):
            assert second.poll() is None, "it did not wait"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (home / "ca.toml").write_text(FILE.replace('projects = ["p"]', 'projects = ["p", "q"]'))
    finally:
        os.close(folder)
    assert second.wait(60) == 0
    assert (table(home, "Last")["projects"], table(home, "Last")["zones"]) == (["p", "q"], ["z"])
