package dynamolocal

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
)

// table is one table: its description, its items, and what it consumed.
type table struct {
	name, arn, id string
	created       time.Time
	store         *store.Table
	hash, rng     keyAttribute
	// capacity is nil while throughput is not modelled.
	capacity *throughput.Table

	mu         sync.RWMutex // guards the description below
	definition tableDefinition
	activeAt   time.Time
	deleting   bool
	ttl        string
	tags       map[string]string

	// indexKeys are those of all indexes; writes read them without the lock.
	indexKeys atomic.Pointer[[]indexKey]
	ttlName   atomic.Pointer[string]
	// stream is nil while changes are not recorded.
	stream atomic.Pointer[tableStream]
	// latest is the newest stream, also after its end; mu guards it.
	latest *tableStream
	usage  usage
}

// keyAttribute is a key attribute of the table; the name is "" where there is none.
type keyAttribute struct {
	name string
	kind attr.Kind
}

// indexKey is a key attribute of an index, for type checks on writes.
type indexKey struct {
	index, name string
	kind        attr.Kind
	hash        bool
}

// fits reports whether a value can be a key of the index.
func (k *indexKey) fits(v attr.Value) bool {
	most := maxRangeBytes
	if k.hash {
		most = maxHashBytes
	}
	return v.Kind() == k.kind && (k.kind == attr.N || v.Text() != "" && v.Size() <= most)
}

func (t *table) active(now time.Time) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return !t.deleting && !now.Before(t.activeAt)
}

// table returns an active table.
func (e *Engine) table(name string) (*table, error) {
	e.mu.RLock()
	t := e.tables[name]
	e.mu.RUnlock()
	if t == nil || e.config.TableDelay > 0 && !t.active(e.now()) {
		return nil, notFound()
	}
	return t, nil
}

// keyOf checks a key against the schema and returns its values.
func (t *table) keyOf(key []attr.Attr) (hash, rng attr.Value, err error) {
	want := 1
	if t.rng.name != "" {
		want = 2
	}
	if len(key) != want {
		return hash, rng, validation(messageKeySchema)
	}
	for i := range key {
		switch {
		case key[i].Name == t.hash.name && key[i].Value.Kind() == t.hash.kind:
			hash = key[i].Value
		case want == 2 && key[i].Name == t.rng.name && key[i].Value.Kind() == t.rng.kind:
			rng = key[i].Value
		default:
			return hash, rng, validation(messageKeySchema)
		}
	}
	if !hash.Exists() || want == 2 && !rng.Exists() {
		return hash, rng, validation(messageKeySchema)
	}
	return hash, rng, t.checkKeySizes(hash, rng)
}

const (
	maxHashBytes  = 2048
	maxRangeBytes = 1024
)

// emptyKey is the error of an empty string or binary value in a key.
func emptyKey(name string, kind attr.Kind) error {
	what := "string"
	if kind == attr.B {
		what = "binary"
	}
	return validation("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty " + what + " value. Key: " + name)
}

func (t *table) checkKeySizes(hash, rng attr.Value) error {
	for i, v := range [...]attr.Value{hash, rng} {
		if (v.Kind() == attr.S || v.Kind() == attr.B) && v.Text() == "" {
			name := t.hash.name
			if i == 1 {
				name = t.rng.name
			}
			return emptyKey(name, v.Kind())
		}
	}
	if hash.Kind() != attr.N && hash.Size() > maxHashBytes {
		return invalid("Size of hashkey has exceeded the maximum size limit of2048 bytes")
	}
	if rng.Exists() && rng.Kind() != attr.N && rng.Size() > maxRangeBytes {
		return invalid("Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
	}
	return nil
}

// itemKey checks the key attributes of an item to put.
func (t *table) itemKey(item *attr.Map) (hash, rng attr.Value, err error) {
	for _, k := range [...]keyAttribute{t.hash, t.rng} {
		if k.name == "" {
			continue
		}
		v := item.Get(k.name)
		if !v.Exists() {
			return hash, rng, invalid("Missing the key " + k.name + " in the item")
		}
		if v.Kind() != k.kind {
			return hash, rng, invalid("Type mismatch for key " + k.name + " expected: " + k.kind.String() + " actual: " + v.Kind().String())
		}
	}
	hash = item.Get(t.hash.name)
	if t.rng.name != "" {
		rng = item.Get(t.rng.name)
	}
	return hash, rng, t.checkKeySizes(hash, rng)
}

// checkIndexKeys refuses index keys of the wrong type or empty ones. With old only keys that differ
// from it are looked at, and the error is that of an update.
func (t *table) checkIndexKeys(old, item *attr.Map, update bool) error {
	if update && !t.touchesIndexKeys(old, item) {
		return nil
	}
	for _, k := range *t.indexKeys.Load() {
		v := item.Get(k.name)
		if !v.Exists() || update && attr.Equal(v, old.Get(k.name)) {
			continue
		}
		if v.Kind() != k.kind {
			return invalid("Type mismatch for Index Key " + k.name + " Expected: " + k.kind.String() + " Actual: " + v.Kind().String() + " IndexName: " + k.index)
		}
		if v.Kind() == attr.N || v.Text() != "" {
			continue
		}
		what := "string"
		if v.Kind() == attr.B {
			what = "binary"
		}
		if update {
			return &apiError{code: codeValidation, whole: true, message: "One or more parameter values are not valid. The update expression attempted to update a secondary index key to a value that is not supported. The AttributeValue for a key attribute cannot contain an empty " + what + " value."}
		}
		return validation("One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty " + what + " value. IndexName: " + k.index + ", IndexKey: " + k.name)
	}
	return nil
}

// touchesIndexKeys reports whether an update can have changed an index key. An update that keeps the
// list of names shares all values that it leaves alone with the old version.
func (t *table) touchesIndexKeys(old, item *attr.Map) bool {
	if old.Len() == 0 || item.Len() == 0 || old.Names() != item.Names() {
		return true
	}
	keys := *t.indexKeys.Load()
	for i := range item.Len() {
		name, v := item.At(i)
		if v != old.ValueAt(i) && slices.ContainsFunc(keys, func(k indexKey) bool { return k.name == name }) {
			return true
		}
	}
	return false
}

// keyMap returns the key attributes of an item, with those of an index when it is given.
func (t *table) keyMap(item *attr.Map, index *store.Index) *attr.Map {
	names := []string{t.hash.name}
	if t.rng.name != "" {
		names = append(names, t.rng.name)
	}
	if index != nil {
		for _, name := range []string{index.Schema().Key.Hash, index.Schema().Key.Range} {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	attrs := make([]attr.Attr, len(names))
	for i, name := range names {
		attrs[i] = attr.Attr{Name: name, Value: item.Get(name)}
	}
	return attr.NewMap(attrs)
}

// checkScalars refuses paths that go into a key attribute of the table or of an index.
func (t *table) checkScalars(paths []expression.Path) error {
	const message = "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: "
	for _, path := range paths {
		if len(path) < 2 {
			continue
		}
		name := path[0].Name
		if t.isKey(name) {
			return validation(message + "Key: " + name)
		}
		if slices.ContainsFunc(*t.indexKeys.Load(), func(k indexKey) bool { return k.name == name }) {
			return validation(message + "IndexKey: " + name)
		}
	}
	return nil
}

func (t *table) isKey(name string) bool {
	return name == t.hash.name || name == t.rng.name && t.rng.name != ""
}
