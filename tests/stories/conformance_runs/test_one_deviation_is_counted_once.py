"""A server's one deviation makes one rule fail, and what a server is free to do makes none."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance_runs.faulty import Exchange, Fault, faulty, nothing
from conformance_runs.pebble import Pebble, pebble
from conformance_runs.suite import SUITE, run

URN = "urn:ietf:params:acme:error:"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as server:
        yield server


def tel_contacts_are_taken(exchange: Exchange) -> None:
    if exchange.problem == "unsupportedContact":
        exchange.status, exchange.answer = 201, b'{"status": "valid"}'


def tel_contacts_are_malformed(exchange: Exchange) -> None:
    if exchange.problem == "unsupportedContact":
        exchange.change(type=f"{URN}malformed")


def two_links_to_the_directory(exchange: Exchange) -> None:
    for link in re.findall(r'<[^>]*>;rel="index"', exchange.headers.get("Link", "")):
        exchange.headers["Link"] += f", {link}"


def no_links_to_the_directory(exchange: Exchange) -> None:
    if "Link" in exchange.headers:
        exchange.headers["Link"] = exchange.headers["Link"].replace('rel="index"', 'rel="other"')


def challenges(change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> Fault:
    """A fault of an authorization's challenges."""

    def after(exchange: Exchange) -> None:
        if exchange.is_for("/authZ") and exchange.status == 200:
            found = exchange.json()["challenges"]
            assert isinstance(found, list)
            exchange.change(challenges=change(found))

    return after


def one_without_a_token(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """dns-persist-01 has none (draft-ietf-acme-dns-persist)."""
    persistent = {"type": "dns-persist-01", "url": f"{found[0]['url']}x", "status": "pending"}
    return [*found, persistent | {"issuer-domain-names": ["ca.example"]}]


def no_tokens(found: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in entry.items() if name != "token"} for entry in found]


def orders_that_are_not_ready_are_400(exchange: Exchange) -> None:
    if exchange.problem == "orderNotReady":
        exchange.change(type=f"{URN}malformed", status=400)
        exchange.status = 400


def accounts_without_orders(exchange: Exchange) -> None:
    if exchange.is_for("/my-account", "/sign-me-up") and exchange.status < 300:
        exchange.change(orders=None)


def refusals_are_text(exchange: Exchange) -> None:
    if exchange.status >= 400:
        exchange.headers["Content-Type"], exchange.answer = "text/plain", b"no"


def unknown_accounts_are_malformed(exchange: Exchange) -> None:
    if exchange.problem == "accountDoesNotExist":
        exchange.change(type=f"{URN}malformed")


def get_is_404(exchange: Exchange) -> None:
    if exchange.status == 405:
        exchange.status = 404


def names_are_unauthorized(exchange: Exchange) -> None:
    if exchange.is_for("/order-plz") and exchange.status >= 400:
        exchange.change(type=f"{URN}unauthorized")


def strangers_find_nothing(exchange: Exchange) -> None:
    if exchange.problem == "unauthorized":
        exchange.change(type=f"{URN}malformed", status=404)
        exchange.status = 404


def key_changes_are_not_implemented(exchange: Exchange) -> None:
    if exchange.is_for("/rollover-account-key") and exchange.method == "POST":
        exchange.status, exchange.answer = 501, json.dumps({"type": f"{URN}malformed", "detail": "no"}).encode()


def no_key_changes(exchange: Exchange) -> None:
    if exchange.is_for("/dir"):
        exchange.change(keyChange=None)


def authorizations_are_not_deactivated(exchange: Exchange) -> None:
    if exchange.is_for("/authZ") and b'"deactivated"' in payload(exchange):
        exchange.status, exchange.answer = 400, json.dumps({"type": f"{URN}malformed", "detail": "no"}).encode()
        exchange.headers["Content-Type"] = "application/problem+json"


