"""What the suite is known to find, each with why, by the server and its version.

What is not here must hold, and what is here must be found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance_runs.versions import UnknownVersionError

OURS: dict[str, str] = {}

_BOTH = {
    "test_a_bad_csr_is_bad_csr": "names that are not the order's are `unauthorized`",
    "test_a_certificate_begins_a_little_earlier": "certificates begin when they are made",
    "test_a_challenge_links_up": "a challenge that is read has no link to its authorization; the answer has",
    "test_a_csr_with_a_common_name_only_is_accepted": "the common name is not looked at",
    "test_a_deactivated_account_gets_nothing": "a deactivated account still revokes",
    "test_a_deactivated_account_is_401_for_everything": "it is 403",
    "test_a_deactivated_authorizations_challenge_is_not_validated": "a lock is held for ever: it answers no more",
    "test_a_failed_challenge_has_no_time_of_validation": "`validated` is set for failed ones too",
    "test_a_request_that_is_too_large_is_refused": "any size is read",
    "test_a_validity_that_is_none_is_refused": "whatever is asked for is taken",
    "test_a_weak_rsa_key_is_a_bad_public_key": "RSA keys of 1024 bits are accepted",
    "test_an_account_that_is_authorized_for_all_names_revokes": "its README says that this is missing",
    "test_an_address_is_no_dns_name": "names that end in a number are accepted",
    "test_an_empty_crit_is_refused": "an empty `crit` is not seen",
    "test_an_empty_update_changes_nothing": "an update without contacts is an error",
    "test_an_inner_jws_with_a_nonce_is_refused": "a nonce in the inner JWS is not looked at",
    "test_an_object_that_is_not_there_is_404": "it is 404 without a problem document",
    "test_an_unknown_identifier_type_is_unsupported": "it is `malformed`",
    "test_another_accounts_object_is_unauthorized": "at another account's URL the sender's own account is shown",
    "test_dns_01_whose_servers_fail_fails": "it is `unauthorized`",
    "test_eddsa_is_accepted": "Ed25519 keys are not known",
    "test_header_fields_are_an_invalid_contact": "header fields in a mailto contact are accepted",
    "test_http_01_ignores_white_space_at_the_end": "white space at the end fails",
    "test_invalid_a_labels_are_refused": "A-labels are not looked at",
    "test_labels_with_a_reserved_prefix_are_refused": "hyphens in the third and fourth place are accepted",
    "test_names_that_are_no_host_names_are_refused": "empty labels, hyphens at an end and long labels are accepted",
    "test_new_nonce_is_not_stored": "it says no-cache, not no-store",
    "test_serial_numbers_are_random": "they have 63 bits",
    "test_several_faults_come_as_subproblems": "its README says that subproblems are missing",
    "test_stray_bits_in_base64url_are_malformed": "stray bits are not looked at",
    "test_the_list_is_newest_first": "it is oldest first",
    "test_the_refusal_of_a_reason_names_the_others": "it does not name them",
    "test_the_refusal_of_another_url_is_unauthorized": "it is `malformed`",
    "test_the_unencoded_payload_option_is_refused": "`b64` is not looked at",
    "test_unknown_members_of_an_answer_are_ignored": "an answer with `keyAuthorization` is refused",
    "test_white_space_in_base64url_is_malformed": "white space is ignored",
}


@dataclass(frozen=True)
class Findings:
    """Of one version of a server: the tests of the rules that do not hold, each with why.

    :ivar sometimes: those that are found in some runs only.
    """

    known: Mapping[str, str]
    sometimes: Mapping[str, str] = field(default_factory=dict)

    def surprises(self, failed: set[str]) -> list[str]:
        """What a run found that is not known, and what is known and was not found; a sentence for each."""
        new = sorted(failed - self.known.keys() - self.sometimes.keys())
        gone = sorted(self.known.keys() - failed)
        return [f"{test} does not hold, and nobody knows why" for test in new] + [
            f"{test} holds, though it is known not to: {self.known[test]}" for test in gone
        ]


PEBBLE = {
    "2.4.0": Findings(
        _BOTH
        | {
            "test_a_bad_csr_is_refused": "CSRs with a signature that fails, other common names or URIs are issued",
            "test_a_missing_agreement_is_user_action_required": "the type is one of its own",
            "test_a_name_that_is_too_long_for_a_common_name": "the subject is empty and the names are not critical",
            "test_a_taken_key_is_409": "a key change to a key that is taken is a 500",
            "test_an_order_that_is_read_has_a_location": "only newOrder and finalize have a Location",
            "test_the_key_usage_is_by_the_keys_type": "certificates for ECDSA keys have keyEncipherment",
            "test_the_order_of_a_deactivated_authorization_is_invalid": (
                'its status is "deactivated", which no order has'
            ),
            "test_the_refusal_of_an_algorithm_has_its_type": "algorithms that are not accepted are `malformed`",
        },
        {"test_retry_after_is_sent_while_an_order_is_processing": "seen only when it is slow enough to be processing"},
    ),
    "2.10.1": Findings(
        _BOTH
        | {
            "test_a_bad_csr_is_refused": "CSRs with other common names, e-mail addresses or URIs are issued",
            "test_a_certificate_for_other_names_is_not_replaced": "it is a 500",
            "test_a_certificate_has_a_subject_key_identifier": "there is none",
            "test_a_certificate_is_for_servers_and_clients": "it is for servers only",
            "test_a_replaces_that_names_no_certificate_is_refused": "an empty one is taken for none",
            "test_a_taken_key_is_409": "a key change to a key that is taken is a 200",
            "test_an_invalid_order_lists_completed_authorizations": "it lists pending ones",
            "test_finalize_has_a_location": "only newOrder has a Location",
            "test_further_keys_get_certificates": "Ed25519 keys get none",
            "test_retry_after_is_sent_while_processing": "an authorization that is read has it, the answer has not",
            "test_the_accepted_algorithms_are_listed": "there is no `algorithms`",
            "test_the_key_usage_is_by_the_keys_type": "certificates for RSA keys have no keyEncipherment",
        },
    ),
}

_SMALLSTEP = {
    "test_a_bad_csr_is_bad_csr": "a CSR whose signature fails is `malformed`",
    "test_a_bad_csr_is_refused": "RSA with 1024 bits is a 500, and the account's own key gets a certificate",
    "test_a_bad_proof_makes_its_challenge_invalid": "without a connection or a right record it is pending again",
    "test_a_certificate_that_is_none_is_refused": "a number is a 500",
    "test_a_contact_that_is_no_url_is_refused": "contacts are not looked at",
    "test_a_failed_challenge_makes_its_authorization_invalid": "it stays pending, and so does the order",
    "test_a_key_change_changes_the_key": "it is 501, not implemented",
    "test_a_list_of_orders_is_an_object": "it is a JSON list",
    "test_a_pending_order_is_not_finalized": "it is 400",
    "test_a_reason_that_is_none_is_refused": "what is no integer is a 500",
    "test_a_request_that_is_too_large_is_refused": "any size is read",
    "test_a_valid_authorization_lists_no_pending_challenge": "it lists all of them",
    "test_a_validity_that_cannot_be_is_refused": "whatever is asked for is taken",
    "test_a_weak_rsa_key_is_a_bad_public_key": "it is `malformed`",
    "test_an_account_that_is_authorized_for_all_names_revokes": "only the account that got it may",
    "test_an_authorization_is_deactivated": "a payload where an authorization is read is `malformed`",
    "test_an_empty_crit_is_refused": "an empty `crit` is not seen",
    "test_an_object_that_is_not_there_is_404": "it is 400",
    "test_an_unknown_identifier_type_is_unsupported": "it is `malformed`",
    "test_another_accounts_object_is_unauthorized": "at another account's URL the sender's own account is shown",
    "test_another_authorization_has_no_wildcard": "it has `wildcard` false",
    "test_another_content_type_is_415": "it is 400",
    "test_another_issuers_certificate_is_refused": "it is a 500",
    "test_both_forms_at_once_are_malformed": "one signature in `signatures` is taken",
    "test_contacts_are_taken_away": "an empty list changes nothing",
    "test_get_on_a_resource_of_the_directory_is_405": "the 405 is empty",
    "test_names_are_case_folded": "names stay as they were spelt",
    "test_names_that_are_no_host_names_are_refused": "dots at either end, empty and long labels are accepted",
    "test_new_nonce_takes_post_as_get": "it is 405",
    "test_reading_a_challenge_starts_no_validation": "whatever is posted to a challenge has it validated",
    "test_several_faults_come_as_subproblems": "there are none",
    "test_stray_bits_in_base64url_are_malformed": "stray bits are not looked at",
    "test_the_accepted_algorithms_are_listed": "there is no `algorithms`",
    "test_the_compact_form_is_malformed": "it is taken",
    "test_the_directory_takes_post_as_get": "it is 405",
    "test_the_error_of_a_failed_challenge_has_its_type": "a wrong proof is `rejectedIdentifier`",
    "test_the_general_form_is_malformed": "it is taken",
    "test_the_refusal_of_a_reason_names_the_others": "it does not name them",
    "test_the_refusal_of_another_url_is_unauthorized": "it is `malformed`",
    "test_the_signature_is_checked_before_the_nonce": "the nonce is looked at first",
    "test_the_unencoded_payload_option_is_refused": "`b64` is not looked at",
    "test_two_spellings_of_a_name_are_one": "a name that stands twice is two identifiers",
    "test_what_a_client_cannot_change_is_ignored": "the status valid is refused",
    "test_white_space_in_base64url_is_malformed": "white space is ignored",
}
"""What both have in common: Debian's Caddy has step-ca's ACME server of 0.19.0."""
_RACES = {"test_a_raced_finalize_issues_one_certificate": "a race ends with 500s or with several certificates"}

OTHERS = {
    "step-ca 0.30.2": Findings(
        _SMALLSTEP
        | {
            "test_a_csr_with_padding_is_refused": "padding is taken",
            "test_a_missing_nonce_is_refused": "it is a 500",
            "test_an_address_is_no_dns_name": "addresses of version 4, and names that end in a number, are accepted",
            "test_base64_padding_is_malformed": "padding is taken in the signature",
            "test_invalid_a_labels_are_refused": "an A-label of nothing is accepted",
            "test_names_that_are_no_a_labels_are_refused": "U-labels are accepted",
        },
        _RACES,
    ),
    "Caddy 2.6.2": Findings(
        _SMALLSTEP
        | {
            "test_a_405_has_an_allow_header": "there is no Allow",
            "test_an_order_without_identifiers_is_malformed": "an identifier without a value is accepted",
            "test_an_unknown_kid_is_account_does_not_exist": "it is a 500",
            "test_names_that_are_no_host_names_are_refused": "names are not looked at",
        },
        _RACES | {"test_two_requests_with_one_key_make_one_account": "a race ends with 500s"},
    ),
}
"""Servers that no test runs, by name and version. compare.py compares a report of such a run with these."""


def of_pebble(version: str) -> Findings:
    """What is known of a version of Pebble.

    :raises UnknownVersionError: if nothing is.
    """
    if version not in PEBBLE:
        raise UnknownVersionError(
            f"no findings are kept of Pebble {version}; there are those of {', '.join(PEBBLE)}. Run the suite on it, "
            "look at each rule that does not hold, and add what it finds to findings.py"
        )
    return PEBBLE[version]
