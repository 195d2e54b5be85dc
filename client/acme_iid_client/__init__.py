"""acme-iid: the client. A machine proves its cloud identity to the CA and gets a key and a certificate.

The modules, from the bottom up::

    errors        the one error a person sees
    deadline      the time by which a command has to be done
    names         what a person types as a name, in the form that goes into a certificate
    entries       names in an open directory, and what is done to them by its descriptor
    descriptors   directories that are reached through no link of somebody else's
    places        where configuration and state live
    keys          key pairs and certificate signing requests
    csr           signing requests that somebody else made
    certificates  what is read out of certificates
    switch        two files replaced in one step, or in two where there are no links
    files         a key and its certificate, put in place together
    copies        further files with the same content: one PEM file with everything, PKCS #12
    records       what was ordered on this machine
    session       all HTTP, bounded in size and time
    trust         HTTPS under the CA's own root, to servers with its mark
    authority     which CAs this machine trusts: bootstrap
    account       the account key of this machine at that CA
    clouds        which cloud this is, and evidence from its metadata service
    proof         the answer to a challenge
    connection    signed ACME requests, repeated when the CA was away
    registration  the account at the CA: shown, given another key, ended
    order         from names to a verified certificate
    kept          what was issued, until it is in place
    ari           when the CA would like a certificate to be renewed
    renewal       when a certificate is due, and renewing it
    refusals      which refusals only an operator can change, and how long the CA is left alone then
    notifications which programs do not know yet of a renewal
    hooks         telling programs that it was
    journal       the lines of a program that runs for months
    systemd       what the service manager is told
    wakeups       what wakes a program that waits
    watched       a pair that the daemon looks after
    workers       the threads that renew, ask and tell for it
    daemon        one process that renews all of them
    inventory     the certificates of this machine as they are
    cli           acme-iid
    manual        manual pages and completions, made out of the commands; building runs it

Nothing here imports the server's modules, save ``acme_iid.iid01``, ``acme_iid.errors``,
``acme_iid.protocol.key_files`` and, for ``acme-iid verify`` alone, ``acme_iid.attestation``.
"""
