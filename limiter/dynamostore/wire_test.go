package dynamostore_test

import (
	"context"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// onePerPage answers every query with one item a page.
type onePerPage struct{ dynamostore.API }

func (p onePerPage) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...option) (*dynamodb.QueryOutput, error) {
	paged := *in
	paged.Limit = aws.Int32(1)
	return p.API.Query(ctx, &paged, opts...)
}

func newFixture(t *testing.T, wrap func(dynamostore.API) dynamostore.API) *fixture {
	t.Helper()
	var api dynamostore.API = newEngine(t, dynamolocal.Config{}).Client()
	if wrap != nil {
		api = wrap(api)
	}
	f := &fixture{api: &counted{API: api}, ns: "ns", now: 1800000000000}
	f.table = dynamostore.OpenTable(f.api, "wire", dynamostore.TableOptions{UpdatedBy: "somebody", Clock: func() time.Time { return time.UnixMilli(f.now) }})
	if err := f.table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.store = f.table.Store("ns")
	return f
}

// whole reads a raw item, keys and index attributes included; what is random is masked.
func (f *fixture) whole(t *testing.T, pk, sk string) map[string]string {
	t.Helper()
	out, err := f.api.API.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(f.table.Name()), Key: item{"PK": s(pk), "SK": s(sk)}, ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := showItem(out.Item)
	for name, value := range shown {
		if name == "pinc" && regexp.MustCompile(`^'[0-9a-f]{16}'$`).MatchString(value) {
			shown[name] = "'random'"
		}
	}
	return shown
}