def payload(exchange: Exchange) -> bytes:
    """What a request's JWS holds."""
    try:
        return base64.urlsafe_b64decode(json.loads(exchange.body)["payload"] + "==")
    except (ValueError, KeyError, TypeError):
        return b""


def lists_of_orders_are_lists(exchange: Exchange) -> None:
    if exchange.is_for("/list-orderz") and exchange.status == 200:
        exchange.answer = json.dumps(exchange.json()["orders"]).encode()


def nobody_gives_up(exchange: Exchange) -> None:
    if exchange.is_for("/authZ", "/chalZ", "/my-order"):
        exchange.answer = exchange.answer.replace(b'"invalid"', b'"pending"')


def authorizations_outlive_their_challenges(exchange: Exchange) -> None:
    if exchange.is_for("/authZ", "/my-order") and exchange.status == 200 and exchange.json()["status"] == "invalid":
        exchange.change(status="pending")


def no_proof_is_believed(exchange: Exchange) -> None:
    if exchange.is_for("/authZ") and exchange.status == 200:
        exchange.answer = exchange.answer.replace(b'"valid"', b'"pending"')


def any_contact_is_taken(exchange: Exchange) -> None:
    if exchange.is_for("/sign-me-up") and exchange.status >= 400:
        exchange.status, exchange.answer = 201, b'{"status": "valid"}'


def any_name_is_taken(exchange: Exchange) -> None:
    if exchange.is_for("/order-plz") and exchange.status >= 400:
        exchange.status, exchange.answer = 201, b'{"status": "pending"}'


def refusals_of_get_are_empty(exchange: Exchange) -> None:
    if exchange.status == 405:
        exchange.answer = b""


def problems_without_a_status(exchange: Exchange) -> None:
    if exchange.problem:
        exchange.change(status=None)


CONTACTS = (
    "test_an_unknown_scheme_is_an_unsupported_contact",
    "test_one_bad_contact_makes_no_account",
    "test_a_bad_update_changes_nothing",
    "test_every_refusal_has_a_nonce",
    "test_every_refusal_is_a_problem_document",
    "test_a_problems_type_is_registered",
    "test_a_problem_has_a_detail",
    "test_a_problems_status_is_the_answers",
)
LINKS = (
    "test_every_good_answer_links_to_the_directory",
    "test_every_refusal_links_to_the_directory",
    "test_new_nonce_links_to_the_directory",
    "test_there_is_one_index_link",
)
KEY_CHANGES = (
    "test_a_key_change_changes_the_key",
    "test_new_account_finds_the_new_key",
    "test_orders_stay_the_accounts",
    "test_a_bad_inner_jws_is_refused",
    "test_an_inner_jws_with_a_nonce_is_refused",
    "test_an_outer_jws_by_the_new_key_is_refused",
    "test_a_taken_key_is_409",
    "test_no_payload_of_key_change_makes_the_server_fail",
)
BAD_PROOFS = (
    "test_an_answer_with_a_bad_proof_is_taken",
    "test_a_bad_proof_makes_its_challenge_invalid",
    "test_a_failed_challenge_makes_its_authorization_invalid",
    "test_a_failed_challenge_makes_its_order_invalid",
    "test_a_failed_challenge_is_final",
    "test_a_failed_challenge_shows_its_error",
    "test_an_invalid_order_is_not_finalized",
    "test_http_01_with_another_key_authorization_fails",
    "test_http_01_without_a_connection_fails",
    "test_dns_01_with_another_record_fails",
    "test_tls_alpn_01_with_another_digest_fails",
    "test_the_error_of_a_failed_challenge_has_its_type",
)
TOKENS = ("test_a_token_is_long", "test_tokens_differ_between_authorizations")

