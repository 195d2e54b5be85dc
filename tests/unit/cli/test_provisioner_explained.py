"""``provisioner test``: who would be admitted and named what, rule by rule, without a server."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import forge
import forge_tokens
import pytest
from click.testing import CliRunner, Result
from running import run_module

from acme_iid.attestation.identity import Evidence
from acme_iid.cli import main

ACCOUNT = "123456789042"
INSTANCE = "i-0123456789abcdef0"
AWS = ("--fact", f"account={ACCOUNT}", "--fact", f"instance_id={INSTANCE}", "--fact", "region=us-east-1")
GCP = ("--fact", "project=my-project", "--fact", "zone=us-west1-b", "--fact", "instance_name=web")


def document(**members: object) -> bytes:
    return forge.document(region="us-east-1", availabilityZone="us-east-1a", **members)


def run(home: Path, *arguments: str, stdin: bytes | str | None = None) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), "provisioner", *arguments], input=stdin)


def explained(home: Path, *arguments: str, stdin: bytes | str | None = None) -> dict[str, Any]:
    done = run(home, "test", "--json", *arguments, stdin=stdin)
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (0 if report["given_by"] else 1)
    return report


def of(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    (found,) = [entry for entry in report["provisioners"] if entry["name"] == name]
    return dict(found)


def raw(evidence: Evidence) -> str:
    """What ``acme-iid evidence --raw`` prints."""
    return json.dumps({"format": evidence.format, **evidence.fields})


def made(tmp_path: Path, *options: str) -> Path:
    """A CA with three provisioners."""
    ca = tmp_path / "ca"
    assert CliRunner().invoke(main, ["--home", str(ca), "init", *options]).exit_code == 0
    (tmp_path / "aws.pem").write_bytes(forge.keys().certificates)
    (tmp_path / "google.json").write_bytes(forge_tokens.key_set(forge_tokens.google()))
    rules = ("--allow", "{instance_id}.vm.internal", "--allow", "*.foo.local", "--allow-wildcard", "*.apps.local")
    roots = ("--iid-roots", f"{tmp_path}/aws.pem")
    for arguments in (
        ("Web", "--type", "AWS", "--aws-account", ACCOUNT, "--region", "us-east-1", *rules, *roots),
        ("Strict", "--type", "AWS", "--aws-account", ACCOUNT, "--disable-custom-sans", "--instance-age", "1h", *roots),
        ("Cloud", "--type", "GCP", "--gcp-project", "my-project", "--jwks", f"{tmp_path}/google.json"),
    ):
        done = run(ca, "add", *arguments)
        assert done.exit_code == 0, done.output
    return ca


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made(tmp_path, "--no-name-constraints")


def test_facts_by_hand_are_explained_rule_by_rule(home: Path) -> None:
    done = run(home, "test", *AWS, "a.foo.local", f"{INSTANCE}.vm.internal")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "Facts as they were given; nothing has been verified.",
        f"  account      {ACCOUNT}",
        f"  instance_id  {INSTANCE}",
        "  region       us-east-1",
        "  partition    aws",
        "",
        "Provisioner 'Web' (AWS) admits it.",
        "  ok  type: AWS",
        "  ok  formats: as if it proved itself with aws-rsa2048",
        f"  ok  accounts: account {ACCOUNT} is listed",
        "  ok  regions: region us-east-1 is listed",
        f"  ok  allow {{instance_id}}.vm.internal: gives {INSTANCE}.vm.internal",
        "  ok  allow *.foo.local: gives *.foo.local, with any one label for *",
        "  ok  allow_wildcards *.apps.local: gives *.apps.local",
        "  ok  a.foo.local: allowed by *.foo.local",
        f"  ok  {INSTANCE}.vm.internal: allowed by {{instance_id}}.vm.internal",
        f"  It may hold: {INSTANCE}, {INSTANCE}.vm.internal",
        "",
        "Provisioner 'Strict' (AWS) admits it.",
        "  ok  type: AWS",
        "  ok  formats: as if it proved itself with aws-rsa2048",
        f"  ok  accounts: account {ACCOUNT} is listed",
        (
            "  NO  a.foo.local: provisioner 'Strict' has disable_custom_sans, so it gives only the names that follow "
            f"from the document: {INSTANCE}"
        ),
        (
            f"  NO  {INSTANCE}.vm.internal: provisioner 'Strict' has disable_custom_sans, so it gives only the names "
            f"that follow from the document: {INSTANCE}"
        ),
        f"  It may hold: {INSTANCE}",
        "",
        "Provisioner 'Cloud' (GCP) does not admit it.",
        "  NO  type: provisioner 'Cloud' is for GCP instances",
        "",
        f"Provisioner 'Web' would give a.foo.local, {INSTANCE}.vm.internal.",
    ]


def test_names_that_no_one_provisioner_gives_all_of_are_refused(home: Path) -> None:
    # As an order is proven under one provisioner, it helps nobody that each name has one that gives it.
    assert run(home, "update", "Strict", "--unset", "disable_custom_sans", "--allow", "b.local").exit_code == 0
    assert explained(home, *AWS, "a.foo.local")["given_by"] == "Web"
    assert explained(home, *AWS, "b.local")["given_by"] == "Strict"
    report = explained(home, *AWS, "a.foo.local", "b.local")
    assert report["given_by"] is None
    assert report["outcome"] == "No provisioner would give all of a.foo.local, b.local."
    assert [name["given"] for name in of(report, "Web")["names"]] == [True, False]
    assert [name["given"] for name in of(report, "Strict")["names"]] == [False, True]


def test_an_instance_that_is_not_on_a_list_is_told_which(home: Path) -> None:
    done = run(home, "test", *AWS[:-1], "region=eu-west-1", "--fact", "zone=eu-west-1a", "a.foo.local")
    assert done.exit_code == 1
    assert "Provisioner 'Web' (AWS) does not admit it." in done.stdout
    assert (
        "  NO  regions: provisioner 'Web' does not list region eu-west-1; an operator admits it by adding it to regions"
    ) in done.stdout
    assert "No provisioner would give a.foo.local." in done.stdout
    report = explained(home, "--fact", "account=999999999999")
    assert [entry["admits"] for entry in report["provisioners"]] == [False, False, False]
    assert report["outcome"] == "No provisioner would admit it."
    assert [(rule["rule"], rule["met"]) for rule in of(report, "Web")["rules"]] == [
        *(("type", True), ("formats", True), ("accounts", False), ("regions", False))
    ]


def test_a_rule_that_gives_nothing_says_why(home: Path) -> None:
    for name in ("{vpc}.local", "x.example", "{image}.local"):
        assert run(home, "update", "Web", "--allow", name).exit_code == 0
    text = (home / "ca.toml").read_text()
    conditional = '{names = ["c.local"], when = {region = ["eu-west-1", "eu-west-2"]}}'
    (home / "ca.toml").write_text(text.replace('"x.example"', f'"x.example", {conditional}'))
    rules = of(explained(home, *AWS, "--fact", "image=ami.1"), "Web")["rules"]
    assert [rule["said"] for rule in rules if rule["rule"] == "allow" and not rule["met"]] == [
        "allow {vpc}.local: vpc is not proven, so it gives nothing",
        (
            "allow x.example: x.example is outside this CA's domains (local, internal); an operator adds a domain to "
            "[ca] domains in ca.toml"
        ),
        "allow c.local (when region eu-west-1 or eu-west-2): does not list region us-east-1",
        "allow {image}.local: a fact cannot stand in a name, so it gives nothing",
    ]


def test_names_follow_from_facts_by_hand(home: Path) -> None:
    aws = explained(home, *AWS, "--fact", "private_ip=10.0.0.5", "ip-10-0-0-5.ec2.internal", "10.0.0.5")
    assert (aws["given_by"], aws["names"]) == ("Web", [INSTANCE, "ip-10-0-0-5.ec2.internal", "10.0.0.5"])
    gcp = explained(home, *GCP, "web.us-west1-b.c.my-project.internal", "any.local")
    assert (gcp["given_by"], gcp["facts"]["region"]) == ("Cloud", "us-west1")
    assert gcp["names"] == ["web.us-west1-b.c.my-project.internal", "web.c.my-project.internal"]
    uuid = "b1310a36-d400-46f6-82cb-6217df846586"
    azure = explained(home, "--type", "azure", "--fact", f"instance_id={uuid}")
    assert (azure["given_by"], azure["names"]) == (None, [uuid])


def test_without_names_those_that_it_may_hold_are_listed(home: Path) -> None:
    report = explained(home, *GCP)
    assert report["given_by"] == "Cloud"
    assert of(report, "Cloud")["listed"] == ["web.us-west1-b.c.my-project.internal", "web.c.my-project.internal"]
    done = run(home, "test", *GCP)
    assert (
        "web.c.my-project.internal; and any name in local, internal but the CA's own, as there is no allow"
        in done.stdout
    )
    assert "Provisioner 'Cloud' would admit it." in done.stdout


def test_facts_may_be_tried_with_the_format_that_would_prove_them(home: Path) -> None:
    assert explained(home, *AWS, "--format", "aws-signature")["given_by"] == "Web"
    report = explained(home, *AWS, "--format", "aws-pkcs7")
    assert report["given_by"] is None
    assert "does not accept evidence of format aws-pkcs7" in of(report, "Web")["rules"][1]["said"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "say which instance: its --evidence, or facts about it"),
        (["--fact", "account=1", "--evidence", "-"], "not both"),
        (["--fact", "account"], "'account' is not NAME=VALUE"),
        (["--fact", "account=1"], "'1' is no AWS account id"),
        (["--fact", f"account={ACCOUNT}", "--fact", "account=000000000000"], "account is given twice"),
        (["--fact", "region=us-east-1"], "these facts may be of AWS or GCP; say which with --type"),
        (["--fact", f"account={ACCOUNT}", "--fact", "project=p"], "no cloud's evidence proves all of these"),
        (["--fact", "color=red", "--type", "GCP"], "there are GCP: instance_id, instance_name, project,"),
        (["--fact", f"account={ACCOUNT}", "--format", "gcp-identity"], "no cloud's evidence proves all of these"),
        ([*AWS, "--fact", "private_ip=10.0.0"], "10.0.0"),
        ([*AWS, "--fact", "private_ip=::1"], "::1"),
        ([*AWS, "--fact", "instance_id=-x-"], "given twice"),
        (["--fact", f"account={ACCOUNT}", "--fact", "instance_id=-x-"], "-x-"),
        ([*AWS, "a_b"], "'a_b' has the label 'a_b'"),
        (["--evidence", "-", "--format", "aws"], "'aws' is not one of"),
        (["--evidence", "-"], "a document or token alone does not say what it is; give its --format"),
        (["--evidence", "/nonexistent"], "No such file"),
    ],
)
def test_wrong_usage_is_said_in_words(home: Path, arguments: list[str], reason: str) -> None:
    done = run(home, "test", *arguments, stdin="x")
    assert done.exit_code == 2, done.output
    assert reason in " ".join(done.stderr.replace("│", " ").split())


def test_real_evidence_is_verified_with_the_configured_keys(home: Path, tmp_path: Path) -> None:
    (tmp_path / "evidence.json").write_text(raw(forge.aws_rsa2048(document())))
    arguments = ("--evidence", str(tmp_path / "evidence.json"), f"{INSTANCE}.vm.internal")
    report = explained(home, *arguments)
    assert report["given_by"] == "Web"
    assert report["instance"] == f"aws:aws:{ACCOUNT}:us-east-1:{INSTANCE}"
    assert report["evidence"]["authentic"] is True
    assert (report["evidence"]["format"], report["evidence"]["refused_now"]) == ("aws-rsa2048", None)
    assert of(report, "Web")["rules"][2] == {
        "rule": "key",
        "met": True,
        "said": "key: one that this provisioner is configured with",
    }
    done = run(home, "test", *arguments)
    assert done.exit_code == 0
    assert f"The evidence (aws-rsa2048) is authentic, signed with the key {report['evidence']['key']}." in done.stdout
    assert "challenge" not in done.stdout


def test_a_key_of_one_provisioner_is_explained_as_untrusted_by_the_other(home: Path) -> None:
    assert run(home, "update", "Web", "--unset", "iid_roots").exit_code == 0
    report = explained(home, "--evidence", "-", stdin=raw(forge.aws_rsa2048(document())))
    assert report["given_by"] == "Strict"
    refused = [rule["said"] for rule in of(report, "Web")["rules"] if not rule["met"]]
    assert refused == [
        "key: provisioner 'Web' does not trust the key that signed this evidence; it is configured for another one"
    ]


def test_an_instance_that_is_too_old_for_a_first_use_is_told_so(home: Path) -> None:
    report = explained(home, "--evidence", "-", stdin=raw(forge.aws_rsa2048(document())))
    (age,) = [rule for rule in of(report, "Strict")["rules"] if rule["rule"] == "instance_age"]
    assert age["met"] is False
    assert age["said"].endswith("seconds ago, and a first use may come 3600 after its start")
    young = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    evidence = forge.aws_rsa2048(document(pendingTime=young))
    report = explained(home, "--evidence", "-", stdin=raw(evidence))
    assert [rule["met"] for rule in of(report, "Strict")["rules"] if rule["rule"] == "instance_age"] == [True]


def test_how_long_a_proof_serves_further_orders_is_said(home: Path) -> None:
    assert run(home, "update", "Web", "--proof-lifetime", "12h").exit_code == 0
    report = explained(home, "--evidence", "-", stdin=raw(forge.aws_rsa2048(document())))
    (rule,) = [rule for rule in of(report, "Web")["rules"] if rule["rule"] == "proof_lifetime"]
    assert rule["said"] == "proof_lifetime: what it proves serves further orders of its account for 43200 seconds"
    assert not [rule for rule in of(report, "Strict")["rules"] if rule["rule"] == "proof_lifetime"]


def test_a_stale_token_is_said_to_be_stale_and_its_facts_are_explained(home: Path) -> None:
    token = forge_tokens.gcp_identity()
    done = run(home, "test", "--evidence", "-", "a.local", stdin=raw(token))
    assert done.exit_code == 0, done.output
    assert "The evidence (gcp-identity) is authentic" in done.stdout
    assert "It would be refused now, at step 'freshness': the token was issued" in done.stdout
    assert "Its audience binds it to a challenge and an account key, which are not looked at here." in done.stdout
    assert "Provisioner 'Cloud' would give a.local." in done.stdout
    # The token alone, as the metadata server gives it.
    alone = explained(home, "--evidence", "-", "--format", "gcp-identity", "a.local", stdin=token.fields["evidence"])
    assert alone["given_by"] == "Cloud"
    assert alone["evidence"]["refused_now"]["step"] == "freshness"


def test_a_fresh_token_is_not_refused_for_the_challenge_that_is_not_there(home: Path) -> None:
    now = int(time.time())
    claims = forge_tokens.gcp_claims(iat=now, exp=now + 3600)
    report = explained(home, "--evidence", "-", stdin=raw(forge_tokens.gcp_identity(claims)))
    assert report["evidence"]["refused_now"] is None
    assert (report["evidence"]["binding"], report["given_by"]) == ("audience", "Cloud")


def test_unauthentic_evidence_is_refused_with_its_step_and_not_explained(home: Path) -> None:
    for evidence in (
        forge.aws_rsa2048(document(), forge.other_keys().rsa2048),
        forge_tokens.gcp_identity(key=forge_tokens.stranger()),
    ):
        done = run(home, "test", "--evidence", "-", stdin=raw(evidence))
        assert (done.exit_code, done.stdout) == (1, "")
        assert "Error: the evidence is refused at step 'signature': " in done.stderr
        done = run(home, "test", "--json", "--evidence", "-", stdin=raw(evidence))
        report = json.loads(done.stdout)
        assert (done.exit_code, report["given_by"]) == (1, None)
        assert (report["evidence"]["authentic"], report["evidence"]["step"]) == (False, "signature")
        assert "provisioners" not in report


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"format": "aws-rsa2048"}', "aws-rsa2048 evidence has the field 'evidence', which is missing"),
        (b'{"format": "x", "evidence": ""}', "evidence of format 'x' is not known to this server"),
        (b'{"evidence": "x"}', "the answer has no 'format'"),
        (b'{"format": 7}', "the answer's 'format' is not a string"),
        (b'{"format": "x", "format": "y"}', "the evidence is refused: "),
        (b"{", "the evidence is refused: "),
        (b'{"format": "aws-rsa2048", "evidence": "' + b"A" * 65536 + b'"}', "is longer than 65536 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_evidence_is_said_in_words(home: Path, content: bytes, reason: str) -> None:
    done = run(home, "test", "--evidence", "-", stdin=content)
    assert (done.exit_code, done.stdout) == (1, "")
    assert reason in done.stderr
    assert "fault in acme-iid-ca" not in done.stderr


def test_a_key_set_that_cannot_be_had_is_said_so(home: Path) -> None:
    assert run(home, "update", "Cloud", "--jwks", "http://127.0.0.1:1/keys").exit_code == 0
    done = run(home, "test", "--evidence", "-", stdin=raw(forge_tokens.gcp_identity()))
    assert done.exit_code == 1
    assert "the key set at http://127.0.0.1:1/keys is not available now" in done.stderr


def test_facts_move_no_terminals_cursor(home: Path) -> None:
    done = run(home, "test", *AWS, "--fact", "vpc=a\x1b[2Jb")
    assert done.exit_code == 2 or "\x1b" not in done.output
    done = run(home, "test", *AWS, "--fact", "principal=a\x1b[2Jb")
    assert done.exit_code == 0, done.output
    assert "a?[2Jb" in done.stdout


def test_what_the_name_constraints_of_init_permit_is_explained(tmp_path: Path) -> None:
    home = made(tmp_path)
    aws = explained(home, *AWS, "--fact", "private_ip=10.0.0.5", "ip-10-0-0-5.ec2.internal", "10.0.0.5", INSTANCE)
    # A bare id is below no domain that constraints could permit.
    assert [name["given"] for name in of(aws, "Web")["names"]] == [True, True, False]
    assert "permits names below local or " in str(of(aws, "Web")["names"][2])
    assert of(aws, "Web")["listed"] == ["ip-10-0-0-5.ec2.internal", "10.0.0.5", f"{INSTANCE}.vm.internal"]
    assert explained(home, *GCP, "web.us-west1-b.c.my-project.internal", "any.local")["given_by"] == "Cloud"
    said = run(home, "test", *GCP).stdout
    assert "any name in local, internal but the CA's own and those that its certificates do not permit" in said


def test_a_ca_without_provisioners_says_so(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["--home", str(tmp_path), "init"]).exit_code == 0
    done = run(tmp_path, "test", *AWS)
    assert done.exit_code == 1
    assert "This CA has no provisioner, so it admits nobody" in done.stdout


def test_it_is_a_command_that_scripts_can_use(home: Path) -> None:
    arguments = ("--home", home, "provisioner", "test", "--evidence", "-", "a.foo.local")
    done = run_module("acme_iid.cli", *arguments, stdin=raw(forge.aws_rsa2048(document())))
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.endswith("Provisioner 'Web' would give a.foo.local.\n")
    assert not (home / "ca.db").exists()