// Every item that this client writes, attribute by attribute, as other clients of the table read it.
func TestItemsOfTheWire(t *testing.T) {
	f := newFixture(t, nil)
	ctx, l := t.Context(), f.limiter(t, limiter.Options{})
	id, err := f.table.RegisterNamespace(ctx, "blue")
	for _, step := range []func() error{
		func() error { return err },
		func() error { _, err := l.Admin().CreateEntity(ctx, limiter.Entity{ID: "org"}); return err },
		func() error {
			_, err := l.Admin().CreateEntity(ctx, limiter.Entity{ID: "u", Name: "You", ParentID: "org", Cascade: true, Metadata: map[string]any{"plan": "gold"}})
			return err
		},
		func() error {
			return l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerHour("r-p.h", 7)}, limiter.Allow)
		},
		func() error {
			return l.Admin().SetResourceDefaults(ctx, "gpt-4", []limiter.Limit{limiter.PerMinute("rpm", 100).WithBurst(150)})
		},
		func() error {
			return l.Admin().SetLimits(ctx, "u", "gpt-4", []limiter.Limit{limiter.PerMinute("rpm", 9)})
		},
		func() error { return l.Admin().SetLimits(ctx, "u", "", []limiter.Limit{limiter.PerDay("rpd", 50)}) },
		func() error {
			_, err := l.Acquire(ctx, limiter.Request{EntityID: "u", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 2}})
			return err
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []map[string]string{
		{"PK": "'ns/ENTITY#org'", "SK": "'#META'", "entity_id": "'org'", "name": "'org'", "parent_id": "null", "cascade": "false",
			"pgen": "1800000000000", "pinc": "'random'", "metadata": "*types.AttributeValueMemberM", "created_at": "'2027-01-15T08:00:00Z'",
			"GSI4PK": "'ns'", "GSI4SK": "'ns/ENTITY#org'"},
		{"PK": "'ns/ENTITY#u'", "SK": "'#META'", "entity_id": "'u'", "name": "'You'", "parent_id": "'org'", "cascade": "true",
			"pgen": "1800000000000", "pinc": "'random'", "metadata": "*types.AttributeValueMemberM", "created_at": "'2027-01-15T08:00:00Z'",
			"GSI1PK": "'ns/PARENT#org'", "GSI1SK": "'CHILD#u'", "GSI4PK": "'ns'", "GSI4SK": "'ns/ENTITY#u'"},
		{"PK": "'ns/SYSTEM#'", "SK": "'#CONFIG'", "l_r-p.h_cp": "7", "l_r-p.h_ra": "7", "l_r-p.h_rp": "3600", "on_unavailable": "'allow'",
			"config_version": "1", "GSI4PK": "'ns'", "GSI4SK": "'ns/SYSTEM#'"},
		{"PK": "'ns/RESOURCE#gpt-4'", "SK": "'#CONFIG'", "resource": "'gpt-4'", "l_rpm_cp": "150", "l_rpm_ra": "100", "l_rpm_rp": "60",
			"config_version": "1", "GSI4PK": "'ns'", "GSI4SK": "'ns/RESOURCE#gpt-4'"},
		{"PK": "'ns/ENTITY#u'", "SK": "'#CONFIG#gpt-4'", "entity_id": "'u'", "resource": "'gpt-4'", "l_rpm_cp": "9", "l_rpm_ra": "9", "l_rpm_rp": "60",
			"config_version": "1", "GSI3PK": "'ns/ENTITY_CONFIG#gpt-4'", "GSI3SK": "'u'", "GSI4PK": "'ns'", "GSI4SK": "'ns/ENTITY#u'"},
		{"PK": "'ns/ENTITY#u'", "SK": "'#CONFIG#_default_'", "entity_id": "'u'", "resource": "'_default_'", "l_rpd_cp": "50", "l_rpd_ra": "50", "l_rpd_rp": "86400",
			"config_version": "1", "GSI3PK": "'ns/ENTITY_CONFIG#_default_'", "GSI3SK": "'u'", "GSI4PK": "'ns'", "GSI4SK": "'ns/ENTITY#u'"},
		{"PK": "'ns/SYSTEM#'", "SK": "'#RESOURCES'", "resources": `["gpt-4"]`, "GSI4PK": "'ns'", "GSI4SK": "'ns/SYSTEM#'"},
		{"PK": "'ns/SYSTEM#'", "SK": "'#ENTITY_CONFIG_RESOURCES'", "gpt-4": "1", "_default_": "1", "GSI4PK": "'ns'", "GSI4SK": "'ns/SYSTEM#'"},
		{"PK": "'ns/BUCKET#u#gpt-4#0'", "SK": "'#STATE'", "entity_id": "'u'", "resource": "'gpt-4'", "rf": "1800000000000", "shard_count": "1",
			"cascade": "true", "parent_id": "'org'", "pgen": "1800000000000", "pinc": "'random'",
			"b_rpm_tk": "7000", "b_rpm_cp": "9000", "b_rpm_ra": "9000", "b_rpm_rp": "60000", "b_rpm_tc": "2000",
			"b_wcu_tk": "1000000", "b_wcu_cp": "1000000", "b_wcu_ra": "1000000", "b_wcu_rp": "1000", "b_wcu_tc": "0",
			"GSI2PK": "'ns/RESOURCE#gpt-4'", "GSI2SK": "'BUCKET#u#0'", "GSI3PK": "'ns/ENTITY#u'", "GSI3SK": "'BUCKET#gpt-4#0'",
			"GSI4PK": "'ns'", "GSI4SK": "'BUCKET#u#gpt-4#0'"},
		{"PK": "'ns/BUCKET#org#gpt-4#0'", "SK": "'#STATE'", "entity_id": "'org'", "resource": "'gpt-4'", "rf": "1800000000000", "shard_count": "1",
			"cascade": "false", "pgen": "1800000000000", "pinc": "'random'", "ttl": "1800000630",
			"b_rpm_tk": "148000", "b_rpm_cp": "150000", "b_rpm_ra": "100000", "b_rpm_rp": "60000", "b_rpm_tc": "2000",
			"b_wcu_tk": "1000000", "b_wcu_cp": "1000000", "b_wcu_ra": "1000000", "b_wcu_rp": "1000", "b_wcu_tc": "0",
			"GSI2PK": "'ns/RESOURCE#gpt-4'", "GSI2SK": "'BUCKET#org#0'", "GSI3PK": "'ns/ENTITY#org'", "GSI3SK": "'BUCKET#gpt-4#0'",
			"GSI4PK": "'ns'", "GSI4SK": "'BUCKET#org#gpt-4#0'"},
		{"PK": "'_/SYSTEM#'", "SK": "'#NAMESPACE#blue'", "namespace_id": "'" + id + "'", "namespace_name": "'blue'", "status": "'active'",
			"created_at": "'2027-01-15T08:00:00Z'", "GSI4PK": "'_'", "GSI4SK": "'_/SYSTEM#'"},
		{"PK": "'_/SYSTEM#'", "SK": "'#NSID#" + id + "'", "namespace_id": "'" + id + "'", "namespace_name": "'blue'", "status": "'active'",
			"created_at": "'2027-01-15T08:00:00Z'", "GSI4PK": "'_'", "GSI4SK": "'_/SYSTEM#'"},
		{"PK": "'_/SYSTEM#'", "SK": "'#VERSION'", "schema_version": "'0.10.0'", "client_min_version": "'0.0.0'", "lambda_version": "null",
			"updated_at": "'2027-01-15T08:00:00Z'", "updated_by": "'somebody'", "GSI4PK": "'_'", "GSI4SK": "'_/SYSTEM#'"},
	} {
		unquote := func(text string) string { return text[1 : len(text)-1] }
		diff(t, f.whole(t, unquote(want["PK"]), unquote(want["SK"])), want)
	}
}

