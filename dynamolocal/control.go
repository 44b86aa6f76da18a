package dynamolocal

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/faults"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
)

// control is one request about tables, TTL or tags. Its answers are marshalled as JSON.
type control struct {
	engine          *Engine
	region, account string
	// instant is how a time is represented in the answer.
	instant func(time.Time) any
}

func epochSeconds(t time.Time) any {
	return json.Number(fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000))
}

// operation performs a request with a body.
type operation func(*control, []byte) (any, error)

// controlOperations are the requests about tables by name.
var controlOperations = map[string]operation{
	"CreateTable":        (*control).createTable,
	"DescribeTable":      (*control).describeTable,
	"DeleteTable":        (*control).deleteTable,
	"UpdateTable":        (*control).updateTable,
	"ListTables":         (*control).listTables,
	"UpdateTimeToLive":   (*control).updateTimeToLive,
	"DescribeTimeToLive": (*control).describeTimeToLive,
	"TagResource":        (*control).tagResource,
	"UntagResource":      (*control).untagResource,
	"ListTagsOfResource": (*control).listTags,
	"DescribeLimits":     (*control).describeLimits,
	"DescribeEndpoints":  (*control).describeEndpoints,
}

// control performs one request about tables or streams.
func (e *Engine) control(ctx context.Context, op string, operation operation, body []byte, c *control) (any, error) {
	if err := e.faults.Wait(ctx); err != nil {
		return nil, err
	}
	if e.faulty() {
		fault := e.faults.Match(faults.Call{Operation: op, Elapsed: time.Since(e.started)})
		if fault != nil {
			if done, err := e.suffer(ctx, fault); done {
				e.counters.request(op, err)
				return nil, err
			}
		}
	}
	c.engine = e
	c.region, c.account = cmp.Or(c.region, e.config.Region), cmp.Or(c.account, e.config.Account)
	if c.instant == nil {
		c.instant = epochSeconds
	}
	answer, err := operation(c, body)
	e.counters.request(op, err)
	return answer, err
}

// decode reads a request; unknown members are ignored, wrong types are serialization errors.
func decode(body []byte, into any) error {
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return &apiError{code: codeSerialization}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	err := decoder.Decode(into)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch):
		return &apiError{code: codeSerialization, message: misfit(mismatch, body)}
	}
	return &apiError{code: codeSerialization}
}

// misfit words a JSON value of the wrong type as the service does, which names its own types.
func misfit(m *json.UnmarshalTypeError, body []byte) string {
	value, _, _ := strings.Cut(m.Value, " ")
	switch kind := m.Type.Kind(); kind {
	case reflect.Struct:
		name, isElement := structureName(m.Type)
		if m.Type == reflect.TypeFor[indexDefinition]() && strings.HasPrefix(m.Field, "Local") {
			name = "LocalSecondaryIndex"
		}
		switch {
		case value == "array":
			return "Unrecognized collection type class " + serviceNamespace + "." + name
		case isElement:
			return "Unexpected value type in payload"
		}
		return "Unexpected field type"
	case reflect.Slice:
		if value == "object" {
			return "Start of structure or map found where not expected"
		}
		return "Unexpected field type"
	default:
		return scalarMisfit(value, kind, body[:min(int(m.Offset), len(body))])
	}
}

// scalarMisfit is misfit for a scalar; read is what was read of the body.
func scalarMisfit(value string, kind reflect.Kind, read []byte) string {
	want := map[reflect.Kind]string{reflect.String: "String", reflect.Bool: "Boolean", reflect.Int64: "Long"}[kind]
	switch value {
	case "object":
		return "Start of structure or map found where not expected"
	case "array":
		return "Unrecognized collection type class java.lang." + want
	case "bool":
		value = "FALSE"
		if bytes.HasSuffix(read, []byte("true")) {
			value = "TRUE"
		}
	case "string":
		if kind == reflect.Bool {
			return "Unexpected token received from parser"
		}
	case "number":
		number := read[len(bytes.TrimRight(read, "+-.0123456789Ee")):]
		if bytes.ContainsAny(number, ".Ee") {
			value = "DECIMAL"
		}
	}
	return strings.ToUpper(value) + "_VALUE cannot be converted to " + want
}

// structureName is the service's name of a type, and whether such values stand in lists.
func structureName(t reflect.Type) (name string, isElement bool) {
	switch t {
	case reflect.TypeFor[attributeDefinition]():
		return "AttributeDefinition", true
	case reflect.TypeFor[keyElement]():
		return "KeySchemaElement", true
	case reflect.TypeFor[indexDefinition]():
		return "GlobalSecondaryIndex", true
	case reflect.TypeFor[indexUpdate]():
		return "GlobalSecondaryIndexUpdate", true
	case reflect.TypeFor[tag]():
		return "Tag", true
	case reflect.TypeFor[provisioned]():
		return "ProvisionedThroughput", false
	case reflect.TypeFor[projection]():
		return "Projection", false
	case reflect.TypeFor[streamSpecification]():
		return "StreamSpecification", false
	}
	return "OnDemandThroughput", false
}

func (c *control) createTable(body []byte) (any, error) {
	var d tableDefinition
	if err := decode(body, &d); err != nil {
		return nil, err
	}
	name, err := tableNameOf(d.TableName, 3, "The parameter 'TableName' is required but was not present in the request")
	if err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	e := c.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tables[name] != nil {
		return nil, &apiError{code: codeInUse, message: "Table already exists: " + name}
	}
	t := c.newTable(name, &d)
	e.tables[name] = t
	return map[string]any{"TableDescription": c.describe(t, "CREATING")}, nil
}

