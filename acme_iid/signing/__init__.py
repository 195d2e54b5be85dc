"""Keys that stay in their place, in a PKCS #11 token or behind a program: asks them for signatures, and checks each.

What other packages use of it::

    places.parse(text)                  where a key is: FilePlace, TokenPlace or ProgramPlace; PlaceError
    signers.open_key(place, public_key) an object that cryptography signs with as with a private key of its own
    signers.close(key)                  ends the process that asks for it, once no key needs it
    signers.public_key(place)           the public key in that place, proven by one signature
    signers.answers(key)                nothing, or SignerError: one signature over a fixed text is asked for
    signers.generate(place, type, taken) a new key in a token, or one that is there and has no certificate

No place is contacted when a key is opened: a CA starts without its token, and knows the public key by its
certificate. ``acme_iid.errors.SignerError`` is raised by whatever signs with such a key, within
``asker.ANSWER_SECONDS``, and nothing was changed then.
"""
