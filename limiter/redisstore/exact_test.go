package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
	"github.com/zeroae/zae-limiter-go/limiter/storetest"
)

// Balances beyond 2^53, where the numbers of scripts are no longer exact, are those of the model to the digit, in
// sums and in comparisons.
func TestLargeBalancesAreExact(t *testing.T) {
	_, o := serve(t)
	largeBalances(t, o)
}

func largeBalances(t *testing.T, o redisstore.Options) {
	amount := rapid.Custom(func(t *rapid.T) int64 {
		base := rapid.SampledFrom([]int64{0, 1000, 1e15, 1 << 53, 1e16, 1e17, 1e18}).Draw(t, "base")
		return max(0, base+rapid.Int64Range(-3, 3).Draw(t, "offset"))
	})
	rapid.Check(t, func(r *rapid.T) {
		ctx := context.Background()
		redis, model := onNamespace(t, o), memstore.New()
		defer redis.Close()
		stores := []storetest.Store{redis, model}
		both := func(what string, call func(storetest.Store) (string, error)) bool {
			var got [2]string
			for i, s := range stores {
				text, err := call(s)
				if err != nil {
					if i == 0 && strings.Contains(err.Error(), "beyond") {
						return false // nothing was written, and the model goes on
					}
					r.Fatalf("%s: %v", what, err)
				}
				var out limiter.ReadOutput
				in := limiter.ReadInput{Resource: "api", Entities: []limiter.EntityRead{{EntityID: "u", Bucket: true}}}
				if err := s.Read(ctx, &in, &out); err != nil {
					r.Fatal(err)
				}
				got[i] = text + " " + fmt.Sprintf("%+v", out.Entities[0].Bucket)
			}
			if got[0] != got[1] {
				r.Fatalf("%s:\n%s\n%s", what, got[0], got[1])
			}
			return true
		}
		key := limiter.BucketKey{EntityID: "u", Resource: "api"}
		full := amount.Draw(r, "tokens")
		write := func(w limiter.Write) func(storetest.Store) (string, error) {
			return func(s storetest.Store) (string, error) {
				var out limiter.WriteOutput
				err := s.Write(ctx, []limiter.Write{w}, &out)
				if out.Outcome == limiter.Done {
					out.Results = nil
				}
				return fmt.Sprintf("%+v", out), err
			}
		}
		plain := func(name string, tokens int64) limiter.LimitWrite {
			return limiter.LimitWrite{Name: name, Tokens: tokens, Capacity: 1e18, Refill: 1e18, Period: 1000}
		}
		both("create", write(limiter.Write{Kind: limiter.WriteCreate, Key: key, RF: 1, ShardCount: 1, Limits: []limiter.LimitWrite{plain("a", full), plain("wcu", 1e6)}}))
		rf := int64(1)
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			n := amount.Draw(r, "amount")
			var goes bool
			switch rapid.IntRange(0, 4).Draw(r, "kind") {
			case 0, 1:
				goes = both(fmt.Sprint("consume ", n), func(s storetest.Store) (string, error) {
					var out limiter.ConsumeOutput
					err := s.Consume(ctx, &limiter.ConsumeInput{Key: key, Charges: []limiter.Charge{{Limit: "a", Amount: n}}, Now: 1}, &out)
					return fmt.Sprintf("%d %+v", out.Outcome, out.Image), err
				})
			case 2:
				goes = both(fmt.Sprint("adjust ", -n), func(s storetest.Store) (string, error) {
					out, err := s.Adjust(ctx, &limiter.AdjustInput{Key: key, Changes: []limiter.Change{{Limit: "a", Delta: -n}}})
					return fmt.Sprintf("%+v", out), err
				})
			case 3:
				goes = both(fmt.Sprint("retry ", n), write(limiter.Write{Kind: limiter.WriteRetry, Key: key, Limits: []limiter.LimitWrite{{Name: "a", Consumed: n}}}))
			case 4:
				most := amount.Draw(r, "read")
				goes = both(fmt.Sprint("refill ", n), write(limiter.Write{Kind: limiter.WriteRefill, Key: key, RF: rf + 1, ReadRF: rf,
					Limits: []limiter.LimitWrite{{Name: "a", Change: n, ReadTokens: most, Consumed: amount.Draw(r, "consumed")}}}))
				var out limiter.ReadOutput
				in := limiter.ReadInput{Resource: "api", Entities: []limiter.EntityRead{{EntityID: "u", Bucket: true}}}
				if err := model.Read(ctx, &in, &out); err != nil {
					r.Fatal(err)
				}
				rf = out.Entities[0].Bucket.RF
			}
			if !goes {
				return
			}
		}
	})
}
