package dynamostore_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/limiter"
)

func TestABypassedWriteOnlyCounts(t *testing.T) {
	api := &recorder{updateReply: &dynamodb.UpdateItemOutput{Attributes: exampleItem()}}
	var out limiter.ConsumeOutput
	charges := []limiter.Charge{{Limit: "rpm", Amount: 2000}}
	store := newStore(api)
	for _, bypassed := range []bool{true, false, true} { // shapes of the same limits are kept apart
		if err := store.Consume(testContext(t), &limiter.ConsumeInput{Key: example, Now: 1800000062999, Charges: charges, Bypassed: bypassed}, &out); err != nil {
			t.Fatal(err)
		}
	}
	diff(t, expandUpdate(t, api.updates[2]), expanded{
		Add: []string{"b_rpm_tc 2000", "b_wcu_tc 1000", "b_wcu_tk -1000"},
		Condition: []string{
			"(attribute_not_exists(ttl) OR ttl > 1800000062)", "attribute_exists(PK)", "attribute_not_exists(disabled)",
			"b_wcu_tk >= 1000", "bypass > 1800000062999",
		},
	})
}

func TestACreateWithSchedulesAndMarks(t *testing.T) {
	api := &recorder{}
	day := limiter.LimitWrite{Name: "day", Tokens: 45000, Consumed: 5000, Capacity: 100000, Period: 1000, ResetSchedule: "1m0h0",
		Set: limiter.FieldGrants, Extra: limiter.Extra{Grants: 2}}
	ses := limiter.LimitWrite{Name: "ses", Tokens: 25000, Consumed: 5000, Capacity: 60000, Period: 1000, Schedule: "1h9s500",
		Set:   limiter.FieldGrants | limiter.FieldWindow | limiter.FieldWindowStart | limiter.FieldWindowApplied | limiter.FieldSoft,
		Extra: limiter.Extra{Grants: 2, Window: 3600, WindowStart: 7, WindowApplied: 7, Soft: 99}}
	move := limiter.Write{Kind: limiter.WriteMove, Key: example, ShardCount: 1, Limits: []limiter.LimitWrite{
		{Name: "day", Change: -50000, Edge: 1799971200000, Has: limiter.FieldGrants, Extra: limiter.Extra{Grants: 1}},
		{Name: "ses", Change: -30000, Has: limiter.FieldWindow | limiter.FieldWindowApplied, Extra: limiter.Extra{WindowApplied: 7}},
	}}
	second := example
	second.Shard = 1
	write(t, api, limiter.Write{Kind: limiter.WriteCreate, Key: second, ShardCount: 2, RF: 7, HasVU: true, VU: 8, Zone: "Europe/Berlin",
		Bypass: limiter.StampSet, BypassUntil: 66, Limits: []limiter.LimitWrite{day, ses, wcuWrite()}}, move)
	actions := api.transacts[0].TransactItems
	if len(actions) != 3 || actions[1].ConditionCheck == nil {
		t.Fatalf("got %d actions, want the put, the check of the owner and the move", len(actions))
	}
	got := showItem(actions[0].Put.Item)
	for name, want := range map[string]string{
		"vu": "8", "bypass": "66", "sched": "'1h9s500'", "rsched": "'1m0h0'", "sched_tz": "'Europe/Berlin'", "shard_count": "2",
		"b_day_gc": "2", "b_day_sched": "'-'", "b_day_rsched": "", "b_day_ra": "0", "b_day_ws": "",
		"b_ses_gc": "2", "b_ses_sched": "", "b_ses_rsched": "'-'", "b_ses_rsa": "3600", "b_ses_ws": "7", "b_ses_wa": "7", "b_ses_soft": "99",
		"b_wcu_sched": "", "b_wcu_gc": "",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	u := actions[2].Update
	diff(t, expand(t, u.UpdateExpression, u.ConditionExpression, u.ExpressionAttributeNames, u.ExpressionAttributeValues), expanded{
		Add: []string{"b_day_tk -50000", "b_ses_tk -30000"},
		Condition: []string{
			"(shard_count = 1 OR attribute_not_exists(shard_count))", "attribute_exists(PK)", "attribute_not_exists(b_ses_gc)",
			"b_day_gc = 1", "b_day_tk >= 50000", "b_ses_tk >= 30000", "b_ses_wa = 7", "rf >= 1799971200000",
		},
	})
}

func TestARefillOfQuotasAndStamps(t *testing.T) {
	api := &recorder{}
	write(t, api, limiter.Write{
		Kind: limiter.WriteRefill, Key: example, RF: 2000, ReadRF: 1000, ReadHasVU: true, ReadVU: 1500, HasVU: true, VU: 9000, ShardCount: 2,
		Bypass: limiter.StampRemove, ReadHasBypass: true, ReadBypass: 1200,
		Limits: []limiter.LimitWrite{
			{Name: "day", Consumed: 1000, Change: 3000, ReadTokens: 97000, Edge: 1800, Set: limiter.FieldGrants, Remove: limiter.FieldTopUp, Extra: limiter.Extra{Grants: 2}},
			{Name: "ses", Change: 5000, ReadTokens: 45000, Extra: limiter.Extra{Grants: 2, Window: 60, WindowStart: 2000, WindowApplied: 2000},
				Set: limiter.FieldGrants | limiter.FieldWindow | limiter.FieldWindowStart | limiter.FieldWindowApplied},
			{Name: "deep", Consumed: 9000, Free: true, Set: limiter.FieldSoft, Extra: limiter.Extra{Soft: 60000}},
			{Name: "hard", Remove: limiter.FieldSoft, ReadSoft: limiter.Stamp{Present: true, Until: 1100}},
			{Name: "free", Consumed: 4000, Waived: true},
		},
	})
	diff(t, expandUpdate(t, api.updates[0]), expanded{
		Set:    []string{"b_day_gc = 2", "b_deep_soft = 60000", "b_ses_gc = 2", "b_ses_rsa = 60", "b_ses_wa = 2000", "b_ses_ws = 2000", "rf = 2000", "vu = 9000"},
		Remove: []string{"b_day_tu", "b_hard_soft", "bypass"},
		Add: []string{
			"b_day_tc 1000", "b_day_tk 2000", "b_deep_tc 9000", "b_deep_tk -9000", "b_free_tc 4000", "b_free_tk 0", "b_hard_tc 0", "b_hard_tk 0",
			"b_ses_tc 0", "b_ses_tk 5000",
		},
		Condition: []string{
			"(attribute_not_exists(shard_count) OR shard_count <= 2)", "attribute_not_exists(b_deep_soft)",
			"b_day_tk <= 97000", "b_hard_soft = 1100", "b_ses_tk <= 45000", "bypass = 1200", "rf = 1000", "vu = 1500",
		},
	})
}

func TestARetryReliesOnThePeriodOfTheWinner(t *testing.T) {
	api := &recorder{}
	write(t, api, limiter.Write{Kind: limiter.WriteRetry, Key: example, Limits: []limiter.LimitWrite{
		{Name: "day", Consumed: 1000, Edge: 1800},
		{Name: "ses", Consumed: 2000, Set: limiter.FieldWindowApplied, Extra: limiter.Extra{WindowApplied: 2000}},
		{Name: "deep", Consumed: 3000, Free: true},
	}}, limiter.Write{Kind: limiter.WriteBypass, Key: example, BypassUntil: 5, Limits: []limiter.LimitWrite{{Name: "rpm", Consumed: 7000}}})
	actions := api.transacts[0].TransactItems
	of := func(i int) expanded {
		u := actions[i].Update
		return expand(t, u.UpdateExpression, u.ConditionExpression, u.ExpressionAttributeNames, u.ExpressionAttributeValues)
	}
	diff(t, of(0), expanded{
		Add: []string{"b_day_tc 1000", "b_day_tk -1000", "b_deep_tc 3000", "b_deep_tk -3000", "b_ses_tc 2000", "b_ses_tk -2000"},
		Condition: []string{
			"attribute_exists(b_deep_cp)", "attribute_exists(b_deep_tk)", "b_day_tk >= 1000", "b_ses_tk >= 2000", "b_ses_wa = 2000", "rf >= 1800",
		},
	})
	diff(t, of(1), expanded{Set: []string{"bypass = 5"}, Add: []string{"b_rpm_tc 7000"}, Condition: []string{"attribute_exists(bypass)"}})
}

// The pins of a credit that Python 0.17.0 was seen to write, but for the zone, which no write changes
// without vu.
func TestACreditOfQuotasIsPinnedToItsPeriod(t *testing.T) {
	api := &recorder{}
	bucket := &limiter.Bucket{ShardCount: 1, HasVU: true, VU: 1800003600000, Schedule: "1h8s500", ResetSchedule: "1m0h0"}
	day := &limiter.LimitState{Name: "day", Capacity: 100000, Has: limiter.FieldsPlain | limiter.FieldGrants | limiter.FieldSchedule,
		Extra: &limiter.Extra{Grants: 1, Schedule: "-"}}
	ses := &limiter.LimitState{Name: "ses", Capacity: 50000,
		Has:   limiter.FieldsPlain | limiter.FieldGrants | limiter.FieldSchedule | limiter.FieldResetSchedule | limiter.FieldWindow | limiter.FieldWindowStart | limiter.FieldWindowApplied,
		Extra: &limiter.Extra{Grants: 1, Schedule: "-", ResetSchedule: "-", Window: 18000, WindowStart: 1800000000000, WindowApplied: 1800000000000}}
	in := limiter.AdjustInput{Key: example, Item: bucket, Checked: true, Changes: []limiter.Change{
		{Limit: "day", Delta: -1000, Ceiling: 100000, State: day, Period: limiter.Period{Kind: limiter.CalendarPeriod, Before: 1800057600000}},
		{Limit: "ses", Delta: -1000, Ceiling: 50000, State: ses, Period: limiter.Period{Kind: limiter.SessionPeriod}},
	}}
	if _, err := newStore(api).Adjust(testContext(t), &in); err != nil {
		t.Fatal(err)
	}
	diff(t, expandUpdate(t, api.updates[0]), expanded{
		Add: []string{"b_day_tc -1000", "b_day_tk 1000", "b_ses_tc -1000", "b_ses_tk 1000"},
		Condition: []string{
			"(shard_count = 1 OR attribute_not_exists(shard_count))", "attribute_exists(PK)",
			"attribute_not_exists(b_day_rn)", "attribute_not_exists(b_day_rsched)", "attribute_not_exists(b_day_tu)", "attribute_not_exists(b_ses_tu)",
			"b_day_cp = 100000", "b_day_gc = 1", "b_day_sched = '-'", "b_day_tk <= 99000",
			"b_ses_cp = 50000", "b_ses_gc = 1", "b_ses_rsched = '-'", "b_ses_sched = '-'", "b_ses_tk <= 49000",
			"b_ses_wa = 1800000000000", "b_ses_ws = 1800000000000", "rf < 1800057600000", "rsched = '1m0h0'", "sched = '1h8s500'", "vu = 1800003600000",
		},
	})
	in.Checked, in.ForceSlow = false, true
	if _, err := newStore(api).Adjust(testContext(t), &in); err != nil {
		t.Fatal(err)
	}
	diff(t, expandUpdate(t, api.updates[1]), expanded{
		Set: []string{"vu = 0"},
		Add: []string{"b_day_tc -1000", "b_day_tk 1000", "b_ses_tc -1000", "b_ses_tk 1000"},
		Condition: []string{"attribute_exists(PK)", "attribute_not_exists(b_day_rn)", "b_ses_wa = 1800000000000", "b_ses_ws = 1800000000000",
			"rf < 1800057600000"},
	})
}

func TestWindowsStampsAndFrozenCounts(t *testing.T) {
	api := &recorder{}
	store := newStore(api)
	err := store.OpenWindow(testContext(t), &limiter.OpenWindowInput{Key: example, Windows: []limiter.Window{{Limit: "ses", Start: 1800003600000, Seconds: 3600}}})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, expandUpdate(t, api.updates[0]), expanded{
		Set: []string{"0)", "b_ses_rsa = 3600", "b_ses_ws = 1800003600000", "b_ses_wtc = if_not_exists(b_ses_tc", "vu = 0"}, // split at the comma
		Condition: []string{"(attribute_exists(b_ses_wa) OR rf < 1800003600000)", "(attribute_not_exists(b_ses_ws) OR b_ses_ws <= 1800000000000)",
			"attribute_exists(PK)"},
	})
	if err := store.StampShardCount(testContext(t), example, 4, []string{"day"}); err != nil {
		t.Fatal(err)
	}
	diff(t, expandUpdate(t, api.updates[1]), expanded{
		Set:       []string{"b_day_gc = if_not_exists(b_day_gc", "shard_count = 4", "shard_count)"},
		Condition: []string{"attribute_exists(PK)", "shard_count < 4"},
	})
	err = store.Restamp(testContext(t), &limiter.RestampInput{Key: example, Bypass: limiter.StampRemove, ReadBypass: limiter.Stamp{Present: true, Until: 5},
		Soft: []limiter.SoftStamp{{Limit: "rpm", Action: limiter.StampSet, Until: 9, Read: limiter.Stamp{Present: true}}}})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, expandUpdate(t, api.updates[2]), expanded{
		Set: []string{"b_rpm_soft = 9"}, Remove: []string{"bypass"},
		Condition: []string{"attribute_exists(PK)", "attribute_exists(b_rpm_soft)", "bypass = 5"},
	})
}
