package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate is what the caller asks for, one for every NAME.crt and NAME.key.
type certificate struct {
	Name         string   `json:"name"`
	CommonName   string   `json:"commonName"`
	Organization []string `json:"organization"`
	Hosts        []string `json:"hosts"` // with hosts it serves too
}

const validity = 10 * 365 * 24 * time.Hour

// writePKI makes a certificate authority in the directory args[0], the certificates that the JSON list
// args[1] names, and the key pair that signs service account tokens.
func writePKI(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: devpki DIRECTORY JSON")
	}
	var wanted []certificate
	if err := json.Unmarshal([]byte(args[1]), &wanted); err != nil {
		return err
	}
	if err := os.MkdirAll(args[0], 0o700); err != nil {
		return err
	}
	authorityKey, err := newKey(args[0], "ca")
	if err != nil {
		return err
	}
	authority := template(certificate{CommonName: "recording-operator-dev"})
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage |= x509.KeyUsageCertSign
	if err := sign(args[0], "ca", authority, authority, authorityKey.Public(), authorityKey); err != nil {
		return err
	}
	for _, c := range wanted {
		key, err := newKey(args[0], c.Name)
		if err != nil {
			return err
		}
		if err := sign(args[0], c.Name, template(c), authority, key.Public(), authorityKey); err != nil {
			return err
		}
	}
	return writeServiceAccountKeys(args[0])
}

func template(c certificate) *x509.Certificate {
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: c.CommonName, Organization: c.Organization},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range c.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	return t
}

func sign(dir, name string, t, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, signer)
	if err != nil {
		return err
	}
	return writePEM(dir, name+".crt", "CERTIFICATE", der, 0o644)
}

func newKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(dir, name+".key", "EC PRIVATE KEY", der, 0o600)
}

func writeServiceAccountKeys(dir string) error {
	key, err := newKey(dir, "service-account")
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writePEM(dir, "service-account.pub", "PUBLIC KEY", der, 0o644)
}

func writePEM(dir, name, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
