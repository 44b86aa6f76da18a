package store

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

var byNumber = []IndexSchema{
	{Name: "all", Key: KeySchema{Hash: "G", Range: "N"}},
	{Name: "keys", Key: KeySchema{Hash: "G"}, Projection: KeysOnly},
	{Name: "some", Key: KeySchema{Hash: "P", Range: "G"}, Projection: Include, Extra: []string{"v"}, Local: true},
}

func newItem(p string, s int, more ...attr.Attr) *attr.Map {
	return attr.NewMap(append([]attr.Attr{{Name: "P", Value: attr.String(p)}, {Name: "S", Value: attr.Int(int64(s))}}, more...))
}

// keyText names an item by its key.
func keyText(item *attr.Map) string { return item.Get("P").Text() + "/" + item.Get("S").NumberText() }

// collect returns the keys of what a walk yields, at most limit of them.
func collect(limit int, walk func(yield func(*attr.Map) bool)) (keys []string, last *attr.Map) {
	walk(func(item *attr.Map) bool {
		keys, last = append(keys, keyText(item)), item
		return len(keys) < limit
	})
	return keys, last
}

// A table is a map from keys to items, and a query of it the sorted slice of one HASH value, whatever
// the bounds, the direction and the place to go on from.
func TestQueriesAgreeWithASortedSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable(KeySchema{Hash: "P", Range: "S"}, nil)
		model := map[int]bool{}
		// More than one block of entries, so that blocks are cut and emptied.
		for _, s := range rapid.SliceOfN(rapid.IntRange(-400, 400), 0, 700).Draw(t, "writes") {
			cell := table.Open(attr.String("p"), attr.Int(int64(s)))
			if model[s] {
				cell.Delete()
				delete(model, s)
			} else {
				cell.Put(newItem("p", s))
				model[s] = true
			}
			cell.Close()
		}
		low, high := rapid.IntRange(-410, 410).Draw(t, "low"), rapid.IntRange(-410, 410).Draw(t, "high")
		bounds := Bounds{LowOpen: rapid.Bool().Draw(t, "low open"), HighOpen: rapid.Bool().Draw(t, "high open")}
		hasLow, hasHigh := rapid.Bool().Draw(t, "has low"), rapid.Bool().Draw(t, "has high")
		if hasLow {
			bounds.Low = attr.Int(int64(low))
		}
		if hasHigh {
			bounds.High = attr.Int(int64(high))
		}
		var inside []int
		for s := range model {
			above := !hasLow || s > low || s == low && !bounds.LowOpen
			below := !hasHigh || s < high || s == high && !bounds.HighOpen
			if above && below {
				inside = append(inside, s)
			}
		}
		slices.Sort(inside)
		backward := rapid.Bool().Draw(t, "backward")
		if backward {
			slices.Reverse(inside)
		}
		var after *Cursor
		if rapid.Bool().Draw(t, "goes on") {
			from := rapid.IntRange(-410, 410).Draw(t, "from")
			after = &Cursor{Hash: attr.String("p"), Range: attr.Int(int64(from))}
			inside = slices.DeleteFunc(inside, func(s int) bool { return !backward && s <= from || backward && s >= from })
		}
		want := make([]string, len(inside))
		for i, s := range inside {
			want[i] = "p/" + strconv.Itoa(s)
		}
		got, _ := collect(1<<30, func(yield func(*attr.Map) bool) {
			table.Query(nil, attr.String("p"), bounds, backward, after, yield)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	})
}

