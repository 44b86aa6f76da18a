package wire

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"time"
)

const (
	// minSecret is the least length of a secret in bytes: whoever talks to a worker can try secrets
	// against what it answers, so that it must not be guessable.
	minSecret = 16
	// linkProtocol is what both ends must speak inside TLS.
	linkProtocol = "zae-limiter-workers/1"
	tlsFirst     = 0x16
)

// ErrWrongSecret is returned when the other end does not prove that it knows the secret.
var ErrWrongSecret = errors.New("wire: the other end does not know the shared secret")

// Secret is what master and workers share. Both derive two key pairs from it, the master's and the
// workers', and accept at the other end of a TLS 1.3 connection the other key only. What goes over
// the connection is encrypted with keys of that connection alone: recorded bytes are worth nothing,
// also to those who learn the secret later. A Secret is safe for concurrent use.
type Secret struct {
	server, client *tls.Config
}

// NewSecret derives the keys from a secret of at least 16 bytes.
func NewSecret(secret []byte) (*Secret, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("wire: the shared secret has %d bytes, at least %d are needed (try: openssl rand -hex 32)", len(secret), minSecret)
	}
	master, err := deriveKey(secret, "master")
	if err != nil {
		return nil, err
	}
	worker, err := deriveKey(secret, "worker")
	if err != nil {
		return nil, err
	}
	server, err := linkConfig(master, worker)
	if err != nil {
		return nil, err
	}
	client, err := linkConfig(worker, master)
	if err != nil {
		return nil, err
	}
	return &Secret{server, client}, nil
}

func deriveKey(secret []byte, end string) (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, linkProtocol+" "+end, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("wire: deriving the key of the %s: %w", end, err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// linkConfig is the TLS configuration of an end that has one key and accepts one other.
func linkConfig(own, other ed25519.PrivateKey) (*tls.Config, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, own.Public(), own)
	if err != nil {
		return nil, fmt.Errorf("wire: certificate of the worker link: %w", err)
	}
	accepted := other.Public().(ed25519.PublicKey)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: own}},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{linkProtocol},
		// Without tickets every connection proves both keys anew.
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		// The certificate only carries the key, which is known: VerifyConnection compares it.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok || !accepted.Equal(key) || state.NegotiatedProtocol != linkProtocol {
				return ErrWrongSecret
			}
			return nil
		},
	}, nil
}

// acceptSecure finds out whether a peer wants TLS, by its first byte, and lets it in or not. The
// connection has a deadline.
func acceptSecure(conn net.Conn, secret *Secret, allowPlain bool) (_ net.Conn, secure bool, err error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, false, fmt.Errorf("greeting: %w", unexpectedEOF(err))
	}
	whole := &unreadConn{Conn: conn, unread: first}
	switch {
	case first[0] != tlsFirst && !allowPlain && !isLocal(conn.RemoteAddr()):
		return nil, false, ErrPlainPeer
	case first[0] != tlsFirst:
		return whole, false, nil
	case secret == nil:
		return nil, false, protocolError("the peer wants to use a shared secret, and there is none here")
	}
	encrypted := tls.Server(whole, secret.server)
	if err := encrypted.Handshake(); err != nil {
		return nil, false, handshakeError(err)
	}
	return encrypted, true, nil
}

// dialSecure proves the worker's knowledge of the secret and checks the master's.
func dialSecure(conn net.Conn, secret *Secret) (net.Conn, error) {
	encrypted := tls.Client(conn, secret.client)
	if err := encrypted.Handshake(); err != nil {
		return nil, handshakeError(err)
	}
	return encrypted, nil
}

func handshakeError(err error) error {
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" {
		return fmt.Errorf("%w: %w", ErrWrongSecret, remote.Err)
	}
	return fmt.Errorf("encrypted handshake: %w", err)
}

// isLocal reports whether an address is on this machine.
func isLocal(address net.Addr) bool {
	switch address.Network() {
	case "pipe", "unix":
		return true
	}
	from, err := netip.ParseAddrPort(address.String())
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// unreadConn gives back what was read already.
type unreadConn struct {
	net.Conn
	unread []byte
}

func (c *unreadConn) Read(b []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(b, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
