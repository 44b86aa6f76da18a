//go:build interop

package mixed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// orders is what a process of the load is told, as JSON.
type orders struct {
	Endpoint  string   `json:"endpoint"`
	Table     string   `json:"table"`
	Namespace string   `json:"namespace"`
	Entities  []string `json:"entities"`
	Seconds   float64  `json:"seconds"`
	// AheadMS is how far the clock of the limiter is ahead of the machine's.
	AheadMS int64  `json:"ahead_ms"`
	Seed    uint64 `json:"seed"`
}

// summary is the last line of a process.
type summary struct {
	Made      int `json:"made"`
	Refused   int `json:"refused"`
	Contended int `json:"contended"`
}

var errGiven = errors.New("the body fails")

// work is one Go process of the load: testdata/load.py in Go.
func work(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	client, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{Region: "us-east-1", Endpoint: o.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
	if err != nil {
		return err
	}
	clock := func() time.Time { return time.Now().Add(time.Duration(o.AheadMS) * time.Millisecond) }
	ctx := context.Background()
	store, err := dynamostore.OpenTable(client, o.Table, dynamostore.TableOptions{Clock: clock}).Connect(ctx, o.Namespace)
	if err != nil {
		return err
	}
	l, err := limiter.New(store, limiter.Options{Clock: clock})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	now := func() int64 { return clock().UnixMilli() }
	told := func(since int64, entity, resource, limit string, n int64, corrects bool) error {
		return out.Encode([]any{since, now(), entity, resource, limiter.Amounts{limit: n}, corrects})
	}
	if err := out.Encode("ready"); err != nil {
		return err
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	draw := rand.New(rand.NewPCG(o.Seed, o.Seed))
	var s summary
	for end := time.Now().Add(time.Duration(o.Seconds * float64(time.Second))); time.Now().Before(end); {
		s.Made++
		entity, resource, limit := o.Entities[draw.IntN(len(o.Entities))], "drip", "rate"
		if draw.IntN(2) == 0 {
			resource, limit = "quota", []string{"even", "odd", "session"}[draw.IntN(3)]
		}
		n, corrects, correction := 1+draw.Int64N(5), draw.IntN(10), int64(0)
		since := now()
		err := l.Do(ctx, limiter.Request{EntityID: entity, Resource: resource, Consume: limiter.Amounts{limit: n}}, func(_ context.Context, lease *limiter.Lease) error {
			if err := told(since, entity, resource, limit, n, false); err != nil {
				return err
			}
			since = now()
			switch {
			case resource != "drip" || corrects > 3:
			case corrects == 0:
				return errGiven
			default:
				correction = draw.Int64N(n+4) - n
				return lease.Adjust(limiter.Amounts{limit: correction})
			}
			return nil
		})
		exceeded, refused := errors.AsType[*limiter.ExceededError](err)
		switch {
		case refused:
			s.Refused++
			if exceeded.Contended {
				s.Contended++
			}
			time.Sleep(min(exceeded.RetryAfter(), 10*time.Millisecond))
		case errors.Is(err, errGiven):
			err = told(since, entity, resource, limit, -n, true)
		case err == nil && correction != 0:
			err = told(since, entity, resource, limit, correction, true)
		}
		if err != nil && !refused {
			return fmt.Errorf("acquire of %s/%s: %w", entity, resource, err)
		}
	}
	return out.Encode(s)
}
