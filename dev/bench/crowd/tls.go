package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Writes tls.crt, tls.key and ca.crt as the operator mounts them, and returns the CA with the same certificate, which the
// fakes serve with as well.
func issue(directory string) ([]byte, tls.Certificate) {
	caKey, ca := sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	key, leaf := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "bench"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	for name, text := range map[string][]byte{
		"ca.crt":  authority,
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		must(os.WriteFile(filepath.Join(directory, name), text, 0o600))
	}
	return authority, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

// Without a parent it signs itself.
func sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	if parent == nil {
		parent, parentKey = template, key
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	must(err)
	certificate, err := x509.ParseCertificate(signed)
	must(err)
	return key, certificate
}

func writeKubeconfig(file, url string, ca []byte) {
	type named = map[string]any
	text, err := json.Marshal(named{
		"apiVersion": "v1", "kind": "Config", "current-context": "bench",
		"clusters": []named{{"name": "bench", "cluster": named{
			"server": url, "certificate-authority-data": base64.StdEncoding.EncodeToString(ca),
		}}},
		"users":    []named{{"name": "bench", "user": named{"token": "bench"}}},
		"contexts": []named{{"name": "bench", "context": named{"cluster": "bench", "user": "bench"}}},
	})
	must(err)
	must(os.WriteFile(file, text, 0o600))
}
