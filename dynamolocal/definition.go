package dynamolocal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
)

// The members of requests about tables, as JSON has them.
type (
	attributeDefinition struct{ AttributeName, AttributeType string }
	keyElement          struct{ AttributeName, KeyType string }
	projection          struct {
		ProjectionType   string   `json:",omitempty"`
		NonKeyAttributes []string `json:",omitempty"`
	}
	provisioned struct {
		ReadCapacityUnits, WriteCapacityUnits int64
	}
	onDemand struct {
		MaxReadRequestUnits, MaxWriteRequestUnits int64
	}
	streamSpecification struct {
		StreamEnabled  bool
		StreamViewType string `json:",omitempty"`
	}
	indexDefinition struct {
		IndexName             string
		KeySchema             []keyElement
		Projection            *projection
		ProvisionedThroughput *provisioned
		OnDemandThroughput    *onDemand
	}
	tag struct{ Key, Value string }
)

// tableDefinition is what CreateTable asks for.
type tableDefinition struct {
	TableName                 *string
	AttributeDefinitions      []attributeDefinition
	KeySchema                 []keyElement
	BillingMode               string
	ProvisionedThroughput     *provisioned
	OnDemandThroughput        *onDemand
	GlobalSecondaryIndexes    []indexDefinition
	LocalSecondaryIndexes     []indexDefinition
	StreamSpecification       *streamSpecification
	Tags                      []tag
	DeletionProtectionEnabled *bool
	TableClass                string
}

const maxTableIndexes = 20

// tableNameOf checks the name of a table to create or to manage.
func tableNameOf(name *string, least int, message string) (string, error) {
	if name == nil {
		if message != "" {
			return "", validation(message)
		}
		return "", validation(validatorPrefix + "Value null at 'tableName' failed to satisfy constraint: Member must not be null")
	}
	n := *name
	if strings.HasPrefix(n, "arn:") {
		if _, rest, ok := strings.Cut(n, ":table/"); ok {
			n, _, _ = strings.Cut(rest, "/")
		}
	}
	var c constraints
	c.length(n, "tableName", least, 255)
	if n != "" && len(c.problems) == 0 && !validTableName(n) {
		c.fail(n, "tableName", "Member must satisfy regular expression pattern: "+tableNamePattern)
	}
	return n, c.err()
}

func (d *tableDefinition) checkMembers() error {
	var c constraints
	for i, a := range d.AttributeDefinitions {
		if a.AttributeType != "S" && a.AttributeType != "N" && a.AttributeType != "B" {
			c.fail(a.AttributeType, fmt.Sprintf("attributeDefinitions.%d.member.attributeType", i+1), "Member must satisfy enum value set: [B, N, S]")
		}
	}
	for i, k := range d.KeySchema {
		if k.KeyType != "HASH" && k.KeyType != "RANGE" {
			c.fail(k.KeyType, fmt.Sprintf("keySchema.%d.member.keyType", i+1), "Member must satisfy enum value set: [HASH, RANGE]")
		}
	}
	if d.AttributeDefinitions == nil {
		c.required(false, "attributeDefinitions")
	}
	switch {
	case d.KeySchema == nil:
		c.required(false, "keySchema")
	case len(d.KeySchema) == 0:
		c.fail("[]", "keySchema", "Member must have length greater than or equal to 1")
	case len(d.KeySchema) > 2:
		c.fail(describeKeys(d.KeySchema), "keySchema", "Member must have length less than or equal to 2")
	}
	if d.BillingMode != "" && d.BillingMode != "PROVISIONED" && d.BillingMode != "PAY_PER_REQUEST" {
		c.fail(d.BillingMode, "billingMode", "Member must satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]")
	}
	if p := d.ProvisionedThroughput; p != nil {
		c.atLeast(true, p.WriteCapacityUnits, 1, "provisionedThroughput.writeCapacityUnits")
		c.atLeast(true, p.ReadCapacityUnits, 1, "provisionedThroughput.readCapacityUnits")
	}
	if s := d.StreamSpecification; s != nil && s.StreamEnabled && s.StreamViewType == "" {
		return invalid("StreamSpecification.StreamViewType must be specified when StreamEnabled is true")
	}
	return c.err()
}

