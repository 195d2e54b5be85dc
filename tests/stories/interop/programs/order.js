// Issue, renew or revoke with node's acme-client: node order.js issue|renew|revoke, in the folder with the files.
// Environment: DIRECTORY, NAMES (comma-separated), CHALLENGE, KEY (ec or rsa), ANSWERS (challtestsrv's management URL),
// and EAB_KID and EAB_KEY where the server wants them.
'use strict';

const fs = require('node:fs');
const acme = require('acme-client');

const { DIRECTORY, NAMES, CHALLENGE, KEY, ANSWERS, EAB_KID, EAB_KEY } = process.env;

async function tell(what, members) {
    const response = await fetch(`${ANSWERS}/${what}`, { method: 'POST', body: JSON.stringify(members) });
    if (!response.ok) {
        throw new Error(`${what}: ${response.status}`);
    }
}

async function answer(authorization, challenge, keyAuthorization) {
    const name = authorization.identifier.value;
    if (challenge.type === 'http-01') {
        await tell('add-http01', { token: challenge.token, content: keyAuthorization });
    }
    else if (challenge.type === 'dns-01') {
        await tell('set-txt', { host: `_acme-challenge.${name}.`, value: keyAuthorization });
    }
    else {
        await tell('add-tlsalpn01', { host: name, content: keyAuthorization });
    }
}

async function main() {
    const action = process.argv[2];
    await fetch(DIRECTORY); // acme-client does not say why a connection failed
    if (!fs.existsSync('account.key')) {
        fs.writeFileSync('account.key', await acme.crypto.createPrivateEcdsaKey());
    }
    const client = new acme.Client({
        directoryUrl: DIRECTORY,
        accountKey: fs.readFileSync('account.key'),
        backoffMin: 200,
        backoffMax: 1000,
        externalAccountBinding: EAB_KID ? { kid: EAB_KID, hmacKey: EAB_KEY } : {},
    });
    if (action === 'revoke') {
        await client.createAccount({ onlyReturnExisting: true });
        await client.revokeCertificate(fs.readFileSync('cert.pem'));
        return;
    }
    const key = KEY === 'ec' ? await acme.crypto.createPrivateEcdsaKey() : await acme.crypto.createPrivateRsaKey();
    const [, csr] = await acme.crypto.createCsr({ altNames: NAMES.split(',') }, key);
    const chain = await client.auto({
        csr,
        email: 'a@example.com',
        termsOfServiceAgreed: true,
        skipChallengeVerification: true,
        challengePriority: [CHALLENGE],
        challengeCreateFn: answer,
        challengeRemoveFn: async () => {},
    });
    fs.writeFileSync('cert.pem', chain);
    fs.writeFileSync('key.pem', key);
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