func TestAPrefixIsARange(t *testing.T) {
	table := NewTable(KeySchema{Hash: "P", Range: "S"}, nil)
	for _, s := range []string{"", "a", "aa", "ab", "ab\xff", "ab\xff\xff", "ac", "b"} {
		cell := table.Open(attr.String("p"), attr.String(s))
		cell.Put(attr.NewMap([]attr.Attr{{Name: "P", Value: attr.String("p")}, {Name: "S", Value: attr.String(s)}}))
		cell.Close()
	}
	for prefix, want := range map[string][]string{
		"": {"", "a", "aa", "ab", "ab\xff", "ab\xff\xff", "ac", "b"}, "a": {"a", "aa", "ab", "ab\xff", "ab\xff\xff", "ac"},
		"ab": {"ab", "ab\xff", "ab\xff\xff"}, "ab\xff": {"ab\xff", "ab\xff\xff"}, "c": nil, "aaa": nil,
	} {
		for _, backward := range []bool{false, true} {
			var got []string
			table.Query(nil, attr.String("p"), Bounds{Low: attr.String(prefix), Prefix: prefix, HasPrefix: true}, backward, nil, func(item *attr.Map) bool {
				got = append(got, item.Get("S").Text())
				return true
			})
			if backward {
				slices.Reverse(got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("prefix %q, backward %v: %q, want %q", prefix, backward, got, want)
			}
		}
	}
}

// A scan shows each item once, in an order of its own that holds across pages and segments.
func TestScansShowEveryItemOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable(KeySchema{Hash: "P", Range: "S"}, byNumber)
		count := rapid.IntRange(0, 60).Draw(t, "items")
		for i := range count {
			item := newItem("p"+strconv.Itoa(rapid.IntRange(0, 20).Draw(t, "P")), i,
				attr.Attr{Name: "G", Value: attr.String("g" + strconv.Itoa(i%4))}, attr.Attr{Name: "N", Value: attr.Int(int64(i % 3))})
			cell := table.Open(item.Get("P"), item.Get("S"))
			cell.Put(item)
			cell.Close()
		}
		for _, index := range append([]*Index{nil}, table.Indexes()...) {
			whole, _ := collect(1<<30, func(yield func(*attr.Map) bool) { table.Scan(index, 0, 1, nil, yield) })
			if len(whole) != count || len(slices.Compact(slices.Sorted(slices.Values(whole)))) != count {
				t.Fatalf("a scan of %d items shows %v", count, whole)
			}
			segments := rapid.IntRange(1, 300).Draw(t, "segments")
			var parts []string
			for segment := range segments {
				part, _ := collect(1<<30, func(yield func(*attr.Map) bool) { table.Scan(index, segment, segments, nil, yield) })
				parts = append(parts, part...)
			}
			if !slices.Equal(parts, whole) {
				t.Fatalf("%d segments show\n%v\nand a scan\n%v", segments, parts, whole)
			}
			var pages []string
			var after *Cursor
			for range count + 1 {
				page, last := collect(3, func(yield func(*attr.Map) bool) { table.Scan(index, 0, 1, after, yield) })
				if pages = append(pages, page...); last == nil {
					break
				}
				after = &Cursor{Hash: last.Get("P"), Range: last.Get("S")}
				if index != nil {
					after.IndexHash, after.IndexRange = last.Get(index.schema.Key.Hash), last.Get(index.schema.Key.Range)
				}
			}
			if !slices.Equal(pages, whole) {
				t.Fatalf("pages show\n%v\nand a scan\n%v", pages, whole)
			}
		}
	})
}

// Writes to different items from many sides leave every index equal to the items.
func TestConcurrentWritesKeepTheIndexes(t *testing.T) {
	table := NewTable(KeySchema{Hash: "P", Range: "S"}, byNumber)
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 400 {
				s := i % 20
				cell := table.Open(attr.String("p"+strconv.Itoa(w%4)), attr.Int(int64(s+20*(w/4))))
				if i%7 == 3 {
					cell.Delete()
				} else {
					cell.Put(newItem("p"+strconv.Itoa(w%4), s+20*(w/4), attr.Attr{Name: "G", Value: attr.String(strconv.Itoa(i % 5))}, attr.Attr{Name: "N", Value: attr.Int(int64(i % 3))}))
				}
				cell.Close()
				table.Query(table.Indexes()[0], attr.String(strconv.Itoa(i%5)), Bounds{}, i%2 == 0, nil, func(item *attr.Map) bool { return item.Get("G").Exists() })
			}
		})
	}
	wait.Wait()
	items, _ := collect(1<<30, func(yield func(*attr.Map) bool) { table.Scan(nil, 0, 1, nil, yield) })
	slices.Sort(items)
	if int(table.Count()) != len(items) {
		t.Errorf("the table counts %d items and shows %d", table.Count(), len(items))
	}
	for _, index := range table.Indexes() {
		entries, _ := collect(1<<30, func(yield func(*attr.Map) bool) { table.Scan(index, 0, 1, nil, yield) })
		slices.Sort(entries)
		if !slices.Equal(entries, items) || int(index.Count()) != len(items) {
			t.Errorf("index %s counts %d entries and shows %v\nthe table shows %v", index.schema.Name, index.Count(), entries, items)
		}
	}
}

