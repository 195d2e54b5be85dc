"""The tables of ca.toml about provisioners, rules and profiles: what is read, and what is an error."""

from __future__ import annotations

import forge
import forge_tokens
import pytest
from ca_toml_texts import MINIMAL, PROFILE, PROVISIONER, parse, refusal

from acme_iid.attestation.registry import TRUST, VERIFIERS
from acme_iid.attestation.trust import TokenIssuer
from acme_iid.issuance.profiles import Lifetimes, Profile
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.instances import Provisioner
from acme_iid.protocol.public_keys import KeyPolicy

WEB_IDENTITY = 'web_identity = [{issuer = "https://x.example", account = "123456789042"}]'
SUBSCRIPTION = 'type = "AZURE"\nsubscriptions = ["8a205152-b25a-417f-a676-80465535a6c9"]\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "AWS IID Provisioner"\n', "", "[[provisioner]] 'number 1' name: is missing"),
        ('type = "AWS"', 'type = "OCI"', "type: 'OCI' is not a known type; the types are AWS, GCP, AZURE"),
        ('["123456789042"]', "[123456789042]", "accounts: 123456789042 is not a string"),
        ('["123456789042"]', '["12345678904"]', "accounts: '12345678904' is no AWS account id; that is twelve digits"),
        ('["123456789042"]', '["١٢٣٤٥٦٧٨٩٠٤٢"]', "is no AWS account id"),
        ('["123456789042"]', "[]", "accounts: is empty, so nobody would be admitted"),
        ('accounts = ["123456789042"]', "", "accounts: is missing; without accounts or organizations nobody would be"),
        ("[[", 'unknown = 1\n[["', "is not TOML"),
        ('type = "AWS"', 'type = "AWS"\nformats = ["aws-rsa1024"]', "'aws-rsa1024' is not a format of type AWS"),
        ('type = "AWS"', 'type = "AWS"\nformats = []', "formats: is empty, so no evidence would be accepted"),
        ('type = "AWS"', 'type = "AWS"\ninstance_age = 5', "instance_age: 5 is not a string; it is a duration such as"),
        ('type = "AWS"', 'type = "AWS"\ninstance_age = "0s"', "instance_age: '0s' is no duration"),
        ('type = "AWS"', 'type = "AWS"\niid_roots = "x"', "iid_roots: /nowhere/ca/x cannot be read: No such file"),
        (
            'type = "AWS"',
            'type = "AWS"\niid_roots = "/dev/null"',
            "iid_roots of the provisioner 'AWS IID Provisioner' hold no key",
        ),
        (
            'type = "AWS"',
            'type = "AWS"\nnitro_roots = "/dev/null"',
            "nitro_roots of the provisioner 'AWS IID Provisioner'",
        ),
        ('type = "AWS"', 'type = "AWS"\niid_roots = "/dev/zero"', "/dev/zero is larger than 1048576 bytes"),
        ('type = "AWS"', 'type = "AWS"\ndisable_custom_sans = 1', "disable_custom_sans: 1 is not true or false"),
        ('type = "AWS"', 'type = "AWS"\ndisable_custom_sans = "no"', "disable_custom_sans: 'no' is not true or false"),
    ],
)
def test_a_provisioner_that_cannot_be_meant_is_an_error(old: str, new: str, message: str) -> None:
    assert old in PROVISIONER
    assert message in refusal(MINIMAL + PROVISIONER.replace(old, new))


def test_provisioners_have_different_names() -> None:
    message = "[[provisioner]] 'AWS IID Provisioner' name: another provisioner has this name; names are unique"
    assert refusal(MINIMAL + PROVISIONER + PROVISIONER) == message


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86400), ("30d", 30 * 86400), ("0", 0)])
def test_a_proof_may_serve_for_a_while_or_not_at_all(text: str, seconds: int) -> None:
    found = parse(MINIMAL + PROVISIONER + f'proof_lifetime = "{text}"')
    assert found.provisioners[0].proof_lifetime == seconds


def test_a_proof_serves_for_30_days_at_most() -> None:
    text = refusal(MINIMAL + PROVISIONER + 'proof_lifetime = "30d1s"')
    assert text.endswith("""proof_lifetime: '30d1s' is longer than 30 days; write "30d" or less""")


