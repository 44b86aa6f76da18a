package dynamolocal

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

const (
	maxTokenLength = 36
	tokenLife      = 10 * time.Minute
)

// tokenTable remembers the tokens of transactions that succeeded, and of those that run.
type tokenTable struct {
	mu     sync.Mutex
	tokens map[string]*tokenEntry
	swept  time.Time
}

type tokenEntry struct {
	digest  [sha256.Size]byte
	running bool
	done    time.Time
}

func (t *tokenTable) init() { t.tokens = map[string]*tokenEntry{} }

// begin claims a token; repeated is set when the same transaction succeeded before.
func (t *tokenTable) begin(token string, digest [sha256.Size]byte, now time.Time) (repeated bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	entry, ok := t.tokens[token]
	switch {
	case !ok || !entry.running && now.Sub(entry.done) > tokenLife:
		t.tokens[strings.Clone(token)] = &tokenEntry{digest: digest, running: true}
		return false, nil
	case entry.digest != digest:
		return false, &apiError{code: codeMismatch, message: "The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with different requests, unless the requests are identical"}
	case entry.running:
		return false, &apiError{code: codeInProgress, message: "The transaction with the given request token is already in progress."}
	}
	return true, nil
}

func (t *tokenTable) end(token string, succeeded bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !succeeded {
		delete(t.tokens, token)
		return
	}
	if entry := t.tokens[token]; entry != nil {
		entry.running, entry.done = false, now
	}
}

// expire forgets old tokens, once a second at most.
func (t *tokenTable) expire(now time.Time) {
	if now.Sub(t.swept) < time.Second {
		return
	}
	t.swept = now
	for token, entry := range t.tokens {
		if !entry.running && now.Sub(entry.done) > tokenLife {
			delete(t.tokens, token)
		}
	}
}

// transaction is a TransactWriteItems whose actions are bound.
type transaction struct {
	engine  *Engine
	request *wire.Request
	writes  []write
	// conflict is the action that an injected conflict hits; -1: none.
	conflict int
}

func (e *Engine) checkActions(r *wire.Request) error {
	var c constraints
	c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
	c.enum(r.ReturnMetrics, "returnItemCollectionMetrics", returnMetrics...)
	switch n := len(r.Actions); {
	case !r.HasActions:
		c.required(false, "transactItems")
	case n == 0:
		c.fail("[]", "transactItems", "Member must have length greater than or equal to 1")
	case n > maxTransactActions:
		c.fail("["+strings.Repeat("TransactItem(), ", n-1)+"TransactItem()]", "transactItems", "Member must have length less than or equal to 100")
	}
	if r.Token.Set {
		c.length(r.Token.S, "clientRequestToken", 1, maxTokenLength)
	}
	return c.err()
}

func (e *Engine) transactWriteItems(ctx context.Context, r *wire.Request, body []byte, conflict int) (*result, error) {
	if err := e.checkActions(r); err != nil {
		return nil, err
	}
	t := &transaction{engine: e, request: r, conflict: conflict}
	if err := t.bind(); err != nil {
		return nil, err
	}
	if !r.Token.Set {
		return t.run(ctx)
	}
	repeated, err := e.tokens.begin(r.Token.S, digestOf(r, body), e.now())
	if err != nil {
		return nil, err
	}
	if repeated {
		return t.repeat(), nil
	}
	res, err := t.run(ctx)
	e.tokens.end(r.Token.S, err == nil, e.now())
	return res, err
}

// digestOf identifies what a transaction does, whatever the order of members in its encoding.
func digestOf(r *wire.Request, _ []byte) [sha256.Size]byte {
	var b []byte
	for i := range r.Actions {
		a := &r.Actions[i]
		b = append(b, byte(a.Kind))
		for _, t := range []wire.Text{a.Table, a.Update, a.Condition, a.ReturnOnFailure} {
			b = wire.AppendString(b, t.S)
		}
		for _, attrs := range [][]attr.Attr{a.Key, a.Item, a.Values} {
			b = wire.AppendItem(b, attr.NewMap(slices.Clone(attrs)))
		}
		names := slices.Clone(a.Names)
		slices.SortFunc(names, func(x, y wire.Placeholder) int { return strings.Compare(x.Key, y.Key) })
		for _, n := range names {
			b = wire.AppendString(wire.AppendString(b, n.Key), n.Name)
		}
	}
	return sha256.Sum256(b)
}

