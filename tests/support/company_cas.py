"""The CAs of a company: a root, a policy CA and what they sign for a request of ours, right and wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_iid.issuance import keys
from acme_iid.issuance.keys import PrivateKey
from acme_iid.protocol.public_keys import PublicKey

YEAR = 365 * 86400
ROOT_KEY = ec.generate_private_key(ec.SECP384R1())
POLICY_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 3072)
ED25519_KEY = ed25519.Ed25519PrivateKey.generate()


Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]
Files = dict[str, tuple[bytes, str]]
"""Files with chains by what is wrong with them, each with a part of the sentence that it is refused with."""


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(*, cert_sign: bool = True, crl_sign: bool = True, digital_signature: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=cert_sign, crl_sign=crl_sign, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def adding(value: x509.ExtensionType, *, critical: bool = False) -> Change:
    return lambda builder: builder.add_extension(value, critical=critical)


def purposes(*oids: x509.ObjectIdentifier) -> Change:
    return adding(x509.ExtendedKeyUsage(oids))


def unknown(number: int, value: bytes = b"\x05\x00", *, critical: bool = False) -> Change:
    """An extension below id-ce (2.5.29) with any contents."""
    return adding(x509.UnrecognizedExtension(x509.ObjectIdentifier(f"2.5.29.{number}"), value), critical=critical)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


@dataclass
class Company:
    """A root and a policy CA, and the key in a request of ours.

    :ivar now: seconds, when all of them begin.
    """

    key: PublicKey
    now: int

    def certificate(
        self,
        subject: str | x509.Name,
        key: PublicKey,
        issuer: str | x509.Name,
        signer: PrivateKey,
        *,
        years: float = 5,
        begins: int = -60,
        basic: x509.BasicConstraints | None = x509.BasicConstraints(ca=True, path_length=None),  # noqa: B008 - a value
        key_usage: x509.KeyUsage | None = usage(),  # noqa: B008 - a value
        identifier: bytes | None = b"",
        above: bytes | None = b"",
        critical: bool = True,
        change: Change = lambda builder: builder,
        algorithm: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008 - a value
        pss: padding.PSS | None = None,
    ) -> x509.Certificate:
        """A CA certificate.

        :param begins: seconds after ``now``, as ``years`` are until its end.
        :param identifier: its subject key identifier, as ``above`` is that of its signer; empty for the usual one.
        :param critical: whether its basic constraints are.
        """
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject) if isinstance(subject, str) else subject)
            .issuer_name(name(issuer) if isinstance(issuer, str) else issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.now + begins, UTC))
            .not_valid_after(datetime.fromtimestamp(self.now + int(years * YEAR), UTC))
        )
        if basic is not None:
            builder = builder.add_extension(basic, critical=critical)
        if key_usage is not None:
            builder = builder.add_extension(key_usage, critical=True)
        if identifier is not None:
            usual = x509.SubjectKeyIdentifier.from_public_key(key)
            own = x509.SubjectKeyIdentifier(identifier) if identifier else usual
            builder = builder.add_extension(own, critical=False)
        if above is not None:
            usual_above = x509.SubjectKeyIdentifier.from_public_key(signer.public_key()).digest
            named = x509.AuthorityKeyIdentifier(above or usual_above, None, None)
            builder = builder.add_extension(named, critical=False)
        builder = change(builder)
        if isinstance(signer, ed25519.Ed25519PrivateKey):
            return builder.sign(signer, None)
        return builder.sign(signer, algorithm, rsa_padding=pss)  # type: ignore[arg-type]

    def root(self, signer: PrivateKey = ROOT_KEY, subject: str = "Root", **options: object) -> x509.Certificate:
        return self.certificate(subject, signer.public_key(), subject, signer, **{"years": 20, **options})  # type: ignore[arg-type]

    def policy(self, signer: PrivateKey = POLICY_KEY, **options: object) -> x509.Certificate:
        """A policy CA whose own key is ``signer``, under the root."""
        return self.certificate("Policy", signer.public_key(), "Root", ROOT_KEY, **{"years": 10, **options})  # type: ignore[arg-type]

    def issuing(self, signer: PrivateKey = POLICY_KEY, **options: object) -> x509.Certificate:
        """The answer to our request, under the policy CA."""
        return self.certificate("Issuing", self.key, "Policy", signer, **options)  # type: ignore[arg-type]

    def chain(self, **options: object) -> list[x509.Certificate]:
        """A chain that fits, but for what the options say of the issuing CA."""
        return [self.issuing(**options), self.policy(), self.root()]  # type: ignore[arg-type]

    def below(self, policy: dict[str, object], signer: PrivateKey = POLICY_KEY) -> bytes:
        """A file with a chain that fits, but for what ``policy`` says of the policy CA."""
        return pem(self.issuing(signer), self.policy(signer, **policy), self.root())


def wrong_files(company: Company) -> Files:
    """Files that are no chains, or hold something else besides."""
    issuing, policy, root = company.chain()
    good = pem(issuing, policy, root)
    key = OTHER_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    request = x509.CertificateSigningRequestBuilder().subject_name(name("x")).sign(OTHER_KEY, hashes.SHA256())
    cut = pem(issuing)[:-60] + pem(policy, root)
    strange = pem(issuing).replace(b" CERTIFICATE", b" ATTRIBUTE CERTIFICATE")
    return {
        "an empty file": (b"", "holds no readable certificates"),
        "another text": (b"no certificate\n" * 9, "holds no readable certificates"),
        "a certificate of four letters": (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "the certificate 1 in",
        ),
        "a certificate that was cut off": (cut, "was it copied as a whole?"),
        "too many certificates": (pem(root) * 9, "holds 9 certificates; 8 are the limit"),
        "a large file": (good + b"\n" * keys.MAX_FILE_BYTES, "is larger than a chain"),
        "DER": (issuing.public_bytes(Encoding.DER), "is in DER form and not in PEM form"),
        "UTF-16": (good.decode().encode("utf-16"), "is text in UTF-16"),
        "a private key beside": (good + key, "holds a private key"),
        "the request itself": (request.public_bytes(Encoding.PEM), "holds a request and not its answer"),
        "a PKCS 7 bundle": (b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n", "holds a PKCS #7 bundle"),
        "another kind of certificate": (strange, "holds a 'ATTRIBUTE CERTIFICATE', which is no certificate"),
        "an unreadable extension": (
            pem(*company.chain(basic=None, change=unknown(19, b"\x30\x03\x02"))),
            "has extensions that cannot be read",
        ),
        "an extension twice": (_twice(company), "has an extension twice (2.5.29.14)"),
    }


def _twice(company: Company) -> bytes:
    issuing, policy, root = company.chain(change=unknown(99, b"\x04\x02ab"))
    der = issuing.public_bytes(Encoding.DER)
    assert der.count(b"\x55\x1d\x63") == 1
    doubled = x509.load_der_x509_certificate(der.replace(b"\x55\x1d\x63", b"\x55\x1d\x0e"))
    return pem(doubled, policy, root)


def wrong_chains(company: Company) -> Files:
    """Chains that do not lead from our key to a root."""
    issuing, policy, root = company.chain()
    other = company.certificate("Issuing", OTHER_KEY.public_key(), "Policy", POLICY_KEY)
    impostor = company.policy(OTHER_KEY)
    stranger = company.root(OTHER_KEY, "Stranger")
    afar = company.certificate("Policy", POLICY_KEY.public_key(), "Far Root", OTHER_KEY, years=10)
    return {
        "another key": (pem(other, policy, root), "for a key that this CA does not have"),
        "root first": (pem(root, policy, issuing), "are in the wrong order"),
        "policy CA first": (pem(policy, issuing, root), "are in the wrong order"),
        "policy CA left out": (pem(issuing, root), "'CN=Policy' did, and its certificate is missing"),
        "root left out": (pem(issuing, afar), "the chain ends with 'CN=Policy', which was signed by 'CN=Far Root'"),
        "policy CA behind the root": (pem(issuing, root, policy), "'CN=Policy' signed it; the order is"),
        "one behind the root": (pem(issuing, policy, root, stranger), "it is a root, behind which nothing can stand"),
        "the same certificate twice": (pem(issuing, policy, policy, root), "'CN=Policy' is in the file twice"),
        "a policy CA of the same name": (pem(issuing, impostor, root), "but another key signed it"),
        "an authority key identifier of another": (
            pem(*company.chain(above=b"12345678")),
            "is about another certificate than 'CN=Policy'",
        ),
    }


def wrong_certificates(company: Company) -> Files:
    """Chains of which one certificate may not do what it is there for."""
    leaf = x509.BasicConstraints(ca=False, path_length=None)
    short = x509.BasicConstraints(ca=True, path_length=0)
    p192 = ec.generate_private_key(ec.SECP256K1())
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused

    def issuing(**options: object) -> bytes:
        return pem(*company.chain(**options))

    return {
        "expired": (issuing(begins=-99, years=-1e-6), "'CN=Issuing' has expired"),
        "an expired policy CA": (
            pem(company.issuing(begins=-99, years=-2e-6), company.policy(begins=-99, years=-1e-6), company.root()),
            "has expired",
        ),
        "not valid yet": (issuing(begins=3600), "'CN=Issuing' is not valid yet"),
        "longer than its signer": (issuing(years=11), "'CN=Issuing' ends at"),
        "a path that is too short": (
            company.below({"basic": short}),
            "'CN=Policy' has the path length 0, and 1 CA certificates are below it",
        ),
        "no CA": (issuing(basic=leaf), "'CN=Issuing' is no CA certificate"),
        "no basic constraints": (issuing(basic=None), "'CN=Issuing' is no CA certificate"),
        "no certificate signing": (issuing(key_usage=usage(cert_sign=False)), "its key usage lacks keyCertSign"),
        "no list signing": (issuing(key_usage=usage(crl_sign=False)), "its key usage lacks cRLSign"),
        "a policy CA without certificate signing": (
            company.below({"key_usage": usage(cert_sign=False)}),
            "'CN=Policy' may not sign: its key usage lacks keyCertSign",
        ),
        "for mail alone": (
            issuing(change=purposes(ExtendedKeyUsageOID.EMAIL_PROTECTION)),
            "'CN=Issuing' is limited to purposes (extendedKeyUsage) that lack serverAuth",
        ),
        "a policy CA for clients alone": (
            company.below({"change": purposes(ExtendedKeyUsageOID.CLIENT_AUTH)}),
            "'CN=Policy' is limited to purposes",
        ),
        "no key usage": (issuing(key_usage=None), "'CN=Issuing' has no key usage"),
        "basic constraints that are not critical": (issuing(critical=False), "has basic constraints that are not crit"),
        "no authority key identifier": (issuing(above=None), "'CN=Issuing' has no authority key identifier"),
        "no key identifier": (issuing(identifier=None), "'CN=Issuing' has no subject key identifier"),
        "no subject": (
            pem(company.certificate(x509.Name([]), company.key, "Policy", POLICY_KEY), *company.chain()[1:]),
            "a certificate without a subject cannot sign",
        ),
        "a hash that is broken": (issuing(algorithm=hashes.SHA224()), "'CN=Issuing' is signed with sha224"),
        "a small RSA key above": (company.below({}, small), "the RSA key has 1024 bits"),
        "a curve that no client knows": (company.below({}, p192), "secp256k1 keys are not accepted"),
        "a critical extension that nobody knows": (
            issuing(change=unknown(99, critical=True)),
            "'CN=Issuing' has a critical extension that clients do not know (2.5.29.99)",
        ),
        "a policy that is demanded": (
            company.below({"change": adding(x509.PolicyConstraints(0, None), critical=True)}),
            "'CN=Policy' demands a certificate policy",
        ),
    }


def right_chains(company: Company) -> dict[str, list[x509.Certificate]]:
    """Chains that fit, in ways that are not ours."""
    issuing, policy, root = company.chain()
    short = x509.BasicConstraints(ca=True, path_length=1)
    both = purposes(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    mail = x509.NameConstraints([x509.RFC822Name("corp.example")], None)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    by_rsa = company.certificate("RSA Root", RSA_KEY.public_key(), "RSA Root", RSA_KEY, years=20, pss=pss)
    by_ed25519 = company.root(ED25519_KEY, "Ed Root")
    directly: Sequence[x509.Certificate] = [company.certificate("Issuing", company.key, "Root", ROOT_KEY), root]
    return {
        "three tiers": [issuing, policy, root],
        "two tiers": [*directly],
        "no key identifier above the root": [issuing, policy, company.root(above=None)],
        "a digital signature besides": [*company.chain(key_usage=usage(digital_signature=True))],
        "a path length that is enough": [issuing, company.policy(basic=short), root],
        "both purposes": [issuing, company.policy(change=both), root],
        "for servers alone": [issuing, company.policy(change=purposes(ExtendedKeyUsageOID.SERVER_AUTH)), root],
        "constraints about mail": [issuing, company.policy(change=adding(mail, critical=True)), root],
        "no any-policy below": [issuing, company.policy(change=adding(x509.InhibitAnyPolicy(0), critical=True)), root],
        "a policy that is demanded further down": [
            issuing, company.policy(change=adding(x509.PolicyConstraints(3, None), critical=True)), root
        ],
        "RSASSA-PSS": [company.certificate("Issuing", company.key, "RSA Root", RSA_KEY, pss=pss), by_rsa],
        "Ed25519": [company.certificate("Issuing", company.key, "Ed Root", ED25519_KEY), by_ed25519],
        "a hash that is broken in the root's own signature": [issuing, policy, company.root(algorithm=hashes.SHA224())],
    }  # fmt: skip
