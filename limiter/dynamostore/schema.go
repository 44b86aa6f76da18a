package dynamostore

import (
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Indexes of the table.
const (
	indexParents   = "GSI1" // parent -> children
	indexResources = "GSI2" // resource -> buckets
	indexEntities  = "GSI3" // entity -> buckets; resource -> entities with their own config
	indexNamespace = "GSI4" // namespace -> its items
)

// indexes lists the global secondary indexes with what they project. The local ones are declared
// on new tables only because they cannot be added later; nothing reads them.
var indexes = []struct {
	name       string
	projection types.ProjectionType
}{
	{indexParents, types.ProjectionTypeAll},
	{indexResources, types.ProjectionTypeAll},
	{indexEntities, types.ProjectionTypeKeysOnly},
	{indexNamespace, types.ProjectionTypeKeysOnly},
}

// ttlAttribute holds the expiry of an item in epoch seconds.
const ttlAttribute = "ttl"

func keySchema(hash, sort string) []types.KeySchemaElement {
	return []types.KeySchemaElement{
		{AttributeName: aws.String(hash), KeyType: types.KeyTypeHash},
		{AttributeName: aws.String(sort), KeyType: types.KeyTypeRange},
	}
}

// createTableInput is the whole layout: 15 string attributes, four global and five local indexes,
// on demand, with a stream of both images.
func (t *Table) createTableInput() *dynamodb.CreateTableInput {
	in := &dynamodb.CreateTableInput{
		TableName:                 t.tableN,
		KeySchema:                 keySchema(attrPK, attrSK),
		BillingMode:               types.BillingModePayPerRequest,
		DeletionProtectionEnabled: aws.Bool(t.opts.DeletionProtection),
	}
	define := func(names ...string) {
		for _, name := range names {
			in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{
				AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS,
			})
		}
	}
	define(attrPK, attrSK)
	for _, index := range indexes {
		hash, sort := index.name+attrPK, index.name+attrSK
		define(hash, sort)
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
			IndexName: aws.String(index.name), KeySchema: keySchema(hash, sort),
			Projection: &types.Projection{ProjectionType: index.projection},
		})
	}
	for i := range 5 {
		name := fmt.Sprintf("LSI%d", i+1)
		projection := types.ProjectionTypeAll
		if i%2 == 1 {
			projection = types.ProjectionTypeKeysOnly
		}
		define(name + attrSK)
		in.LocalSecondaryIndexes = append(in.LocalSecondaryIndexes, types.LocalSecondaryIndex{
			IndexName: aws.String(name), KeySchema: keySchema(attrPK, name+attrSK),
			Projection: &types.Projection{ProjectionType: projection},
		})
	}
	if !t.opts.WithoutStream {
		in.StreamSpecification = &types.StreamSpecification{
			StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages,
		}
	}
	return in
}

// schemaProblems says what a table lacks to hold limiter data. Local indexes, stream and billing
// mode are not asked for: a client works without them, and older tables lack the first.
func schemaProblems(table *types.TableDescription) []string {
	var problems []string
	if !hasKeys(table.KeySchema, attrPK, attrSK) {
		problems = append(problems, fmt.Sprintf("the primary key is %s, want PK (hash) and SK (range)", describeKeys(table.KeySchema)))
	}
	problems = append(problems, indexProblems(table.GlobalSecondaryIndexes)...)
	used := map[string]bool{attrPK: true, attrSK: true}
	for _, index := range indexes {
		used[index.name+attrPK], used[index.name+attrSK] = true, true
	}
	for _, def := range table.AttributeDefinitions {
		if name := aws.ToString(def.AttributeName); used[name] && def.AttributeType != types.ScalarAttributeTypeS {
			problems = append(problems, fmt.Sprintf("key attribute %s has type %s, want S", name, def.AttributeType))
		}
	}
	return problems
}

func indexProblems(have []types.GlobalSecondaryIndexDescription) []string {
	var problems []string
	for _, want := range indexes {
		at := slices.IndexFunc(have, func(g types.GlobalSecondaryIndexDescription) bool {
			return aws.ToString(g.IndexName) == want.name
		})
		if at < 0 {
			problems = append(problems, "index "+want.name+" is missing")
			continue
		}
		if !hasKeys(have[at].KeySchema, want.name+attrPK, want.name+attrSK) {
			problems = append(problems, fmt.Sprintf("index %s has the key %s, want %[1]sPK (hash) and %[1]sSK (range)",
				want.name, describeKeys(have[at].KeySchema)))
		}
		if p := have[at].Projection; want.projection == types.ProjectionTypeAll && p != nil && p.ProjectionType != types.ProjectionTypeAll {
			problems = append(problems, fmt.Sprintf("index %s projects %s, want ALL", want.name, p.ProjectionType))
		}
	}
	return problems
}

func hasKeys(schema []types.KeySchemaElement, hash, sort string) bool {
	return len(schema) == 2 &&
		aws.ToString(schema[0].AttributeName) == hash && schema[0].KeyType == types.KeyTypeHash &&
		aws.ToString(schema[1].AttributeName) == sort && schema[1].KeyType == types.KeyTypeRange
}

func describeKeys(schema []types.KeySchemaElement) string {
	text := ""
	for i, k := range schema {
		if i > 0 {
			text += " and "
		}
		text += fmt.Sprintf("%s (%s)", aws.ToString(k.AttributeName), k.KeyType)
	}
	return text
}
