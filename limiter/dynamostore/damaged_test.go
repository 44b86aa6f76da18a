package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// damage is what a peer left on a bucket: lines of name=type:value, or -name for what is missing. Numbers are small, so
// that no balance could admit what the test asks for.
func damage(item map[string]types.AttributeValue, text string) (waived bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if missing, ok := strings.CutPrefix(line, "-"); ok && item[missing] != nil {
			delete(item, missing)
			continue
		}
		name, rest, _ := strings.Cut(line, "=")
		kind, value, ok := strings.Cut(rest, ":")
		if !ok || name == "" || len(name) > 200 || strings.HasSuffix(name, "PK") || strings.HasSuffix(name, "SK") {
			continue
		}
		switch kind {
		case "N":
			n, ok := new(big.Float).SetString(value)
			if !ok || n.IsInf() || len(value) > 30 {
				continue
			}
			if balance := strings.HasPrefix(name, "b_") && !strings.HasSuffix(name, "_rp"); balance && n.Cmp(big.NewFloat(1e6)) > 0 {
				continue
			}
			item[name] = &types.AttributeValueMemberN{Value: value}
		case "S":
			item[name] = &types.AttributeValueMemberS{Value: value}
		case "B":
			item[name] = &types.AttributeValueMemberBOOL{Value: value == "true"}
		}
		// What an operator waived is admitted for ever, and rightly.
		waived = waived || name == "bypass" || strings.HasSuffix(name, "_soft")
	}
	return waived
}

// FuzzAcquireOfDamagedItems acquires from buckets as damaged, older or hostile peers leave them: they are repaired or
// refused, but never admit without end, and never make the process fail.
func FuzzAcquireOfDamagedItems(f *testing.F) {
	for _, seed := range []string{
		"-rf", "-b_tpm_tk", "-b_tpm_cp", "-b_tpm_ra\n-b_tpm_rp", "-b_tpm_tc", "-shard_count", "-b_wcu_tk", "-b_wcu_cp\n-b_wcu_rp",
		"rf=N:-1", "rf=N:99999999999999", "rf=N:1.5", "rf=S:x", "shard_count=N:0", "shard_count=N:-3", "shard_count=N:512", "shard_count=N:99999999999",
		"b_tpm_rp=N:0", "b_tpm_rp=N:-60000", "b_tpm_ra=N:-1", "b_tpm_cp=N:0", "b_tpm_cp=N:-5", "b_tpm_tk=N:-999999", "b_tpm_tk=N:1e3",
		"b_tpm_ra=N:0\nb_tpm_rsa=N:-5", "b_tpm_ra=N:0\nb_tpm_rsa=N:0\nb_tpm_ws=N:5", "b_tpm_ra=N:0\nb_tpm_rsa=N:1\nb_tpm_ws=N:99999999999999",
		"b_tpm_ra=N:0\nb_tpm_rsa=N:60\nb_tpm_ws=N:1799999999999\nb_tpm_wa=N:1\nb_tpm_wtc=N:99", "b_tpm_ra=N:0",
		"b_tpm_ra=N:0\nrsched=S:1m0h0\nb_tpm_gc=N:0", "b_tpm_ra=N:0\nrsched=S:1\nb_tpm_gc=N:-2", "b_tpm_ra=N:0\nrsched=S:1m0h0\nb_tpm_gc=N:99\nb_tpm_tu=N:-7\nb_tpm_rn=N:-1",
		"sched=S:junk", "sched=S:1h9s500\nsched_tz=S:Mars/X", "b_tpm_sched=S:1s1000000000", "vu=N:0", "vu=N:-1", "ttl=N:0", "ttl=N:1",
		"disabled=S:bypass", "disabled=B:true", "disabled=N:1", "cascade=B:true\nparent_id=S:", "cascade=B:true\nparent_id=S:a#b", "cascade=B:true", "pgen=N:-1\npinc=S:x",
		"b_rpm_tk=N:5", "b__tk=N:1\nb_=N:1", "b_tpm_soft=N:0", "bypass=N:0",
	} {
		f.Add(seed)
	}
	const asked, most = 100, 300 // tokens a time, and times
	ctx := context.Background()
	engine := newEngine(f, dynamolocal.Config{})
	client := engine.Client()
	table := dynamostore.OpenTable(client, "damaged", dynamostore.TableOptions{})
	if err := table.Create(ctx); err != nil {
		f.Fatal(err)
	}
	store := table.Store("ns")
	now := time.UnixMilli(1_800_000_000_000)
	open := func(t testing.TB) *limiter.Limiter {
		l, err := limiter.New(store, limiter.Options{Clock: func() time.Time { return now }, RejectionCacheTTL: -1, WithoutAudit: true})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if err := open(f).Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerDay("tpm", 500)}, limiter.Block); err != nil {
		f.Fatal(err)
	}
	entities := 0
	f.Fuzz(func(t *testing.T, text string) {
		entities++
		entity := fmt.Sprint("u", entities)
		request := limiter.Request{EntityID: entity, Resource: "r", Consume: limiter.Amounts{"tpm": 0}}
		lease, err := open(t).Acquire(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Close(ctx); err != nil {
			t.Fatal(err)
		}
		got, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("damaged"), Key: map[string]types.AttributeValue{
			"PK": &types.AttributeValueMemberS{Value: "ns/BUCKET#" + entity + "#r#0"}, "SK": &types.AttributeValueMemberS{Value: "#STATE"},
		}})
		if err != nil || got.Item == nil {
			t.Fatal(got.Item, err)
		}
		waived := damage(got.Item, text)
		if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("damaged"), Item: got.Item}); err != nil {
			return // not an item that the table could hold
		}
		request.Consume = limiter.Amounts{"tpm": asked}
		l := open(t)
		for admitted := 0; !waived; admitted++ {
			if admitted == most {
				t.Fatalf("%d tokens were admitted by\n%s", most*asked, text)
			}
			if _, err = l.Acquire(ctx, request); err != nil {
				break
			}
		}
		if _, exceeded := errors.AsType[*limiter.ExceededError](err); err != nil && !exceeded {
			_, disabled := errors.AsType[*limiter.DisabledError](err)
			_, unavailable := errors.AsType[*limiter.UnavailableError](err)
			_, invalid := errors.AsType[*limiter.ValidationError](err)
			if !disabled && !unavailable && !invalid {
				t.Errorf("refused with %v", err)
			}
		}
	})
}
