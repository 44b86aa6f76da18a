//go:build interop

package peer

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// Begin is when the clock of every Env starts: Friday 2055-01-15 08:00:00 UTC. Engines expire items by the
// real time, which must not come near.
const Begin = 2683612800000

// Namespace is the one that sides open.
const Namespace = "default"

// Env is a fresh table with a registered namespace, on which Go and Python meet.
type Env struct {
	Engine string // Embedded or Local
	Table  string
	NS     string // the id of Namespace
	// Go and Python are what stands between each side and the engine.
	Go, Python *Proxy
	// API reaches the engine without any of them.
	API *dynamodb.Client

	machine *Machine
	now     atomic.Int64
}

// Item is an item of the table.
type Item map[string]types.AttributeValue

// Env creates a table on the engine.
func (m *Machine) Env(t testing.TB, engine string) *Env {
	t.Helper()
	e := m.EmptyEnv(t, engine)
	table := e.OpenTable(t)
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	if e.NS, err = table.RegisterNamespace(t.Context(), Namespace); err != nil {
		t.Fatal(err)
	}
	e.Go.Forget()
	return e
}

// EmptyEnv is an Env without its table, which the test must create, and without NS.
func (m *Machine) EmptyEnv(t testing.TB, engine string) *Env {
	t.Helper()
	e := &Env{Engine: engine, machine: m}
	e.Table = fmt.Sprintf("interop-%d-%d", os.Getpid(), m.tables.Add(1))
	e.now.Store(Begin)
	endpoint := m.endpoints[engine]
	e.Go, e.Python = newProxy(t, endpoint), newProxy(t, endpoint)
	var err error
	if e.API, err = dynamostore.NewClient(dynamostore.ClientConfig{Region: "us-east-1", Endpoint: endpoint, Credentials: keys}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended.
		if _, err := e.API.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &e.Table}); err != nil {
			t.Error(err)
		}
	})
	return e
}

var keys = credentials.NewStaticCredentialsProvider("key", "secret", "")

// Clock is the time of both sides.
func (e *Env) Clock() time.Time { return time.UnixMilli(e.now.Load()) }

// Now is the time in milliseconds.
func (e *Env) Now() int64 { return e.now.Load() }

// Pass moves the clock.
func (e *Env) Pass(milli int64) { e.now.Add(milli) }

// Set sets the clock.
func (e *Env) Set(milli int64) { e.now.Store(milli) }

// OpenTable opens the table as a Go process of its own would, through the proxy of Go.
func (e *Env) OpenTable(t testing.TB) *dynamostore.Table {
	t.Helper()
	client, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{Region: "us-east-1", Endpoint: e.Go.URL, Credentials: keys})
	if err != nil {
		t.Fatal(err)
	}
	return dynamostore.OpenTable(client, e.Table, dynamostore.TableOptions{Clock: e.Clock, WithoutStream: true})
}

// Limiter opens the namespace as a Go process of its own would. Draws are of shard 0 unless the options say
// otherwise.
func (e *Env) Limiter(t testing.TB, opts limiter.Options) *limiter.Limiter {
	t.Helper()
	opts.Clock = e.Clock
	if opts.Rand == nil {
		opts.Rand = func(int) int { return 0 }
	}
	l, err := limiter.New(e.OpenTable(t).Store(e.NS), opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// DeclareReaders says that every reader of the table knows what 0.17 knows, which opens the gates.
func (e *Env) DeclareReaders(t testing.TB) {
	t.Helper()
	if err := e.OpenTable(t).DeclareReaders(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	e.Go.Forget()
}

// Get reads an item, consistently; nil when it is absent.
func (e *Env) Get(t testing.TB, pk, sk string) Item {
	t.Helper()
	out, err := e.API.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &e.Table, Key: key(pk, sk), ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Item) == 0 {
		return nil
	}
	return out.Item
}

// Put writes an item as it is.
func (e *Env) Put(t testing.TB, item Item) {
	t.Helper()
	if _, err := e.API.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &e.Table, Item: item}); err != nil {
		t.Fatal(err)
	}
}

// Delete removes an item.
func (e *Env) Delete(t testing.TB, pk, sk string) {
	t.Helper()
	if _, err := e.API.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &e.Table, Key: key(pk, sk)}); err != nil {
		t.Fatal(err)
	}
}

// Change applies an update expression with values to an item.
func (e *Env) Change(t testing.TB, pk, sk, expression string, values Item) {
	t.Helper()
	in := &dynamodb.UpdateItemInput{TableName: &e.Table, Key: key(pk, sk), UpdateExpression: &expression}
	if len(values) > 0 {
		in.ExpressionAttributeValues = values
	}
	if _, err := e.API.UpdateItem(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// Items returns all items of the table, or those whose partition key begins so, by their keys.
func (e *Env) Items(t testing.TB, prefix string) []Item {
	t.Helper()
	var items []Item
	in := &dynamodb.ScanInput{TableName: &e.Table, ConsistentRead: aws.Bool(true)}
	for {
		out, err := e.API.Scan(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range out.Items {
			if strings.HasPrefix(Item(item).Text("PK"), prefix) {
				items = append(items, item)
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			break
		}
	}
	slices.SortFunc(items, func(a, b Item) int {
		return strings.Compare(a.Text("PK")+"\x00"+a.Text("SK"), b.Text("PK")+"\x00"+b.Text("SK"))
	})
	return items
}

// BucketPK is the partition key of a bucket's shard; its sort key is BucketSK.
func (e *Env) BucketPK(entity, resource string, shard int) string {
	return fmt.Sprintf("%s/BUCKET#%s#%s#%d", e.NS, entity, resource, shard)
}

// BucketSK is the sort key of every bucket.
const BucketSK = "#STATE"

// Bucket reads a shard of a bucket, which must be there.
func (e *Env) Bucket(t testing.TB, entity, resource string, shard int) Item {
	t.Helper()
	item := e.Get(t, e.BucketPK(entity, resource, shard), BucketSK)
	if item == nil {
		t.Fatalf("no bucket %s/%s shard %d", entity, resource, shard)
	}
	return item
}

// Meta reads the record of an entity, which must be there.
func (e *Env) Meta(t testing.TB, entity string) Item {
	t.Helper()
	item := e.Get(t, e.NS+"/ENTITY#"+entity, "#META")
	if item == nil {
		t.Fatalf("no entity %s", entity)
	}
	return item
}

func key(pk, sk string) Item { return Item{"PK": Text(pk), "SK": Text(sk)} }

// Text is an attribute of type S.
func Text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// Number is an attribute of type N.
func Number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// Bool is an attribute of type BOOL.
func Bool(b bool) types.AttributeValue { return &types.AttributeValueMemberBOOL{Value: b} }

// Has says whether the item has the attribute.
func (i Item) Has(name string) bool { return i[name] != nil }

// Text returns an attribute of type S; "" for any other.
func (i Item) Text(name string) string {
	if s, ok := i[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// Number returns an attribute that is an integer, which it must be.
func (i Item) Number(t testing.TB, name string) int64 {
	t.Helper()
	n, ok := i[name].(*types.AttributeValueMemberN)
	if !ok {
		t.Fatalf("%s of %s is %v, not a number", name, i.Text("PK"), i[name])
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		t.Fatalf("%s of %s: %v", name, i.Text("PK"), err)
	}
	return v
}

// String is the item as text, attributes by name, for comparisons and messages.
func (i Item) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(i)) {
		fmt.Fprintf(&b, "%s=%s\n", name, wire(i[name]))
	}
	return b.String()
}
