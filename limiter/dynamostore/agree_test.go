package dynamostore_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/storetest"
)

func TestTheTableAgreesWithTheModel(t *testing.T) {
	table := dynamostore.OpenTable(newEngine(t, dynamolocal.Config{}).Client(), "agree", dynamostore.TableOptions{WithoutStream: true})
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := table.DeclareReaders(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int64
	openTable := func(t *testing.T) storetest.Store {
		ns, err := table.RegisterNamespace(t.Context(), fmt.Sprintf("test-%d", opened.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return table.Store(ns)
	}
	storetest.Agree(t, openTable, func(*testing.T) storetest.Store { return memstore.New() })
}
