package redisstore

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"

	"github.com/zeroae/zae-limiter-go/limiter/redisstore/internal/resp"
)

var (
	//go:embed lua/number.lua
	numberSource string
	//go:embed lua/consume.lua
	consumeSource string
	//go:embed lua/write.lua
	writeSource string
	//go:embed lua/read.lua
	readSource string
	//go:embed lua/exist.lua
	existSource string

	consumeScript = resp.NewScript(numberSource + consumeSource)
	writeScript   = resp.NewScript(numberSource + writeSource)
	readScript    = resp.NewScript(readSource)
	existScript   = resp.NewScript(existSource)
)

// test is a condition on one field of a key: an operator of write.lua.
type test struct{ op, field, value string }

func missing() test { return test{op: "N"} } // no such key
func present() test { return test{op: "E"} }

func has(field string) test                   { return test{op: "e", field: field} }
func lacks(field string) test                 { return test{op: "a", field: field} }
func equals(field, value string) test         { return test{"=", field, value} }
func differs(field, value string) test        { return test{"!", field, value} } // and is there
func startsWith(field, value string) test     { return test{"b", field, value} }
func equalsNumber(field string, n int64) test { return test{"=", field, decimal(n)} }
func less(field string, n int64) test         { return test{"<", field, decimal(n)} }
func atMost(field string, n int64) test       { return test{"l", field, decimal(n)} }
func atLeast(field string, n int64) test      { return test{"g", field, decimal(n)} }
func asRead(field string, there bool, n int64) test {
	if there {
		return equalsNumber(field, n)
	}
	return lacks(field)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// change is what is done to a key: conditions, then updates.
type change struct {
	key     string
	clauses [][]test
	updates []test // operator, field, value
}

// when adds a clause: one of the tests must hold.
func (c *change) when(tests ...test) { c.clauses = append(c.clauses, tests) }

func (c *change) update(op, field, value string) {
	c.updates = append(c.updates, test{op, field, value})
}

func (c *change) set(field, value string)         { c.update("s", field, value) }
func (c *change) setNumber(field string, n int64) { c.update("s", field, decimal(n)) }
func (c *change) copy(field, from string)         { c.update("c", field, from) } // absent: 0
func (c *change) remove(field string)             { c.update("d", field, "") }
func (c *change) add(field string, n int64)       { c.update("i", field, decimal(n)) }
func (c *change) expireAt(seconds int64)          { c.update("x", "", decimal(seconds)) }
func (c *change) persist()                        { c.update("p", "", "") }
func (c *change) drop()                           { c.update("D", "", "") }

// Of sets and sorted sets.
func (c *change) include(member string)     { c.update("S", member, "") }
func (c *change) exclude(member string)     { c.update("r", member, "") }
func (c *change) rank(member, score string) { c.update("Z", member, score) }
func (c *change) unrank(member string)      { c.update("z", member, "") }
func (c *change) dropScores(upTo int64)     { c.update("w", "", decimal(upTo)) }
func (c *change) dropNames(before string)   { c.update("y", "", "("+before) }
func (c *change) setText(field, value string) {
	if value == "" {
		c.remove(field)
	} else {
		c.set(field, value)
	}
}

// written is the reply of write.lua.
type written struct {
	done   bool
	before pairs   // of the first key, if asked
	failed []bool  // of each key, when refused
	images []pairs // of those that failed
}

// Decode implements resp.Decoder.
func (w *written) Decode(r *resp.Reader, v resp.Value) error {
	if v.Kind == resp.Integer {
		w.done = true
		return nil
	}
	if v.Kind != resp.Array || v.N < 1 {
		return errReply
	}
	first, err := r.Next()
	if err != nil {
		return err
	}
	w.done = first.N == 1
	for range v.N - 1 {
		element, err := r.Next()
		if err != nil {
			return err
		}
		failed := element.Kind == resp.Array
		var image pairs
		if failed {
			if image, err = texts(r, element.N); err != nil {
				return err
			}
		}
		w.failed, w.images = append(w.failed, failed), append(w.images, image)
	}
	return nil
}

var errReply = fmt.Errorf("a script answered something else than it does")

// texts reads an array of texts.
func texts(r *resp.Reader, n int64) (pairs, error) {
	list := make(pairs, 0, min(n, 64))
	for range n {
		v, err := r.Next()
		if err != nil {
			return nil, err
		}
		if v.Kind != resp.Bulk && v.Kind != resp.Simple {
			return nil, errReply
		}
		list = append(list, string(v.Text))
	}
	return list, nil
}

// commit makes the changes, all or none. With before, it is told what the first key held.
func (s *Store) commit(ctx context.Context, operation string, before bool, changes ...*change) (*written, error) {
	call := resp.NewScriptCall(writeScript)
	call.Int(int64(len(changes)))
	for _, c := range changes {
		call.Arg(c.key)
	}
	call.Int(int64(bit(before)))
	for _, c := range changes {
		call.Int(int64(len(c.clauses)))
		for _, clause := range c.clauses {
			call.Int(int64(len(clause)))
			addTests(call, clause)
		}
		call.Int(int64(len(c.updates)))
		addTests(call, c.updates)
	}
	w := new(written)
	if err := s.do(ctx, operation, call, w); err != nil {
		return nil, err
	}
	if before && len(w.images) > 0 {
		w.before = w.images[0]
	}
	return w, nil
}

func addTests(call *resp.Call, tests []test) {
	for i := range tests {
		call.Arg(tests[i].op)
		call.Arg(tests[i].field)
		call.Arg(tests[i].value)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// images is a reply of several hashes.
type images []pairs

// Decode implements resp.Decoder.
func (l *images) Decode(r *resp.Reader, v resp.Value) error {
	if v.Kind != resp.Array {
		return errReply
	}
	for range v.N {
		element, err := r.Next()
		if err != nil {
			return err
		}
		if element.Kind != resp.Array {
			return errReply
		}
		image, err := texts(r, element.N)
		if err != nil {
			return err
		}
		*l = append(*l, image)
	}
	return nil
}

// read reads hashes as they are at one moment.
func (s *Store) read(ctx context.Context, operation string, keys ...string) ([]pairs, error) {
	call := resp.NewScriptCall(readScript)
	call.Int(int64(len(keys)))
	for _, key := range keys {
		call.Arg(key)
	}
	var list images
	if err := s.do(ctx, operation, call, &list); err != nil {
		return nil, err
	}
	if len(list) != len(keys) {
		return nil, fmt.Errorf("%s: %w", operation, errReply)
	}
	return list, nil
}

// listing is a reply of texts.
type listing []string

// Decode implements resp.Decoder.
func (l *listing) Decode(r *resp.Reader, v resp.Value) error {
	switch v.Kind {
	case resp.Simple, resp.Bulk:
		*l = listing{string(v.Text)}
		return nil
	case resp.Nil:
		return nil
	case resp.Array:
		list, err := texts(r, v.N)
		*l = listing(list)
		return err
	}
	return errReply
}

// list sends a command that answers texts.
func (s *Store) list(ctx context.Context, operation, command string, args ...string) ([]string, error) {
	call := resp.NewCall(command)
	for _, arg := range args {
		call.Arg(arg)
	}
	var list listing
	err := s.do(ctx, operation, call, &list)
	return list, err
}

// numbers is a reply of numbers.
type numbers []int64

// Decode implements resp.Decoder.
func (l *numbers) Decode(r *resp.Reader, v resp.Value) error {
	if v.Kind == resp.Integer {
		*l = numbers{v.N}
		return nil
	}
	if v.Kind != resp.Array {
		return errReply
	}
	for range v.N {
		element, err := r.Next()
		if err != nil {
			return err
		}
		if element.Kind != resp.Integer {
			return errReply
		}
		*l = append(*l, element.N)
	}
	return nil
}

// exist says which of the keys are there.
func (s *Store) exist(ctx context.Context, operation string, keys []string) ([]bool, error) {
	const atOnce = 1024
	there := make([]bool, 0, len(keys))
	for len(keys) > 0 {
		some := keys[:min(atOnce, len(keys))]
		keys = keys[len(some):]
		call := resp.NewScriptCall(existScript)
		call.Int(int64(len(some)))
		for _, key := range some {
			call.Arg(key)
		}
		var list numbers
		if err := s.do(ctx, operation, call, &list); err != nil {
			return nil, err
		}
		if len(list) != len(some) {
			return nil, fmt.Errorf("%s: %w", operation, errReply)
		}
		for _, n := range list {
			there = append(there, n == 1)
		}
	}
	return there, nil
}