// Between the change of an item and that of an index, the index must not show the item under the key
// that it no longer has.
func TestAnIndexNeverShowsAnItemUnderAnotherKey(t *testing.T) {
	table := NewTable(KeySchema{Hash: "P", Range: "S"}, byNumber)
	index := table.Indexes()[0]
	key := func(name string) attr.Attr { return attr.Attr{Name: "G", Value: attr.String(name)} }
	number := attr.Attr{Name: "N", Value: attr.Int(1)}
	put := func(attrs ...attr.Attr) {
		cell := table.Open(attr.String("p"), attr.Int(1))
		cell.Put(newItem("p", 1, attrs...))
		cell.Close()
	}
	put(key("a"), number)
	// What a reader sees that comes in between, made by hand: the entry of the old version, the slot with
	// the new one.
	e := index.shards[Stripe(attr.String("a"))].colls[attr.String("a").Key()].blocks[0][0]
	for _, later := range [][]attr.Attr{{key("b"), number}, {number}, {key("a"), {Name: "N", Value: attr.Int(2)}}} {
		put(later...)
		if item := index.current(e, attr.String("a").Key()); item != nil {
			t.Errorf("an entry under G = a, N = 1 shows G = %q, N = %v", item.Get("G").Text(), item.Get("N").NumberText())
		}
	}
	put(key("a"), number)
	if index.current(e, attr.String("a").Key()) == nil {
		t.Error("an entry does not show the item that it is of")
	}
}

func TestWhatAnIndexShows(t *testing.T) {
	table := NewTable(KeySchema{Hash: "P", Range: "S"}, byNumber)
	item := newItem("p", 1, attr.Attr{Name: "G", Value: attr.String("g")}, attr.Attr{Name: "N", Value: attr.Int(2)}, attr.Attr{Name: "v", Value: attr.String("v")}, attr.Attr{Name: "w", Value: attr.String("w")})
	for name, want := range map[string]string{"all": "[G N P S v w]", "keys": "[G P S]", "some": "[G P S v]"} {
		index := table.Index(name)
		shown := index.Project(item, table.Key())
		var names []string
		for name := range shown.All() {
			names = append(names, name)
		}
		if got := fmt.Sprint(names); got != want {
			t.Errorf("index %s shows %s, want %s", name, got, want)
		}
		if got, want := index.EntrySize(item, table.Key()), shown.Size(); got != want {
			t.Errorf("an entry of index %s has %d bytes, its attributes %d", name, got, want)
		}
	}
	if table.Index("none") != nil {
		t.Error("an index that was not defined exists")
	}
}

func TestHolds(t *testing.T) {
	table := NewTable(KeySchema{Hash: "P", Range: "S"}, nil)
	held := func(p, s string) bool {
		cell := table.Open(attr.String(p), attr.String(s))
		defer cell.Close()
		return cell.Held()
	}
	cell := table.Open(attr.String("a"), attr.String("bc"))
	cell.Hold()
	cell.Hold()
	cell.Close()
	if !held("a", "bc") || held("ab", "c") || held("a", "b") {
		t.Error("a hold is of one item and no other")
	}
	table.Release(attr.String("a"), attr.String("bc"))
	if !held("a", "bc") {
		t.Error("one of two holds ended both")
	}
	table.Release(attr.String("a"), attr.String("bc"))
	if held("a", "bc") {
		t.Error("a hold outlasted its release")
	}
}