func describeKeys(keys []keyElement) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = "KeySchemaElement(attributeName=" + k.AttributeName + ", keyType=" + k.KeyType + ")"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// check validates a definition as a whole.
func (d *tableDefinition) check() error {
	if err := d.checkMembers(); err != nil {
		return err
	}
	if d.BillingMode == "PAY_PER_REQUEST" {
		if d.ProvisionedThroughput != nil {
			return invalid("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
	} else if d.ProvisionedThroughput == nil {
		return invalid("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
	}
	if err := d.checkKeySchema(d.KeySchema, ""); err != nil {
		return err
	}
	if len(d.LocalSecondaryIndexes) > 0 && len(d.KeySchema) < 2 {
		return invalid("Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex")
	}
	if len(d.GlobalSecondaryIndexes) > maxTableIndexes {
		return invalid("GlobalSecondaryIndex count exceeds the per-table limit of 20")
	}
	if len(d.LocalSecondaryIndexes) > 5 {
		return invalid("Number of LocalSecondaryIndexes exceeds per-table limit of 5")
	}
	for _, x := range d.GlobalSecondaryIndexes {
		if d.BillingMode != "PAY_PER_REQUEST" && x.ProvisionedThroughput == nil {
			return invalid("ProvisionedThroughput must be specified for index: " + x.IndexName)
		}
	}
	if d.GlobalSecondaryIndexes != nil && len(d.GlobalSecondaryIndexes) == 0 {
		return invalid("List of GlobalSecondaryIndexes is empty")
	}
	if d.LocalSecondaryIndexes != nil && len(d.LocalSecondaryIndexes) == 0 {
		return invalid("List of LocalSecondaryIndexes is empty")
	}
	names := map[string]bool{}
	for _, x := range slices.Concat(d.LocalSecondaryIndexes, d.GlobalSecondaryIndexes) {
		if names[x.IndexName] {
			return invalid("Duplicate index name: " + x.IndexName)
		}
		names[x.IndexName] = true
		if err := d.checkIndex(&x); err != nil {
			return err
		}
	}
	for _, x := range d.LocalSecondaryIndexes {
		if hash, rng := keysOf(x.KeySchema); hash != d.KeySchema[0].AttributeName || rng == "" {
			if rng == "" {
				return invalid("Index KeySchema does not have a range key for index: " + x.IndexName)
			}
			return invalid("Index KeySchema does not have the same leading hash key as table KeySchema for index: " + x.IndexName + ". index hash key: " + hash + ", table hash key: " + d.KeySchema[0].AttributeName)
		}
	}
	if used := d.usedAttributes(); len(used) != len(d.AttributeDefinitions) {
		return invalid("Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	return nil
}

func (d *tableDefinition) checkIndex(x *indexDefinition) error {
	if len(x.IndexName) < 3 || len(x.IndexName) > 255 || !validTableName(x.IndexName) {
		var c constraints
		c.length(x.IndexName, "globalSecondaryIndexes.1.member.indexName", 3, 255)
		if err := c.err(); err != nil {
			return err
		}
		return validation(validatorPrefix + "Value '" + x.IndexName + "' at 'globalSecondaryIndexes.1.member.indexName' failed to satisfy constraint: Member must satisfy regular expression pattern: " + tableNamePattern)
	}
	if err := d.checkKeySchema(x.KeySchema, x.IndexName); err != nil {
		return err
	}
	if x.Projection == nil {
		return validation(validatorPrefix + "Value null at 'globalSecondaryIndexes.1.member.projection' failed to satisfy constraint: Member must not be null")
	}
	switch x.Projection.ProjectionType {
	case "ALL", "KEYS_ONLY":
		if len(x.Projection.NonKeyAttributes) > 0 {
			return invalid("ProjectionType is " + x.Projection.ProjectionType + ", but NonKeyAttributes is specified")
		}
	case "INCLUDE":
		if len(x.Projection.NonKeyAttributes) == 0 {
			return invalid("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
		}
	case "":
		return invalid("Unknown ProjectionType: null")
	default:
		return validation(validatorPrefix + "Value '" + x.Projection.ProjectionType + "' at 'globalSecondaryIndexes.1.member.projection.projectionType' failed to satisfy constraint: Member must satisfy enum value set: [ALL, INCLUDE, KEYS_ONLY]")
	}
	return nil
}

func (d *tableDefinition) checkKeySchema(keys []keyElement, index string) error {
	if len(keys) == 0 || keys[0].KeyType != "HASH" {
		return invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	if len(keys) == 2 && keys[1].KeyType != "RANGE" {
		return invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
	}
	if len(keys) == 2 && keys[0].AttributeName == keys[1].AttributeName {
		return validation("Invalid KeySchema: Some index key attribute have no definition")
	}
	var names, defined []string
	missing := false
	for _, k := range keys {
		names = append(names, k.AttributeName)
		missing = missing || d.kindOf(k.AttributeName) == attr.Invalid
	}
	if !missing {
		return nil
	}
	for _, a := range d.AttributeDefinitions {
		defined = append(defined, a.AttributeName)
	}
	return invalid("Some index key attributes are not defined in AttributeDefinitions. Keys: [" + strings.Join(names, ", ") + "], AttributeDefinitions: [" + strings.Join(defined, ", ") + "]")
}

func (d *tableDefinition) kindOf(name string) attr.Kind {
	for _, a := range d.AttributeDefinitions {
		if a.AttributeName == name {
			switch a.AttributeType {
			case "S":
				return attr.S
			case "N":
				return attr.N
			case "B":
				return attr.B
			}
		}
	}
	return attr.Invalid
}

func (d *tableDefinition) usedAttributes() map[string]bool {
	used := map[string]bool{}
	for _, k := range d.KeySchema {
		used[k.AttributeName] = true
	}
	for _, x := range slices.Concat(d.LocalSecondaryIndexes, d.GlobalSecondaryIndexes) {
		for _, k := range x.KeySchema {
			used[k.AttributeName] = true
		}
	}
	return used
}

func keysOf(keys []keyElement) (hash, rng string) {
	for _, k := range keys {
		if k.KeyType == "HASH" {
			hash = k.AttributeName
		} else {
			rng = k.AttributeName
		}
	}
	return hash, rng
}

func (x *indexDefinition) schema(local bool) store.IndexSchema {
	hash, rng := keysOf(x.KeySchema)
	s := store.IndexSchema{Name: x.IndexName, Key: store.KeySchema{Hash: hash, Range: rng}, Local: local}
	switch x.Projection.ProjectionType {
	case "KEYS_ONLY":
		s.Projection = store.KeysOnly
	case "INCLUDE":
		s.Projection = store.Include
		s.Extra = slices.Sorted(slices.Values(x.Projection.NonKeyAttributes))
	}
	return s
}

// indexKeysOf lists the key attributes of all indexes with their types.
func (d *tableDefinition) indexKeysOf() []indexKey {
	var keys []indexKey
	for i, x := range slices.Concat(d.GlobalSecondaryIndexes, d.LocalSecondaryIndexes) {
		local := i >= len(d.GlobalSecondaryIndexes)
		for _, k := range x.KeySchema {
			if local && k.KeyType == "HASH" {
				continue
			}
			keys = append(keys, indexKey{x.IndexName, k.AttributeName, d.kindOf(k.AttributeName), k.KeyType == "HASH"})
		}
	}
	return keys
}

func (d *tableDefinition) capacityOf(p *provisioned, o *onDemand) throughput.Capacity {
	c := throughput.Capacity{Provisioned: d.BillingMode != "PAY_PER_REQUEST"}
	if p != nil {
		c.Reads, c.Writes = p.ReadCapacityUnits, p.WriteCapacityUnits
	}
	if o != nil {
		c.MaxReads, c.MaxWrites = o.MaxReadRequestUnits, o.MaxWriteRequestUnits
	}
	return c
}

func (d *tableDefinition) throughputSpec(arn string) throughput.Spec {
	spec := throughput.Spec{
		ARN:          arn,
		Capacity:     d.capacityOf(d.ProvisionedThroughput, d.OnDemandThroughput),
		LocalIndexes: len(d.LocalSecondaryIndexes) > 0,
		Indexes:      map[string]throughput.Capacity{},
	}
	for _, x := range d.GlobalSecondaryIndexes {
		spec.Indexes[x.IndexName] = d.capacityOf(x.ProvisionedThroughput, x.OnDemandThroughput)
	}
	return spec
}
