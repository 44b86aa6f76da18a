package dynamolocal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// maxSegments bounds a parallel scan.
const maxSegments = 1_000_000

// page reads one page of a query or scan.
type page struct {
	engine    *Engine
	request   *wire.Request
	table     *table
	index     *store.Index
	filter    *expression.Bound
	old       *legacyFilter
	paths     []expression.Path // nil: whole items
	res       *result
	bytes     int
	fetched   float64 // units of items fetched from the table beside a local index
	full      bool
	truncated bool
}

// visit takes one item; it reports whether the page goes on.
func (p *page) visit(item *attr.Map) bool {
	if p.full {
		p.truncated = true
		return false
	}
	shown := item
	if p.index != nil && !p.index.Schema().Local {
		shown = p.index.Project(item, p.table.store.Key())
	}
	size := shown.Size()
	if p.res.scanned > 0 && p.bytes+size > maxPageBytes {
		p.truncated = true
		return false
	}
	p.bytes += size
	p.res.scanned++
	p.res.last = item
	if (p.filter == nil || p.filter.Holds(shown)) && (p.old == nil || p.old.holds(shown)) {
		p.res.count++
		if !p.res.noItems {
			p.res.items = append(p.res.items, p.picked(item, shown))
			if p.fetches() {
				p.fetched += readUnits(item.Size(), p.request.Consistent)
			}
		}
	}
	if p.request.HasLimit && int64(p.res.scanned) >= p.request.Limit {
		p.full, p.truncated = true, true
		return false
	}
	return true
}

// fetches reports whether a local index lacks attributes that are asked for.
func (p *page) fetches() bool {
	if p.index == nil || !p.index.Schema().Local || p.index.Schema().Projection == store.All {
		return false
	}
	key := p.table.store.Key()
	return p.request.Select.S == "ALL_ATTRIBUTES" ||
		slices.ContainsFunc(p.paths, func(path expression.Path) bool { return !p.index.Shows(path[0].Name, key) })
}

func (p *page) picked(item, shown *attr.Map) *attr.Map {
	if p.paths != nil {
		return expression.Project(item, p.paths)
	}
	if p.index != nil && p.index.Schema().Local && p.request.Select.S != "ALL_ATTRIBUTES" {
		return p.index.Project(item, p.table.store.Key())
	}
	return shown
}

// finish turns the last item into the key to go on from.
func (p *page) finish() *result {
	last := p.res.last
	p.res.last = nil
	if p.truncated && last != nil {
		p.res.last = p.table.keyMap(last, p.index)
	}
	p.res.work = 1
	return p.res
}

// prepare checks and binds what query and scan have in common.
func (p *page) prepare(r *wire.Request, op string) error {
	e := p.engine
	name, err := e.tableName(r.Table, "tableName")
	if err != nil {
		return err
	}
	var c constraints
	c.enum(r.Select, "select", selects...)
	c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
	if op == "Scan" {
		c.atLeast(r.HasLimit, r.Limit, 1, "limit")
		c.atLeast(r.HasSegments, r.Segments, 1, "totalSegments")
		if r.HasSegments && r.Segments > maxSegments {
			c.fail(strconv.FormatInt(r.Segments, 10), "totalSegments", "Member must have value less than or equal to "+strconv.Itoa(maxSegments))
		}
		c.atLeast(r.HasSegment, r.Segment, 0, "segment")
	}
	if r.Index.Set {
		c.length(r.Index.S, "indexName", 3, 255)
		if r.Index.S != "" && !validTableName(r.Index.S) {
			c.fail(r.Index.S, "indexName", "Member must satisfy regular expression pattern: "+tableNamePattern)
		}
	}
	c.legacy(&r.Old)
	if err := c.err(); err != nil {
		return err
	}
	if op == "Query" && r.HasLimit && r.Limit < 1 {
		newer := constraints{newer: true}
		newer.atLeast(true, r.Limit, 1, "limit")
		return newer.err()
	}
	if err := checkLegacy(r, []named{{"Projection", r.Projection}, {"Filter", r.Filter}, {"KeyCondition", r.KeyCondition}}); err != nil {
		return err
	}
	if len(r.Old.QueryFilter) > 0 || r.Old.Operator != "" {
		if p.old, err = legacyFilterOf(r); err != nil {
			return err
		}
	}
	if err := checkToGet(r); err != nil {
		return err
	}
	if r.StartErr != nil {
		return startError(r.StartErr)
	}
	p.res = &result{noItems: r.Select.S == "COUNT"}
	if p.table, err = p.engine.lookup(name); err != nil {
		return err
	}
	return nil
}

