"""Who asks at the admin socket is what the kernel says of them, and each role may do its part and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import open_program
import pytest
from operators import MEMBERS, ROOT, Asked, Steered, User, role_table
from running import CA
from strangers import NOBODY, Ground, as_nobody

VIEWER = User("games")
HELPDESK_BY_SUPPLEMENTARY_GROUP = User("man", groups=(MEMBERS, "operator"))
HELPDESK_BY_PRIMARY_GROUP = User("bin", group="operator")
OPERATOR = User("daemon")
ADMINISTRATOR = User("sys")
STRANGER = User("nobody")

READ: Asked = ("GET", "/instances", None)
RELEASE: Asked = ("POST", "/instances/i-05e360db6e50b5eda/release", {})
REVOKE: Asked = ("POST", "/eab/unknown/revoke", {})


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, open_ground: Ground) -> Iterator[Steered]:
    """A server with a user or a group for each role."""
    ca = CA(tmp_path_factory.mktemp("callers") / "ca")
    ca.init(in_a_file=True)
    steered = Steered(ca, open_ground.own / "callers.sock")
    steered.configure(
        role_table("viewer", users=["games"]),
        role_table("helpdesk", groups=["operator"]),
        role_table("operator", users=["daemon"]),
        role_table("administrator", users=["sys"], groups=["there-is-no-such-group"]),
    )
    steered.start()
    yield steered
    ca.stop()


@pytest.mark.parametrize(
    ("user", "may"),
    [
        pytest.param(STRANGER, 0, id="a stranger"),
        pytest.param(VIEWER, 1, id="a user by name"),
        pytest.param(HELPDESK_BY_PRIMARY_GROUP, 2, id="by the primary group"),
        pytest.param(HELPDESK_BY_SUPPLEMENTARY_GROUP, 2, id="by a supplementary group"),
        pytest.param(OPERATOR, 3, id="an operator"),
        pytest.param(ADMINISTRATOR, 3, id="an administrator"),
        pytest.param(ROOT, 3, id="root"),
    ],
)
def test_each_role_does_its_part_and_nothing_else(asked: Steered, user: User, may: int) -> None:
    answers = user.ask(asked.socket, READ, RELEASE, REVOKE)
    assert [answer.status != 403 for answer in answers] == [place < may for place in range(3)]
    needed = ["viewer", "helpdesk", "operator"]
    refused = [answer.json for answer in answers if answer.status == 403]
    assert [document["role"] for document in refused] == needed[may:]
    assert all(document["type"].endswith(":forbidden") for document in refused)


def test_whoever_is_not_in_the_group_cannot_open_the_socket(asked: Steered) -> None:
    assert User("games", groups=()).get(asked.socket).text == "PermissionError"


def test_a_user_of_no_name_is_a_stranger(asked: Steered) -> None:
    assert User(uid=54321).get(asked.socket).status == 403


def test_a_group_that_a_user_has_left_counts_no_more_on_a_new_connection(asked: Steered) -> None:
    # The kernel keeps what a process was when it connected; /etc/group is not asked for members.
    assert HELPDESK_BY_SUPPLEMENTARY_GROUP.get(asked.socket).status == 200
    assert User("man").get(asked.socket).status == 403


def test_what_a_request_says_of_itself_counts_nothing(asked: Steered) -> None:
    said = (("X-Remote-User", "root"), ("X-Forwarded-For", "127.0.0.1"), ("Authorization", "Basic cm9vdDo="))
    assert User("nobody", fields=said).get(asked.socket).status == 403


def test_a_group_that_does_not_exist_gives_nobody_a_role(asked: Steered) -> None:
    assert User("lp").ask(asked.socket, READ)[0].status == 403


def test_a_refusal_is_in_the_log_with_who_was_refused(asked: Steered) -> None:
    assert User("backup").get(asked.socket).status == 403
    asked.ca.until_logged("an operator was refused via=socket user=backup")


def test_the_record_names_who_acted_and_by_which_role(asked: Steered) -> None:
    made = OPERATOR.post(asked.socket, "/eab", {"reason": "for a test"})
    assert made.status in (200, 201), made
    (event,) = ROOT.get(asked.socket, "/events?limit=1").json["items"]
    actor = event["detail"]["actor"]
    assert (actor["via"], actor["user"], actor["uid"], actor["role"]) == ("socket", "daemon", 1, "operator")
    assert actor["reason"] == "for a test"


def test_the_user_that_the_server_runs_as_is_administrator(open_ground: Ground) -> None:
    ca = CA(open_ground.app / "ca")
    ca.init(in_a_file=True)
    steered = Steered(ca, open_ground.app / "admin.sock")
    steered.configure(group=None)
    subprocess.run(["chown", "-R", "nobody", ca.home], check=True)
    themselves = User("nobody", groups=())
    try:
        ca.start(prefix=tuple(as_nobody()), python=open_program.python(), env=open_program.python_path())
        steered.until_answered(user=themselves)
        assert themselves.ask(steered.socket, READ, RELEASE, REVOKE)[-1].status == 404
        assert steered.socket.stat().st_uid == NOBODY
        assert User("games").get(steered.socket).text == "PermissionError"
    finally:
        if ca.process is not None:
            ca.stop()
