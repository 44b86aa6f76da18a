package redisstore_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
	"github.com/zeroae/zae-limiter-go/limiter/storetest"
)

// namespaces numbers the namespaces of this process's tests.
var namespaces atomic.Int64

// onNamespace opens the store of a namespace of its own.
func onNamespace(t testing.TB, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(o, fmt.Sprintf("test-%d", namespaces.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// serve starts a server that speaks the protocol and runs scripts, in this process.
func serve(t testing.TB) (*miniredis.Miniredis, redisstore.Options) {
	t.Helper()
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server, redisstore.Options{Address: server.Addr()}
}

func TestConformance(t *testing.T) {
	_, o := serve(t)
	storetest.Run(t, func(t *testing.T) storetest.Store { return onNamespace(t, o) })
}

func TestTheStoreAgreesWithTheModel(t *testing.T) {
	_, o := serve(t)
	storetest.Agree(t, func(t *testing.T) storetest.Store { return onNamespace(t, o) }, func(*testing.T) storetest.Store { return memstore.New() })
}
