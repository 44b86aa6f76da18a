package dynamolocal

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
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
		StreamEnabled  *bool
		StreamViewType string `json:",omitempty"`
	}
	indexDefinition struct {
		IndexName             string
		KeySchema             []keyElement
		Projection            *projection
		ProvisionedThroughput *provisioned
		OnDemandThroughput    *onDemand
	}
	// tag is what is stored and shown; a request may leave the value out.
	tag struct {
		Key   string
		Value *string
	}
	encryption struct {
		Enabled        bool
		KMSMasterKeyId string
	}
	indexUpdate struct{ Create, Update, Delete *indexDefinition }
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
	SSESpecification          *encryption
}

const (
	maxTableIndexes = 20
	maxKeyNameBytes = 255
)

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
		member := fmt.Sprintf("attributeDefinitions.%d.member.", i+1)
		c.attributeName(a.AttributeName, member+"attributeName")
		c.required(a.AttributeType != "", member+"attributeType")
		c.enum(wire.Text{S: a.AttributeType, Set: a.AttributeType != ""}, member+"attributeType", "B", "N", "S")
	}
	c.keySchema(d.KeySchema, "keySchema")
	if d.AttributeDefinitions == nil {
		c.required(false, "attributeDefinitions")
	}
	c.enum(wire.Text{S: d.BillingMode, Set: d.BillingMode != ""}, "billingMode", "PROVISIONED", "PAY_PER_REQUEST")
	if p := d.ProvisionedThroughput; p != nil {
		c.atLeast(true, p.WriteCapacityUnits, 1, "provisionedThroughput.writeCapacityUnits")
		c.atLeast(true, p.ReadCapacityUnits, 1, "provisionedThroughput.readCapacityUnits")
	}
	for i := range d.LocalSecondaryIndexes {
		c.index(&d.LocalSecondaryIndexes[i], fmt.Sprintf("localSecondaryIndexes.%d.member.", i+1))
	}
	for i := range d.GlobalSecondaryIndexes {
		c.index(&d.GlobalSecondaryIndexes[i], fmt.Sprintf("globalSecondaryIndexes.%d.member.", i+1))
	}
	c.tags(d.Tags)
	c.stream(d.StreamSpecification)
	if s := d.StreamSpecification; s.enabled() && s.StreamViewType == "" {
		return invalid("StreamSpecification.StreamViewType must be specified when StreamEnabled is true")
	}
	if err := c.err(); err != nil {
		return err
	}
	if s := d.StreamSpecification; s != nil && !s.enabled() && s.StreamViewType != "" {
		return invalid("Table is being created with a stream disabled, UpdateViewType should not be specified")
	}
	return nil
}

func (c *constraints) stream(s *streamSpecification) {
	if s == nil {
		return
	}
	c.required(s.StreamEnabled != nil, "streamSpecification.streamEnabled")
	c.enum(wire.Text{S: s.StreamViewType, Set: s.StreamViewType != ""}, "streamSpecification.streamViewType",
		viewNewImage, viewOldImage, viewBoth, viewKeys)
}

// attributeName checks the name of an attribute that a table is defined by.
func (c *constraints) attributeName(name, member string) {
	if name == "" {
		c.required(false, member)
		return
	}
	c.length(name, member, 1, maxKeyNameBytes)
}

func (c *constraints) keySchema(keys []keyElement, member string) {
	for i, k := range keys {
		element := fmt.Sprintf("%s.%d.member.", member, i+1)
		c.attributeName(k.AttributeName, element+"attributeName")
		c.required(k.KeyType != "", element+"keyType")
		c.enum(wire.Text{S: k.KeyType, Set: k.KeyType != ""}, element+"keyType", "HASH", "RANGE")
	}
	switch {
	case keys == nil:
		c.required(false, member)
	case len(keys) == 0:
		c.fail("[]", member, "Member must have length greater than or equal to 1")
	case len(keys) > 2:
		c.fail(describeKeys(keys), member, "Member must have length less than or equal to 2")
	}
}

// index checks the members of an index to create; member is the path of the index.
func (c *constraints) index(x *indexDefinition, member string) {
	c.indexName(x.IndexName, member+"indexName")
	c.keySchema(x.KeySchema, member+"keySchema")
	c.required(x.Projection != nil, member+"projection")
	if x.Projection != nil {
		kind := x.Projection.ProjectionType
		c.enum(wire.Text{S: kind, Set: kind != ""}, member+"projection.projectionType", "ALL", "INCLUDE", "KEYS_ONLY")
	}
	if p := x.ProvisionedThroughput; p != nil {
		c.atLeast(true, p.WriteCapacityUnits, 1, member+"provisionedThroughput.writeCapacityUnits")
		c.atLeast(true, p.ReadCapacityUnits, 1, member+"provisionedThroughput.readCapacityUnits")
	}
}