def test_the_formats_of_a_type_are_those_that_have_a_verifier() -> None:
    verified = {
        entry.type: {name for name, verifier in VERIFIERS.items() if verifier.cloud == entry.cloud}
        for entry in CLOUD_TYPES.values()
    }
    assert verified == {type_: set(entry.formats) for type_, entry in CLOUD_TYPES.items()}


def test_every_cloud_has_keys() -> None:
    assert TRUST.keys() == {entry.cloud for entry in CLOUD_TYPES.values()}


def test_the_facts_of_a_format_are_those_that_its_verifier_finds() -> None:
    aws, gcp = CLOUD_TYPES["AWS"].formats, CLOUD_TYPES["GCP"].formats
    document = forge.aws_rsa2048(forge.document(architecture="x86_64", privateIp="10.0.0.5"))
    for evidence, trust, form in (
        (document, forge.trust(), aws["aws-rsa2048"]),
        (forge_tokens.aws_web_identity(), forge_tokens.trust(), aws["aws-web-identity"]),
        (forge_tokens.gcp_identity(), forge_tokens.trust(), gcp["gcp-identity"]),
    ):
        verifier = VERIFIERS[evidence.format]
        identity = verifier.identify(verifier.authenticate(evidence, trust, forge.SIGNED_AT))
        assert set(identity.facts) == set(form.facts), evidence.format
    registers = {f"pcr{number}" for number in range(24)}
    assert set(aws["aws-nitrotpm"].facts) == {*aws["aws-rsa2048"].facts, *registers}


def provisioner(text: str) -> Provisioner:
    (found,) = parse(MINIMAL + '[[provisioner]]\nname = "P"\n' + text).provisioners
    return found


def test_each_cloud_has_its_own_lists() -> None:
    gcp = provisioner('type = "GCP"\nprojects = ["my-project"]\nzones = ["us-west1-b"]')
    assert [demand.key for demand in gcp.demands] == ["projects", "zones"]
    assert gcp.formats == ("gcp-identity",)
    azure = provisioner('type = "AZURE"\nsubscriptions = ["8A205152-b25a-417f-a676-80465535a6c9"]')
    assert azure.demands[0].values == ("8a205152-b25a-417f-a676-80465535a6c9",)
    assert azure.formats == ("azure-attested",)


def test_lists_that_only_a_managed_identity_proves_ask_for_one() -> None:
    tenant = 'tenants = ["8a205152-b25a-417f-a676-80465535a6c9"]\nresource_groups = ["rg"]\naudience = "api://ca"'
    assert provisioner('type = "AZURE"\n' + tenant).formats == ("azure-managed-identity",)


def test_a_web_identity_issuer_adds_a_format_unless_a_list_rules_one_out() -> None:
    aws = 'type = "AWS"\naccounts = ["123456789042"]\n'
    issuer = '[[provisioner.web_identity]]\naccount = "123456789042"\nissuer = "https://x.example"\n'
    assert provisioner(aws + issuer).formats == ("aws-web-identity", "aws-rsa2048", "aws-signature")
    assert provisioner(aws + 'vpcs = ["vpc-1"]\n' + issuer).formats == ("aws-web-identity",)
    assert provisioner(aws + 'images = ["ami-1"]\n' + issuer).formats == ("aws-rsa2048", "aws-signature")
    assert provisioner(aws + issuer).keys.issuers == (TokenIssuer("https://x.example", "123456789042"),)


def test_an_issuer_is_one_accounts_for_all_provisioners() -> None:
    both = "".join(
        f'[[provisioner]]\nname = "{name}"\ntype = "AWS"\naccounts = ["{account}"]\n'
        f'[[provisioner.web_identity]]\naccount = "{account}"\nissuer = "https://x.example"\n'
        for name, account in (("P", "123456789042"), ("Q", "000000000000"))
    )
    assert "[[provisioner]] 'Q' web_identity: another provisioner has https://x.example" in refusal(MINIMAL + both)


def test_pcr_values_ask_for_nitrotpm() -> None:
    assert provisioner(f'type = "AWS"\naccounts = ["123456789042"]\npcr4 = ["{"0a" * 48}"]').formats == (
        "aws-nitrotpm",
    )


