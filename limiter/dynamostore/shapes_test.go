package dynamostore_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

func expandUpdate(t *testing.T, in *dynamodb.UpdateItemInput) expanded {
	t.Helper()
	if aws.ToString(in.TableName) != "t" {
		t.Errorf("table %q", aws.ToString(in.TableName))
	}
	return expand(t, in.UpdateExpression, in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues)
}

func wcuWrite() limiter.LimitWrite {
	return limiter.LimitWrite{Name: "wcu", Tokens: 1000000, Capacity: 1000000, Refill: 1000000, Period: 1000}
}

// The limits of the worked example: 100 requests and 10,000 tokens a minute.
func rpm(tokens, consumed int64) limiter.LimitWrite {
	return limiter.LimitWrite{Name: "rpm", Tokens: tokens, Consumed: consumed, Capacity: 100000, Refill: 100000, Period: 60000}
}

func tpm(tokens, consumed int64) limiter.LimitWrite {
	return limiter.LimitWrite{Name: "tpm", Tokens: tokens, Consumed: consumed, Capacity: 10000000, Refill: 10000000, Period: 60000}
}

func write(t *testing.T, api *recorder, writes ...limiter.Write) limiter.WriteOutput {
	t.Helper()
	var out limiter.WriteOutput
	if err := newStore(api).Write(testContext(t), writes, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCreateIsATransactionOfTheItemAndTheOwnersAbsence(t *testing.T) {
	api := &recorder{}
	write(t, api, limiter.Write{
		Kind: limiter.WriteCreate, Key: example, ShardCount: 1, RF: 1800000000000,
		TTL: limiter.TTLSet, TTLValue: 1800000420,
		Limits: []limiter.LimitWrite{rpm(0, 100000), tpm(9500000, 500000), wcuWrite()},
	})
	if len(api.transacts) != 1 || len(api.transacts[0].TransactItems) != 2 {
		t.Fatalf("got %d transactions", len(api.transacts))
	}
	put, check := api.transacts[0].TransactItems[0].Put, api.transacts[0].TransactItems[1].ConditionCheck
	diff(t, aws.ToString(put.ConditionExpression), "attribute_not_exists(PK)")
	diff(t, put.ReturnValuesOnConditionCheckFailure, types.ReturnValuesOnConditionCheckFailureAllOld)
	diff(t, showItem(put.Item), map[string]string{
		"PK": "'ns/BUCKET#u#r4#0'", "SK": "'#STATE'", "entity_id": "'u'", "resource": "'r4'",
		"rf": "1800000000000", "shard_count": "1", "cascade": "false", "ttl": "1800000420",
		"b_rpm_tk": "0", "b_rpm_cp": "100000", "b_rpm_ra": "100000", "b_rpm_rp": "60000", "b_rpm_tc": "100000",
		"b_tpm_tk": "9500000", "b_tpm_cp": "10000000", "b_tpm_ra": "10000000", "b_tpm_rp": "60000", "b_tpm_tc": "500000",
		"b_wcu_tk": "1000000", "b_wcu_cp": "1000000", "b_wcu_ra": "1000000", "b_wcu_rp": "1000", "b_wcu_tc": "0",
		"GSI2PK": "'ns/RESOURCE#r4'", "GSI2SK": "'BUCKET#u#0'",
		"GSI3PK": "'ns/ENTITY#u'", "GSI3SK": "'BUCKET#r4#0'",
		"GSI4PK": "'ns'", "GSI4SK": "'BUCKET#u#r4#0'",
	})
	diff(t, showItem(check.Key), map[string]string{"PK": "'ns/ENTITY#u'", "SK": "'#META'"})
	diff(t, aws.ToString(check.ConditionExpression), "attribute_not_exists(PK)")
}

func TestCascadingPairIsOneTransactionThatPinsBothOwners(t *testing.T) {
	api := &recorder{}
	child := limiter.Write{
		Kind: limiter.WriteCreate, Key: limiter.BucketKey{EntityID: "c", Resource: "r", Shard: 3}, ShardCount: 4,
		Owner: limiter.Owner{Found: true, Generation: 1800000000000, PInc: "00112233aabbccdd"}, Cascade: true, ParentID: "org",
		RF: 1800000000000, TTL: limiter.TTLRemove, Limits: []limiter.LimitWrite{rpm(99000, 1000), wcuWrite()},
	}
	parent := limiter.Write{
		Kind: limiter.WriteCreate, Key: limiter.BucketKey{EntityID: "org", Resource: "r"}, ShardCount: 1,
		Owner: limiter.Owner{Found: true, CreatedAt: "2026-01-31T23:59:59Z"}, RF: 1800000000000, TTL: limiter.TTLSet, TTLValue: 1800000420,
		Limits: []limiter.LimitWrite{rpm(99000, 1000), wcuWrite()},
	}
	write(t, api, child, parent)
	actions := api.transacts[0].TransactItems
	if len(actions) != 4 {
		t.Fatalf("got %d actions, want 4", len(actions))
	}
	got := showItem(actions[0].Put.Item)
	for name, want := range map[string]string{
		"PK": "'ns/BUCKET#c#r#3'", "GSI2SK": "'BUCKET#c#3'", "GSI3SK": "'BUCKET#r#3'", "shard_count": "4",
		"cascade": "true", "parent_id": "'org'", "pgen": "1800000000000", "pinc": "'00112233aabbccdd'", "ttl": "",
	} {
		if got[name] != want {
			t.Errorf("child: %s is %s, want %s", name, got[name], want)
		}
	}
	got = showItem(actions[2].Put.Item)
	for name, want := range map[string]string{
		"cascade": "false", "parent_id": "", "pgen": "0", "pinc": "'2026-01-31T23:59:59Z'", "ttl": "1800000420",
	} {
		if got[name] != want {
			t.Errorf("parent: %s is %s, want %s", name, got[name], want)
		}
	}
	condition := func(i int) []string {
		c := actions[i].ConditionCheck
		return expand(t, nil, c.ConditionExpression, c.ExpressionAttributeNames, c.ExpressionAttributeValues).Condition
	}
	diff(t, condition(1), []string{"attribute_exists(PK)", "pgen = 1800000000000", "pinc = '00112233aabbccdd'"})
	diff(t, show(actions[3].ConditionCheck.Key["PK"]), "'ns/ENTITY#org'")
	if c := actions[3].ConditionCheck; len(c.ExpressionAttributeValues) != 3 {
		t.Errorf("an owner of before the stamps is pinned by %s", aws.ToString(c.ConditionExpression))
	}
}

func TestSpeculativeWriteHasTheWholeCondition(t *testing.T) {
	api := &recorder{updateReply: &dynamodb.UpdateItemOutput{Attributes: exampleItem()}}
	var out limiter.ConsumeOutput
	err := newStore(api).Consume(testContext(t), &limiter.ConsumeInput{
		Key: example, Now: 1800000062999,
		Charges: []limiter.Charge{{Limit: "rpm", Amount: 2000}, {Limit: "t-p.m", Amount: 0}},
	}, &out)
	if err != nil || out.Outcome != limiter.Done {
		t.Fatal(out.Outcome, err)
	}
	in := api.updates[0]
	diff(t, showItem(in.Key), map[string]string{"PK": "'ns/BUCKET#u#r4#0'", "SK": "'#STATE'"})
	diff(t, in.ReturnValues, types.ReturnValueAllNew)
	diff(t, in.ReturnValuesOnConditionCheckFailure, types.ReturnValuesOnConditionCheckFailureAllOld)
	diff(t, expandUpdate(t, in), expanded{
		Add: []string{
			"b_rpm_tc 2000", "b_rpm_tk -2000", "b_t-p.m_tc 0", "b_t-p.m_tk 0", "b_wcu_tc 1000", "b_wcu_tk -1000",
		},
		Condition: []string{
			"(attribute_not_exists(b_rpm_soft) OR b_rpm_soft > 1800000062999)",
			"(attribute_not_exists(b_t-p.m_soft) OR b_t-p.m_soft > 1800000062999)",
			"(attribute_not_exists(bypass) OR bypass > 1800000062999)",
			"(attribute_not_exists(ttl) OR ttl > 1800000062)",
			"(attribute_not_exists(vu) OR vu > 1800000062999 OR bypass > 1800000062999)",
			"(b_rpm_tk >= 2000 OR (b_rpm_soft > 1800000062999 AND attribute_exists(b_rpm_cp) AND attribute_exists(b_rpm_tk)) OR bypass > 1800000062999)",
			"(b_t-p.m_tk >= 0 OR (b_t-p.m_soft > 1800000062999 AND attribute_exists(b_t-p.m_cp) AND attribute_exists(b_t-p.m_tk)) OR bypass > 1800000062999)",
			"attribute_exists(PK)", "attribute_not_exists(disabled)", "b_wcu_tk >= 1000",
		},
	})
}

func TestRefillOfTheWorkedExample(t *testing.T) {
	api := &recorder{}
	wcu := wcuWrite()
	wcu.ReadTokens = 1000000
	first, second := rpm(0, 2000), tpm(0, 0)
	first.Change, first.ReadTokens = 2056, 0
	second.Change, second.ReadTokens = 205666, 9500000
	write(t, api, limiter.Write{
		Kind: limiter.WriteRefill, Key: example, RF: 1800000001234, ReadRF: 1800000000000,
		TTL: limiter.TTLSet, TTLValue: 1800000421, Limits: []limiter.LimitWrite{first, second, wcu},
	})
	diff(t, expandUpdate(t, api.updates[0]), expanded{
		Set:    []string{"rf = 1800000001234", "ttl = 1800000421"},
		Remove: []string{"vu"},
		Add: []string{
			"b_rpm_tc 2000", "b_rpm_tk 56", "b_tpm_tc 0", "b_tpm_tk 205666", "b_wcu_tc 0", "b_wcu_tk 0",
		},
		Condition: []string{
			"attribute_not_exists(bypass)", "attribute_not_exists(vu)",
			"b_rpm_tk <= 0", "b_tpm_tk <= 9500000", "rf = 1800000000000",
		},
	})
	if len(api.transacts) != 0 {
		t.Error("a refill alone took a transaction")
	}
}

func TestRefillPinsTheOwnerAndSeedsMissingLimits(t *testing.T) {
	api := &recorder{}
	debit := rpm(0, 5000)
	debit.Change, debit.ReadTokens = 1000, 7000
	seed := tpm(9990000, 10000)
	seed.Seed = true
	w := limiter.Write{
		Kind: limiter.WriteRefill, Key: example, RF: 2000, ReadRF: 1000, ReadHasVU: true, ReadVU: 0, TTL: limiter.TTLRemove,
		Owner: limiter.Owner{Found: true, Generation: 7, PInc: "aa"}, Cascade: true, ParentID: "org",
		Limits: []limiter.LimitWrite{debit, seed},
	}
	write(t, api, w)
	want := expanded{
		Set: []string{
			"b_tpm_cp = 10000000", "b_tpm_ra = 10000000", "b_tpm_rp = 60000", "b_tpm_rsched = '-'", "b_tpm_sched = '-'",
			"b_tpm_tc = 10000", "b_tpm_tk = 9990000", "cascade = true", "parent_id = 'org'", "pgen = 7", "pinc = 'aa'", "rf = 2000",
		},
		Remove: []string{"ttl", "vu"},
		Add:    []string{"b_rpm_tc 5000", "b_rpm_tk -4000"},
		Condition: []string{
			"(attribute_not_exists(b_tpm_tk) OR attribute_not_exists(b_tpm_cp) OR attribute_not_exists(b_tpm_ra) OR attribute_not_exists(b_tpm_rp))",
			"(attribute_not_exists(pinc) OR (pinc = 'aa' AND (attribute_not_exists(pgen) OR pgen <= 7)))",
			"attribute_not_exists(bypass)", "b_rpm_tk <= 7000", "b_rpm_tk >= 4000", "rf = 1000", "vu = 0",
		},
	}
	diff(t, expandUpdate(t, api.updates[0]), want)

	w.Kind, w.ReadPInc, w.ParentID = limiter.WriteClaim, "old", ""
	write(t, api, w)
	got := expandUpdate(t, api.updates[1])
	want.Condition[1] = "attribute_not_exists(bypass)"
	want.Condition = []string{want.Condition[0], "attribute_not_exists(bypass)", "b_rpm_tk <= 7000", "b_rpm_tk >= 4000", "pinc = 'old'", "rf = 1000", "vu = 0"}
	want.Set = append(append([]string{}, want.Set[:8]...), want.Set[9:]...)
	want.Remove = []string{"parent_id", "ttl", "vu"}
	diff(t, got, want)
}

func TestRetryChargesWhatIsThere(t *testing.T) {
	api := &recorder{}
	write(t, api, limiter.Write{
		Kind: limiter.WriteRetry, Key: example, RF: 5, TTL: limiter.TTLSet, TTLValue: 9,
		Limits: []limiter.LimitWrite{rpm(0, 2000), tpm(0, 0), wcuWrite()},
	})
	diff(t, expandUpdate(t, api.updates[0]), expanded{
		Add:       []string{"b_rpm_tc 2000", "b_rpm_tk -2000"},
		Condition: []string{"b_rpm_tk >= 2000"},
	})
}

func TestAdjustments(t *testing.T) {
	tests := []struct {
		name string
		in   limiter.AdjustInput
		want expanded
	}{
		{"a debit into debt asks for existence only",
			limiter.AdjustInput{Key: example, Changes: []limiter.Change{{Limit: "tpm", Delta: 20000000}}, Checked: true},
			expanded{Add: []string{"b_tpm_tc 20000000", "b_tpm_tk -20000000"}, Condition: []string{"attribute_exists(PK)"}}},
		{"a credit stays below the ceiling and pins what it was computed from",
			limiter.AdjustInput{Key: example, Checked: true, Item: &limiter.Bucket{ShardCount: 1},
				Changes: []limiter.Change{{Limit: "rpm", Delta: -1000, Ceiling: 100000, State: &limiter.LimitState{Name: "rpm", Capacity: 100000}}}},
			expanded{Add: []string{"b_rpm_tc -1000", "b_rpm_tk 1000"}, Condition: []string{
				"(shard_count = 1 OR attribute_not_exists(shard_count))", "attribute_exists(PK)",
				"attribute_not_exists(rsched)", "attribute_not_exists(sched)", "attribute_not_exists(vu)",
				"b_rpm_cp = 100000", "b_rpm_tk <= 99000"}}},
		{"an unchecked credit forces a slow pass",
			limiter.AdjustInput{Key: example, ForceSlow: true, Changes: []limiter.Change{{Limit: "rpm", Delta: -30000}}},
			expanded{Set: []string{"vu = 0"}, Add: []string{"b_rpm_tc -30000", "b_rpm_tk 30000"}, Condition: []string{"attribute_exists(PK)"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			api := &recorder{}
			out, err := newStore(api).Adjust(testContext(t), &tt.in)
			if err != nil || out.Outcome != limiter.Done {
				t.Fatal(out, err)
			}
			diff(t, expandUpdate(t, api.updates[0]), tt.want)
		})
	}
}

func TestDoublingAndCountStamp(t *testing.T) {
	api := &recorder{}
	store := newStore(api)
	if count, won, err := store.Double(testContext(t), "u", "r4", 1); count != 2 || !won || err != nil {
		t.Fatal(count, won, err)
	}
	diff(t, expandUpdate(t, api.updates[0]), expanded{
		Set:       []string{"shard_count = 2"},
		Condition: []string{"(shard_count = 1 OR attribute_not_exists(shard_count))", "attribute_exists(PK)"},
	})
	if err := store.StampShardCount(testContext(t), limiter.BucketKey{EntityID: "u", Resource: "r4", Shard: 1}, 4, nil); err != nil {
		t.Fatal(err)
	}
	diff(t, show(api.updates[1].Key["PK"]), "'ns/BUCKET#u#r4#1'")
	diff(t, expandUpdate(t, api.updates[1]), expanded{
		Set:       []string{"shard_count = 4"},
		Condition: []string{"(attribute_not_exists(shard_count) OR shard_count < 4)", "attribute_exists(PK)"},
	})
	if _, _, err := store.Double(testContext(t), "u", "r4", 32); err == nil || len(api.updates) != 2 {
		t.Error("doubled beyond 32 shards")
	}
	api.updateErr = &types.ConditionalCheckFailedException{Item: item{"shard_count": n("8")}}
	if count, won, err := store.Double(testContext(t), "u", "r4", 2); count != 8 || won || err != nil {
		t.Errorf("lost race: got %d, %v, %v, want the stored 8", count, won, err)
	}
	api.updateErr = &types.ConditionalCheckFailedException{}
	if count, won, err := store.Double(testContext(t), "u", "r4", 2); count != 0 || won || err != nil {
		t.Errorf("missing item: got %d, %v, %v", count, won, err)
	}
}

func TestParameterSync(t *testing.T) {
	api := &recorder{}
	_, err := newStore(api).SyncParameters(testContext(t), limiter.SyncInput{
		Key: example, Limits: []limiter.Limit{limiter.PerMinute("rpm", 100)}, Stale: []string{"tpm"}, TTL: limiter.TTLSet, TTLValue: 77,
	})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, expandUpdate(t, api.updates[0]), expanded{
		Set: []string{"b_rpm_cp = 100000", "b_rpm_ra = 100000", "b_rpm_rp = 60000", "ttl = 77", "vu = 0"},
		Remove: []string{"b_rpm_rsa", "b_rpm_rsched", "b_rpm_sched", "b_rpm_soft", "b_tpm_cp", "b_tpm_ra", "b_tpm_rp",
			"b_tpm_rsched", "b_tpm_sched", "b_tpm_soft", "b_tpm_tc", "b_tpm_tk", "rsched", "sched", "sched_tz"},
		Condition: []string{"attribute_exists(PK)"},
	})
	api.updateErr = &types.ConditionalCheckFailedException{}
	if written, err := newStore(api).SyncParameters(testContext(t), limiter.SyncInput{Key: example}); err != nil || written {
		t.Errorf("a missing item: %v, %v", written, err)
	}
}

func TestStampsOfAFanout(t *testing.T) {
	owner := &limiter.Owner{Found: true, Generation: 7, PInc: "abc"}
	for name, tt := range map[string]struct {
		in   limiter.StampInput
		want expanded
	}{
		"disabled": {limiter.StampInput{Access: limiter.On}, expanded{Set: []string{"disabled = true"}, Remove: []string{"bypass"}, Condition: []string{"attribute_exists(PK)"}}},
		"bypassed": {limiter.StampInput{Access: limiter.Bypassed, Until: 99}, expanded{Set: []string{"bypass = 99"}, Remove: []string{"disabled"}, Condition: []string{"attribute_exists(PK)"}}},
		"enforced": {limiter.StampInput{Access: limiter.Off}, expanded{Remove: []string{"bypass", "disabled"}, Condition: []string{"attribute_exists(PK)"}}},
		"soft": {limiter.StampInput{Soft: map[string]bool{"a": true, "b-c": false}, Until: 99},
			expanded{Set: []string{"b_a_soft = 99"}, Remove: []string{"b_b-c_soft"}, Condition: []string{"attribute_exists(PK)"}}},
		"moved": {limiter.StampInput{Owner: owner, Cascade: true, ParentID: "org"}, expanded{
			Set:       []string{"cascade = true", "parent_id = 'org'", "pgen = 7", "pinc = 'abc'"},
			Condition: []string{"(attribute_not_exists(pinc) OR pinc <> 'abc' OR attribute_not_exists(pgen) OR pgen <= 7)", "attribute_exists(PK)"}}},
		"without a parent": {limiter.StampInput{Owner: owner}, expanded{
			Set: []string{"cascade = false", "pgen = 7", "pinc = 'abc'"}, Remove: []string{"parent_id"},
			Condition: []string{"(attribute_not_exists(pinc) OR pinc <> 'abc' OR attribute_not_exists(pgen) OR pgen <= 7)", "attribute_exists(PK)"}}},
	} {
		t.Run(name, func(t *testing.T) {
			api := &recorder{}
			tt.in.Key = example
			if written, err := newStore(api).Stamp(testContext(t), tt.in); err != nil || !written {
				t.Fatalf("written %t, %v", written, err)
			}
			diff(t, expandUpdate(t, api.updates[0]), tt.want)
		})
	}
}

func exampleItem() item {
	return item{
		"PK": s("ns/BUCKET#u#r4#0"), "SK": s("#STATE"), "entity_id": s("u"), "resource": s("r4"), "rf": n("1800000000000"),
		"shard_count": n("1"), "cascade": b(false), "ttl": n("1800000420"),
		"b_rpm_tk": n("-56"), "b_rpm_cp": n("100000"), "b_rpm_ra": n("100000"), "b_rpm_rp": n("60000"), "b_rpm_tc": n("100000"),
		"b_wcu_tk": n("1000000"), "b_wcu_cp": n("1000000"), "b_wcu_ra": n("1000000"), "b_wcu_rp": n("1000"), "b_wcu_tc": n("0"),
		"GSI2PK": s("ns/RESOURCE#r4"), "GSI2SK": s("BUCKET#u#0"), "someone_elses": &types.AttributeValueMemberB{Value: []byte{1}},
	}
}
