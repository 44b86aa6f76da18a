package dynamostore

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Managed implements limiter.AdminStore: the record that the stack's provisioner keeps, too.
func (s *Store) Managed(ctx context.Context) (limiter.Managed, error) {
	it, err := s.t.getItem(ctx, systemPK(s.ns), skProvisioner, true)
	if err != nil {
		return limiter.Managed{}, wrap("managed levels of", s.ns, err)
	}
	at, _ := time.Parse(time.RFC3339, stringOf(it, "last_applied")) // zero when absent or foreign
	m := limiter.Managed{System: boolOf(it, "managed_system"), Resources: texts(it["managed_resources"]), Entities: map[string][]string{},
		LastApplied: at, Hash: stringOf(it, "applied_hash")}
	if entities, ok := it["managed_entities"].(*types.AttributeValueMemberM); ok {
		for id, resources := range entities.Value {
			m.Entities[id] = texts(resources)
		}
	}
	return m, nil
}

func texts(v types.AttributeValue) []string {
	list, ok := v.(*types.AttributeValueMemberL)
	if !ok {
		return nil
	}
	var out []string
	for _, element := range list.Value {
		if text, ok := element.(*types.AttributeValueMemberS); ok {
			out = append(out, text.Value)
		}
	}
	return out
}

// PutManaged implements limiter.AdminStore. Unlike the provisioner it lets a purge find the record.
func (s *Store) PutManaged(ctx context.Context, m limiter.Managed) error {
	list := func(names []string) types.AttributeValue {
		values := make([]types.AttributeValue, len(names))
		for i, name := range names {
			values[i] = str(name)
		}
		return &types.AttributeValueMemberL{Value: values}
	}
	entities := make(item, len(m.Entities))
	for id, resources := range m.Entities {
		entities[id] = list(resources)
	}
	pk := systemPK(s.ns)
	_, err := s.t.api.PutItem(ctx, &dynamodb.PutItemInput{TableName: s.t.tableN, Item: item{
		attrPK: str(pk), attrSK: str(skProvisioner),
		"managed_system": boolean(m.System), "managed_resources": list(m.Resources),
		"managed_entities": &types.AttributeValueMemberM{Value: entities},
		"last_applied":     str(isoTime(m.LastApplied)), "applied_hash": str(m.Hash),
		"GSI4PK": str(s.ns), "GSI4SK": str(pk),
	}})
	return wrap("managed levels of", s.ns, err)
}