def test_name_rules_are_texts_and_tables() -> None:
    found = provisioner(
        """type = "AWS"
        accounts = ["123456789042"]
        allow = [
            "{instance_id}.local",
            {names = ["web.local", "db.local"], when = {region = ["us-east-1"], image = "ami-1"}},
        ]
        allow_wildcards = ["*.apps.local"]
        networks = ["10.0.0.0/8"]
        """
    )
    assert found.allow is not None
    assert [rule.template.text for rule in found.allow] == ["{instance_id}.local", "web.local", "db.local"]
    assert [(demand.key, demand.values) for demand in found.allow[1].when] == [
        ("image", ("ami-1",)),
        ("region", ("us-east-1",)),
    ]
    assert [rule.template.text for rule in found.allow_wildcards] == ["apps.local"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('allow = ["{nonsense}.local"]', "unknown placeholder {nonsense}"),
        ('allow = ["{project}.local"]', "unknown placeholder {project}"),
        ("allow = [7]", "is not a name"),
        ('allow = [{names = ["a.local"], when = {nonsense = "x"}}]', "unknown key 'nonsense'"),
        ('allow = [{names = ["a.local"], whn = {region = "x"}}]', "unknown table 'whn'"),
        ('allow = [{names = ["a.local"], when = {region = []}}]', "is not a value, or a list of values"),
        ('allow_wildcards = ["a.local"]', "does not begin with '*.'"),
        ('networks = ["10.0.0.1/8"]', "is no network"),
        ("regions = []", "is empty, so nobody would be admitted"),
        ('projects = ["p"]', "unknown key 'projects'"),
        ('disable_custom_sans = true\nallow = ["a.local"]', "leaves only names that follow from the evidence"),
        (
            'formats = ["aws-web-identity"]',
            "web_identity: is missing; evidence of format aws-web-identity needs each account's issuer",
        ),
        ('web_identity = [{issuer = "http://x.example", account = "123456789042"}]', "is not an https URL"),
        (
            'web_identity = [{issuer = "https://me@x.example", account = "123456789042"}]',
            "[[provisioner]] 'P' [[web_identity]] 'number 1' issuer: the URL of a key set has no user",
        ),
        (
            'web_identity = [{issuer = "https://x.example", account = "123456789042", jwks = "/dev/null"}]',
            "[[web_identity]] 'number 1' jwks: ",
        ),
        (
            WEB_IDENTITY.replace("]", ', {issuer = "https://x.example", account = "000000000000"}]'),
            "an account has one issuer, and an issuer one account",
        ),
        ('allow = [{names = ["a.local"]}]', "needs names and when"),
        ('allow = [{when = {region = "us-east-1"}}]', "needs names and when"),
        ('vpcs = ["vpc-1"]', "web_identity: is missing"),
        (
            'vpcs = ["vpc-1"]\nformats = ["aws-rsa2048"]',
            (
                "so no instance that sends it would be admitted; leave aws-rsa2048 out of formats: "
                "aws-web-identity can prove it"
            ),
        ),
        (
            'images = ["ami-1"]\nformats = ["aws-rsa2048", "aws-web-identity"]',
            "web_identity: is missing; evidence of format aws-web-identity needs each account's issuer",
        ),
        (
            'images = ["ami-1"]\nformats = ["aws-rsa2048", "aws-web-identity"]\n' + WEB_IDENTITY,
            "images: is not proven by aws-web-identity",
        ),
        (
            'instance_age = "1h"\nformats = ["aws-web-identity"]\n' + WEB_IDENTITY,
            "instance_age: cannot be checked with aws-web-identity",
        ),
        ('disable_custom_sans = true\nallow_wildcards = ["*.a.local"]', "leaves only names that follow"),
        (f'pcr24 = ["{"00" * 48}"]', "unknown key 'pcr24'"),
        ('pcr4 = ["00"]', "is no SHA-384 value"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_an_error(text: str, message: str) -> None:
    assert message in refusal(
        MINIMAL + '[[provisioner]]\nname = "P"\ntype = "AWS"\naccounts = ["123456789042"]\n' + text
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type = "AWS"\nregions = ["us-east-1"]', "without accounts or organizations nobody would be admitted"),
        ('type = "GCP"\nzones = ["z"]', "without projects or service_accounts nobody would be admitted"),
        ('type = "AZURE"\nresource_groups = ["rg"]', "without tenants or subscriptions nobody would be admitted"),
        (
            SUBSCRIPTION + 'resource_groups = ["rg"]',
            "tenants: is missing; evidence of format azure-managed-identity needs tenants and audience",
        ),
        (
            SUBSCRIPTION + 'resource_groups = ["rg"]\nformats = ["azure-attested"]',
            "is not proven by azure-attested",
        ),
        (
            'type = "GCP"\nprojects = ["p"]\njwks = "http://keys.example/"',
            "jwks: 'http://keys.example/' is not an https URL",
        ),
        ('type = "GCP"\nprojects = ["p"]\njwks = "/dev/null"', "[[provisioner]] 'P' jwks: "),
        ('type = "GCP"\nprojects = ["p"]\niid_roots = "/dev/null"', "unknown key 'iid_roots'"),
        (
            SUBSCRIPTION + 'instance_age = "1h"',
            "instance_age: cannot be checked with azure-attested",
        ),
        (
            SUBSCRIPTION + 'iid_roots = "/dev/null"',
            "iid_roots of the provisioner 'P'",
        ),
    ],
)
def test_a_provisioner_without_owners_or_proof_is_an_error(text: str, message: str) -> None:
    assert message in refusal(MINIMAL + '[[provisioner]]\nname = "P"\n' + text)


def test_profiles_are_read_in_order_with_the_cas_lifetimes_as_defaults() -> None:
    text = MINIMAL + PROVISIONER + 'profiles = ["b"]\n' + PROFILE
    text += """
        [profile.b]
        description = "Another"
        lifetime = "30d"
        minimum_lifetime = "1d"
        maximum_lifetime = "90d"
        usages = ["client"]
        key_usages = ["digitalSignature"]
    """
    found = parse(text)
    first = Profile("a", "For a test", Lifetimes(86400, 300, 86400))
    second = Profile(
        "b", "Another", Lifetimes(30 * 86400, 86400, 90 * 86400), usages=("client",), key_usages=("digitalSignature",)
    )
    assert found.profiles == (first, second)
    assert (found.profile(None), found.profile("b"), found.profile("c")) == (first, second, None)
    assert (found.policy.gives_profile("b"), found.policy.gives_profile("a")) == (True, False)
    plain = parse(MINIMAL).profile(None)
    assert plain is not None
    assert (plain.name, plain.lifetimes, plain.usages) == (None, first.lifetimes, ("server", "client"))


def test_a_provisioner_names_profiles_that_there_are() -> None:
    assert refusal(MINIMAL + PROVISIONER + 'profiles = ["b"]\n' + PROFILE) == (
        "provisioner 'AWS IID Provisioner' names the profile 'b' in profiles, and there is no [profile.b]; "
        "the profiles are: a"
    )
    assert "there is no [profile.b]; the profiles are: none" in refusal(MINIMAL + PROVISIONER + 'profiles = ["b"]')
    assert "profiles: is empty" in refusal(MINIMAL + PROVISIONER + "profiles = []\n")


def test_the_key_policy_is_read() -> None:
    found = parse(
        MINIMAL.replace(
            "[server]",
            'key_types = ["RSA", "Ed25519"]\nminimum_rsa_bits = 3072\nmaximum_rsa_bits = 4096\n'
            'account_algorithms = ["ES256", "EdDSA"]\n[server]',
        )
    )
    assert found.ca.keys == KeyPolicy(("RSA", "Ed25519"), (3072, 4096))
    assert found.ca.account_algorithms == ("ES256", "EdDSA")


def test_a_provisioner_of_hosts_names_profiles_too() -> None:
    hosts = '[[provisioner]]\nname = "Hosts"\ntype = "ACME"\nchallenges = ["http-01"]\n'
    found = parse(MINIMAL + hosts + 'profiles = ["a"]\n' + PROFILE)
    assert [entry.profiles for entry in found.hosts] == [("a",)]
    assert "there is no [profile.b]" in refusal(MINIMAL + hosts + 'profiles = ["b"]\n' + PROFILE)
    assert "profiles: is empty" in refusal(MINIMAL + hosts + "profiles = []\n")