func (t *transaction) bind() error {
	size := 0
	for i := range t.request.Actions {
		a := &t.request.Actions[i]
		if err := checkAction(a); err != nil {
			return err
		}
		if a.ItemErr != nil {
			return a.ItemErr
		}
	}
	t.writes = make([]write, len(t.request.Actions))
	seen := map[string]bool{}
	for i := range t.request.Actions {
		a := &t.request.Actions[i]
		name, err := t.engine.tableName(a.Table, "transactItems."+strconv.Itoa(i+1)+".member."+actionMember(a.Kind)+".tableName")
		if err != nil {
			return err
		}
		w := &t.writes[i]
		w.kind = a.Kind
		if errors.Is(a.ValueErr, attr.ErrNesting) {
			// Only UpdateItem looks at the depth of a value that an item may never see.
			a.ValueErr = nil
		}
		if err := t.engine.bindWrite(w, &a.Request, name); err != nil {
			if asAPIError(err).message != messageKeySchema && !isItemLevel(err) {
				return err
			}
			// What is wrong with one item cancels the transaction.
			w.legacy, w.table = nil, nil
			t.request.Actions[i].KeyErr = err
			continue
		}
		id := keyID(name, w.hash, w.rng)
		if seen[id] {
			return validation("Transaction request cannot include multiple operations on one item")
		}
		seen[id] = true
		size += w.item.Size()
	}
	if size > maxTransactBytes {
		return validation("Transaction request exceeds the maximum size of 4 MB")
	}
	return nil
}

// isItemLevel reports whether an error of binding is a cancellation reason and not an error of the
// whole call.
func isItemLevel(err error) bool {
	message := asAPIError(err).message
	return strings.HasPrefix(message, invalidParameters+"Type mismatch") ||
		strings.HasPrefix(message, invalidParameters+"Missing the key") ||
		strings.HasPrefix(message, invalidParameters+"Cannot update attribute")
}

func actionMember(k wire.ActionKind) string {
	switch k {
	case wire.Put:
		return "put"
	case wire.Update:
		return "update"
	case wire.Delete:
		return "delete"
	case wire.Get:
		return "get"
	}
	return "conditionCheck"
}

func checkAction(a *wire.Action) error {
	switch a.Kind {
	case wire.None, wire.Get:
		return validation("Invalid Request: TransactWriteRequest should contain Delete or Put or Update request")
	case wire.Several:
		return validation("TransactItems can only contain one of Check, Put, Update or Delete")
	case wire.Update:
		if !a.Update.Set {
			return validation(validatorPrefix + "Value null at 'transactItems.1.member.update.updateExpression' failed to satisfy constraint: Member must not be null")
		}
	case wire.Check:
		if !a.Condition.Set {
			return validation(validatorPrefix + "Value null at 'transactItems.1.member.conditionCheck.conditionExpression' failed to satisfy constraint: Member must not be null")
		}
	}
	return nil
}

// lockOrder returns the stripes of the transaction by table, each sorted and without duplicates.
func (t *transaction) lockOrder() []lockedTable {
	var list []lockedTable
	for i := range t.writes {
		w := &t.writes[i]
		if w.table == nil {
			continue
		}
		stripe := store.Stripe(w.hash)
		found := slices.IndexFunc(list, func(l lockedTable) bool { return l.table == w.table })
		if found < 0 {
			list = append(list, lockedTable{table: w.table})
			found = len(list) - 1
		}
		if !slices.Contains(list[found].stripes, stripe) {
			list[found].stripes = append(list[found].stripes, stripe)
		}
	}
	slices.SortFunc(list, func(a, b lockedTable) int { return strings.Compare(a.table.name, b.table.name) })
	for i := range list {
		slices.Sort(list[i].stripes)
	}
	return list
}

type lockedTable struct {
	table   *table
	stripes []int
}

