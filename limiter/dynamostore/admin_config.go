package dynamostore

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// configAttempts is how often a change of a config is planned anew when another client changed the
// item at the same time.
const configAttempts = 4

// configKeys returns the table key of a level.
func (s *Store) configKeys(k limiter.ConfigKey) (pk, sk string) {
	switch {
	case k.EntityID != "":
		return entityPK(s.ns, k.EntityID), skEntityConfigPrefix + k.Resource
	case k.Resource != "":
		return resourcePK(s.ns, k.Resource), skConfig
	}
	return systemPK(s.ns), skConfig
}

func configSubject(k limiter.ConfigKey) string {
	switch {
	case k.EntityID != "":
		return k.EntityID + "/" + k.Resource
	case k.Resource != "":
		return "resource " + k.Resource
	}
	return "the system"
}

// Config implements limiter.AdminStore.
func (s *Store) Config(ctx context.Context, k limiter.ConfigKey) (limiter.Config, error) {
	pk, sk := s.configKeys(k)
	it, err := s.t.getItem(ctx, pk, sk, false)
	if err != nil {
		return limiter.Config{}, wrap("config of", configSubject(k), err)
	}
	var c limiter.Config
	return c, wrap("config of", configSubject(k), decodeConfig(it, &c))
}

// PutConfig implements limiter.AdminStore. The item is read first and written whole, with what this
// client does not know carried over.
func (s *Store) PutConfig(ctx context.Context, k limiter.ConfigKey, limits []limiter.Limit, mode limiter.OnUnavailable) error {
	pk, sk := s.configKeys(k)
	err := retryRaces(ctx, func() error {
		it, err := s.t.getItem(ctx, pk, sk, true)
		if err != nil {
			return err
		}
		existed := len(it) > 0
		_, listed := it["GSI3PK"]
		if !existed {
			it = item{attrPK: str(pk), attrSK: str(sk)}
		}
		s.stampConfig(it, k)
		putConfigLimits(it, limits)
		if k == (limiter.ConfigKey{}) && mode != "" {
			it["on_unavailable"] = str(string(mode))
		}
		return s.writeConfig(ctx, k, it, existed, listed)
	})
	return wrap("store limits of", configSubject(k), err)
}

// stampConfig gives a config item its identity and index attributes.
func (s *Store) stampConfig(it item, k limiter.ConfigKey) {
	it["config_version"] = number(1)
	it["GSI4PK"], it["GSI4SK"] = str(s.ns), it[attrPK]
	if k.Resource != "" {
		it["resource"] = str(k.Resource)
	}
	if k.EntityID != "" {
		it["entity_id"] = str(k.EntityID)
		it["GSI3PK"], it["GSI3SK"] = str(entityConfigPK(s.ns, k.Resource)), str(k.EntityID)
	}
}

// writeConfig stores the item together with its registry entry. An entity's config is counted once:
// when it is new, or was written by somebody who does not list configs.
func (s *Store) writeConfig(ctx context.Context, k limiter.ConfigKey, it item, existed, listed bool) error {
	put := &types.Put{TableName: s.t.tableN, Item: it}
	var registry *types.Update
	switch {
	case k.EntityID != "" && listed:
		put.ConditionExpression = aws.String("attribute_exists(PK)")
	case k.EntityID != "":
		put.ConditionExpression = aws.String(conditionAbsent)
		if existed {
			put.ConditionExpression = aws.String("attribute_exists(PK) AND attribute_not_exists(GSI3PK)")
		}
		registry = s.countEntityConfig(k.Resource, 1)
	case k.Resource != "":
		registry = s.listResource(k.Resource)
	}
	if registry == nil {
		_, err := s.t.api.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: put.TableName, Item: put.Item, ConditionExpression: put.ConditionExpression,
		})
		return err
	}
	_, err := s.t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []types.TransactWriteItem{{Put: put}, {Update: registry}},
	})
	return err
}

// DeleteConfig implements limiter.AdminStore.
func (s *Store) DeleteConfig(ctx context.Context, k limiter.ConfigKey) (limiter.Config, error) {
	pk, sk := s.configKeys(k)
	var held limiter.Config
	err := retryRaces(ctx, func() error {
		it, err := s.t.getItem(ctx, pk, sk, true)
		if err != nil {
			return err
		}
		// A config that cannot be read must still be deletable.
		held = limiter.Config{Exists: len(it) > 0}
		var decoded limiter.Config
		if decodeConfig(it, &decoded) == nil {
			held = decoded
		}
		if len(it) == 0 {
			return nil
		}
		_, listed := it["GSI3PK"]
		return s.removeConfig(ctx, k, listed)
	})
	if err != nil {
		return limiter.Config{}, wrap("delete limits of", configSubject(k), err)
	}
	return held, nil
}

