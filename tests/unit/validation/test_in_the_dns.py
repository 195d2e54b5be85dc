"""dns-01, dns-account-01, dns-persist-01 and CAA, against a real name server."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from responders import Host, Look, Names, Page, Web, digest

from acme_iid.errors import Problem
from acme_iid.validation import issue_value, validate
from acme_iid.validation.attempt import FEW, MANY, ValidationError
from acme_iid.validation.dns01 import account_label
from acme_iid.validation.resolver import MAX_ALIASES

KEY_AUTHORIZATION = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
RIGHT = base64.urlsafe_b64encode(digest(KEY_AUTHORIZATION)).rstrip(b"=").decode()
# The drafts' own examples.
LABEL = "_ujmmovf2vn55tgye"
HASHED = "https://ca.example/account-hash/sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"
OF_ANY_NAME = "https://ca.example/account-hash/sha-256/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug"
URL = "https://ca.example/acct/123"
PERSIST = "_validation-persist.example.com"


def fault(look: Look, host: Host, kind: str, name: str = "foo.local", **changes: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        validate(look(kind, name, **changes), host())
    return caught.value


@pytest.mark.parametrize("name", ["foo.local", "*.foo.local"])
def test_dns_01_takes_any_record_that_matches(host: Host, look: Look, names: Names, name: str) -> None:
    names.set("_acme-challenge.foo.local", "TXT", '"old"', f'"{RIGHT}"', '"another"')
    validate(look("dns-01", name), host())


@pytest.mark.parametrize("values", [['"wrong"'], [f'"{RIGHT}="'], [f'" {RIGHT}"'], [f'"{RIGHT.lower()}"'], ['""'],
                                    [f'"{KEY_AUTHORIZATION}"']])  # fmt: skip
def test_dns_01_takes_nothing_else(host: Host, look: Look, names: Names, values: list[str]) -> None:
    names.set("_acme-challenge.foo.local", "TXT", *values)
    error = fault(look, host, "dns-01")
    assert (error.fault.problem, error.worth) == (Problem.INCORRECT_RESPONSE, MANY)


def test_dns_01_without_a_record_is_a_dns_problem(host: Host, look: Look) -> None:
    error = fault(look, host, "dns-01")
    assert (error.fault.problem, error.worth) == (Problem.DNS, MANY)
    assert "_acme-challenge.foo.local" in error.fault.detail


def test_aliases_are_followed_to_another_zone(host: Host, look: Look, names: Names) -> None:
    names.set("_acme-challenge.foo.local", "CNAME", "one.example.")
    names.set("one.example", "CNAME", "two.example.")
    names.set("two.example", "TXT", f'"{RIGHT}"')
    validate(look("dns-01"), host())


def test_aliases_that_lead_in_a_circle_are_a_dns_problem(host: Host, look: Look, names: Names) -> None:
    names.set("_acme-challenge.foo.local", "CNAME", "one.example.")
    names.set("one.example", "CNAME", "_acme-challenge.foo.local.")
    assert fault(look, host, "dns-01").fault.problem is Problem.DNS


def test_aliases_without_an_end_are_a_dns_problem(host: Host, look: Look, names: Names) -> None:
    names.set("_acme-challenge.foo.local", "CNAME", "n0.example.")
    for number in range(100):
        names.set(f"n{number}.example", "CNAME", f"n{number + 1}.example.")
    assert fault(look, host, "dns-01").fault.problem is Problem.DNS
    assert len(names.asked) <= MAX_ALIASES + 1


def test_a_name_server_that_fails_is_a_dns_problem(host: Host, look: Look, names: Names) -> None:
    names.refused.add("_acme-challenge.foo.local")
    assert fault(look, host, "dns-01").fault.problem is Problem.DNS


def test_dns_account_01_looks_at_the_accounts_own_name(host: Host, look: Look, names: Names) -> None:
    account = "https://example.com/acme/acct/ExampleAccount"
    assert account_label(account) == LABEL
    names.set(f"{LABEL}._acme-challenge.foo.local", "TXT", f'"{RIGHT}"')
    validate(look("dns-account-01", account_url=account), host())
    assert fault(look, host, "dns-account-01").fault.problem is Problem.DNS


def test_dns_account_01_does_not_take_dns_01s_record(host: Host, look: Look, names: Names) -> None:
    names.set("_acme-challenge.foo.local", "TXT", f'"{RIGHT}"')
    assert fault(look, host, "dns-account-01").fault.problem is Problem.DNS


@pytest.mark.parametrize("uri", [HASHED, OF_ANY_NAME, URL])
@pytest.mark.parametrize(
    "form",
    [
        "authority.example;accounturi={}",
        " Authority.EXAMPLE ; accounturi={} ",
        "authority.example; a=b; accounturi={};",
    ],
)
def test_dns_persist_01_takes_a_record_for_this_ca_and_account(
    host: Host, look: Look, names: Names, form: str, uri: str
) -> None:
    text = form.format(uri)
    names.set(PERSIST, "TXT", '"v=another use"', '"other.example; accounturi=x"', f'"{text[:30]}" "{text[30:]}"')
    assert validate(look("dns-persist-01", "example.com"), host()) is None


@pytest.mark.parametrize(
    "text",
    [
        f"other.example; accounturi={HASHED}",
        f"; accounturi={HASHED}",
        "authority.example",
        "authority.example; accounturi=",
        f"authority.example; accounturi={HASHED}x",
        f"authority.example; accounturi={HASHED.upper()}",
        f"authority.example; accounturi={URL}4",
        f"authority.example; accounturi=https://evil.example/; accounturi={HASHED}",
        f"authority.example accounturi={HASHED}",
        f"authority.example; accounturi={HASHED}; persistUntil=soon",
        f"authority.example; accounturi={HASHED}; persistUntil=",
        f"authority.example; accounturi={HASHED}; persistUntil=+1900000000",
        f"authority.example; accounturi={HASHED}; persistUntil=1800000000",
        f"authority.example; accounturi={HASHED}; persistUntil=1799999999",
        f"authority.example; accounturi={HASHED.replace('sha-256', 'sha-1')}",
    ],
)
def test_dns_persist_01_takes_nothing_else(host: Host, look: Look, names: Names, text: str) -> None:
    names.set(PERSIST, "TXT", f'"{text[:200]}"')
    assert fault(look, host, "dns-persist-01", "example.com").fault.problem is Problem.INCORRECT_RESPONSE


def test_a_hash_for_another_name_does_not_prove_this_one(host: Host, look: Look, names: Names) -> None:
    names.set("_validation-persist.foo.local", "TXT", f'"authority.example; accounturi={HASHED}"')
    assert fault(look, host, "dns-persist-01").fault.problem is Problem.INCORRECT_RESPONSE


def test_dns_persist_01_says_until_when_it_may_be_relied_on(host: Host, look: Look, names: Names) -> None:
    names.set(PERSIST, "TXT", f'"authority.example; accounturi={HASHED}; persistUntil=1800000001"')
    assert validate(look("dns-persist-01", "example.com"), host()) == 1_800_000_001


@pytest.mark.parametrize("policy", ["", "; policy=", "; policy=none", "; policy=wildcards", "; Policy=wildcard"])
def test_dns_persist_01_proves_a_wildcard_only_with_its_policy(
    host: Host, look: Look, names: Names, policy: str
) -> None:
    names.set(PERSIST, "TXT", f'"authority.example; accounturi={HASHED}{policy}"')
    validate(look("dns-persist-01", "example.com"), host())
    assert "policy=wildcard" in fault(look, host, "dns-persist-01", "*.example.com").fault.detail
    names.set(PERSIST, "TXT", f'"authority.example; accounturi={HASHED}; policy=WildCard"')
    validate(look("dns-persist-01", "*.example.com"), host())


def test_dns_persist_01_takes_a_hash_made_with_an_earlier_key(host: Host, look: Look, names: Names) -> None:
    names.set(PERSIST, "TXT", f'"authority.example; accounturi={HASHED}"')
    earlier, now = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "x" * 43
    validate(look("dns-persist-01", "example.com", thumbprint=now, earlier_thumbprints=(earlier,)), host())
    assert fault(look, host, "dns-persist-01", "example.com", thumbprint=now)


@pytest.fixture
def proven(names: Names) -> Names:
    """A name that dns-01 proves, whatever its CAA records say."""
    for name in ("example.com", "www.example.com"):
        names.set(f"_acme-challenge.{name}", "TXT", f'"{RIGHT}"')
    return names


def refused(look: Look, host: Host, name: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        validate(look("dns-01", name), host(caa=True))
    return caught.value


@pytest.mark.parametrize(
    "values",
    [
        ['0 issue "authority.example"'],
        ['0 issue "other.example"', '0 ISSUE "Authority.example"'],
        [f'0 issue "authority.example; accounturi={URL}; validationmethods=http-01,dns-01"'],
        ['0 issuewild ";"'],
        ['0 iodef "mailto:a@example.com"'],
        ['0 unknown "x"', '0 issue "authority.example"'],
        ['128 issue "authority.example"'],
    ],
)
def test_caa_records_that_name_this_ca_or_nobody_let_it_issue(
    host: Host, look: Look, proven: Names, values: list[str]
) -> None:
    proven.set("example.com", "CAA", *values)
    validate(look("dns-01", "example.com"), host(caa=True))
    validate(look("dns-01", "www.example.com"), host(caa=True))


@pytest.mark.parametrize(
    "values",
    [
        ['0 issue ";"'],
        ['0 issue "other.example"'],
        ['0 issue "not a domain"'],
        ['0 issue "authority.example; accounturi=https://ca.example/acct/124"'],
        ['0 issue "authority.example; validationmethods=http-01"'],
        ['128 unknown "x"', '0 issue "authority.example"'],
    ],
)
@pytest.mark.parametrize("name", ["example.com", "www.example.com"])
def test_caa_records_that_do_not_let_this_ca_issue_are_heeded(
    host: Host, look: Look, proven: Names, values: list[str], name: str
) -> None:
    proven.set("example.com", "CAA", *values)
    error = refused(look, host, name)
    assert (error.fault.problem, error.worth) == (Problem.CAA, FEW)
    validate(look("dns-01", name), host())


def test_the_nearest_caa_records_count(host: Host, look: Look, proven: Names) -> None:
    proven.set("com", "CAA", '0 issue "authority.example"')
    proven.set("example.com", "CAA", '0 issue ";"')
    proven.set("www.example.com", "CAA", '0 issue "authority.example"')
    validate(look("dns-01", "www.example.com"), host(caa=True))
    assert refused(look, host, "example.com").fault.problem is Problem.CAA


def test_a_wildcard_goes_by_issuewild_and_else_by_issue(host: Host, look: Look, proven: Names) -> None:
    proven.set("example.com", "CAA", '0 issue "authority.example"', '0 issuewild ";"')
    assert refused(look, host, "*.example.com").fault.problem is Problem.CAA
    proven.set("example.com", "CAA", '0 issue "authority.example"')
    validate(look("dns-01", "*.example.com"), host(caa=True))


def test_a_name_whose_caa_records_cannot_be_had_is_refused(host: Host, look: Look, proven: Names) -> None:
    proven.refused.add("com")
    assert refused(look, host, "www.example.com").fault.problem is Problem.DNS


def test_an_address_has_no_caa_records(host: Host, look: Look, web: Web) -> None:
    web.pages[f"/.well-known/acme-challenge/{KEY_AUTHORIZATION[:43]}"] = Page(KEY_AUTHORIZATION.encode())
    validate(look("http-01", "127.0.0.1"), host(caa=True))


@given(st.binary(max_size=200) | st.text('ab.-;= \t"', max_size=60).map(str.encode))
def test_an_issue_value_is_read_or_refused(data: bytes) -> None:
    try:
        found = issue_value.read(data)
    except ValueError:
        return
    assert found.domain == found.domain.lower()
    assert len(found.parameters) <= data.count(b"=")
