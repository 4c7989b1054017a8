package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"time"
)

// certLife is how long the certificate of a start is valid: as long as a plugin
// may run.
const certLife = 30 * 365 * 24 * time.Hour

// oneTimeTLS returns how to serve TLS to the one host that has the certificate
// given, and the plugin's own certificate as it stands in the handshake line.
// Without a certificate of the host there is no TLS.
func oneTimeTLS(hostPEM string) (func() (*tls.Config, error), string, error) {
	if hostPEM == "" {
		return nil, "", nil
	}
	hosts := x509.NewCertPool()
	if !hosts.AppendCertsFromPEM([]byte(hostPEM)) {
		return nil, "", errors.New("the node's certificate cannot be read")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"}, // what go-plugin's host asks for
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(certLife),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// It signs itself, and the host trusts nothing else.
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, "", err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    hosts,
		MinVersion:   tls.VersionTLS13,
	}
	return func() (*tls.Config, error) { return config, nil }, base64.RawStdEncoding.EncodeToString(der), nil
}