func (t *transaction) run(ctx context.Context) (*result, error) {
	hold, begin := t.engine.delays, t.engine.beginning(0)
	locked := t.lockOrder()
	for _, l := range locked {
		l.table.store.Lock(l.stripes)
	}
	unlock := func() {
		for _, l := range slices.Backward(locked) {
			l.table.store.Unlock(l.stripes)
		}
	}
	res, err := t.apply(hold)
	unlock()
	if err != nil || !hold {
		return res, err
	}
	// The items stay held for as long as the transaction takes.
	defer func() {
		for i := range t.writes {
			t.writes[i].table.store.Release(t.writes[i].hash, t.writes[i].rng)
		}
	}()
	return res, t.engine.spend(ctx, "TransactWriteItems", len(t.writes), 0, begin)
}

// apply evaluates all actions and makes their changes, or none; the locks are held.
func (t *transaction) apply(hold bool) (*result, error) {
	e := t.engine
	cells := make([]store.Cell, len(t.writes))
	items := make([]*attr.Map, len(t.writes))
	reasons := make([]cancellation, len(t.writes))
	canceled := false
	for i := range t.writes {
		w := &t.writes[i]
		if err := t.request.Actions[i].KeyErr; err != nil {
			reasons[i] = reasonOf(err, &t.request.Actions[i])
			canceled = true
			continue
		}
		cells[i] = w.table.store.Cell(w.hash, w.rng)
		var err error
		switch {
		case cells[i].Held() || i == t.conflict:
			err = &apiError{code: codeConflict, message: messageConflict}
		default:
			if err = e.admitWrite(w.table, w.hash, w.rng, 2); err == nil {
				items[i], err = w.evaluate(&cells[i])
			}
		}
		var api *apiError
		if errors.As(err, &api) && api.whole {
			return nil, err
		}
		if err != nil {
			reasons[i] = reasonOf(err, &t.request.Actions[i])
			canceled = true
		}
	}
	if !canceled {
		canceled = t.admitIndexes(cells, items, reasons)
	}
	if canceled {
		return nil, canceledBecause(reasons)
	}
	return t.commit(cells, items, hold), nil
}

func (t *transaction) admitIndexes(cells []store.Cell, items []*attr.Map, reasons []cancellation) (canceled bool) {
	for i := range t.writes {
		w := &t.writes[i]
		if w.table.capacity == nil || w.kind == wire.Check {
			continue
		}
		cost := w.table.writeCost(cells[i].Item(), items[i])
		if err := t.engine.admitIndexes(w.table, &cost, cells[i].Item(), items[i]); err != nil {
			reasons[i] = reasonOf(err, &t.request.Actions[i])
			canceled = true
		}
	}
	return canceled
}

func (t *transaction) commit(cells []store.Cell, items []*attr.Map, hold bool) *result {
	res := &result{work: len(t.writes)}
	for i := range t.writes {
		w := &t.writes[i]
		old := cells[i].Item()
		cost := consumed{table: w.table.name, write: true, units: writeUnits(old, items[i])}
		if w.kind != wire.Check {
			cost = w.table.writeCost(old, items[i])
			w.store(&cells[i], old, items[i])
			w.table.changed(w.hash, old, items[i], false)
		}
		cost.units *= 2
		cost.transact = true
		t.engine.settleWrite(w.table, w.hash, w.rng, cost.units-2)
		w.table.count(&cost)
		res.addConsumed(&cost)
		if hold {
			cells[i].Hold()
		}
	}
	return res
}

// repeat answers a transaction that succeeded before: it costs reads.
func (t *transaction) repeat() *result {
	res := &result{work: len(t.writes)}
	for i := range t.writes {
		w := &t.writes[i]
		cost := consumed{table: w.table.name, transact: true, units: 2 * readUnits(w.table.store.Get(w.hash, w.rng).Size(), true)}
		w.table.count(&cost)
		res.addConsumed(&cost)
	}
	return res
}

func (res *result) addConsumed(c *consumed) {
	for i := range res.consumed {
		if res.consumed[i].table == c.table {
			res.consumed[i].add(c)
			return
		}
	}
	res.consumed = append(res.consumed, *c)
}

func reasonOf(err error, a *wire.Action) cancellation {
	if failed, ok := err.(*failedCondition); ok {
		reason := cancellation{code: "ConditionalCheckFailed", message: messageCondition}
		if a.ReturnOnFailure.S == "ALL_OLD" {
			reason.item = failed.item
		}
		return reason
	}
	api := asAPIError(err)
	switch {
	case api.code == codeConflict:
		return cancellation{code: "TransactionConflict", message: messageConflict}
	case api.refusal != nil:
		return cancellation{code: api.refusal.CancellationCode(), message: api.message}
	}
	return cancellation{code: "ValidationError", message: api.message}
}

