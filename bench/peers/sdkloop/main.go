// Command sdkloop is what a Go client of the table costs without a limiter: the speculative write of
// an acquire, sent by the AWS SDK in a loop. It also prepares the table for the comparison.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

func main() {
	endpoint := flag.String("endpoint", "", "engine to drive")
	table := flag.String("table", "bench-peers", "table")
	prepare := flag.Bool("prepare", false, "make the table, its namespace default and all buckets, then end")
	entities := flag.Int("entities", 4096, "buckets to spread the writes over")
	workers := flag.Int("workers", 10, "concurrent callers")
	duration := flag.Duration("duration", 10*time.Second, "how long to loop")
	flag.Parse()
	// As in our load generator.
	debug.SetGCPercent(400)
	client, err := dynamostore.NewClient(dynamostore.ClientConfig{
		Region: "us-east-1", Endpoint: *endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	if err == nil && *prepare {
		err = prepareTable(context.Background(), client, *table, *entities)
	} else if err == nil {
		err = loop(context.Background(), client, *table, *entities, *workers, *duration)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func entityID(i int) string { return fmt.Sprintf("bench-%04d", i) }

// prepareTable makes everything that the contenders find: limits that nobody reaches, and a warm
// bucket for each entity.
func prepareTable(ctx context.Context, client *dynamodb.Client, name string, entities int) error {
	table := dynamostore.OpenTable(client, name, dynamostore.TableOptions{WithoutStream: true})
	if err := table.Create(ctx); err != nil {
		return err
	}
	id, err := table.RegisterNamespace(ctx, "default")
	if err != nil {
		return err
	}
	l, err := limiter.New(table.Store(id), limiter.Options{})
	if err != nil {
		return err
	}
	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 1_000_000_000)}, ""); err != nil {
		return err
	}
	for i := range entities {
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: entityID(i), Resource: "api", Consume: limiter.Amounts{"rpm": 1}})
		if err != nil {
			return err
		}
		if err := lease.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// loop sends the speculative write from several callers and prints how many there were.
func loop(ctx context.Context, client *dynamodb.Client, name string, entities, workers int, d time.Duration) error {
	table := dynamostore.OpenTable(client, name, dynamostore.TableOptions{})
	id, ok, err := table.ResolveNamespace(ctx, "default")
	if err != nil || !ok {
		return fmt.Errorf("namespace default: found %v: %w", ok, err)
	}
	keys := make([]string, entities)
	for i := range keys {
		keys[i] = id + "/BUCKET#" + entityID(i) + "#api#0"
	}
	names := map[string]string{"#n0": "b_rpm_tk", "#n1": "b_rpm_tc", "#n2": "b_wcu_tk", "#n3": "b_wcu_tc", "#n4": "ttl", "#n5": "disabled"}
	number := func(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
	var requests atomic.Int64
	var failure atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for time.Since(start) < d && failure.Load() == nil {
				_, err := client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
					TableName: aws.String(name),
					Key: map[string]types.AttributeValue{
						"PK": &types.AttributeValueMemberS{Value: keys[rand.IntN(entities)]},
						"SK": &types.AttributeValueMemberS{Value: "#STATE"},
					},
					UpdateExpression:         aws.String("ADD #n0 :v0, #n1 :v1, #n2 :v2, #n3 :v3"),
					ConditionExpression:      aws.String("attribute_exists(PK) AND #n0 >= :v1 AND (attribute_not_exists(#n4) OR #n4 > :v4) AND attribute_not_exists(#n5)"),
					ExpressionAttributeNames: names,
					ExpressionAttributeValues: map[string]types.AttributeValue{
						":v0": number("-1000"), ":v1": number("1000"), ":v2": number("0"), ":v3": number("0"), ":v4": number("1"),
					},
					ReturnValues:                        types.ReturnValueAllNew,
					ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
				})
				if err != nil {
					failure.Store(&err)
					return
				}
				requests.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"requests": requests.Load(), "seconds": time.Since(start).Seconds()})
}
