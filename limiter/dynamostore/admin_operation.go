package dynamostore

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// OperationRecord implements limiter.AdminStore.
func (s *Store) OperationRecord(ctx context.Context, entityID, resource, id string) (limiter.OperationRecord, error) {
	it, err := s.t.getItem(ctx, bucketPK(s.ns, entityID, resource, 0), skOperationPrefix+id, true)
	if err != nil || it == nil {
		return limiter.OperationRecord{}, wrap("record of operation on", entityID+"/"+resource, err)
	}
	r := limiter.OperationRecord{
		Found: true, ID: id, EntityID: entityID, Resource: resource, Operation: stringOf(it, "operation"),
		Writer: stringOf(it, "writer"), Incarnation: stringOf(it, "ent"), Amounts: limiter.Amounts{},
	}
	shards, _, err := intOf(it, "shards")
	if err != nil {
		return r, wrap("record of operation on", entityID+"/"+resource, err)
	}
	r.Shards = int(shards)
	if amounts, ok := it["amounts"].(*types.AttributeValueMemberM); ok {
		for name := range amounts.Value {
			if r.Amounts[name], _, err = intOf(amounts.Value, name); err != nil {
				return r, wrap("record of operation on", entityID+"/"+resource, err)
			}
		}
	}
	return r, nil
}

// WriteOperation implements limiter.AdminStore.
func (s *Store) WriteOperation(ctx context.Context, in []limiter.Write, record limiter.OperationRecord, audit *limiter.AuditEvent, token string) (limiter.Outcome, error) {
	actions := make([]types.TransactWriteItem, 0, len(in)+3)
	for i := range in {
		action, err := s.writeAction(&in[i])
		if err != nil {
			return limiter.Refused, err
		}
		actions = append(actions, action)
		if pinsOwner(&in[i]) {
			actions = append(actions, types.TransactWriteItem{ConditionCheck: s.ownerCheck(&in[i])})
		}
	}
	actions = append(actions, types.TransactWriteItem{Put: s.recordPut(&record)})
	if audit != nil {
		event, err := s.auditItem(*audit)
		if err != nil {
			return limiter.Refused, wrap("audit", audit.Subject, err)
		}
		actions = append(actions, types.TransactWriteItem{Put: &types.Put{TableName: s.t.tableN, Item: event}})
	}
	_, err := s.t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: actions, ClientRequestToken: aws.String(token)})
	if err == nil {
		return limiter.Done, nil
	}
	if isConflict(err) {
		return limiter.Conflict, nil
	}
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok && hasReason(cancelled, reasonConditionFailed) {
		return limiter.Refused, nil
	}
	return limiter.Refused, wrap(record.Operation, record.EntityID+"/"+record.Resource, err)
}

// recordPut lets one transaction of an id through, and one more for an entity that was made again.
func (s *Store) recordPut(r *limiter.OperationRecord) *types.Put {
	amounts := make(item, len(r.Amounts))
	for name, n := range r.Amounts {
		amounts[name] = number(n)
	}
	var e expression
	ent, none := e.value(str(r.Incarnation)), e.value(str("-"))
	e.require("attribute_not_exists(PK) OR (" + ent + " <> " + none + " AND ent <> " + ent + " AND ent <> " + none + ")")
	return &types.Put{
		TableName: s.t.tableN,
		Item: item{
			attrPK: str(bucketPK(s.ns, r.EntityID, r.Resource, 0)), attrSK: str(skOperationPrefix + r.ID),
			"entity_id": str(r.EntityID), "resource": str(r.Resource), "operation": str(r.Operation), "writer": str(r.Writer),
			"ent": str(r.Incarnation), "shards": number(int64(r.Shards)), "amounts": &types.AttributeValueMemberM{Value: amounts},
			"ttl": number(r.TTL), "GSI4PK": str(s.ns), "GSI4SK": str("OP#" + r.EntityID + "#" + r.Resource + "#" + r.ID),
		},
		ConditionExpression: e.condition(), ExpressionAttributeValues: e.valuesOrNil(),
	}
}

// operationExpression brings one shard to RF and to what the operation leaves on it (WriteOperation).
func operationExpression(w *limiter.Write) *expression {
	e := &expression{}
	e.set("rf", number(w.RF))
	e.set("vu", number(0))
	e.require("rf = " + e.value(number(w.ReadRF)))
	if w.ShardCount == 0 {
		e.require("attribute_not_exists(shard_count)")
	} else {
		e.require("shard_count = " + e.value(number(int64(w.ShardCount))))
	}
	switch w.TTL {
	case limiter.TTLSet:
		e.set(e.name(ttlAttribute), number(w.TTLValue))
	case limiter.TTLRemove:
		e.remove(e.name(ttlAttribute))
	}
	for i := range w.Limits {
		l := &w.Limits[i]
		if l.Change != 0 {
			e.add(e.name(bucketAttr(l.Name, "tk")), number(l.Change))
		}
		for _, f := range numberFields {
			attr := bucketAttr(l.Name, f.attr)
			switch {
			case l.Set&f.field != 0 && f.field == limiter.FieldResets:
				e.add(e.name(attr), number(1))
			case l.Set&f.field != 0:
				e.set(e.name(attr), number(*f.of(&l.Extra)))
			case l.Remove&f.field != 0:
				e.remove(e.name(attr))
			}
		}
	}
	return e
}