func (c *constraints) indexName(name, member string) {
	if name == "" {
		c.required(false, member)
		return
	}
	c.length(name, member, 3, 255)
	if !validTableName(name) {
		c.fail(name, member, "Member must satisfy regular expression pattern: "+tableNamePattern)
	}
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
	if err := d.ProvisionedThroughput.inBounds(); err != nil {
		return err
	}
	for i, a := range d.AttributeDefinitions {
		if slices.ContainsFunc(d.AttributeDefinitions[:i], func(b attributeDefinition) bool { return a.AttributeName == b.AttributeName }) {
			return invalid("Duplicate AttributeName in AttributeDefinitions: " + a.AttributeName)
		}
	}
	if keys := d.KeySchema; len(keys) == 2 && keys[0].AttributeName == keys[1].AttributeName {
		return validation("Invalid KeySchema: Some index key attribute have no definition")
	}
	if err := d.checkKeySchema(d.KeySchema); err != nil {
		return err
	}
	if err := d.checkIndexes(); err != nil {
		return err
	}
	if used := d.usedAttributes(); len(used) != len(d.AttributeDefinitions) {
		return invalid("Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	return nil
}

// maxUnits bounds provisioned units.
const maxUnits = 1_000_000_000_000

// inBounds refuses units that no table can have.
func (p *provisioned) inBounds() error {
	switch {
	case p == nil:
	case p.ReadCapacityUnits > maxUnits:
		return validation(fmt.Sprintf("Given value %d for ReadCapacityUnits is out of bounds", p.ReadCapacityUnits))
	case p.WriteCapacityUnits > maxUnits:
		return validation(fmt.Sprintf("Given value %d for WriteCapacityUnits is out of bounds", p.WriteCapacityUnits))
	}
	return nil
}

// checkIndexes validates all indexes of a definition.
func (d *tableDefinition) checkIndexes() error {
	switch {
	case d.GlobalSecondaryIndexes != nil && len(d.GlobalSecondaryIndexes) == 0:
		return invalid("List of GlobalSecondaryIndexes is empty")
	case d.LocalSecondaryIndexes != nil && len(d.LocalSecondaryIndexes) == 0:
		return invalid("List of LocalSecondaryIndexes is empty")
	case len(d.LocalSecondaryIndexes) > 0 && len(d.KeySchema) < 2:
		return invalid("Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex")
	case len(d.GlobalSecondaryIndexes) > maxTableIndexes:
		return invalid("GlobalSecondaryIndex count exceeds the per-table limit of 20")
	case len(d.LocalSecondaryIndexes) > 5:
		return invalid("Number of LocalSecondaryIndexes exceeds per-table limit of 5")
	}
	names := map[string]bool{}
	for i, x := range slices.Concat(d.LocalSecondaryIndexes, d.GlobalSecondaryIndexes) {
		if names[x.IndexName] {
			return invalid("Duplicate index name: " + x.IndexName)
		}
		names[x.IndexName] = true
		check := d.checkLocalIndex
		if i >= len(d.LocalSecondaryIndexes) {
			check = d.checkGlobalIndex
		}
		if err := check(&x); err != nil {
			return err
		}
	}
	return nil
}

func (d *tableDefinition) checkGlobalIndex(x *indexDefinition) error {
	switch {
	case d.BillingMode != "PAY_PER_REQUEST" && x.ProvisionedThroughput == nil:
		return invalid("ProvisionedThroughput must be specified for index: " + x.IndexName)
	case d.BillingMode == "PAY_PER_REQUEST" && x.ProvisionedThroughput != nil:
		return invalid("ProvisionedThroughput should not be specified for index: " + x.IndexName + " when BillingMode is PAY_PER_REQUEST")
	}
	if err := d.checkKeySchema(x.KeySchema); err != nil {
		return err
	}
	return x.Projection.check()
}

func (d *tableDefinition) checkLocalIndex(x *indexDefinition) error {
	if err := d.checkKeySchema(x.KeySchema); err != nil {
		return err
	}
	hash, rng := keysOf(x.KeySchema)
	if rng == "" {
		return invalid("Index KeySchema does not have a range key for index: " + x.IndexName)
	}
	if table := d.KeySchema[0].AttributeName; hash != table {
		return invalid("Index KeySchema does not have the same leading hash key as table KeySchema for index: " + x.IndexName + ". index hash key: " + hash + ", table hash key: " + table)
	}
	return x.Projection.check()
}

func (p *projection) check() error {
	switch p.ProjectionType {
	case "ALL", "KEYS_ONLY":
		if len(p.NonKeyAttributes) > 0 {
			return invalid("ProjectionType is " + p.ProjectionType + ", but NonKeyAttributes is specified")
		}
	case "INCLUDE":
		if len(p.NonKeyAttributes) == 0 {
			return invalid("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
		}
	default:
		return invalid("Unknown ProjectionType: null")
	}
	return nil
}

func (d *tableDefinition) checkKeySchema(keys []keyElement) error {
	var names, defined []string
	missing := false
	for _, k := range keys {
		names = append(names, k.AttributeName)
		missing = missing || d.kindOf(k.AttributeName) == attr.Invalid
	}
	if missing {
		for _, a := range d.AttributeDefinitions {
			defined = append(defined, a.AttributeName)
		}
		return invalid("Some index key attributes are not defined in AttributeDefinitions. Keys: [" + strings.Join(names, ", ") + "], AttributeDefinitions: [" + strings.Join(defined, ", ") + "]")
	}
	switch {
	case len(keys) == 2 && names[0] == names[1]:
		return validation("Both the Hash Key and the Range Key element in the KeySchema have the same name")
	case keys[0].KeyType != "HASH":
		return validation("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	case len(keys) == 2 && keys[1].KeyType != "RANGE":
		return validation("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
	}
	return nil
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

// indexKeysOf lists the key attributes of all indexes with their types, by the names of the indexes:
// the first that does not fit is the one that an error names.
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
	sort.SliceStable(keys, func(i, j int) bool { return keys[i].index < keys[j].index })
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