func canceledBecause(reasons []cancellation) error {
	codes := make([]string, len(reasons))
	for i := range reasons {
		if reasons[i].code == "" {
			reasons[i].code = "None"
		}
		codes[i] = reasons[i].code
	}
	return &apiError{code: codeCanceled, message: messageCanceled + "[" + strings.Join(codes, ", ") + "]", reasons: reasons}
}

func (e *Engine) transactGetItems(r *wire.Request, conflict int) (*result, error) {
	if err := e.checkActions(r); err != nil {
		return nil, err
	}
	type get struct {
		table     *table
		hash, rng attr.Value
		paths     []expression.Path
	}
	gets := make([]get, len(r.Actions))
	for i := range r.Actions {
		a := &r.Actions[i]
		if a.Kind != wire.Get {
			return nil, validation("Invalid Request: TransactGetRequest should contain Get request")
		}
		if a.KeyErr != nil {
			return nil, a.KeyErr
		}
		var c constraints
		if c.required(a.Key != nil, "transactItems."+strconv.Itoa(i+1)+".member.get.key"); c.err() != nil {
			return nil, c.err()
		}
		x := e.expressionsOf(&a.Request)
		if err := x.check(named{"Projection", a.Projection}); err != nil {
			return nil, err
		}
		var projection expression.Bound
		ok, err := x.bind(&projection, "Projection", a.Projection)
		if err != nil {
			return nil, err
		}
		if ok {
			gets[i].paths = projection.Paths()
		}
		if err := x.unused(); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	reasons := make([]cancellation, len(gets))
	canceled := false
	for i := range gets {
		a, g := &r.Actions[i], &gets[i]
		name, err := e.tableName(a.Table, "transactItems."+strconv.Itoa(i+1)+".member.get.tableName")
		if err != nil {
			return nil, err
		}
		if g.table, err = e.table(name); err != nil {
			return nil, err
		}
		for _, k := range a.Key {
			if emptyText(k.Value) {
				return nil, emptyKey(k.Name, k.Value.Kind())
			}
		}
		if g.hash, g.rng, err = g.table.keyOf(a.Key); err != nil {
			reasons[i], canceled = reasonOf(err, a), true
			continue
		}
		id := keyID(name, g.hash, g.rng)
		if seen[id] {
			return nil, validation("Transaction request cannot include multiple operations on one item")
		}
		seen[id] = true
	}
	if canceled {
		return nil, canceledBecause(reasons)
	}
	// Reading under the locks of all items makes the result one snapshot.
	probe := transaction{engine: e, writes: make([]write, len(gets))}
	for i, g := range gets {
		probe.writes[i] = write{table: g.table, hash: g.hash, rng: g.rng}
	}
	locked := probe.lockOrder()
	for _, l := range locked {
		l.table.store.Lock(l.stripes)
	}
	defer func() {
		for _, l := range slices.Backward(locked) {
			l.table.store.Unlock(l.stripes)
		}
	}()
	res := &result{transact: true, work: len(gets), responses: make([]*attr.Map, len(gets))}
	for i, g := range gets {
		cell := g.table.store.Cell(g.hash, g.rng)
		units := 2 * readUnits(cell.Item().Size(), true)
		var err error
		if cell.Held() || i == conflict {
			err = &apiError{code: codeConflict, message: messageConflict}
		} else {
			err = e.admitRead(g.table, "", g.hash, g.rng, units)
		}
		if err != nil {
			reasons[i], canceled = reasonOf(err, &r.Actions[i]), true
			continue
		}
		res.responses[i] = cell.Item()
		if cell.Item() != nil && g.paths != nil {
			res.responses[i] = expression.Project(cell.Item(), g.paths)
		}
		cost := consumed{table: g.table.name, units: units, transact: true}
		g.table.count(&cost)
		res.addConsumed(&cost)
	}
	if canceled {
		return nil, canceledBecause(reasons)
	}
	return res, nil
}
