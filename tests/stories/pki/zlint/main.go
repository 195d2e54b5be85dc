// Lints certificates and revocation lists, PEM files, with zlint's rules that come from RFCs.
//
// It writes a line of JSON for each finding: file, rule, severity and details. What OpenSSL and others read, but zlint
// does not, is a finding, too.
package main

import (
	"encoding/json"
	"encoding/pem"
	"log"
	"os"

	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

var sources = lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC8813}

type finding struct {
	File     string `json:"file"`
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Details  string `json:"details"`
}

func results(name string, registry lint.Registry) (*zlint.ResultSet, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		log.Fatalf("%s is no PEM file", name)
	}
	if block.Type == "X509 CRL" {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		return zlint.LintRevocationListEx(list, registry), nil
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return zlint.LintCertificateEx(certificate, registry), nil
}

func main() {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: sources})
	if err != nil {
		log.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, name := range os.Args[1:] {
		set, err := results(name, registry)
		if err != nil {
			if err := out.Encode(finding{name, "unreadable", "fatal", err.Error()}); err != nil {
				log.Fatal(err)
			}
			continue
		}
		for rule, result := range set.Results {
			if result.Status < lint.Notice {
				continue
			}
			if err := out.Encode(finding{name, rule, result.Status.String(), result.Details}); err != nil {
				log.Fatal(err)
			}
		}
	}
}
