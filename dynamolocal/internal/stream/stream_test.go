package stream

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func version(n int) *attr.Map {
	return attr.NewMap([]attr.Attr{{Name: "n", Value: attr.Int(int64(n))}})
}

// follow reads a lane's shards from the first on, parents before children, and returns what it saw.
func follow(t interface{ Fatalf(string, ...any) }, s *Stream, now time.Time, ids []string) (seen []int64) {
	for _, id := range ids {
		position := Horizon
		for {
			taken := 0
			next, more, err := s.Read(id, position, now, func(r Record) bool {
				if taken == 3 {
					return false
				}
				taken++
				n, _ := r.New.Get("n").Integer()
				seen = append(seen, n)
				return true
			})
			if err != nil {
				t.Fatalf("read of %s: %v", id, err)
			}
			if position = next; !more || taken == 0 {
				break
			}
		}
	}
	return seen
}

// A reader that follows the shards sees each record that is not older than a day once and in order,
// whatever the time does.
func TestReadersSeeEachRecordOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 3).Draw(t, "lanes")
		now := begin
		s := New(lanes, 1<<30, now)
		type made struct {
			n  int64
			at time.Time
		}
		model := make([][]made, lanes)
		for i := range rapid.IntRange(0, 900).Draw(t, "records") {
			lane := rapid.IntRange(0, lanes-1).Draw(t, "lane")
			s.Record(lane, now, nil, version(i), false)
			model[lane] = append(model[lane], made{int64(i), now})
			if rapid.IntRange(0, 9).Draw(t, "passes") == 0 {
				now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "minutes")) * time.Minute)
			}
		}
		if rapid.Bool().Draw(t, "closed") {
			s.Close(now)
		}
		shards := s.Shards(now)
		var seen [][]int64
		for i, sh := range shards {
			if sh.Parent != "" && (i == 0 || shards[i-1].ID != sh.Parent) {
				t.Fatalf("shard %d is no child of the one before: %v", i, shards)
			}
			if sh.Parent == "" {
				seen = append(seen, nil)
			}
			last := len(seen) - 1
			seen[last] = append(seen[last], follow(t, s, now, []string{sh.ID})...)
		}
		for lane := range model {
			var want []int64
			for _, m := range model[lane] {
				if now.Sub(m.at) <= Retention {
					want = append(want, m.n)
				}
			}
			if !slices.Equal(seen[lane], want) {
				t.Fatalf("lane %d shows %v, want %v", lane, seen[lane], want)
			}
		}
	})
}

// Sequence numbers lead back to their records, in their own shard only.
func TestSequenceNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 3).Draw(t, "lanes")
		now := begin
		s := New(lanes, 1<<30, now)
		for i := range rapid.IntRange(1, 40).Draw(t, "records") {
			s.Record(i%lanes, now, nil, version(i), false)
			now = now.Add(20 * time.Minute)
		}
		used := map[Number]bool{}
		shards := s.Shards(now)
		for _, sh := range shards {
			previous := sh.First
			_, _, err := s.Read(sh.ID, Horizon, now, func(r Record) bool { // numbers are looked up below
				if used[r.Number] || r.Number <= previous || !sh.Open && r.Number > sh.Last {
					t.Fatalf("number %v after %v in %+v", r.Number, previous, sh)
				}
				used[r.Number], previous = true, r.Number
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for n := range used {
			if parsed, ok := ParseNumber(n.String()); !ok || parsed != n {
				t.Fatalf("%q reads as %v", n.String(), parsed)
			}
			found := 0
			for _, sh := range shards {
				at, err := s.At(sh.ID, n, false, now)
				if errors.Is(err, ErrNumber) {
					continue
				}
				found++
				after, err := s.At(sh.ID, n, true, now)
				if err != nil || after != at+1 {
					t.Fatalf("after %v is %v (%v), at is %v", n, after, err, at)
				}
				first := true
				if _, _, err := s.Read(sh.ID, at, now, func(r Record) bool {
					if first && r.Number != n {
						t.Fatalf("at %v stands %v", n, r.Number)
					}
					first = false
					return true
				}); err != nil || first {
					t.Fatalf("nothing at %v: %v", n, err)
				}
			}
			if found != 1 {
				t.Fatalf("%v is in %d shards", n, found)
			}
		}
	})
}

// A stream that nobody reads stays within its bound; who comes late gets what is left, who has a place
// before that is told so.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 100_000
	s := New(1, limit, begin)
	first, err := s.Latest(s.Shards(begin)[0].ID, begin)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50_000 {
		s.Record(0, begin, nil, version(i), false)
		if bytes := s.Bytes(); bytes > limit {
			t.Fatalf("%d bytes after %d records", bytes, i+1)
		}
	}
	id := s.Shards(begin)[0].ID
	seen := follow(t, s, begin, []string{id})
	if len(seen) == 0 || len(seen) > limit/recordBytes || seen[len(seen)-1] != 49_999 {
		t.Errorf("%d records are left, the last is %v", len(seen), seen[max(0, len(seen)-1):])
	}
	if len(s.lanes[0].chunks) > len(seen)/chunkLength+2 {
		t.Errorf("%d records in %d chunks", len(seen), len(s.lanes[0].chunks))
	}
	if _, _, err := s.Read(id, first, begin, func(Record) bool { return true }); !errors.Is(err, ErrTrimmed) {
		t.Errorf("a place before the oldest record gives %v", err)
	}
	s.Forget()
	if bytes := s.Bytes(); bytes != 0 {
		t.Errorf("%d bytes are left of nothing", bytes)
	}
}

// Shards close after four hours and are forgotten a day later.
func TestShardsEnd(t *testing.T) {
	s := New(1, 1<<20, begin)
	for h := range 60 {
		s.Shards(begin.Add(time.Duration(h) * time.Hour))
	}
	now := begin.Add(60 * time.Hour)
	shards := s.Shards(now)
	if n := len(shards); n != 7 && n != 8 {
		t.Errorf("%d shards after 60 hours: %+v", n, shards)
	}
	for i, sh := range shards {
		if sh.Open != (i == len(shards)-1) {
			t.Errorf("shard %d of %d: %+v", i, len(shards), sh)
		}
	}
	if shards[0].Parent != "" {
		t.Errorf("the oldest shard has a parent that is gone: %+v", shards[0])
	}
	s.Close(now)
	s.Record(0, now, nil, version(1), false)
	for _, sh := range s.Shards(now) {
		if sh.Open {
			t.Errorf("%+v is open after the end", sh)
		}
	}
	if s.Bytes() != 0 {
		t.Error("something was recorded after the end")
	}
}
