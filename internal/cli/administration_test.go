package cli

import (
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// A table that is not a limiter's, or one of another release, is told apart before anything is written, with what is
// wrong with it and what to try.
func TestTablesThatCannotBeAdministered(t *testing.T) {
	engine, err := dynamolocal.New(dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go engine.Serve(t.Context(), listener)
	client, ctx := engine.Client(), t.Context()
	limiterTable := func(name string) *dynamodb.DescribeTableOutput {
		if err := dynamostore.OpenTable(client, name, dynamostore.TableOptions{}).Create(ctx); err != nil {
			t.Fatal(err)
		}
		out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	create := func(name string, schema []types.KeySchemaElement, indexes []types.GlobalSecondaryIndex) {
		attributes := map[string]bool{}
		for _, k := range schema {
			attributes[*k.AttributeName] = true
		}
		for _, index := range indexes {
			for _, k := range index.KeySchema {
				attributes[*k.AttributeName] = true
			}
		}
		in := &dynamodb.CreateTableInput{TableName: &name, KeySchema: schema, GlobalSecondaryIndexes: indexes, BillingMode: types.BillingModePayPerRequest}
		for _, attribute := range slices.Sorted(maps.Keys(attributes)) {
			in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String(attribute), AttributeType: types.ScalarAttributeTypeS})
		}
		if _, err := client.CreateTable(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	record := func(table string, values map[string]string) {
		item := map[string]types.AttributeValue{"PK": &types.AttributeValueMemberS{Value: "_/SYSTEM#"}, "SK": &types.AttributeValueMemberS{Value: "#VERSION"}}
		for name, value := range values {
			item[name] = &types.AttributeValueMemberS{Value: value}
		}
		if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
			t.Fatal(err)
		}
	}

	whole := limiterTable("whole").Table
	var indexes []types.GlobalSecondaryIndex
	for _, index := range whole.GlobalSecondaryIndexes {
		if *index.IndexName != "GSI3" {
			indexes = append(indexes, types.GlobalSecondaryIndex{IndexName: index.IndexName, KeySchema: index.KeySchema, Projection: index.Projection})
		}
	}
	create("no-index", whole.KeySchema, indexes)
	create("other", []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}}, nil)
	limiterTable("major-1")
	record("major-1", map[string]string{"schema_version": "1.0.0", "client_min_version": "0.0.0"})
	limiterTable("unnamed")
	record("unnamed", map[string]string{"client_min_version": "0.0.0"})
	limiterTable("later")
	record("later", map[string]string{"schema_version": "0.10.0", "client_min_version": "0.18.0"})
	limiterTable("behind")
	record("behind", map[string]string{"schema_version": "0.10.0", "client_min_version": "0.0.0", "lambda_version": "0.14.0"})

	items := func(table string) int {
		out, err := client.Scan(ctx, &dynamodb.ScanInput{TableName: &table})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Items)
	}
	set, get := []string{"system", "set-defaults", "-l", "rpm:1"}, []string{"system", "get-defaults"}
	for _, test := range []struct {
		table    string
		commands [][]string
		says     []string
	}{
		{"no-index", [][]string{set, get}, []string{"table no-index is not a limiter table", "index GSI3 is missing", "--name"}},
		{"other", [][]string{set, get}, []string{"table other is not a limiter table", "the primary key is id (HASH)", "--name"}},
		{"major-1", [][]string{set, get}, []string{`schema version "1.0.0"`, "this client knows 0.10.0", "table major-1 is for other releases"}},
		{"unnamed", [][]string{set, get}, []string{`schema version ""`, "table unnamed is for other releases"}},
		{"later", [][]string{set, get}, []string{"clients must be at 0.18.0 or later, this one is at 0.17.0", "use a release of this program"}},
		{"behind", [][]string{{"entity", "bypass", "u"}}, []string{"the stack's functions are at 0.14.0", "zae-limiter upgrade --name behind"}},
		{"absent", [][]string{set, get}, []string{"table not found: absent", "zae-limiter deploy --name absent"}},
	} {
		for _, command := range test.commands {
			var out, notes strings.Builder
			code := Main(Process{Args: append(slices.Clone(command), "--name", test.table, "--endpoint-url", "http://"+listener.Addr().String()), Stdout: &out, Stderr: &notes})
			if code != 1 || out.String() != "" {
				t.Errorf("%v of %s: exit code %d\n%s%s", command, test.table, code, out.String(), notes.String())
			}
			for _, says := range test.says {
				if !strings.Contains(notes.String(), says) {
					t.Errorf("%v of %s does not say %q:\n%s", command, test.table, says, notes.String())
				}
			}
		}
	}
	for _, table := range []string{"no-index", "other"} {
		if n := items(table); n != 0 {
			t.Errorf("%d items were written to %s", n, table)
		}
	}
	for _, table := range []string{"major-1", "unnamed", "later"} {
		if n := items(table); n != 1 {
			t.Errorf("%s holds %d items, want its version record", table, n)
		}
	}
}
