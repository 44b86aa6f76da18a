package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
)

const runOfOneBucket = `
def on_test_start(env):
    env.client.set_system_defaults([Limit.per_minute("rpm", 1000000000)])

def acquire(user):
    sleep(0.01)
    user.client.acquire("e", "api", {"rpm": 1})

User = user_class(acquire)
`

func number(text string) types.AttributeValue { return &types.AttributeValueMemberN{Value: text} }

// TestTheRoleOfTheAggregatorIsNeededAndEnough lets a deployed aggregator do all that it does: sum usage up, and
// make the shards of a bucket that was doubled. Nothing of that is denied, and its role may do nothing else.
func TestTheRoleOfTheAggregatorIsNeededAndEnough(t *testing.T) {
	t.Parallel()
	program, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "u.star")
	if err := os.WriteFile(file, []byte(runOfOneBucket), 0o600); err != nil {
		t.Fatal(err)
	}
	record := &audit{decided: map[string]map[string]iam.Decision{}}
	account, err := awsfake.Start(t.Context(), awsfake.Options{Decided: record.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := account.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	admin := &caller{t, program, account.Environ()}
	var deployed struct {
		Namespace string `json:"namespace_id"`
	}
	if err := json.Unmarshal([]byte(admin.run("deploy", "--name", "my-limiter", "--json")), &deployed); err != nil {
		t.Fatal(err)
	}
	admin.run("load", "benchmark", "-f", file, "--users", "1", "--duration", "1", "--target", "dynamodb", "--table", "my-limiter", "--namespace", "default", "--endpoint-url", account.Endpoint())
	table := dynamodb.NewFromConfig(administrator(account))
	bucket := func(shard string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{
			"PK": &types.AttributeValueMemberS{Value: deployed.Namespace + "/BUCKET#e#api#" + shard}, "SK": &types.AttributeValueMemberS{Value: "#STATE"},
		}
	}
	_, err = table.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName: aws.String("my-limiter"), Key: bucket("0"),
		// With a quota of an hour, whose shards are read before one is added.
		UpdateExpression:          aws.String("SET shard_count = :n, b_q_tk = :q, b_q_cp = :q, b_q_ra = :none, b_q_rp = :rp, b_q_tc = :none, b_q_rsa = :rsa"),
		ConditionExpression:       aws.String("attribute_exists(PK)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":n": number("2"), ":q": number("100000"), ":none": number("0"), ":rp": number("1000"), ":rsa": number("3600")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		out, err := table.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("my-limiter"), Key: bucket("1")})
		if err != nil {
			t.Fatal(err)
		}
		if out.Item != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the second shard is not there after %v", patience)
		}
		time.Sleep(100 * time.Millisecond) // asks another process, which cannot signal us
	}
	const role = "my-limiter-aggr"
	policies := rolePolicies(t, account, role)[role]
	admin.run("delete", "--name", "my-limiter", "--yes") // what the aggregator does has ended
	decided := record.of(t, ":role/"+role)
	noDenial(t, role, decided)
	for name, policy := range policies {
		if got := needless(t, policy, decided); len(got) > 0 {
			t.Errorf("policy %s grants or denies what makes no difference: %q", name, got)
		}
	}
}
