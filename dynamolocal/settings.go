package dynamolocal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// updateTable changes what can be changed of a table.
func (c *control) updateTable(body []byte) (any, error) {
	var r struct {
		tableDefinition
		GlobalSecondaryIndexUpdates []struct {
			Create *indexDefinition
			Update *indexDefinition
			Delete *indexDefinition
		}
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	t, err := c.existing(r.TableName)
	if err != nil {
		return nil, err
	}
	if r.ProvisionedThroughput == nil && r.BillingMode == "" && r.GlobalSecondaryIndexUpdates == nil &&
		r.StreamSpecification == nil && r.DeletionProtectionEnabled == nil && r.TableClass == "" && r.OnDemandThroughput == nil {
		return nil, validation("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required")
	}
	t.mu.Lock()
	d := t.definition
	if r.BillingMode != "" {
		d.BillingMode = r.BillingMode
		if r.BillingMode == "PAY_PER_REQUEST" {
			d.ProvisionedThroughput = nil
		}
	}
	if r.ProvisionedThroughput != nil {
		if d.BillingMode == "PAY_PER_REQUEST" {
			t.mu.Unlock()
			return nil, invalid("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
		if err := checkUnits(&d, r.ProvisionedThroughput); err != nil {
			t.mu.Unlock()
			return nil, err
		}
		d.ProvisionedThroughput = r.ProvisionedThroughput
	}
	if r.StreamSpecification != nil {
		if r.StreamSpecification.StreamEnabled && d.StreamSpecification != nil && d.StreamSpecification.StreamEnabled {
			t.mu.Unlock()
			return nil, validation("Table already has an enabled stream: TableName: " + t.name)
		}
		d.StreamSpecification = r.StreamSpecification
	}
	if r.DeletionProtectionEnabled != nil {
		d.DeletionProtectionEnabled = r.DeletionProtectionEnabled
	}
	if r.OnDemandThroughput != nil {
		d.OnDemandThroughput = r.OnDemandThroughput
	}
	if r.TableClass != "" {
		d.TableClass = r.TableClass
	}
	for _, a := range r.AttributeDefinitions {
		if !slices.ContainsFunc(d.AttributeDefinitions, func(have attributeDefinition) bool { return have.AttributeName == a.AttributeName }) {
			d.AttributeDefinitions = append(slices.Clone(d.AttributeDefinitions), a)
		}
	}
	d.GlobalSecondaryIndexes = slices.Clone(d.GlobalSecondaryIndexes)
	for _, u := range r.GlobalSecondaryIndexUpdates {
		if err := c.changeIndex(t, &d, u.Create, u.Update, u.Delete); err != nil {
			t.mu.Unlock()
			return nil, err
		}
	}
	t.definition = d
	t.indexKeys = d.indexKeysOf()
	t.mu.Unlock()
	return map[string]any{"TableDescription": c.describe(t, "")}, nil
}

// checkUnits refuses units below one, and those that the table has already.
func checkUnits(d *tableDefinition, p *provisioned) error {
	var problems constraints
	problems.atLeast(true, p.WriteCapacityUnits, 1, "provisionedThroughput.writeCapacityUnits")
	problems.atLeast(true, p.ReadCapacityUnits, 1, "provisionedThroughput.readCapacityUnits")
	if err := problems.err(); err != nil {
		return err
	}
	if have := d.ProvisionedThroughput; have != nil && *have == *p {
		return validation(fmt.Sprintf("The provisioned throughput for the table will not change. The requested value equals the current value. Current ReadCapacityUnits provisioned for the table: %d. Requested ReadCapacityUnits: %d. Current WriteCapacityUnits provisioned for the table: %d. Requested WriteCapacityUnits: %d. Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits.",
			have.ReadCapacityUnits, p.ReadCapacityUnits, have.WriteCapacityUnits, p.WriteCapacityUnits))
	}
	return nil
}

func (c *control) changeIndex(t *table, d *tableDefinition, create, update, remove *indexDefinition) error {
	find := func(name string) int {
		return slices.IndexFunc(d.GlobalSecondaryIndexes, func(x indexDefinition) bool { return x.IndexName == name })
	}
	missing := func(name string) error {
		return &apiError{code: codeNotFound, message: "Requested resource not found: Index: " + name + " not found for table: " + t.name}
	}
	switch {
	case create != nil:
		if find(create.IndexName) >= 0 {
			return validation("Attempting to create an index which already exists")
		}
		if err := d.checkIndex(create); err != nil {
			return err
		}
		d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, *create)
		t.store.AddIndex(create.schema(false))
	case update != nil:
		i := find(update.IndexName)
		if i < 0 {
			return missing(update.IndexName)
		}
		d.GlobalSecondaryIndexes[i].ProvisionedThroughput = update.ProvisionedThroughput
	case remove != nil:
		i := find(remove.IndexName)
		if i < 0 {
			return missing(remove.IndexName)
		}
		d.GlobalSecondaryIndexes = slices.Delete(d.GlobalSecondaryIndexes, i, i+1)
		t.store.DropIndex(remove.IndexName)
		used := d.usedAttributes()
		d.AttributeDefinitions = slices.DeleteFunc(slices.Clone(d.AttributeDefinitions), func(a attributeDefinition) bool { return !used[a.AttributeName] })
	}
	return nil
}

func (c *control) updateTimeToLive(body []byte) (any, error) {
	var r struct {
		TableName               *string
		TimeToLiveSpecification *struct {
			AttributeName string
			Enabled       *bool
		}
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	var problems constraints
	problems.required(r.TimeToLiveSpecification != nil, "timeToLiveSpecification")
	if s := r.TimeToLiveSpecification; s != nil {
		problems.length(s.AttributeName, "timeToLiveSpecification.attributeName", 1, 255)
		problems.required(s.Enabled != nil, "timeToLiveSpecification.enabled")
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	t, err := c.existing(r.TableName)
	if err != nil {
		return nil, err
	}
	s := r.TimeToLiveSpecification
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case *s.Enabled && t.ttl != "":
		return nil, validation("TimeToLive is already enabled")
	case !*s.Enabled && t.ttl == "":
		return nil, validation("TimeToLive is already disabled")
	case *s.Enabled:
		t.ttl = s.AttributeName
	default:
		t.ttl = ""
	}
	name := t.ttl
	t.ttlName.Store(&name)
	return map[string]any{"TimeToLiveSpecification": map[string]any{"AttributeName": s.AttributeName, "Enabled": *s.Enabled}}, nil
}

func (c *control) describeTimeToLive(body []byte) (any, error) {
	var r tableReference
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	t, err := c.existing(r.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	description := map[string]any{"TimeToLiveStatus": "DISABLED"}
	if t.ttl != "" {
		description = map[string]any{"TimeToLiveStatus": "ENABLED", "AttributeName": t.ttl}
	}
	return map[string]any{"TimeToLiveDescription": description}, nil
}

const maxTags = 50

// tagged returns the table of an ARN.
func (c *control) tagged(arn *string) (*table, error) {
	if arn == nil {
		return nil, validation("Invalid TableArn")
	}
	parts := strings.SplitN(*arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "dynamodb" || !strings.HasPrefix(parts[5], "table/") {
		return nil, validation("Invalid TableArn: Invalid ResourceArn provided as input " + *arn)
	}
	name := strings.TrimPrefix(parts[5], "table/")
	c.engine.mu.RLock()
	defer c.engine.mu.RUnlock()
	return c.engine.tables[name], nil
}

func missingARN(arn *string) error {
	return &apiError{code: codeNotFound, message: "Requested resource not found: ResourcArn: " + *arn + " not found"}
}

func (c *control) tagResource(body []byte) (any, error) {
	var r struct {
		ResourceArn *string
		Tags        []tag
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	if r.ResourceArn != nil && r.Tags != nil && len(r.Tags) == 0 {
		return nil, validation("Atleast one Tag needs to be provided as Input.")
	}
	t, err := c.tagged(r.ResourceArn)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, missingARN(r.ResourceArn)
	}
	for _, tag := range r.Tags {
		var problems constraints
		problems.length(tag.Key, "tags.1.member.key", 1, 128)
		problems.length(tag.Value, "tags.1.member.value", 0, 256)
		if err := problems.err(); err != nil {
			return nil, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	merged := maps.Clone(t.tags)
	for _, tag := range r.Tags {
		merged[tag.Key] = tag.Value
	}
	if len(merged) > maxTags {
		return nil, validation("Subscriber limit exceeded: there are more than 50 tags on the resource")
	}
	t.tags = merged
	return nil, nil
}

func (c *control) untagResource(body []byte) (any, error) {
	var r struct {
		ResourceArn *string
		TagKeys     []string
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	t, err := c.tagged(r.ResourceArn)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, missingARN(r.ResourceArn)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tags = maps.Clone(t.tags)
	for _, key := range r.TagKeys {
		delete(t.tags, key)
	}
	return nil, nil
}

func (c *control) listTags(body []byte) (any, error) {
	var r struct{ ResourceArn *string }
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	t, err := c.tagged(r.ResourceArn)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, &apiError{code: codeAccessDenied, message: "User: arn:aws:iam::" + c.account + ":root is not authorized to perform: dynamodb:ListTagsOfResource on resource: " + *r.ResourceArn}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := []tag{}
	for _, key := range slices.Sorted(maps.Keys(t.tags)) {
		list = append(list, tag{key, t.tags[key]})
	}
	return map[string]any{"Tags": list}, nil
}
