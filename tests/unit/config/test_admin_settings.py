"""The tables [admin] and [[admin.role]]: what is read, what is refused, and what is most often a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from ca_toml_texts import MINIMAL, parse, refusal
from cryptography.hazmat.primitives.serialization import Encoding
from operators import OperatorCA

from acme_iid.admin.roles import Role
from acme_iid.config import findings
from acme_iid.config.admin_settings import MAX_MEMBERS, ROLES
from acme_iid.protocol.addresses import Listen

SOCKET = 'socket = "/run/ca/admin.sock"\n'
VIEWER = '[[admin.role]]\nname = "viewer"\nusers = ["root"]\n'


def admin(text: str, roles: str = "") -> str:
    return f"{MINIMAL}[admin]\n{text}\n{roles}"


@pytest.fixture
def operators(tmp_path: Path) -> Path:
    return OperatorCA().write(tmp_path)


def test_without_the_table_nobody_is_answered() -> None:
    assert not parse(MINIMAL).admin.is_on


def test_a_socket_is_below_the_home_unless_its_path_is_whole() -> None:
    assert parse(admin('socket = "admin.sock"')).admin.socket == Path("/nowhere/ca/admin.sock")
    assert parse(admin(SOCKET)).admin.socket == Path("/run/ca/admin.sock")


def test_all_that_can_be_said_is_read(operators: Path) -> None:
    roles = '[[admin.role]]\nname = "helpdesk"\nusers = ["alice"]\ngroups = ["DOMAIN\\\\desk users"]\n'
    roles += 'certificates = ["Bob B."]\n[[admin.role]]\nname = "operator"\n'
    read = parse(admin(f'{SOCKET}group = "desk"\nlisten = "[::]:8443"\nclient_ca = "{operators}"', roles)).admin
    assert (read.group, read.listen, read.client_ca) == ("desk", Listen("::", 8443), operators)
    assert [(role.name, role.users, role.groups, role.certificates) for role in read.roles] == [
        ("helpdesk", ("alice",), ("DOMAIN\\desk users",), ("Bob B.",)),
        ("operator", (), (), ()),
    ]
    assert read.client_ca_pem.count("BEGIN CERTIFICATE") == 1


def test_the_roles_of_the_settings_are_those_of_the_acts_in_their_order() -> None:
    assert [role.word for role in Role] == list(ROLES)


@pytest.mark.parametrize(
    ("text", "roles", "sentence"),
    [
        ('listen = "0.0.0.0:8443"', "", "[admin] client_ca: is missing; listen needs the file"),
        (SOCKET + 'client_ca = "ca.pem"', "", "[admin] client_ca: is of no use without listen"),
        ('listen = "0.0.0.0:1"\nclient_ca = "none.pem"', "", "[admin] client_ca: the certificate /nowhere/ca/none.pem"),
        ('group = "desk"', "", "[admin] group: is of no use without socket"),
        ("", VIEWER, "[admin] socket: is missing, and listen too"),
        ('socket = "/run/"', "", "is no path of a socket"),
        (f'socket = "/{"a" * 120}"', "", "has more than 107 octets"),
        (SOCKET + 'group = "100"', "", "'100' is a number; write the name that it has"),
        (SOCKET + "grop = 1", "", "unknown key 'grop' in [admin]; the nearest known one is 'group'"),
        (SOCKET, '[[admin.role]]\nname = "root"\n', "'root' is not one of viewer, helpdesk, operator, administrator"),
        (SOCKET, VIEWER + VIEWER, "another [[admin.role]] has this name"),
        (SOCKET, '[[admin.role]]\nname = "viewer"\nuser = ["a"]\n', "unknown key 'user'"),
        (SOCKET, '[[admin.role]]\nname = "viewer"\nusers = ["a:b"]\n', "'a:b' is no name of a user or a group"),
        (SOCKET, '[[admin.role]]\nname = "viewer"\nusers = ["*"]\n', "'*' is no name of a user or a group"),
        (SOCKET, '[[admin.role]]\nname = "viewer"\nusers = [" a"]\n', "is no name of a user or a group"),
        (SOCKET, '[[admin.role]]\nname = "viewer"\nusers = [0]\n', "0 is not a string"),
        (SOCKET, '[[admin.role]]\nname = "viewer"\ncertificates = ["a "]\n', "is no common name"),
        (SOCKET, f'[[admin.role]]\nname = "viewer"\ncertificates = ["{"a" * 65}"]\n', "is no common name"),
        (SOCKET, f'[[admin.role]]\nname = "viewer"\nusers = {[f"u{n}" for n in range(MAX_MEMBERS + 1)]}\n',
         f"has more than {MAX_MEMBERS} names"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_a_sentence(text: str, roles: str, sentence: str) -> None:
    assert sentence in refusal(admin(text, roles))


def test_a_file_of_client_cas_holds_nothing_but_cas(tmp_path: Path) -> None:
    authority = OperatorCA()
    leaf = authority.sign(authority.key.public_key(), "alice")
    file = tmp_path / "both.pem"
    file.write_bytes(authority.certificate.public_bytes(Encoding.PEM) + leaf.public_bytes(Encoding.PEM))
    text = admin(f'listen = "127.0.0.1:0"\nclient_ca = "{file}"')
    assert "holds the certificate of 'CN=alice', which is no CA's" in refusal(text)
    (tmp_path / "none.pem").write_text("nothing")
    assert "holds no readable certificate" in refusal(text.replace("both.pem", "none.pem"))


def codes(text: str, roles: str = "") -> list[tuple[str, str]]:
    found = findings.of_configuration(parse(admin(text, roles)))
    return [(one.code, one.where) for one in found if one.code != "no-provisioner"]


def test_users_and_groups_that_are_there_are_no_findings() -> None:
    assert codes(SOCKET + 'group = "root"', VIEWER) == []


def test_names_that_this_machine_does_not_know_are_findings() -> None:
    role = '[[admin.role]]\nname = "operator"\nusers = ["root", "no-such-user"]\ngroups = ["no-such-group"]\n'
    assert codes(SOCKET + 'group = "no-such-group"', role) == [
        ("unknown-operator", "admin"),
        ("unknown-operator", "admin.role 'operator'"),
        ("unknown-operator", "admin.role 'operator'"),
    ]


def test_a_role_that_nobody_has_or_can_use_is_a_finding(operators: Path) -> None:
    assert codes(SOCKET, '[[admin.role]]\nname = "viewer"\n') == [("role-without-members", "admin.role 'viewer'")]
    of_certificates = '[[admin.role]]\nname = "viewer"\ncertificates = ["a"]\n'
    assert codes(SOCKET, of_certificates) == [("role-out-of-reach", "admin.role 'viewer'")]
    listen = f'listen = "127.0.0.1:0"\nclient_ca = "{operators}"'
    assert codes(listen, VIEWER) == [("role-out-of-reach", "admin.role 'viewer'")]
    assert codes(listen, of_certificates) == []


def test_a_folder_that_others_can_write_to_is_a_finding(tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    found = findings.of_files(parse(admin(f'socket = "{place}/admin.sock"')))
    assert ("others-write", str(place)) in [(one.code, one.where) for one in found]
