package aggregator

import (
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// What a write makes of a bucket with one limit q of 100 tokens, from an image of an hour ago; nil is no write.
func TestRefillsOfQuotas(t *testing.T) {
	const hour = 3_600_000
	calendar := map[string]int64{"b_q_cp": 100_000, "b_q_ra": 0, "b_q_rp": 1000, "b_q_tc": 60_000, "b_q_tk": 40_000, "b_q_gc": 1, "shard_count": 2, "rf": begin - hour, "vu": begin - 1}
	session := map[string]int64{"b_q_cp": 100_000, "b_q_ra": 0, "b_q_rp": 1000, "b_q_tc": 60_000, "b_q_tk": 40_000, "b_q_gc": 1, "b_q_rsa": 7200,
		"shard_count": 2, "rf": begin - 2*hour, "vu": 0, "b_q_ws": begin - hour, "b_q_wa": begin - 9*hour, "b_q_wtc": 50_000}
	with := func(base map[string]int64, changes map[string]int64) map[string]int64 {
		out := maps.Clone(base)
		maps.Copy(out, changes)
		return out
	}
	without := func(base map[string]int64, names ...string) map[string]int64 {
		out := maps.Clone(base)
		for _, name := range names {
			delete(out, name)
		}
		return out
	}
	for name, test := range map[string]struct {
		resets string
		before map[string]int64
		want   map[string]int64
	}{
		"a calendar edge has passed":      {"1m0", calendar, with(calendar, map[string]int64{"b_q_tk": 50_000, "b_q_gc": 2, "rf": begin, "vu": begin + hour})},
		"a top-up ends with its period":   {"1m0", with(calendar, map[string]int64{"b_q_tu": 5000}), with(calendar, map[string]int64{"b_q_tk": 50_000, "b_q_gc": 2, "rf": begin, "vu": begin + hour})},
		"no edge has passed":              {"1m0h0", calendar, nil},
		"a quota that is full comes anew": {"1m0", with(calendar, map[string]int64{"b_q_tk": 50_000}), nil},
		"the time of the image is ahead":  {"1m0", with(calendar, map[string]int64{"rf": begin + 5}), nil},
		"a window was opened elsewhere":   {"", with(session, map[string]int64{"b_q_tk": 35_000}), with(session, map[string]int64{"b_q_tk": 40_000, "b_q_gc": 2, "b_q_wa": begin - hour, "rf": begin, "vu": begin + hour})},
		"nothing was noted of a window":   {"", without(session, "b_q_wtc"), with(without(session, "b_q_wtc"), map[string]int64{"b_q_tk": 50_000, "b_q_gc": 2, "b_q_wa": begin - hour, "rf": begin, "vu": begin + hour})},
		"the window is over":              {"", with(session, map[string]int64{"b_q_ws": begin - 3*hour}), nil},
		"the window is applied":           {"", with(session, map[string]int64{"b_q_wa": begin - hour}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, limiter.PerMinute("rpm", 1))
			key := bucketKey{w.ns, "u", "api", 0}
			item := key.item()
			item["entity_id"] = text("u")
			if test.resets != "" {
				item["rsched"] = text(test.resets)
			}
			for name, n := range test.before {
				item[name] = integer(n)
			}
			if _, err := w.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("zae-limiter"), Item: item}); err != nil {
				t.Fatal(err)
			}
			a := w.aggregator(nil)
			states := a.states([]Record{{Event: Modify, Old: item, New: item}})
			if len(states) != 1 {
				t.Fatalf("%d states", len(states))
			}
			done, err := a.refill(t.Context(), states[0], begin)
			if err != nil || done != (test.want != nil) {
				t.Fatalf("written: %v, %v", done, err)
			}
			want := test.want
			if want == nil {
				want = test.before
			}
			got := map[string]int64{}
			for name := range w.bucket("u", 0) {
				if n, err := integerOf(w.bucket("u", 0), name); err == nil {
					got[name] = n.value
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("bucket (-want +got):\n%s", diff)
			}
		})
	}
}