CASES: dict[str, tuple[Fault, str | None, tuple[str, ...]]] = {
    "tel: contacts are taken": (tel_contacts_are_taken, None, CONTACTS),
    "tel: contacts are malformed": (tel_contacts_are_malformed, CONTACTS[0], CONTACTS),
    "two links to the directory": (two_links_to_the_directory, "test_there_is_one_index_link", LINKS),
    "no links to the directory": (no_links_to_the_directory, LINKS[0], LINKS),
    "a challenge that has no token": (challenges(one_without_a_token), None, TOKENS),
    "challenges that lack their tokens": (challenges(no_tokens), "test_a_token_is_long", TOKENS),
    "orders that are not ready are 400": (
        orders_that_are_not_ready_are_400,
        "test_a_pending_order_is_not_finalized",
        ("test_a_pending_order_is_not_finalized", "test_a_half_proven_order_is_not_finalized",
         "test_a_deactivated_authorization_ends_its_order", "test_a_valid_order_is_not_finalized_again"),
    ),
    "accounts without orders": (
        accounts_without_orders,
        "test_an_account_has_a_list_of_orders",
        ("test_an_account_has_a_list_of_orders", "test_the_list_has_pending_orders", "test_a_long_list_comes_in_pages",
         "test_the_list_of_a_new_account_is_empty", "test_a_payload_where_a_resource_is_only_read_is_malformed",
         "test_every_good_answer_has_a_nonce", "test_objects_are_json"),
    ),
    "refusals are text": (
        refusals_are_text,
        "test_every_refusal_is_a_problem_document",
        (*CONTACTS[3:], "test_a_bad_inner_jws_is_refused", "test_a_request_for_one_resource_does_not_pass_at_another"),
    ),
    "unknown accounts are malformed": (
        unknown_accounts_are_malformed,
        "test_only_return_existing_for_an_unknown_key",
        ("test_only_return_existing_for_an_unknown_key", "test_only_return_existing_makes_no_account",
         "test_one_bad_contact_makes_no_account", "test_terms_must_be_agreed_to", "test_a_bad_inner_jws_is_refused",
         "test_new_account_finds_the_new_key"),
    ),
    "GET is 404": (
        get_is_404,
        "test_get_on_a_resource_of_the_directory_is_405",
        ("test_get_on_a_resource_of_the_directory_is_405", "test_get_on_an_object_is_405",
         "test_get_on_a_finalize_url_or_a_certificate_is_405", "test_a_405_has_an_allow_header",
         "test_a_405_is_a_problem_document"),
    ),
    "names are unauthorized": (
        names_are_unauthorized,
        "test_the_refusal_of_a_name_has_its_type",
        ("test_the_refusal_of_a_name_has_its_type", "test_names_that_are_no_a_labels_are_refused",
         "test_a_wildcard_is_the_whole_leftmost_label", "test_what_is_no_address_is_refused",
         "test_one_bad_identifier_refuses_the_order"),
    ),
    "strangers find nothing": (
        strangers_find_nothing,
        "test_another_accounts_object_is_unauthorized",
        ("test_another_accounts_object_is_unauthorized", "test_another_accounts_object_is_not_shown",
         "test_another_accounts_challenge_cannot_be_answered", "test_another_account_cannot_be_changed",
         "test_another_accounts_authorization_cannot_be_deactivated",
         "test_another_accounts_ready_order_cannot_be_finalized", "test_another_account_gets_no_alternate_chain"),
    ),
    "key changes are not implemented": (key_changes_are_not_implemented, KEY_CHANGES[0], KEY_CHANGES),
    "no key changes in the directory": (
        no_key_changes,
        "test_the_directory_lists_what_every_server_has",
        ("test_the_directory_lists_what_every_server_has", *KEY_CHANGES, "test_every_url_of_the_directory_is_https",
         "test_get_on_a_resource_of_the_directory_is_405", "test_a_jwk_where_an_account_is_needed_is_malformed",
         "test_a_deactivated_account_stays_deactivated"),
    ),
    "authorizations are not deactivated": (
        authorizations_are_not_deactivated,
        "test_an_authorization_is_deactivated",
        ("test_an_authorization_is_deactivated", "test_a_valid_authorization_is_deactivated",
         "test_a_deactivated_authorization_ends_its_order", "test_the_order_of_a_deactivated_authorization_is_invalid",
         "test_an_account_whose_authorization_is_deactivated_does_not_revoke",
         "test_an_invalid_order_lists_completed_authorizations"),
    ),
    "lists of orders are JSON lists": (
        lists_of_orders_are_lists,
        "test_a_list_of_orders_is_an_object",
        ("test_a_list_of_orders_is_an_object", "test_an_account_has_a_list_of_orders",
         "test_the_list_has_pending_orders", "test_the_list_of_a_new_account_is_empty", "test_the_list_is_newest_first",
         "test_a_long_list_comes_in_pages", "test_objects_are_json"),
    ),
    "nobody gives a bad proof up": (nobody_gives_up, "test_a_bad_proof_makes_its_challenge_invalid", BAD_PROOFS),
    "authorizations outlive their challenges": (
        authorizations_outlive_their_challenges,
        "test_a_failed_challenge_makes_its_authorization_invalid",
        BAD_PROOFS,
    ),
    "no proof is believed": (
        no_proof_is_believed,
        "test_a_good_answer_makes_the_authorization_valid",
        ("test_a_good_answer_makes_the_authorization_valid", "test_a_valid_challenge_says_when",
         "test_an_order_becomes_ready_when_all_are_valid", "test_common_keys_get_certificates",
         "test_the_leaf_comes_first", "test_the_account_revokes_its_certificate", "test_objects_are_json",
         "test_a_deactivated_account_gets_nothing"),
    ),
    "any contact is taken": (
        any_contact_is_taken,
        "test_a_contact_that_is_no_url_is_refused",
        ("test_a_contact_that_is_no_url_is_refused", "test_header_fields_are_an_invalid_contact",
         "test_two_addresses_are_an_invalid_contact", "test_nonsense_is_an_invalid_contact",
         "test_a_bad_update_changes_nothing", "test_one_bad_contact_makes_no_account"),
    ),
    "any name is taken": (
        any_name_is_taken,
        "test_names_that_are_no_host_names_are_refused",
        ("test_names_that_are_no_host_names_are_refused", "test_names_that_are_no_a_labels_are_refused",
         "test_invalid_a_labels_are_refused", "test_labels_with_a_reserved_prefix_are_refused",
         "test_an_address_is_no_dns_name", "test_a_wildcard_is_the_whole_leftmost_label"),
    ),
    "refusals of GET are empty": (
        refusals_of_get_are_empty,
        "test_get_on_a_resource_of_the_directory_is_405",
        ("test_get_on_a_resource_of_the_directory_is_405", "test_get_on_an_object_is_405",
         "test_a_405_has_an_allow_header", "test_a_405_is_a_problem_document"),
    ),
    "problems without a status": (
        problems_without_a_status, None, ("test_a_problems_status_is_the_answers", "test_a_problem_has_a_detail"),
    ),
}  # fmt: skip
"""What a server does, the test that fails for it if any, and the tests of rules that it touches."""


@pytest.mark.parametrize("deviation", list(CASES))
def test_a_deviation_is_counted_once(tmp_path: Path, good: Pebble, deviation: str) -> None:
    after, counted, tests = CASES[deviation]
    with faulty(good, nothing, after) as directory:
        found = run(tmp_path / "found.json", directory, good.tls.root,
                    "--acme-challtestsrv", good.challenges.management,
                    "--acme-http-port", str(good.challenges.http_port),
                    "--acme-patience", "5", tests=tests, seconds=120)  # fmt: skip
    assert found.outcomes.keys() == set(tests)
    assert found.failed == ({counted} if counted else set()), found.output


def test_what_a_rule_is_left_to_is_a_rule() -> None:
    texts = [path.read_text("utf-8") for path in SUITE.glob("*.py")]
    named = {name for text in texts for name in re.findall(r'(?:"|which )(test_\w+)', text)}
    rules = {name for text in texts for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)}
    assert len(named) > 15
    assert named <= rules
