// Issue, renew or revoke with golang.org/x/crypto/acme: order issue|renew|revoke, in the folder with the files.
// Environment: DIRECTORY, NAMES (comma-separated), CHALLENGE, KEY (ec or rsa), ANSWERS (challtestsrv's management URL),
// and EAB_KID and EAB_KEY where the server wants them.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func tell(what string, members map[string]string) {
	body, err := json.Marshal(members)
	check(err)
	response, err := http.Post(os.Getenv("ANSWERS")+"/"+what, "application/json", bytes.NewReader(body))
	check(err)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s", what, response.Status)
	}
}

func answer(ctx context.Context, client *acme.Client, url string) {
	authorization, err := client.GetAuthorization(ctx, url)
	check(err)
	if authorization.Status == acme.StatusValid {
		return
	}
	name := authorization.Identifier.Value
	for _, challenge := range authorization.Challenges {
		if challenge.Type != os.Getenv("CHALLENGE") {
			continue
		}
		response, err := client.HTTP01ChallengeResponse(challenge.Token) // the key authorization
		check(err)
		switch challenge.Type {
		case "http-01":
			tell("add-http01", map[string]string{"token": challenge.Token, "content": response})
		case "dns-01":
			record, err := client.DNS01ChallengeRecord(challenge.Token)
			check(err)
			tell("set-txt", map[string]string{"host": "_acme-challenge." + name + ".", "value": record})
		case "tls-alpn-01":
			tell("add-tlsalpn01", map[string]string{"host": name, "content": response})
		}
		_, err = client.Accept(ctx, challenge)
		check(err)
		_, err = client.WaitAuthorization(ctx, url)
		check(err)
		return
	}
	log.Fatalf("no %s for %s", os.Getenv("CHALLENGE"), name)
}

func accountKey() *ecdsa.PrivateKey {
	if data, err := os.ReadFile("account.key"); err == nil {
		key, err := x509.ParseECPrivateKey(data)
		check(err)
		return key
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	data, err := x509.MarshalECPrivateKey(key)
	check(err)
	check(os.WriteFile("account.key", data, 0o600))
	return key
}

func newKey() crypto.Signer {
	var key crypto.Signer
	var err error
	if os.Getenv("KEY") == "ec" {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	check(err)
	return key
}

func order(ctx context.Context, client *acme.Client) {
	names := strings.Split(os.Getenv("NAMES"), ",")
	placed, err := client.AuthorizeOrder(ctx, acme.DomainIDs(names...))
	check(err)
	for _, url := range placed.AuthzURLs {
		answer(ctx, client, url)
	}
	placed, err = client.WaitOrder(ctx, placed.URI)
	check(err)
	key := newKey()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	check(err)
	chain, _, err := client.CreateOrderCert(ctx, placed.FinalizeURL, csr, true)
	check(err)
	var out bytes.Buffer
	for _, der := range chain {
		check(pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	check(os.WriteFile("cert.pem", out.Bytes(), 0o600))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	check(os.WriteFile("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := &acme.Client{Key: accountKey(), DirectoryURL: os.Getenv("DIRECTORY")}
	switch os.Args[1] {
	case "issue":
		account := &acme.Account{Contact: []string{"mailto:a@example.com"}}
		if kid := os.Getenv("EAB_KID"); kid != "" {
			key, err := base64.RawURLEncoding.DecodeString(os.Getenv("EAB_KEY"))
			check(err)
			account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: kid, Key: key}
		}
		_, err := client.Register(ctx, account, acme.AcceptTOS)
		check(err)
		order(ctx, client)
	case "renew":
		order(ctx, client)
	case "revoke":
		data, err := os.ReadFile("cert.pem")
		check(err)
		block, _ := pem.Decode(data)
		check(client.RevokeCert(ctx, nil, block.Bytes, acme.CRLReasonUnspecified))
	default:
		fmt.Println("issue, renew or revoke")
		os.Exit(2)
	}
}