func (s *Store) removeConfig(ctx context.Context, k limiter.ConfigKey, listed bool) error {
	pk, sk := s.configKeys(k)
	remove := &types.Delete{TableName: s.t.tableN, Key: key(pk, sk), ConditionExpression: aws.String("attribute_exists(PK)")}
	var registry *types.Update
	switch {
	case k.EntityID != "" && listed:
		registry = s.countEntityConfig(k.Resource, -1)
	case k.EntityID == "" && k.Resource != "":
		registry = s.unlistResource(k.Resource)
	}
	if registry == nil {
		_, err := s.t.api.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: s.t.tableN, Key: remove.Key})
		return err
	}
	_, err := s.t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []types.TransactWriteItem{{Delete: remove}, {Update: registry}},
	})
	if err != nil || k.EntityID == "" {
		return err
	}
	return s.dropEmptyCount(ctx, k.Resource)
}

// retryRaces repeats a read-and-write that another client's change of the item, or a transaction on
// it, made void. Its condition makes a repetition harmless.
func retryRaces(ctx context.Context, attempt func() error) error {
	for n := 1; ; n++ {
		err := retryConflicts(ctx, attempt)
		cancelled, ok := errors.AsType[*types.TransactionCanceledException](err)
		raced := isConditionFailed(err) || ok && hasReason(cancelled, reasonConditionFailed)
		if !raced || n == configAttempts {
			return err
		}
	}
}

// countEntityConfig changes how many entity configs the registry counts for a resource. Each
// resource is an attribute of its own.
func (s *Store) countEntityConfig(resource string, by int64) *types.Update {
	var e expression
	s.stampRegistry(&e)
	e.add(e.name(resource), number(by))
	return s.registryUpdate(skEntityConfigs, &e)
}

func (s *Store) listResource(resource string) *types.Update {
	var e expression
	s.stampRegistry(&e)
	e.add("resources", &types.AttributeValueMemberSS{Value: []string{resource}})
	return s.registryUpdate(skResources, &e)
}

func (s *Store) unlistResource(resource string) *types.Update {
	var e expression
	e.value(&types.AttributeValueMemberSS{Value: []string{resource}})
	u := s.registryUpdate(skResources, &e)
	u.UpdateExpression = aws.String("DELETE resources :v0")
	return u
}

func (s *Store) stampRegistry(e *expression) {
	e.setIfAbsent("GSI4PK", str(s.ns))
	e.setIfAbsent("GSI4SK", str(systemPK(s.ns)))
}

func (s *Store) registryUpdate(sk string, e *expression) *types.Update {
	return &types.Update{
		TableName: s.t.tableN, Key: key(systemPK(s.ns), sk), UpdateExpression: e.update(),
		ExpressionAttributeNames: e.namesOrNil(), ExpressionAttributeValues: e.valuesOrNil(),
	}
}

// dropEmptyCount removes a resource from the registry when no entity config is left for it.
func (s *Store) dropEmptyCount(ctx context.Context, resource string) error {
	var e expression
	name := e.name(resource)
	e.remove(name)
	e.require(name + " <= " + e.value(number(0)))
	_, err := s.t.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: s.t.tableN, Key: key(systemPK(s.ns), skEntityConfigs),
		UpdateExpression: e.update(), ConditionExpression: e.condition(),
		ExpressionAttributeNames: e.namesOrNil(), ExpressionAttributeValues: e.valuesOrNil(),
	})
	// A count that is higher, or going up at this moment, stays; so does one that another
	// transaction holds: readers pass over counts of zero.
	if isConditionFailed(err) || isConflict(err) {
		return nil
	}
	return err
}

// ResourcesWithDefaults implements limiter.AdminStore.
func (s *Store) ResourcesWithDefaults(ctx context.Context) ([]string, error) {
	it, err := s.t.getItem(ctx, systemPK(s.ns), skResources, false)
	if err != nil {
		return nil, wrap("list", "resources", err)
	}
	set, ok := it["resources"].(*types.AttributeValueMemberSS)
	if !ok {
		return nil, nil
	}
	return slices.Sorted(slices.Values(set.Value)), nil
}

// EntityConfigResources implements limiter.AdminStore.
func (s *Store) EntityConfigResources(ctx context.Context) ([]string, error) {
	it, err := s.t.getItem(ctx, systemPK(s.ns), skEntityConfigs, false)
	if err != nil {
		return nil, wrap("list", "resources with entity configs", err)
	}
	var names []string
	for name, v := range it {
		if n, err := parseInt(v); err == nil && n > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
