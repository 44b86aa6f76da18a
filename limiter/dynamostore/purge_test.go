package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// lateWriter writes an item to a namespace after each batch of deletes, as the aggregator does that
// still reads what a run left on the stream.
type lateWriter struct {
	dynamostore.API
	id      string
	until   time.Time
	written int
}

func (w *lateWriter) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, options ...option) (*dynamodb.BatchWriteItemOutput, error) {
	out, err := w.API.BatchWriteItem(ctx, in, options...)
	if err != nil || time.Now().After(w.until) {
		return out, err
	}
	w.written++
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	_, err = w.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("late"), Item: map[string]types.AttributeValue{
		"PK": text(w.id + "/ENTITY#e"), "SK": text(fmt.Sprint("#USAGE#", w.written)), "GSI4PK": text(w.id), "GSI4SK": text("usage"),
	}})
	return out, err
}

func TestAPurgeWaitsForWhatTheAggregatorStillWrites(t *testing.T) {
	for name, test := range map[string]struct {
		writes time.Duration
		gone   bool
	}{
		"writes for 20 seconds": {20 * time.Second, true},
		"does not stop":         {time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &lateWriter{API: newEngine(t, dynamolocal.Config{}).Client(), until: time.Now().Add(test.writes)}
				table := dynamostore.OpenTable(api, "late", dynamostore.TableOptions{})
				err := table.Create(t.Context())
				if err == nil {
					api.id, err = table.RegisterNamespace(t.Context(), "run")
				}
				if err == nil {
					_, err = api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("late"), Item: map[string]types.AttributeValue{
						"PK": &types.AttributeValueMemberS{Value: api.id + "/ENTITY#e"}, "SK": &types.AttributeValueMemberS{Value: "#META"},
						"GSI4PK": &types.AttributeValueMemberS{Value: api.id}, "GSI4SK": &types.AttributeValueMemberS{Value: "meta"},
					}})
				}
				if err = errors.Join(err, table.DeleteNamespace(t.Context(), "run")); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				err = table.PurgeNamespace(t.Context(), api.id)
				if took := time.Since(began); took > 90*time.Second {
					t.Errorf("took %v", took)
				}
				switch {
				case test.gone && err != nil:
					t.Errorf("got %v after %d late items", err, api.written)
				case !test.gone && (err == nil || !strings.Contains(err.Error(), "items keep appearing")):
					t.Errorf("got %v, want an error", err)
				}
			})
		})
	}
}
