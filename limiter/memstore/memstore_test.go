package memstore_test

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return memstore.New() })
}

func TestTheModelAgreesWithItself(t *testing.T) {
	open := func(*testing.T) storetest.Store { return memstore.New() }
	storetest.Agree(t, open, open)
}