// A listing that ends with its first page would miss shards, children, and what a delete has to find.
func TestListingsReadEveryPage(t *testing.T) {
	f := newFixture(t, func(api dynamostore.API) dynamostore.API { return onePerPage{api} })
	ctx, l := t.Context(), f.limiter(t, limiter.Options{})
	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10)}, ""); err != nil {
		t.Fatal(err)
	}
	for _, e := range []limiter.Entity{{ID: "org"}, {ID: "a", ParentID: "org"}, {ID: "b", ParentID: "org"}, {ID: "c", ParentID: "org"}} {
		if _, err := l.Admin().CreateEntity(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	resources := []string{"r1", "r2", "r3"}
	for _, r := range resources {
		if err := l.Admin().SetLimits(ctx, "a", r, []limiter.Limit{limiter.PerMinute("rpm", 5)}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Acquire(ctx, limiter.Request{EntityID: "a", Resource: r, Consume: limiter.Amounts{"rpm": 1}}); err != nil {
			t.Fatal(err)
		}
	}
	children, err := l.Admin().Children(ctx, "org")
	if err != nil || len(children) != 3 {
		t.Errorf("children: %v, %v", children, err)
	}
	if keys, err := f.store.BucketKeys(ctx, "a", ""); err != nil || len(keys) != 3 {
		t.Errorf("buckets: %v, %v", keys, err)
	}
	if err := l.Admin().DeleteEntity(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	for _, r := range resources {
		if left := f.bucket(t, "a", r, 0); len(left) != 0 {
			t.Errorf("the bucket of %s is left", r)
		}
		if left := f.item(t, "ns/ENTITY#a", "#CONFIG#"+r); len(left) != 0 {
			t.Errorf("the limits of %s are left", r)
		}
	}
	if names, err := l.Admin().ResourcesWithEntityLimits(ctx); err != nil || len(names) != 0 {
		t.Errorf("the registry still counts %v, %v", names, err)
	}
}

// The numbers of a bucket are plain integers whatever was done to it, and nothing is left that other clients
// would read as a feature.
func TestBucketsHoldPlainIntegers(t *testing.T) {
	f := newFixture(t, nil)
	ctx, l := t.Context(), f.limiter(t, limiter.Options{RejectionCacheTTL: -1})
	if err := l.Admin().SetResourceDefaults(ctx, "r", []limiter.Limit{limiter.Custom("big", 1_000_000_000_000_000, 1_000_000_000_000_000, time.Second), limiter.Custom("odd", 7, 3, 11*time.Second)}); err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		f.now += 1234 * i
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"big": 999_999_999_999_999, "odd": i % 2}})
		if err != nil {
			continue
		}
		if err := lease.Adjust(limiter.Amounts{"odd": i%5 - 2}); err != nil {
			t.Fatal(err)
		}
		if err := lease.Close(ctx); err != nil {
			t.Fatal(err)
		}
		out, err := f.api.API.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(f.table.Name()), Key: item{"PK": s("ns/BUCKET#u#r#0"), "SK": s("#STATE")}})
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range out.Item {
			if n, ok := v.(*types.AttributeValueMemberN); ok && !regexp.MustCompile(`^-?[0-9]+$`).MatchString(n.Value) {
				t.Errorf("%s = %s", name, n.Value)
			}
			if slices.Contains([]string{"bypass", "sched", "rsched", "sched_tz", "disabled"}, name) {
				t.Errorf("%s was written", name)
			}
		}
	}
}
