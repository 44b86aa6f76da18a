package dynamostore

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

var anyKey = limiter.BucketKey{EntityID: "u", Resource: "r/a:b", Shard: 3}

func TestWhatACreatePutsIsWhatAReadSees(t *testing.T) {
	store := OpenTable(nil, "t", TableOptions{}).Store("ns")
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9_.\-]{0,10}`)
		amount := rapid.Int64Range(-1e18, 1e18)
		w := limiter.Write{
			Key: limiter.BucketKey{
				EntityID: rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9_.\-:@]{0,10}`).Draw(t, "entity"),
				Resource: rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9_.\-/:]{0,10}`).Draw(t, "resource"),
				Shard:    rapid.IntRange(0, 31).Draw(t, "shard"),
			},
			ShardCount: rapid.IntRange(1, 32).Draw(t, "count"),
			RF:         rapid.Int64Range(0, 4e12).Draw(t, "rf"),
			Cascade:    rapid.Bool().Draw(t, "cascade"),
			ParentID:   rapid.SampledFrom([]string{"", "org"}).Draw(t, "parent"),
			TTL:        rapid.SampledFrom([]limiter.TTLAction{limiter.TTLKeep, limiter.TTLSet, limiter.TTLRemove}).Draw(t, "ttl"),
			TTLValue:   rapid.Int64Range(1, 4e9).Draw(t, "expiry"),
		}
		if rapid.Bool().Draw(t, "owner") {
			w.Owner = limiter.Owner{Found: true, Generation: rapid.Int64Range(0, 4e12).Draw(t, "pgen"), PInc: "00ff"}
		}
		for _, n := range rapid.SliceOfNDistinct(name, 1, 6, rapid.ID[string]).Draw(t, "limits") {
			w.Limits = append(w.Limits, limiter.LimitWrite{
				Name: n, Tokens: amount.Draw(t, "tk"), Consumed: amount.Draw(t, "tc"),
				Capacity: amount.Draw(t, "cp"), Refill: rapid.Int64Range(1, 1e18).Draw(t, "ra"), Period: amount.Draw(t, "rp"),
			})
		}
		it := store.bucketItem(&w)
		k, ok := parseBucketPK("ns", stringOf(it, attrPK))
		if !ok || k != w.Key {
			t.Fatalf("key read back as %v, want %v", k, w.Key)
		}
		got := limiter.Bucket{Limits: []limiter.LimitState{{Name: "left over"}}}
		if err := decodeBucket(it, k, &got); err != nil {
			t.Fatal(err)
		}
		want := limiter.Bucket{
			Exists: true, Shard: w.Key.Shard, Resource: w.Key.Resource, HasRF: true, RF: w.RF,
			ShardCount: w.ShardCount, Cascade: w.Cascade, ParentID: w.ParentID,
			HasPGen: w.Owner.Found, PGen: w.Owner.Generation, PInc: w.Owner.PInc,
		}
		if w.TTL == limiter.TTLSet {
			want.HasTTL, want.TTL = true, w.TTLValue
		}
		for _, l := range w.Limits {
			want.Limits = append(want.Limits, limiter.LimitState{
				Name: l.Name, Tokens: l.Tokens, Counter: l.Consumed, Capacity: l.Capacity, Refill: l.Refill, Period: l.Period,
				Has: limiter.FieldsComplete | limiter.FieldCounter,
			})
		}
		slices.SortFunc(want.Limits, func(a, b limiter.LimitState) int { return strings.Compare(a.Name, b.Name) })
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("got +, want -:\n%s", d)
		}
	})
}

func TestImagesOfUnusualItems(t *testing.T) {
	plain := func(change func(item)) item {
		it := item{
			"rf": number(5), "shard_count": number(1), "cascade": boolean(false),
			"b_rpm_tk": number(1), "b_rpm_cp": number(2), "b_rpm_ra": number(3), "b_rpm_rp": number(4), "b_rpm_tc": number(5),
		}
		change(it)
		return it
	}
	tests := []struct {
		name  string
		it    item
		check func(limiter.Bucket) bool
	}{
		{"no item", nil, func(b limiter.Bucket) bool { return !b.Exists && len(b.Limits) == 0 && b.Shard == 3 }},
		{"an item that an old peer left with a balance only",
			item{attrPK: str("x"), attrSK: str(skState), "b_rpm_tk": number(-7), "b_rpm_tc": number(7)},
			func(b limiter.Bucket) bool {
				l := b.Limit("rpm")
				return b.Exists && !b.HasRF && l != nil && !l.Complete() && l.Tokens == -7 && b.Shards() == 1
			}},
		{"a limit without its capacity", plain(func(it item) { delete(it, "b_rpm_cp") }),
			func(b limiter.Bucket) bool {
				return !b.Limit("rpm").Complete() && b.Limit("rpm").Has&limiter.FieldTokens != 0
			}},
		{"a name with underscores", plain(func(it item) { it["b_a_tk_b_tk"] = number(9) }),
			func(b limiter.Bucket) bool { return b.Limit("a_tk_b").Tokens == 9 }},
		{"explicitly no schedule", plain(func(it item) { it["sched"], it["b_rpm_sched"], it["b_rpm_rsched"] = str("1h9s500"), str("-"), str("-") }),
			func(b limiter.Bucket) bool {
				parameters, resets := b.Schedules(b.Limit("rpm"))
				return parameters == "" && resets == ""
			}},
		{"an own schedule", plain(func(it item) { it["b_rpm_sched"], it["sched_tz"] = str("1h9s500"), str("Europe/Berlin") }),
			func(b limiter.Bucket) bool {
				parameters, _ := b.Schedules(b.Limit("rpm"))
				return parameters == "1h9s500" && b.Schedule == "" && b.Zone == "Europe/Berlin"
			}},
		{"an item schedule", plain(func(it item) { it["sched"], it["sched_tz"] = str("1h9s500"), str("UTC") }),
			func(b limiter.Bucket) bool {
				parameters, _ := b.Schedules(b.Limit("rpm"))
				return parameters == "1h9s500" && b.Limit("rpm").Extra == nil && b.Zone == ""
			}},
		{"a schedule that is no text", plain(func(it item) { it["sched"] = number(1) }),
			func(b limiter.Bucket) bool { return b.Schedule != "" }},
		{"a calendar quota", plain(func(it item) {
			it["b_rpm_ra"], it["b_rpm_gc"], it["b_rpm_tu"], it["b_rpm_rn"], it["rsched"] = number(0), number(2), number(7), number(3), str("1m0h0")
		}),
			func(b limiter.Bucket) bool {
				_, resets := b.Schedules(b.Limit("rpm"))
				return resets == "1m0h0" && *b.Limit("rpm").Extra == limiter.Extra{Grants: 2, TopUp: 7, Resets: 3}
			}},
		{"a session quota", plain(func(it item) {
			it["b_rpm_rsa"], it["b_rpm_ws"], it["b_rpm_wa"], it["b_rpm_wtc"] = number(18000), number(1), number(2), number(3)
		}),
			func(b limiter.Bucket) bool {
				return *b.Limit("rpm").Extra == limiter.Extra{Window: 18000, WindowStart: 1, WindowApplied: 2, WindowCounter: 3}
			}},
		{"a soft stamp alone is no limit", plain(func(it item) { it["b_x_soft"] = number(9) }),
			func(b limiter.Bucket) bool { return b.Limit("x") == nil && len(b.Limits) == 1 }},
		{"an expired soft stamp", plain(func(it item) { it["b_rpm_soft"] = boolean(true) }),
			func(b limiter.Bucket) bool {
				return b.Limit("rpm").Has&limiter.FieldSoft != 0 && b.Limit("rpm").Extra.Soft == 0
			}},
		{"bypass", plain(func(it item) { it["bypass"] = number(99) }),
			func(b limiter.Bucket) bool { return b.HasBypass && b.Bypass == 99 }},
		{"an item that lives longer than 64 bits count", plain(func(it item) { it["ttl"] = &types.AttributeValueMemberN{Value: "999999999000002612735616"} }),
			func(b limiter.Bucket) bool { return b.HasTTL && b.TTL == math.MaxInt64 }},
		{"disabled", plain(func(it item) { it["disabled"] = boolean(true) }),
			func(b limiter.Bucket) bool { return b.Disabled }},
		{"forced to one slow pass", plain(func(it item) { it["vu"] = number(0) }),
			func(b limiter.Bucket) bool { return b.HasVU && b.VU == 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b limiter.Bucket
			if err := decodeBucket(tt.it, anyKey, &b); err != nil {
				t.Fatal(err)
			}
			if !tt.check(b) {
				t.Errorf("got %+v", b)
			}
		})
	}
}

func TestNumbersThatAreNoIntegersAreErrors(t *testing.T) {
	for _, bad := range []types.AttributeValue{
		&types.AttributeValueMemberN{Value: "10.5"}, &types.AttributeValueMemberN{Value: "1e3"},
		&types.AttributeValueMemberN{Value: "99999999999999999999"}, str("10"),
	} {
		for _, name := range []string{"rf", "vu", "ttl", "shard_count", "pgen", "b_x_tk", "b_x_cp", "b_x_ra", "b_x_rp", "b_x_tc", "b_x_gc", "b_x_rsa", "b_x_ws", "b_x_wa", "b_x_wtc", "b_x_tu", "b_x_rn"} {
			if n, ok := bad.(*types.AttributeValueMemberN); ok && name == "ttl" && len(n.Value) == 20 {
				continue // see the item that lives longer than 64 bits count
			}
			var b limiter.Bucket
			if err := decodeBucket(item{name: bad}, anyKey, &b); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s = %v: got %v, want an error that names it", name, bad, err)
			}
		}
	}
}

// FuzzDecodeBucket feeds items as hostile peers would leave them: name=type:value lines.
func FuzzDecodeBucket(f *testing.F) {
	f.Add("rf=N:1800000000000\nb_rpm_tk=N:5\nb_rpm_cp=N:100000\nshard_count=N:512")
	f.Add("b_rpm_tk=N:-5\nb_rpm_tc=N:5")
	f.Add("b__tk=N:1\nb_tk=N:1\nb_=N:\nb_a_=S:x\ndisabled=S:bypass\nvu=N:1.5")
	f.Add("b_x_soft=B:true\nbypass=N:0\nsched=S:-\nb_x_rsched=S:-")
	f.Add("b_x_tk=N:1\nb_x_gc=N:2\nb_x_ws=N:3\nb_x_wa=N:3\nb_x_rsa=N:60\nb_x_tu=N:1\nrsched=S:1m0h0\nsched_tz=S:UTC")
	f.Fuzz(func(t *testing.T, text string) {
		it := parseItem(text)
		var b limiter.Bucket
		if err := decodeBucket(it, anyKey, &b); err != nil {
			return
		}
		if b.Exists != (len(it) > 0) {
			t.Errorf("exists: %v with %d attributes", b.Exists, len(it))
		}
		if !slices.IsSortedFunc(b.Limits, func(a, b limiter.LimitState) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("limits out of order: %v", b.Limits)
		}
		for i, l := range b.Limits {
			if l.Has == 0 || l.Name == "" || i > 0 && b.Limits[i-1].Name == l.Name {
				t.Errorf("limit %+v", l)
			}
			if l.Has&^limiter.FieldsPlain != 0 && l.Extra == nil {
				t.Errorf("the rare attributes of %s are missing", l.Name)
			}
		}
	})
}

// FuzzDecodeConfig: what can be read of a config is what is stored again.
func FuzzDecodeConfig(f *testing.F) {
	f.Add("l_rpm_cp=N:100\nl_rpm_ra=N:100\nl_rpm_rp=N:60\nl_rpm_soft=B:true\ndisabled=S:bypass\ncascade=B:false")
	f.Add("l_day_cp=N:5\nl_day_ra=N:0\nl_day_rp=N:1\nl_day_rsched=S:1m0h0\nsched_tz=S:Europe/Berlin\non_unavailable=S:allow")
	f.Add("w_ses_cp=N:5\nw_ses_ra=N:0\nw_ses_rp=N:1\nw_ses_rsa=N:18000\nw_ses_sched=S:1h9s500\nsched_tz=S:UTC")
	f.Add("l_x_cp=N:1\nw_x_cp=N:1\nl__cp=N:1\nw_cp=N:1\nl_x_rsched=N:1")
	f.Fuzz(func(t *testing.T, text string) {
		it := parseItem(text)
		it["config_version"] = number(1)
		var first, second limiter.Config
		if decodeConfig(it, &first) != nil {
			return
		}
		putConfigLimits(it, first.Limits)
		if err := decodeConfig(it, &second); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(first, second); d != "" {
			t.Errorf("stored again it reads +, before -:\n%s", d)
		}
	})
}

func parseItem(text string) item {
	it := item{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		kind, value, ok2 := strings.Cut(rest, ":")
		if !ok || !ok2 {
			continue
		}
		switch kind {
		case "N":
			it[name] = &types.AttributeValueMemberN{Value: value}
		case "S":
			it[name] = str(value)
		case "B":
			it[name] = boolean(value == "true")
		}
	}
	return it
}

func TestBucketKeysOfOtherShapesAreRefused(t *testing.T) {
	for _, pk := range []string{
		"", "ns/ENTITY#u", "other/BUCKET#u#r#0", "ns/BUCKET#u#0", "ns/BUCKET##r#0", "ns/BUCKET#u##0", "ns/BUCKET#u#r#x", "ns/BUCKET#u#r#-1",
	} {
		if k, ok := parseBucketPK("ns", pk); ok {
			t.Errorf("%q read as %v", pk, k)
		}
	}
}

func TestConfigs(t *testing.T) {
	limit := func(it item, prefix string, cp, ra, rp int64) item {
		it[prefix+"_cp"], it[prefix+"_ra"], it[prefix+"_rp"] = number(cp), number(ra), number(rp)
		return it
	}
	tests := []struct {
		name string
		it   item
		want limiter.Config
	}{
		{"absent", nil, limiter.Config{}},
		{"limits sorted by name", limit(limit(item{"config_version": number(1)}, "l_tpm", 1000, 500, 60), "l_a_b", 1, 2, 3),
			limiter.Config{Exists: true, Limits: []limiter.Limit{limiter.Custom("a_b", 1, 2, 3*time.Second), limiter.Custom("tpm", 1000, 500, time.Minute)}}},
		{"flags only", item{"disabled": boolean(true), "cascade": boolean(false)},
			limiter.Config{Exists: true, Disabled: limiter.On, Cascade: limiter.Off}},
		{"explicitly enforced", item{"disabled": boolean(false)}, limiter.Config{Exists: true, Disabled: limiter.Off}},
		{"bypass", item{"disabled": str("bypass")}, limiter.Config{Exists: true, Disabled: limiter.Bypassed}},
		{"another text reads as false", item{"disabled": str("yes")}, limiter.Config{Exists: true, Disabled: limiter.Off}},
		{"on_unavailable", item{"on_unavailable": str("allow")}, limiter.Config{Exists: true, OnUnavailable: limiter.Allow}},
		{"on_unavailable of another text is not set", item{"on_unavailable": str("ALLOW")}, limiter.Config{Exists: true}},
		{"a schedule", limit(item{"l_x_sched": str("1h9s500"), "sched_tz": str("Europe/Berlin")}, "l_x", 1, 1, 1),
			limiter.Config{Exists: true, Limits: []limiter.Limit{{Name: "x", Capacity: 1, RefillAmount: 1, RefillPeriod: time.Second, Schedule: "1h9s500", Zone: "Europe/Berlin"}}}},
		{"a calendar quota beside a limit", limit(limit(item{"l_x_rsched": str("1m0h0"), "sched_tz": str("UTC")}, "l_x", 1, 0, 1), "l_y", 1, 1, 1),
			limiter.Config{Exists: true, Limits: []limiter.Limit{{Name: "x", Capacity: 1, RefillPeriod: time.Second, ResetSchedule: "1m0h0"}, limiter.PerSecond("y", 1)}}},
		{"a session quota", limit(item{"w_x_rsa": number(3600), "w_x_soft": boolean(true)}, "w_x", 7, 0, 1),
			limiter.Config{Exists: true, Limits: []limiter.Limit{limiter.SessionQuota("x", 7, time.Hour).WithSoft()}}},
		{"a soft limit", limit(item{"l_x_soft": boolean(true)}, "l_x", 1, 1, 1),
			limiter.Config{Exists: true, Limits: []limiter.Limit{limiter.PerSecond("x", 1).WithSoft()}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got limiter.Config
			if err := decodeConfig(tt.it, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("got +, want -:\n%s", d)
			}
		})
	}
}

func TestMalformedConfigsAreErrors(t *testing.T) {
	for name, it := range map[string]item{
		"no amount":            {"l_x_cp": number(1), "l_x_rp": number(1)},
		"no period":            {"l_x_cp": number(1), "l_x_ra": number(1)},
		"capacity of 0":        {"l_x_cp": number(0), "l_x_ra": number(1), "l_x_rp": number(1)},
		"amount of 0":          {"l_x_cp": number(1), "l_x_ra": number(0), "l_x_rp": number(1)},
		"period of 0":          {"l_x_cp": number(1), "l_x_ra": number(1), "l_x_rp": number(0)},
		"fraction":             {"l_x_cp": &types.AttributeValueMemberN{Value: "10.5"}, "l_x_ra": number(1), "l_x_rp": number(1)},
		"twice":                {"l_x_cp": number(1), "l_x_ra": number(1), "l_x_rp": number(1), "w_x_cp": number(1), "w_x_ra": number(0), "w_x_rp": number(1)},
		"a window without end": {"w_x_cp": number(1), "w_x_ra": number(0), "w_x_rp": number(1)},
		"a window that drips":  {"w_x_cp": number(1), "w_x_ra": number(1), "w_x_rp": number(1), "w_x_rsa": number(1)},
		"a quota that drips":   {"l_x_cp": number(1), "l_x_ra": number(1), "l_x_rp": number(1), "l_x_rsched": str("1m0h0")},
		"period out of range":  {"l_x_cp": number(1), "l_x_ra": number(1), "l_x_rp": number(2e9)},
	} {
		var c limiter.Config
		if err := decodeConfig(it, &c); err == nil || !strings.Contains(err.Error(), "limit x") {
			t.Errorf("%s: got %v, want an error that names the limit", name, err)
		}
	}
}

func TestLimitsAreReadBackAsTheyWereStored(t *testing.T) {
	day, err := limiter.Quota("day", 100, schedule.Entry{Cron: "0 0 * * *", TZ: "Europe/Berlin"})
	if err != nil {
		t.Fatal(err)
	}
	rpm, err := limiter.PerMinute("rpm", 10).WithSchedule(schedule.Entry{Cron: "0 9-17 * * MON-FRI", TZ: "Europe/Berlin", Scale: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	want := []limiter.Limit{day.WithSoft(), rpm, limiter.SessionQuota("ses", 50, 5*time.Hour), limiter.PerSecond("x", 1).WithSoft()}
	it := item{}
	putConfigLimits(it, want)
	if got := stringOf(it, "l_rpm_sched") + " " + stringOf(it, "sched_tz"); got != "1m0h9-17w1-5s500 Europe/Berlin" {
		t.Errorf("stored %s", got)
	}
	var c limiter.Config
	if err := decodeConfig(it, &c); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, c.Limits); d != "" {
		t.Errorf("got +, want -:\n%s", d)
	}
}

func TestStoringLimitsKeepsWhatIsNotOurs(t *testing.T) {
	it := item{
		"l_old_cp": number(1), "l_old_ra": number(1), "l_old_rp": number(1), "l_old_soft": boolean(true), "w_s_cp": number(1), "sched_tz": str("UTC"),
		"disabled": boolean(true), "audit_retention_days": number(30), "of_a_later_release": str("x"),
	}
	putConfigLimits(it, []limiter.Limit{limiter.PerHour("new", 7)})
	want := []string{"audit_retention_days", "disabled", "l_new_cp", "l_new_ra", "l_new_rp", "of_a_later_release"}
	var got []string
	for name := range it {
		got = append(got, name)
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("got +, want -:\n%s", d)
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	in := map[string]any{
		"s": "x", "i": int64(7), "f": 1.5, "b": true, "n": nil, "l": []any{"a", int64(1)}, "m": map[string]any{"k": "v"},
	}
	v, err := encodeMap(in)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, decodeMap(v)); d != "" {
		t.Errorf("got +, want -:\n%s", d)
	}
	deep := any("x")
	for range 40 {
		deep = []any{deep}
	}
	for name, bad := range map[string]any{"a channel": make(chan int), "nested too deep": deep} {
		if _, err := encodeMap(map[string]any{"k": bad}); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
}

func TestVersionsOfVector73(t *testing.T) {
	for text, want := range map[string]version{
		"v0.15.0rc1":        {0, 15, 0, "rc1"},
		"0.1.dev1+ge7":      {0, 1, 0, "dev"},
		"0.15.0rc1.dev3+g1": {0, 15, 0, "rc1-dev"},
		"0.15.0+d2026":      {0, 15, 0, ""},
		"0.17.0":            {0, 17, 0, ""},
	} {
		got, err := parseVersion(text)
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"0.15rc1", "junk", "", "1", "0.15.0-rc1", strconv.Itoa(1<<40) + "99999999999.0"} {
		if v, err := parseVersion(bad); err == nil {
			t.Errorf("%q read as %v", bad, v)
		}
	}
}

func TestVersionRecordsThatAdmit(t *testing.T) {
	tests := []struct {
		schema, lowest string
		admitted       bool
	}{
		{"0.10.0", "0.0.0", true}, {"0.9.0", "", true}, {"0.11.3", "0.17.0", true}, {"0.10.0", "0.17.9", true},
		{"0.10.0", "junk", true}, {"1.0.0", "0.0.0", false}, {"", "0.0.0", false}, {"0.10.0", "0.18.0", false},
		{"0.10.0", "1.0.0", false}, {"junk", "0.0.0", false},
	}
	for _, tt := range tests {
		err := (&VersionRecord{SchemaVersion: tt.schema, ClientMinVersion: tt.lowest}).Admits()
		if _, typed := errors.AsType[*VersionError](err); (err == nil) != tt.admitted || err != nil && !typed {
			t.Errorf("schema %q, minimum %q: %v, want admitted %v", tt.schema, tt.lowest, err, tt.admitted)
		}
	}
}

func TestMinimumsOfVectors71And72(t *testing.T) {
	for _, tt := range []struct {
		stored, own, release, want string
		higher                     bool
	}{
		{"0.0.0", "0.17.0", "0.15.0", "0.15.0", true},
		{"0.15.0", "0.17.0", "0.17.0", "0.17.0", true},
		{"0.17.0", "0.17.0", "0.15.0", "0.17.0", false},
		{"", "0.14.1.dev99+gabc", "0.15.0", "0.14.1.dev99+gabc", true},
		{"bad", "0.17.0", "0.16.0", "0.16.0", true},
		{"0.0.0", "junk", "0.15.0", "0.0.0", false},
	} {
		if got, higher := raisedMinimum(tt.stored, tt.own, tt.release); got != tt.want || higher != tt.higher {
			t.Errorf("%+v: got %q, %t", tt, got, higher)
		}
	}
}

func TestReadersOfARelease(t *testing.T) {
	for _, tt := range []struct {
		lambda, release string
		want            bool
	}{
		{"", "0.15.0", false}, {"junk", "0.15.0", false}, {"0.14.9", "0.15.0", false}, {"0.15.0", "0.15.0", true},
		{"0.15.0rc1", "0.15.0", true}, {"0.16.2", "0.17.0", false}, {"0.17.0", "0.17.0", true}, {"1.0.0", "0.17.0", true},
	} {
		if got := (&VersionRecord{LambdaVersion: tt.lambda}).readersAt(tt.release); got != tt.want {
			t.Errorf("%+v: got %t", tt, got)
		}
	}
}

func TestCursorsAreThoseOfOtherClients(t *testing.T) {
	key := item{"PK": str("ns/ENTITY#e"), "SK": str("#CONFIG#r")}
	cursor := encodeCursor(key)
	if cursor != "eyJQSyI6eyJTIjoibnMvRU5USVRZI2UifSwiU0siOnsiUyI6IiNDT05GSUcjciJ9fQ==" {
		t.Errorf("cursor %s", cursor)
	}
	if back, err := decodeCursor(cursor); err != nil || !reflect.DeepEqual(back, key) {
		t.Errorf("read back: %v, %v", back, err)
	}
	if none, err := decodeCursor(""); err != nil || none != nil || encodeCursor(nil) != "" {
		t.Errorf("no cursor: %v, %v", none, err)
	}
	for _, bad := range []string{"x", "bm90IGpzb24=", "e30="} {
		if _, err := decodeCursor(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestSchedulesOfAnItem(t *testing.T) {
	limits := []limiter.Limit{{Name: "a"}, {Name: "b", Schedule: "1h9s500", Zone: "Europe/Zurich"}, {Name: "c", Schedule: "1h9s500"}, {Name: "d", Schedule: "1h8s100", ResetSchedule: "1m0h0"}}
	got := encodeSchedules(limits)
	want := itemSchedules{zone: "Europe/Zurich", item: schedulePair{"1h9s500", "1m0h0"},
		own: []schedulePair{{"-", "-"}, {"", "-"}, {"", "-"}, {"1h8s100", ""}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if plain := encodeSchedules(limits[:1]); plain.zone != "" || plain.item != (schedulePair{}) || plain.own[0] != (schedulePair{}) {
		t.Errorf("without schedules: %+v", plain)
	}
}

func TestNamespaceIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newNamespaceID()
		if len(id) != 11 || id[0] == '-' || seen[id] || checkNamespaceID(id) != nil {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
	for _, bad := range []string{"", "_", "a#b", strings.Repeat("x", 257), "a\x00b", "\xff"} {
		if err := checkNamespaceName(bad); err == nil {
			t.Errorf("name %q was accepted", bad)
		}
	}
}