// lookup is table, but leaves the error to a later moment of the validation.
func (e *Engine) lookup(name string) (*table, error) { return e.table(name) }

// startError words a bad value of ExclusiveStartKey; what is wrong with a number or a set is said plainly.
func startError(err error) error {
	api := *asAPIError(err)
	for _, plain := range []string{"contains duplicates", "number set", "numeric value", "significant digits", "number with magnitude"} {
		if strings.Contains(api.message, plain) {
			return &api
		}
	}
	api.message = messageBadStart + ": " + api.message
	return &api
}

// selection checks Select against the projection and the index.
func (p *page) selection(projected bool, op string) error {
	r := p.request
	member := "ProjectionExpression"
	if len(r.Old.ToGet) > 0 {
		member = "AttributesToGet"
	}
	switch r.Select.S {
	case "COUNT":
		if projected {
			return validation("Cannot specify the " + member + " when choosing to get only the Count")
		}
	case "SPECIFIC_ATTRIBUTES":
		if !projected {
			prefix := validatorPrefix
			if op == "Scan" {
				prefix = ""
			}
			return validation(prefix + "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
		}
	case "ALL_PROJECTED_ATTRIBUTES":
		if !r.Index.Set {
			return validation("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
		}
		fallthrough
	case "ALL_ATTRIBUTES":
		if projected {
			return validation("Cannot specify the " + member + " when choosing to get " + r.Select.S)
		}
	}
	return nil
}

// openIndex finds the index and checks what only some indexes allow.
func (p *page) openIndex() error {
	r := p.request
	if !r.Index.Set {
		return nil
	}
	p.index = p.table.store.Index(r.Index.S)
	if p.index == nil {
		return validation("The table does not have the specified index: " + r.Index.S)
	}
	schema := p.index.Schema()
	if schema.Local {
		return nil
	}
	if r.Consistent {
		return validation("Consistent reads are not supported on global secondary indexes")
	}
	if r.Select.S == "ALL_ATTRIBUTES" && schema.Projection != store.All {
		return invalid("Select type ALL_ATTRIBUTES is not supported for global secondary index " + schema.Name + " because its projection type is not ALL")
	}
	return nil
}

// bind binds projection and filter; keys are the attributes that the filter of a query may not name.
func (p *page) bind(x *expressions, op string) error {
	r := p.request
	filter := new(expression.Bound)
	filtered, err := x.bind(filter, "Filter", r.Filter)
	if err != nil {
		return err
	}
	projection := new(expression.Bound)
	projected, err := x.bind(projection, "Projection", r.Projection)
	if err != nil {
		return err
	}
	if projected {
		p.paths = projection.Paths()
	} else if len(r.Old.ToGet) > 0 {
		p.paths = topPaths(r.Old.ToGet)
	}
	if filtered {
		p.filter = filter
	}
	return p.selection(p.paths != nil, op)
}

// checkScalars refuses paths into key attributes, which are never lists or maps.
func (p *page) checkScalars() error {
	if err := p.table.checkScalars(p.paths); err != nil || p.filter == nil {
		return err
	}
	var nested []expression.Path
	for name, deep := range p.filter.Heads {
		path := topPaths([]string{name})[0]
		if deep {
			path = append(path, path...)
		}
		nested = append(nested, path)
	}
	return p.table.checkScalars(nested)
}

// checkShown refuses a read of a global index that names attributes which the index does not have.
func (p *page) checkShown() error {
	if p.index == nil || p.index.Schema().Local {
		return nil
	}
	key := p.table.store.Key()
	missing := func(names []string) string {
		names = slices.DeleteFunc(names, func(name string) bool { return p.index.Shows(name, key) })
		return "[" + strings.Join(slices.Compact(names), ", ") + "]"
	}
	var named []string
	for _, path := range p.paths {
		named = append(named, path[0].Name)
	}
	if list := missing(named); list != "[]" {
		return invalid("Global secondary index " + p.index.Schema().Name + " does not project " + list)
	}
	if p.filter == nil {
		return nil
	}
	named = nil
	for name := range p.filter.Heads {
		named = append(named, name)
	}
	if list := missing(named); list != "[]" {
		return invalid("Secondary index " + p.index.Schema().Name + " does not project one or more filter attributes: " + list)
	}
	return nil
}

func (p *page) checkFilterKeys(hash, rng string) error {
	for _, t := range p.request.Old.QueryFilter {
		if t.Name == hash || t.Name == rng && rng != "" {
			return validation("QueryFilter can only contain non-primary key attributes: Primary key attribute: " + t.Name)
		}
	}
	if p.filter == nil {
		return nil
	}
	for name := range p.filter.Heads {
		if name == hash || name == rng && rng != "" {
			return validation("Filter Expression can only contain non-primary key attributes: Primary key attribute: " + name)
		}
	}
	return nil
}

// schema returns the key attributes that are read by.
func (p *page) schema() (hash, rng keyAttribute) {
	if p.index == nil {
		return p.table.hash, p.table.rng
	}
	for _, k := range *p.table.indexKeys.Load() {
		if k.index != p.index.Schema().Name {
			continue
		}
		if k.hash {
			hash = keyAttribute{k.name, k.kind}
		} else {
			rng = keyAttribute{k.name, k.kind}
		}
	}
	if p.index.Schema().Local {
		hash = p.table.hash
	}
	return hash, rng
}

func (e *Engine) query(r *wire.Request) (*result, error) {
	p := &page{engine: e, request: r}
	if err := p.prepare(r, "Query"); err != nil && p.res == nil {
		return nil, err
	} else if err != nil {
		if checkErr := p.checkExpressions(r); checkErr != nil {
			return nil, checkErr
		}
		return nil, err
	}
	x := e.expressionsOf(r)
	if err := x.check(named{"Projection", r.Projection}, named{"Filter", r.Filter}, named{"KeyCondition", r.KeyCondition}); err != nil {
		return nil, err
	}
	if err := x.syntax(named{"KeyCondition", r.KeyCondition}, named{"Filter", r.Filter}, named{"Projection", r.Projection}); err != nil {
		return nil, err
	}
	condition := new(expression.Bound)
	ok, err := x.bind(condition, "KeyCondition", r.KeyCondition)
	if err != nil {
		return nil, err
	}
	if err := p.bind(&x, "Query"); err != nil {
		return nil, err
	}
	var tests []expression.KeyTest
	switch {
	case ok:
		tests, err = condition.KeyTests()
	case slices.Contains(r.Legacy, "KeyConditions"):
		tests, err = legacyKeyTests(r)
	default:
		return nil, validation("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	if err != nil {
		return nil, err
	}
	if err := x.unused(); err != nil {
		return nil, err
	}
	if err := p.openIndex(); err != nil {
		return nil, err
	}
	hash, rng := p.schema()
	value, bounds, err := keyBounds(tests, hash, rng)
	if err != nil {
		return nil, err
	}
	if err := p.checkFilterKeys(hash.name, rng.name); err != nil {
		return nil, err
	}
	if err := p.checkScalars(); err != nil {
		return nil, err
	}
	if err := p.checkShown(); err != nil {
		return nil, err
	}
	cursor, err := p.cursor(value, bounds)
	if err != nil {
		return nil, err
	}
	return p.runQuery(value, bounds, cursor)
}

// checkExpressions reports what is wrong with the expressions of a request whose table is missing:
// they are looked at first.
func (p *page) checkExpressions(r *wire.Request) error {
	x := p.engine.expressionsOf(r)
	if err := x.check(named{"Projection", r.Projection}, named{"Filter", r.Filter}, named{"KeyCondition", r.KeyCondition}); err != nil {
		return err
	}
	var bound expression.Bound
	if !r.KeyCondition.Set && slices.Contains(r.Legacy, "KeyConditions") {
		if _, err := legacyKeyTests(r); err != nil {
			return err
		}
	}
	members := []named{{"KeyCondition", r.KeyCondition}, {"Filter", r.Filter}, {"Projection", r.Projection}}
	if err := x.syntax(members...); err != nil {
		return err
	}
	for _, m := range members {
		ok, err := x.bind(&bound, m.kind, m.text)
		if err == nil && ok && m.kind == "KeyCondition" {
			_, err = bound.KeyTests()
		}
		if err != nil {
			return err
		}
	}
	return x.unused()
}

func (p *page) indexName() string {
	if p.index == nil || p.index.Schema().Local {
		return ""
	}
	return p.index.Schema().Name
}

func (p *page) runQuery(value attr.Value, bounds store.Bounds, cursor *store.Cursor) (*result, error) {
	r := p.request
	least := readUnits(0, r.Consistent)
	if err := p.engine.admitRead(p.table, p.indexName(), value, attr.Value{}, least); err != nil {
		return nil, err
	}
	p.table.store.Query(p.index, value, bounds, r.Backward, cursor, p.visit)
	units := p.charge()
	p.engine.settleRead(p.table, p.indexName(), value, attr.Value{}, units-least)
	return p.finish(), nil
}

// charge records what the page cost.
func (p *page) charge() float64 {
	units := readUnits(p.bytes, p.request.Consistent)
	c := consumed{table: p.table.name, units: units}
	if p.index != nil {
		c = consumed{table: p.table.name, onIndex: true, units: p.fetched,
			arms: []indexUnits{{p.index.Schema().Name, p.index.Schema().Local, units}}}
	}
	p.res.consumed = []consumed{c}
	p.table.count(&c)
	return units + p.fetched
}

// keyBounds turns the tests of a key condition into a HASH value and bounds of the RANGE value.
func keyBounds(tests []expression.KeyTest, hash, rng keyAttribute) (value attr.Value, bounds store.Bounds, err error) {
	find := func(name string) *expression.KeyTest {
		for i := range tests {
			if tests[i].Name == name && name != "" {
				return &tests[i]
			}
		}
		return nil
	}
	first, rest := find(hash.name), find(rng.name)
	if first != nil {
		if first.Operator != "=" && !notIndexable(first) {
			return value, bounds, validation("Query key condition not supported")
		}
		if err := checkKeyTest(first, hash); err != nil {
			return value, bounds, err
		}
		value = first.Values[0]
	}
	for _, t := range tests {
		if (t.Name == hash.name || t.Name == rng.name) && slices.ContainsFunc(t.Values, emptyText) {
			return value, bounds, emptyKey(t.Name, t.Values[0].Kind())
		}
	}
	switch {
	case first == nil:
		return value, bounds, validation("Query condition missed key schema element: " + hash.name)
	case len(tests) > 2:
		return value, bounds, validation("Conditions can be of length 1 or 2 only")
	case len(tests) > 1 && rng.name == "":
		return value, bounds, validation("Query key condition not supported")
	case len(tests) == 1:
		return value, bounds, nil
	case rest == nil:
		return value, bounds, validation("Query condition missed key schema element: " + rng.name)
	}
	if err := checkKeyTest(rest, rng); err != nil {
		return value, bounds, err
	}
	v := rest.Values[0]
	switch rest.Operator {
	case "=":
		bounds.Low, bounds.High = v, v
	case "<":
		bounds.High, bounds.HighOpen = v, true
	case "<=":
		bounds.High = v
	case ">":
		bounds.Low, bounds.LowOpen = v, true
	case ">=":
		bounds.Low = v
	case "BETWEEN":
		bounds.Low, bounds.High = v, rest.Values[1]
	case "begins_with":
		bounds.Low, bounds.Prefix, bounds.HasPrefix = v, v.Text(), true
	}
	return value, bounds, nil
}

// notIndexable reports whether a test is one of those that only filters can have.
func notIndexable(t *expression.KeyTest) bool {
	switch t.Operator {
	case "=", "<", "<=", ">", ">=", "BETWEEN", "begins_with":
		return false
	}
	return true
}

// checkKeyTest checks a test against the key attribute that it is for.
func checkKeyTest(t *expression.KeyTest, key keyAttribute) error {
	if notIndexable(t) {
		return validation("Attempted conditional constraint is not an indexable operation")
	}
	for _, v := range t.Values {
		if v.Kind() != key.kind {
			return invalid("Condition parameter type does not match schema type")
		}
	}
	return nil
}

// emptyText reports whether a value is an empty string or empty bytes.
func emptyText(v attr.Value) bool {
	return (v.Kind() == attr.S || v.Kind() == attr.B) && v.Text() == ""
}

const messageBadStart = "The provided starting key is invalid"

// cursor checks ExclusiveStartKey against the query.
func (p *page) cursor(value attr.Value, bounds store.Bounds) (*store.Cursor, error) {
	if p.request.Start == nil {
		return nil, nil
	}
	c, err := p.startKey()
	if err != nil {
		return nil, err
	}
	hash, rng := c.Hash, c.Range
	if p.index != nil {
		hash, rng = c.IndexHash, c.IndexRange
	}
	if !attr.Equal(hash, value) || rng.Exists() && !bounds.Has(rng) {
		return nil, validation("The provided starting key is outside query boundaries based on provided conditions")
	}
	return c, nil
}

// startKey reads the key attributes of the table, and those of the index.
func (p *page) startKey() (*store.Cursor, error) {
	start := attr.NewMap(append([]attr.Attr(nil), p.request.Start...))
	c := &store.Cursor{}
	hash, rng := p.schema()
	keys := []keyAttribute{hash, rng}
	if p.index != nil {
		keys = append(keys, p.table.hash, p.table.rng)
	}
	names := map[string]bool{}
	for _, k := range keys {
		if k.name != "" {
			names[k.name] = true
		}
	}
	if start.Len() != len(names) {
		return nil, validation(messageBadStart)
	}
	for i, k := range keys {
		switch v := start.Get(k.name); {
		case k.name == "" || v.Kind() == k.kind:
		case i >= 2:
			return nil, validation(messageBadStart + ": " + messageKeySchema)
		case !v.Exists():
			return nil, validation(messageBadStart)
		default:
			return nil, validation(messageKeySchema)
		}
	}
	c.Hash = start.Get(p.table.hash.name)
	if p.table.rng.name != "" {
		c.Range = start.Get(p.table.rng.name)
	}
	if p.index != nil {
		c.IndexHash = start.Get(hash.name)
		if rng.name != "" {
			c.IndexRange = start.Get(rng.name)
		}
	}
	return c, nil
}

func (e *Engine) scan(r *wire.Request) (*result, error) {
	p := &page{engine: e, request: r}
	if err := p.prepare(r, "Scan"); err != nil && p.res == nil {
		return nil, err
	} else if err != nil {
		if checkErr := p.checkExpressions(r); checkErr != nil {
			return nil, checkErr
		}
		return nil, err
	}
	if err := checkSegments(r); err != nil {
		return nil, err
	}
	x := e.expressionsOf(r)
	if err := x.check(named{"Projection", r.Projection}, named{"Filter", r.Filter}); err != nil {
		return nil, err
	}
	if err := x.syntax(named{"Filter", r.Filter}, named{"Projection", r.Projection}); err != nil {
		return nil, err
	}
	if err := p.bind(&x, "Scan"); err != nil {
		return nil, err
	}
	if err := x.unused(); err != nil {
		return nil, err
	}
	if err := p.openIndex(); err != nil {
		return nil, err
	}
	if err := p.checkScalars(); err != nil {
		return nil, err
	}
	if err := p.checkShown(); err != nil {
		return nil, err
	}
	var cursor *store.Cursor
	if r.Start != nil {
		var err error
		if cursor, err = p.startKey(); err != nil {
			return nil, err
		}
	}
	segment, segments := 0, 1
	if r.HasSegments {
		segment, segments = int(r.Segment), int(r.Segments)
		if cursor != nil && store.Segment(cursor.First(p.index), segments) != segment {
			return nil, validation(fmt.Sprintf("%s: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: %d Segment: %d", messageBadStart, segments, segment))
		}
	}
	least := readUnits(0, r.Consistent)
	probe := attr.Int(int64(segment))
	if err := e.admitRead(p.table, p.indexName(), probe, attr.Value{}, least); err != nil {
		return nil, err
	}
	p.table.store.Scan(p.index, segment, segments, cursor, p.visit)
	e.settleRead(p.table, p.indexName(), probe, attr.Value{}, p.charge()-least)
	return p.finish(), nil
}

func checkSegments(r *wire.Request) error {
	switch {
	case r.HasSegment && !r.HasSegments:
		return validation("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	case r.HasSegments && !r.HasSegment:
		return validation("The Segment parameter is required but was not present in the request when parameter TotalSegments is present")
	case r.HasSegment && r.Segment >= r.Segments:
		return validation(fmt.Sprintf("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d", r.Segment, r.Segments))
	}
	return nil
}
