"""An authenticator for certbot, from 2.1 (Debian 12) to the newest: ``certbot certonly --authenticator acme-iid``.

certbot keeps account, orders, keys and renewals; this answers the challenge iid-01 with the client's own evidence::

    trust          the CA's roots, in the one place where certbot lets a plugin put it
    authenticator  the plugin, by certbot's public interfaces only

It also works with the libraries that Debian's certbot is built upon (acme 2.1, josepy 1.13, cryptography 38), and so
must what it leans on: ``acme_iid.iid01``, ``acme_iid.errors``, ``acme_iid_client.clouds`` and what those need.
"""
