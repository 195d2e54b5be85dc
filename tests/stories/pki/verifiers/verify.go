// Verifies a chain: verify chain|list|answer ROOT CHAIN NAME. It exits with 1 and the reason where it refuses.
//
// Go's library follows no URL of a certificate. What a Go program does by itself is done here: fetch the list or the
// answer from where the leaf says, and check its signature and its time.
package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/ocsp"
)

func certificates(name string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return found, nil
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, certificate)
	}
}

func body(response *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return io.ReadAll(response.Body)
}

func byList(leaf, issuer *x509.Certificate) error {
	der, err := body(http.Get(leaf.CRLDistributionPoints[0]))
	if err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return err
	}
	if now := time.Now(); now.Before(list.ThisUpdate) || now.After(list.NextUpdate) {
		return errors.New("the list is not of this time")
	}
	for _, entry := range list.RevokedCertificates {
		if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return errors.New("revoked")
		}
	}
	return nil
}

func byAnswer(leaf, issuer *x509.Certificate) error {
	request, err := ocsp.CreateRequest(leaf, issuer, nil)
	if err != nil {
		return err
	}
	der, err := body(http.Post(leaf.OCSPServer[0], "application/ocsp-request", bytes.NewReader(request)))
	if err != nil {
		return err
	}
	answer, err := ocsp.ParseResponseForCert(der, leaf, issuer)
	if err != nil {
		return err
	}
	if now := time.Now(); now.Before(answer.ThisUpdate) || now.After(answer.NextUpdate) {
		return errors.New("the answer is not of this time")
	}
	switch answer.Status {
	case ocsp.Good:
		return nil
	case ocsp.Revoked:
		return errors.New("revoked")
	}
	return errors.New("unknown")
}

func verify(question, root, chain, name string) error {
	roots, err := certificates(root)
	if err != nil {
		return err
	}
	shown, err := certificates(chain)
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: name}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, above := range shown[1:] {
		options.Intermediates.AddCert(above)
	}
	if _, err := shown[0].Verify(options); err != nil {
		return err
	}
	switch question {
	case "list":
		return byList(shown[0], shown[1])
	case "answer":
		return byAnswer(shown[0], shown[1])
	}
	return nil
}

func main() {
	if err := verify(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