func (c *control) newTable(name string, d *tableDefinition) *table {
	e := c.engine
	now := e.now()
	d.TableName = &name
	hash, rng := keysOf(d.KeySchema)
	t := &table{
		name:       name,
		arn:        "arn:aws:dynamodb:" + c.region + ":" + c.account + ":table/" + name,
		id:         newUUID(),
		created:    now,
		hash:       keyAttribute{hash, d.kindOf(hash)},
		definition: *d,
		activeAt:   now.Add(e.config.TableDelay),
		tags:       map[string]string{},
	}
	keys := d.indexKeysOf()
	t.indexKeys.Store(&keys)
	if rng != "" {
		t.rng = keyAttribute{rng, d.kindOf(rng)}
	}
	for _, tag := range d.Tags {
		t.tags[tag.Key] = *tag.Value
	}
	var indexes []store.IndexSchema
	for _, x := range d.GlobalSecondaryIndexes {
		indexes = append(indexes, x.schema(false))
	}
	for _, x := range d.LocalSecondaryIndexes {
		indexes = append(indexes, x.schema(true))
	}
	t.store = store.NewTable(store.KeySchema{Hash: hash, Range: rng}, indexes)
	t.capacity = e.throughput.NewTable(d.throughputSpec(t.arn), e.ticks())
	if d.StreamSpecification.enabled() {
		e.startStream(t, d)
	}
	return t
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

type tableReference struct{ TableName *string }

// existing returns the table that a request names.
func (c *control) existing(name *string) (*table, error) {
	n, err := tableNameOf(name, 1, "")
	if err != nil {
		return nil, err
	}
	c.engine.mu.RLock()
	defer c.engine.mu.RUnlock()
	t := c.engine.tables[n]
	if t == nil {
		return nil, &apiError{code: codeNotFound, message: messageNotFound + ": Table: " + n + " not found"}
	}
	return t, nil
}

func (c *control) describeTable(body []byte) (any, error) {
	var r tableReference
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	t, err := c.existing(r.TableName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"Table": c.describe(t, "")}, nil
}

func (c *control) deleteTable(body []byte) (any, error) {
	var r tableReference
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	t, err := c.existing(r.TableName)
	if err != nil {
		return nil, err
	}
	e := c.engine
	now := e.now()
	t.mu.Lock()
	switch {
	case t.deleting || now.Before(t.activeAt):
		t.mu.Unlock()
		return nil, &apiError{code: codeInUse, message: "Attempt to change a resource which is still in use: Table is being created: " + t.name}
	case t.definition.DeletionProtectionEnabled != nil && *t.definition.DeletionProtectionEnabled:
		t.mu.Unlock()
		return nil, validation("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	t.deleting = true
	t.mu.Unlock()
	answer := map[string]any{"TableDescription": c.describeDeleted(t)}
	remove := func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.tables[t.name] == t {
			delete(e.tables, t.name)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		e.endStream(t)
	}
	if e.config.TableDelay == 0 {
		remove()
	} else {
		time.AfterFunc(e.config.TableDelay, remove)
	}
	return answer, nil
}

func (c *control) listTables(body []byte) (any, error) {
	var r struct {
		Limit                   *int64
		ExclusiveStartTableName *string
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	limit := 100
	var problems constraints
	if r.ExclusiveStartTableName != nil {
		problems.length(*r.ExclusiveStartTableName, "exclusiveStartTableName", 3, 255)
		if !validTableName(*r.ExclusiveStartTableName) {
			problems.fail(*r.ExclusiveStartTableName, "exclusiveStartTableName", "Member must satisfy regular expression pattern: "+tableNamePattern)
		}
	}
	if r.Limit != nil {
		problems.atLeast(true, *r.Limit, 1, "limit")
		if *r.Limit > 100 {
			problems.fail(fmt.Sprint(*r.Limit), "limit", "Member must have value less than or equal to 100")
		}
		limit = int(*r.Limit)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	c.engine.mu.RLock()
	names := slices.Sorted(maps.Keys(c.engine.tables))
	c.engine.mu.RUnlock()
	if r.ExclusiveStartTableName != nil {
		start, found := slices.BinarySearch(names, *r.ExclusiveStartTableName)
		if found {
			start++
		}
		names = names[start:]
	}
	answer := map[string]any{}
	if len(names) > limit {
		names = names[:limit]
		answer["LastEvaluatedTableName"] = names[limit-1]
	}
	if names == nil {
		names = []string{}
	}
	answer["TableNames"] = names
	return answer, nil
}

func (c *control) describeLimits([]byte) (any, error) {
	return map[string]any{
		"AccountMaxReadCapacityUnits": 80000, "AccountMaxWriteCapacityUnits": 80000,
		"TableMaxReadCapacityUnits": 40000, "TableMaxWriteCapacityUnits": 40000,
	}, nil
}

func (c *control) describeEndpoints([]byte) (any, error) {
	return map[string]any{"Endpoints": []any{map[string]any{
		"Address": "dynamodb." + c.region + ".amazonaws.com", "CachePeriodInMinutes": 1440,
	}}}, nil
}
