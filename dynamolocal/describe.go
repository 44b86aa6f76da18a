package dynamolocal

import (
	"cmp"
	"strings"
)

// describe returns the description of a table; status "" is the current one.
func (c *control) describe(t *table, status string) map[string]any {
	t.mu.RLock()
	defer t.mu.RUnlock()
	d := &t.definition
	if status == "" {
		status = "ACTIVE"
		if t.deleting {
			status = "DELETING"
		} else if c.engine.now().Before(t.activeAt) {
			status = "CREATING"
		}
	} else if status == "CREATING" && c.engine.config.TableDelay == 0 {
		status = "ACTIVE"
	}
	onDemandMode := d.BillingMode == "PAY_PER_REQUEST"
	answer := map[string]any{
		"TableName":                 t.name,
		"TableArn":                  t.arn,
		"TableId":                   t.id,
		"TableStatus":               status,
		"CreationDateTime":          c.instant(t.created),
		"AttributeDefinitions":      d.AttributeDefinitions,
		"KeySchema":                 d.KeySchema,
		"ProvisionedThroughput":     describeUnits(d.ProvisionedThroughput),
		"TableSizeBytes":            t.store.Bytes(),
		"ItemCount":                 t.store.Count(),
		"DeletionProtectionEnabled": d.DeletionProtectionEnabled != nil && *d.DeletionProtectionEnabled,
	}
	if onDemandMode {
		answer["BillingModeSummary"] = map[string]any{
			"BillingMode":                       "PAY_PER_REQUEST",
			"LastUpdateToPayPerRequestDateTime": c.instant(t.created),
		}
	}
	if d.OnDemandThroughput != nil {
		answer["OnDemandThroughput"] = d.OnDemandThroughput
	}
	if d.TableClass != "" {
		answer["TableClassSummary"] = map[string]any{"TableClass": d.TableClass}
	}
	if sse := d.SSESpecification; sse != nil && sse.Enabled {
		// Nothing is encrypted in memory; the description is what was asked for.
		key := cmp.Or(sse.KMSMasterKeyId, t.id)
		if !strings.HasPrefix(key, "arn:") {
			key = "arn:aws:kms:" + c.region + ":" + c.account + ":key/" + key
		}
		answer["SSEDescription"] = map[string]any{"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key}
	}
	if d.StreamSpecification.enabled() {
		answer["StreamSpecification"] = d.StreamSpecification
	}
	if t.latest != nil {
		answer["LatestStreamLabel"] = t.latest.label
		answer["LatestStreamArn"] = t.latest.arn
	}
	if len(d.GlobalSecondaryIndexes) > 0 {
		answer["GlobalSecondaryIndexes"] = c.describeIndexes(t, d.GlobalSecondaryIndexes, true, status)
	}
	if len(d.LocalSecondaryIndexes) > 0 {
		answer["LocalSecondaryIndexes"] = c.describeIndexes(t, d.LocalSecondaryIndexes, false, status)
	}
	return answer
}

// describeDeleted returns what DeleteTable says of a table, which is less than DescribeTable says.
func (c *control) describeDeleted(t *table) map[string]any {
	answer := c.describe(t, "DELETING")
	for _, name := range []string{"AttributeDefinitions", "KeySchema", "CreationDateTime", "GlobalSecondaryIndexes", "LocalSecondaryIndexes"} {
		delete(answer, name)
	}
	return answer
}

func describeUnits(p *provisioned) map[string]any {
	units := provisioned{}
	if p != nil {
		units = *p
	}
	return map[string]any{
		"NumberOfDecreasesToday": 0,
		"ReadCapacityUnits":      units.ReadCapacityUnits,
		"WriteCapacityUnits":     units.WriteCapacityUnits,
	}
}

func (c *control) describeIndexes(t *table, definitions []indexDefinition, global bool, status string) []any {
	var list []any
	for i := range definitions {
		x := &definitions[i]
		index := t.store.Index(x.IndexName)
		count := int64(0)
		if index != nil {
			count = index.Count()
		}
		bytes := int64(0)
		if items := t.store.Count(); items > 0 {
			bytes = t.store.Bytes() / items * count
		}
		answer := map[string]any{
			"IndexName":      x.IndexName,
			"IndexArn":       t.arn + "/index/" + x.IndexName,
			"KeySchema":      x.KeySchema,
			"Projection":     x.Projection,
			"ItemCount":      count,
			"IndexSizeBytes": bytes,
		}
		if global {
			answer["IndexStatus"] = cmp.Or(status, "ACTIVE")
			answer["ProvisionedThroughput"] = describeUnits(x.ProvisionedThroughput)
		}
		list = append(list, answer)
	}
	return list
}
