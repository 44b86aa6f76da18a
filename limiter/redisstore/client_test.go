package redisstore_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]redisstore.Options{
		"redis://h":                {Address: "h:6379"},
		"redis://h:1/3":            {Address: "h:1", DB: 3},
		"redis://[::1]:7000/":      {Address: "[::1]:7000"},
		"redis://:secret@h":        {Address: "h:6379", Password: "secret"},
		"redis://ops:s%40t@h:6380": {Address: "h:6380", Username: "ops", Password: "s@t"},
	} {
		if got, err := redisstore.ParseURL(text); err != nil || got.Address != want.Address || got.Username != want.Username ||
			got.Password != want.Password || got.DB != want.DB || got.TLS != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if got, err := redisstore.ParseURL("rediss://h"); err != nil || got.TLS == nil || got.Address != "h:6379" {
		t.Errorf("rediss: %+v, %v", got, err)
	}
	for _, text := range []string{"", "h:6379", "http://h", "redis://", "redis://:secret@", "redis://h:0", "redis://h:x", "redis://h/x", "redis://h/-1",
		"redis://u@h", "redis://u:secret@h?db=1", "redis://u:secret@h/0#x", "redis://u:secret@h:%zz"} {
		if _, err := redisstore.ParseURL(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestNamespacesAreChecked(t *testing.T) {
	for _, name := range []string{"", "a}b", "a{b", "a b", "a*", strings.Repeat("a", 65)} {
		_, err := redisstore.Open(redisstore.Options{Address: "h:6379"}, name)
		if invalid, ok := errors.AsType[*limiter.ValidationError](err); !ok || invalid.Field != "namespace" {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := redisstore.Open(redisstore.Options{Address: "h"}, "a"); err == nil {
		t.Error("an address without a port passed")
	}
}

// Namespaces do not see each other, and purging one leaves the other.
func TestNamespacesAreApart(t *testing.T) {
	server, o := serve(t)
	a, b := onNamespace(t, o), onNamespace(t, o)
	for _, s := range []*redisstore.Store{a, b} {
		if used, err := s.InUse(t.Context()); err != nil || used {
			t.Errorf("in use: %t, %v", used, err)
		}
		if err := s.PutEntity(t.Context(), limiter.Meta{EntityID: "u"}); err != nil {
			t.Fatal(err)
		}
	}
	if used, err := a.InUse(t.Context()); err != nil || !used {
		t.Errorf("in use: %t, %v", used, err)
	}
	if n, err := a.Purge(t.Context()); err != nil || n != 1 {
		t.Errorf("purged %d, %v", n, err)
	}
	if m, err := b.Entity(t.Context(), "u", true); err != nil || !m.Found {
		t.Errorf("the other: %+v, %v", m, err)
	}
	if keys := server.Keys(); len(keys) != 1 || !strings.HasPrefix(keys[0], "zae:{test-") {
		t.Errorf("keys: %v", keys)
	}
}

// Calls of every kind, over TLS and with a user's password, in a database of their own.
func TestEveryKindOfCallOverTLS(t *testing.T) {
	certificate, roots := certificateOf(t)
	server := miniredis.NewMiniRedis()
	if err := server.StartAddrTLS("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.RequireUserAuth("ops", "secret")
	o := redisstore.Options{Address: server.Addr(), Username: "ops", Password: "secret", DB: 5, TLS: &tls.Config{RootCAs: roots}}
	exercise(t, onNamespace(t, o))
	o.TLS = &tls.Config{}
	if err := onNamespace(t, o).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("an unknown certificate: %v", err)
	}
	o.TLS, o.Password = &tls.Config{RootCAs: roots}, "wrong"
	if err := onNamespace(t, o).Ping(t.Context()); !errors.Is(err, limiter.ErrAccessDenied) {
		t.Errorf("a wrong password: %v", err)
	}
}

func certificateOf(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// A bucket goes an hour after its ttl, whatever the clock of the caller says, and leaves the listings.
func TestBucketsGoAfterTheirTTL(t *testing.T) {
	server, o := serve(t)
	s := onNamespace(t, o)
	l, err := limiter.New(s, limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerMinute("rpm", 60)}, ""); err != nil {
		t.Fatal(err)
	}
	acquire := func(entity string) {
		t.Helper()
		if _, err := l.Acquire(t.Context(), limiter.Request{EntityID: entity, Resource: "api", Consume: limiter.Amounts{"rpm": 1}}); err != nil {
			t.Fatal(err)
		}
	}
	acquire("u")
	b, err := s.Buckets(t.Context(), "u", "api")
	if err != nil || len(b) != 1 || !b[0].HasTTL {
		t.Fatalf("%+v, %v", b, err)
	}
	until := time.Until(time.Unix(b[0].TTL, 0))
	server.FastForward(until + 30*time.Minute)
	if b, err = s.Buckets(t.Context(), "u", "api"); err != nil || len(b) != 1 {
		t.Errorf("half an hour after the ttl: %+v, %v", b, err)
	}
	server.FastForward(31 * time.Minute)
	if b, err = s.Buckets(t.Context(), "u", "api"); err != nil || len(b) != 0 {
		t.Errorf("an hour after the ttl: %+v, %v", b, err)
	}
	acquire("u") // as new
	if b, err := s.Buckets(t.Context(), "u", "api"); err != nil || len(b) != 1 || b[0].Limit("rpm").Counter != 1000 {
		t.Errorf("again: %+v, %v", b, err)
	}
}

// An observer is told of each request by the method that makes it.
func TestAnObserverSeesRequests(t *testing.T) {
	_, o := serve(t)
	var seen []string
	o.Observe = func(r redisstore.Request) { seen = append(seen, r.Operation) }
	s := onNamespace(t, o)
	l, err := limiter.New(s, limiter.Options{WithoutAudit: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "u"}); err != nil {
		t.Fatal(err)
	}
	limits := []limiter.Limit{limiter.PerMinute("rpm", 60)}
	if _, err := l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "api", Limits: limits, Consume: limiter.Amounts{"rpm": 1}}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, " "); !strings.HasPrefix(got, "PutEntity ") || !strings.HasSuffix(got, " Consume Read Write") {
		t.Errorf("seen %s", got)
	}
}
