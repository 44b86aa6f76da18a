package dynamolocal

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// updateTable changes what can be changed of a table.
func (c *control) updateTable(body []byte) (any, error) {
	var r struct {
		tableDefinition
		GlobalSecondaryIndexUpdates []indexUpdate
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	if _, err := tableNameOf(r.TableName, 1, ""); err != nil {
		return nil, err
	}
	if r.ProvisionedThroughput == nil && r.BillingMode == "" && len(r.GlobalSecondaryIndexUpdates) == 0 &&
		r.StreamSpecification == nil && r.DeletionProtectionEnabled == nil && r.TableClass == "" && r.OnDemandThroughput == nil && r.SSESpecification == nil {
		return nil, validation("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required")
	}
	if r.BillingMode == "PROVISIONED" && r.ProvisionedThroughput == nil {
		return nil, invalid("ProvisionedThroughput must be specified when BillingMode is PROVISIONED")
	}
	if err := r.ProvisionedThroughput.inBounds(); err != nil {
		return nil, err
	}
	if err := r.StreamSpecification.checkUpdate(); err != nil {
		return nil, err
	}
	if err := checkIndexUpdates(r.GlobalSecondaryIndexUpdates, r.AttributeDefinitions); err != nil {
		return nil, err
	}
	t, err := c.existing(r.TableName)
	if err != nil {
		return nil, err
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
	if s := r.StreamSpecification; s != nil {
		switch has := d.StreamSpecification.enabled(); {
		case s.enabled() && has:
			t.mu.Unlock()
			return nil, validation("Table already has an enabled stream: TableName: " + t.name)
		case !s.enabled() && !has:
			t.mu.Unlock()
			return nil, validation("Table has no stream to disable: TableName: " + t.name)
		}
		d.StreamSpecification = s
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
	if r.SSESpecification != nil {
		d.SSESpecification = r.SSESpecification
	}
	if err := c.changeIndexes(t, &d, r.GlobalSecondaryIndexUpdates, r.AttributeDefinitions); err != nil {
		t.mu.Unlock()
		return nil, err
	}
	t.definition = d
	keys := d.indexKeysOf()
	t.indexKeys.Store(&keys)
	if s := r.StreamSpecification; s.enabled() {
		c.engine.startStream(t, &d)
	} else if s != nil {
		c.engine.endStream(t)
	}
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

// checkIndexUpdates validates changes of indexes by themselves.
func checkIndexUpdates(updates []indexUpdate, attributes []attributeDefinition) error {
	var problems constraints
	online := 0
	seen := map[string]bool{}
	for i, a := range attributes {
		problems.attributeName(a.AttributeName, fmt.Sprintf("attributeDefinitions.%d.member.attributeName", i+1))
	}
	for i, u := range updates {
		member := fmt.Sprintf("globalSecondaryIndexUpdates.%d.member.", i+1)
		if u.Create != nil {
			problems.index(u.Create, member+"create.")
		}
		if u.Update != nil {
			problems.indexName(u.Update.IndexName, member+"update.indexName")
			problems.required(u.Update.ProvisionedThroughput != nil || u.Update.OnDemandThroughput != nil, member+"update.provisionedThroughput")
		}
		if u.Delete != nil {
			problems.indexName(u.Delete.IndexName, member+"delete.indexName")
		}
	}
	if err := problems.err(); err != nil {
		return err
	}
	for _, u := range updates {
		var name string
		given := 0
		for i, x := range []*indexDefinition{u.Update, u.Create, u.Delete} {
			if x != nil {
				name = x.IndexName
				given++
				online += min(i, 1)
			}
		}
		switch {
		case given == 0:
			return invalid("One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete must not be null")
		case given > 1:
			return invalid("Only one of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete may be given")
		case seen[name]:
			return invalid("Only one global secondary index update per index is allowed simultaneously. Index: " + name)
		}
		seen[name] = true
	}
	if online > 1 {
		return &apiError{code: codeLimit, message: "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"}
	}
	return nil
}

// define adds attributes to a definition; those that it has must stay what they are.
func (d *tableDefinition) define(attributes []attributeDefinition) error {
	for _, a := range attributes {
		i := slices.IndexFunc(d.AttributeDefinitions, func(have attributeDefinition) bool { return have.AttributeName == a.AttributeName })
		if i < 0 {
			d.AttributeDefinitions = append(slices.Clone(d.AttributeDefinitions), a)
		} else if have := d.AttributeDefinitions[i]; have != a {
			return invalid("Attributes cannot be redefined. Please check that your attribute has the same type as previously defined. Existing schema: Schema:[SchemaElement: key{" +
				have.AttributeName + ":" + have.AttributeType + "}] New schema: Schema:[SchemaElement: key{" + a.AttributeName + ":" + a.AttributeType + "}]")
		}
	}
	return nil
}

// changeIndexes applies changes of indexes to a definition, and then to the table, so that a refused
// change leaves both alone.
func (c *control) changeIndexes(t *table, d *tableDefinition, updates []indexUpdate, attributes []attributeDefinition) error {
	if err := d.define(attributes); err != nil {
		return err
	}
	d.GlobalSecondaryIndexes = slices.Clone(d.GlobalSecondaryIndexes)
	for _, u := range updates {
		if u.Create != nil {
			// The attributes are given again, those that the table has too.
			given := tableDefinition{AttributeDefinitions: attributes}
			if err := given.checkKeySchema(u.Create.KeySchema); err != nil {
				return err
			}
		}
		if err := d.changeIndex(t.name, u); err != nil {
			return err
		}
	}
	for _, u := range updates {
		switch {
		case u.Create != nil:
			hash, rng := keysOf(u.Create.KeySchema)
			keys := []indexKey{{u.Create.IndexName, hash, d.kindOf(hash), true}}
			if rng != "" {
				keys = append(keys, indexKey{u.Create.IndexName, rng, d.kindOf(rng), false})
			}
			// An item whose attributes cannot be keys of the index stays out of it.
			t.store.AddIndex(u.Create.schema(false), func(item *attr.Map) bool {
				return !slices.ContainsFunc(keys, func(k indexKey) bool { return !k.fits(item.Get(k.name)) })
			})
		case u.Delete != nil:
			t.store.DropIndex(u.Delete.IndexName)
			used := d.usedAttributes()
			d.AttributeDefinitions = slices.DeleteFunc(slices.Clone(d.AttributeDefinitions), func(a attributeDefinition) bool { return !used[a.AttributeName] })
		}
	}
	return nil
}

// changeIndex applies one change of an index to a definition.
func (d *tableDefinition) changeIndex(table string, u indexUpdate) error {
	find := func(list []indexDefinition, name string) int {
		return slices.IndexFunc(list, func(x indexDefinition) bool { return x.IndexName == name })
	}
	if create := u.Create; create != nil {
		switch {
		case find(d.GlobalSecondaryIndexes, create.IndexName) >= 0, find(d.LocalSecondaryIndexes, create.IndexName) >= 0:
			return validation("Attempting to create an index which already exists")
		case len(d.GlobalSecondaryIndexes) >= maxTableIndexes:
			return &apiError{code: codeLimit, message: "GlobalSecondaryIndex count exceeds the per-table limit of 20"}
		}
		if err := d.checkGlobalIndex(create); err != nil {
			return err
		}
		d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, *create)
		return nil
	}
	x := cmp.Or(u.Update, u.Delete)
	i := find(d.GlobalSecondaryIndexes, x.IndexName)
	switch {
	case i < 0:
		return &apiError{code: codeNotFound, message: "Requested resource not found: Index: " + x.IndexName + " not found for table: " + table}
	case u.Delete != nil:
		d.GlobalSecondaryIndexes = slices.Delete(d.GlobalSecondaryIndexes, i, i+1)
	case x.ProvisionedThroughput != nil:
		d.GlobalSecondaryIndexes[i].ProvisionedThroughput = x.ProvisionedThroughput
	default:
		d.GlobalSecondaryIndexes[i].OnDemandThroughput = x.OnDemandThroughput
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
	case t.ttl != "" && t.ttl != s.AttributeName:
		return nil, validation("TimeToLive is active on a different AttributeName: current AttributeName is " + t.ttl)
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

const (
	maxTags    = 50
	tagPattern = `^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`
)

var tagText = regexp.MustCompile(tagPattern)

// tags checks the tags of a request.
func (c *constraints) tags(tags []tag) {
	text := func(value, member string, least, most int) {
		switch length := utf8.RuneCountInString(value); {
		case length < least:
			c.fail(value, member, "Member must have length greater than or equal to "+strconv.Itoa(least))
		case length > most:
			c.fail(value, member, "Member must have length less than or equal to "+strconv.Itoa(most))
		case !tagText.MatchString(value):
			c.fail(value, member, "Member must satisfy regular expression pattern: "+tagPattern)
		}
	}
	for i, t := range tags {
		member := fmt.Sprintf("tags.%d.member.", i+1)
		text(t.Key, member+"key", 1, 128)
		c.required(t.Value != nil, member+"value")
		if t.Value != nil {
			text(*t.Value, member+"value", 0, 256)
		}
	}
	if len(tags) > maxTags {
		c.fail("["+strconv.Itoa(len(tags))+" tags]", "tags", "Member must have length less than or equal to "+strconv.Itoa(maxTags))
	}
}

// tagged returns the table of an ARN.
func (c *control) tagged(arn *string) (*table, error) {
	if arn == nil {
		return nil, validation("Invalid TableArn")
	}
	parts := strings.SplitN(*arn, ":", 6)
	name, isTable := "", false
	if len(parts) == 6 {
		name, isTable = strings.CutPrefix(parts[5], "table/")
	}
	if !isTable || parts[0] != "arn" || parts[2] != "dynamodb" || !validTableName(name) {
		return nil, validation("Invalid TableArn: Invalid ResourceArn provided as input " + *arn)
	}
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
	var problems constraints
	problems.required(r.Tags != nil, "tags")
	problems.tags(r.Tags)
	if err := problems.err(); err != nil {
		return nil, err
	}
	if t == nil {
		return nil, missingARN(r.ResourceArn)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	merged := maps.Clone(t.tags)
	for _, tag := range r.Tags {
		merged[tag.Key] = *tag.Value
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
	if r.ResourceArn != nil && r.TagKeys != nil && len(r.TagKeys) == 0 {
		return nil, validation("Atleast one Tag Key needs to be provided as Input.")
	}
	t, err := c.tagged(r.ResourceArn)
	if err != nil {
		return nil, err
	}
	var problems constraints
	problems.required(r.TagKeys != nil, "tagKeys")
	if err := problems.err(); err != nil {
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
		value := t.tags[key]
		list = append(list, tag{key, &value})
	}
	return map[string]any{"Tags": list}, nil
}
