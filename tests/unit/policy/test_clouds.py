"""The clouds' descriptors: what each says of itself, and what is asked of all of them."""

from __future__ import annotations

import forge
import forge_azure
import forge_tokens
import pytest

from acme_iid.attestation.registry import VERIFIERS
from acme_iid.policy import clouds
from acme_iid.policy.clouds import CLOUD_TYPES, instance_key, is_cloud_name, is_whole_id, of_cloud, one_of

UUID = "8a205152-b25a-417f-a676-80465535a6c9"
AWS = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"


@pytest.mark.parametrize(
    ("instance", "cloud", "owner"),
    [
        (AWS, "aws", "123456789042"),
        ("aws:aws-us-gov:999999999999:us-gov-west-1:i-05e360db", "aws", "999999999999"),
        ("gcp:4711:5", "gcp", "4711"),
        (f"azure:{UUID}:{UUID}", "azure", UUID),
    ],
)
def test_an_instances_id_names_its_cloud_and_owner(instance: str, cloud: str, owner: str) -> None:
    assert instance_key(instance) == (instance, cloud, owner)
    assert is_whole_id(instance)


def test_a_host_has_no_instance() -> None:
    assert instance_key(None) is None


@pytest.mark.parametrize(
    "text", ["oracle:1:2", "aws:i-05e360db6e50b5eda", AWS.upper(), f"{AWS} ", "gcp:1", "azure:1:2", ""]
)
def test_an_id_that_no_cloud_gives_is_nobodys(text: str) -> None:
    assert not is_whole_id(text)
    with pytest.raises(LookupError):
        instance_key(text)


def test_an_unknown_cloud_is_no_other_one() -> None:
    with pytest.raises(LookupError, match="oracle"):
        of_cloud("oracle")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("i-05e360db6e50b5eda", True),
        ("ip-10-0-0-5.us-west-2.compute.internal", True),
        ("ec2.internal", True),
        ("vm.us-west1-b.c.my-project.internal", True),
        ("metadata.google.internal", True),
        (UUID, True),
        ("vm.internal.cloudapp.net", True),
        ("foo.internal", False),
        ("i-xyz", False),
        (f"{UUID}.local", False),
        ("foo.local", False),
    ],
)
def test_a_name_that_a_cloud_gives_is_known(name: str, *, known: bool) -> None:
    assert is_cloud_name(name) is known


def test_each_descriptor_is_whole() -> None:
    for type_, entry in CLOUD_TYPES.items():
        provable = set(entry.provable())
        assert type_ == entry.type == entry.type.upper()
        assert entry.cloud == entry.cloud.lower()
        assert set(entry.owners) <= set(entry.lists)
        assert set(entry.default_formats) <= set(entry.formats)
        assert set(entry.placeholders) <= provable
        assert {fact for listed in entry.lists.values() for fact in listed.facts} <= provable
        assert {key for one in entry.formats.values() for key in one.needs} <= {*entry.lists, *entry.sources}
        keyed = {key for setting in entry.settings for key in (setting.key, *setting.keys)}
        assert keyed == {*entry.lists, *entry.sources}
        assert not entry.lists.keys() & entry.sources.keys()
        assert {"owner"} <= entry.instance_id.groupindex.keys() <= {"owner", "region"}
        owner = entry.owner_id.pattern.removesuffix(r"\Z")
        assert f"(?P<owner>{owner})" in entry.instance_id.pattern
        assert entry.id_form.startswith(f"{entry.cloud}:")


def test_no_two_descriptors_share_what_tells_them_apart() -> None:
    for attribute in ("type", "cloud", "extension_number"):
        values = [getattr(entry, attribute) for entry in CLOUD_TYPES.values()]
        assert len(set(values)) == len(values), attribute
    names = [name for entry in CLOUD_TYPES.values() for name in entry.formats]
    assert len(set(names)) == len(names) == len(clouds.formats())


def test_a_flag_that_several_clouds_have_is_one() -> None:
    flags: dict[str, object] = {}
    for setting in (setting for entry in CLOUD_TYPES.values() for setting in entry.settings):
        typed = (setting.key, setting.shape, setting.metavar, setting.meaning)
        assert flags.setdefault(setting.flag, typed) == typed


@pytest.mark.parametrize(("texts", "words"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_a_choice_in_words(texts: list[str], words: str) -> None:
    assert one_of(texts) == words


def test_every_identity_that_evidence_proves_has_an_id_of_its_clouds() -> None:
    # Otherwise a refusal or a first use could not be recorded.
    shapes = [
        (
            forge.aws_rsa2048(forge.document(region=region, availabilityZone=f"{region}a", instanceId=instance)),
            forge.trust(),
            forge.SIGNED_AT,
        )
        for region in ("us-gov-west-1", "cn-north-1", "us-iso-east-1", "zz-abcdefgh-north-99")
        for instance in ("i-0123456789abcdef0", "i-01234567")
    ]
    upper = forge_azure.document(subscriptionId=UUID.upper(), vmId=UUID.upper())
    shapes += [
        (forge_tokens.gcp_identity(), forge_tokens.trust(), forge_tokens.ISSUED_AT),
        (forge_tokens.aws_web_identity(), forge_tokens.trust(), forge_tokens.ISSUED_AT),
        (forge_azure.attested(upper), forge_azure.trust(), forge_azure.NOW),
        (forge_azure.managed_identity(), forge_azure.trust(), forge_azure.NOW),
    ]
    for evidence, trust, now in shapes:
        verifier = VERIFIERS[evidence.format]
        identity = verifier.identify(verifier.authenticate(evidence, trust, now))
        assert instance_key(identity.id) == (identity.id, identity.cloud, identity.owner)
