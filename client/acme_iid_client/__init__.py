"""acme-iid: the client. A machine proves its cloud identity to the CA and gets a key and a certificate.

The modules, from the bottom up::

    errors        the one error a person sees
    names         what a person types as a name, in the form that goes into a certificate
    places        where configuration and state live
    keys          key pairs and certificate signing requests
    csr           signing requests that somebody else made
    certificates  what is read out of certificates
    switch        two files replaced in one step
    files         a key and its certificate, put in place together
    copies        further files with the same content: one PEM file with everything, PKCS #12
    records       what was ordered on this machine
    trust         HTTPS under the CA's own root
    authority     which CAs this machine trusts: bootstrap
    account       the account key of this machine at that CA
    clouds        which cloud this is, and evidence from its metadata service
    proof         the answer to a challenge
    connection    signed ACME requests, repeated when the CA was away
    registration  the account at the CA: shown, given another key, ended
    order         from names to a verified certificate
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

Nothing here imports the server's modules, save ``acme_iid.iid01``, ``acme_iid.errors`` and ``acme_iid.key_files`` and,
for ``acme-iid verify`` alone, ``acme_iid.attestation``.
"""
