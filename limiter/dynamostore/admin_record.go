package dynamostore

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// PutAudit implements limiter.AdminStore.
func (s *Store) PutAudit(ctx context.Context, e limiter.AuditEvent) error {
	it, err := s.auditItem(e)
	if err != nil {
		return wrap("audit", e.Subject, err)
	}
	_, err = s.t.api.PutItem(ctx, &dynamodb.PutItemInput{TableName: s.t.tableN, Item: it})
	return wrap("audit", e.Subject, err)
}

func (s *Store) auditItem(e limiter.AuditEvent) (item, error) {
	details, err := encodeMap(e.Details)
	if err != nil {
		return nil, err
	}
	pk := auditPK(s.ns, e.Subject)
	return item{
		attrPK: str(pk), attrSK: str(skAuditPrefix + e.ID),
		"entity_id": str(e.Subject),
		"event_id":  str(e.ID),
		"timestamp": str(isoTime(e.Timestamp)),
		"action":    str(e.Action),
		"principal": strOrNull(e.Principal),
		"resource":  strOrNull(e.Resource),
		"details":   details,
		"ttl":       number(e.TTL),
		"GSI4PK":    str(s.ns), "GSI4SK": str(pk),
	}, nil
}

func strOrNull(s string) types.AttributeValue {
	if s == "" {
		return null()
	}
	return str(s)
}

// AuditEvents implements limiter.AdminStore.
func (s *Store) AuditEvents(ctx context.Context, subject string, limit int, after string) ([]limiter.AuditEvent, error) {
	pk := auditPK(s.ns, subject)
	in := &dynamodb.QueryInput{
		KeyConditionExpression:    aws.String("PK = :p AND begins_with(SK, :s)"),
		ExpressionAttributeValues: item{":p": str(pk), ":s": str(skAuditPrefix)},
		ScanIndexForward:          aws.Bool(false),
		Limit:                     aws.Int32(int32(limit)),
	}
	if after != "" {
		in.ExclusiveStartKey = key(pk, skAuditPrefix+after)
	}
	var events []limiter.AuditEvent
	for page, err := range s.t.query(ctx, in) {
		if err != nil {
			return nil, wrap("audit events of", subject, err)
		}
		for _, it := range page {
			if e, ok := decodeAudit(it); ok && len(events) < limit {
				events = append(events, e)
			}
		}
		if len(events) == limit {
			break
		}
	}
	return events, nil
}

func decodeAudit(it item) (limiter.AuditEvent, bool) {
	at, _ := time.Parse(time.RFC3339, stringOf(it, "timestamp")) // zero when foreign
	e := limiter.AuditEvent{
		ID: stringOf(it, "event_id"), Timestamp: at, Action: stringOf(it, "action"), Subject: stringOf(it, "entity_id"),
		Principal: stringOf(it, "principal"), Resource: stringOf(it, "resource"), Details: decodeMap(it["details"]),
	}
	return e, e.Action != ""
}

// UsageSnapshots implements limiter.AdminStore.
func (s *Store) UsageSnapshots(ctx context.Context, q limiter.UsageQuery) (snapshots []limiter.UsageSnapshot, next string, err error) {
	in := &dynamodb.QueryInput{
		TableName:        s.t.tableN,
		ScanIndexForward: aws.Bool(false),
		Limit:            aws.Int32(int32(q.Limit)),
	}
	if q.EntityID != "" {
		prefix := skUsagePrefix
		if q.Resource != "" {
			prefix += q.Resource + "#"
		}
		in.KeyConditionExpression = aws.String("PK = :p AND begins_with(SK, :s)")
		in.ExpressionAttributeValues = item{":p": str(entityPK(s.ns, q.EntityID)), ":s": str(prefix)}
	} else {
		in.IndexName = aws.String(indexResources)
		in.KeyConditionExpression = aws.String("GSI2PK = :p AND begins_with(GSI2SK, :s)")
		in.ExpressionAttributeValues = item{":p": str(resourcePK(s.ns, q.Resource)), ":s": str("USAGE#")}
	}
	if in.ExclusiveStartKey, err = decodeCursor(q.Cursor); err != nil {
		return nil, "", err
	}
	out, err := s.t.api.Query(ctx, in)
	if err != nil {
		return nil, "", wrap("usage of", strings.Trim(q.EntityID+"/"+q.Resource, "/"), err)
	}
	for _, it := range out.Items {
		if u, ok := decodeUsage(it); ok && u.Matches(&q) {
			snapshots = append(snapshots, u)
		}
	}
	return snapshots, encodeCursor(out.LastEvaluatedKey), nil
}

// overdrawnSuffix marks the counters of soft limits in debt; no limit's name can hold it.
const overdrawnSuffix = "#od"

// decodeUsage reads a snapshot, whose counters are all numbers that are not something else.
func decodeUsage(it item) (limiter.UsageSnapshot, bool) {
	start, err := time.Parse(time.RFC3339, stringOf(it, "window_start"))
	u := limiter.UsageSnapshot{
		EntityID: stringOf(it, "entity_id"), Resource: stringOf(it, "resource"), Window: stringOf(it, "window"),
		WindowStart: start, Counters: limiter.Amounts{}, Overdrawn: limiter.Amounts{},
	}
	if err != nil || u.EntityID == "" || u.Resource == "" {
		return u, false
	}
	u.WindowEnd = windowEnd(start, u.Window)
	for name, v := range it {
		n, err := parseInt(v)
		if err != nil {
			continue
		}
		limit, overdrawn := strings.CutSuffix(name, overdrawnSuffix)
		switch {
		case name == "total_events":
			u.TotalEvents = n
		case name == ttlAttribute:
		case overdrawn:
			u.Overdrawn[limit] = n
		default:
			u.Counters[name] = n
		}
	}
	return u, true
}

// windowEnd is the last second of a window.
func windowEnd(start time.Time, window string) time.Time {
	y, m, d := start.Date()
	switch window {
	case "hourly":
		return start.Truncate(time.Hour).Add(time.Hour - time.Second)
	case "daily":
		return time.Date(y, m, d, 23, 59, 59, 0, start.Location())
	case "monthly":
		return time.Date(y, m+1, 1, 0, 0, 0, 0, start.Location()).Add(-time.Second)
	}
	return start
}
