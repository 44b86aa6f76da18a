package dynamostore

import (
	"context"
	"errors"
	"maps"
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
func (s *Store) Config(ctx context.Context, k limiter.ConfigKey, consistent bool) (limiter.Config, error) {
	pk, sk := s.configKeys(k)
	it, err := s.t.getItem(ctx, pk, sk, consistent)
	if err != nil {
		return limiter.Config{}, wrap("config of", configSubject(k), err)
	}
	var c limiter.Config
	return c, wrap("config of", configSubject(k), decodeConfig(it, &c))
}

// PutConfig implements limiter.AdminStore. The item is read first and written whole, with what this
// client does not know carried over, on the condition that nobody changed a flag in between.
func (s *Store) PutConfig(ctx context.Context, k limiter.ConfigKey, change limiter.ConfigChange) (limiter.Config, error) {
	pk, sk := s.configKeys(k)
	var before limiter.Config
	err := retryRaces(ctx, func() error {
		it, err := s.t.getItem(ctx, pk, sk, true)
		if err != nil {
			return err
		}
		before = decodeLeniently(it)
		if len(it) == 0 {
			it = item{attrPK: str(pk), attrSK: str(sk)}
		}
		put := configPut{existed: before.Exists}
		_, put.listed = it["GSI3PK"]
		put.keep(it, string(limiter.FlagDisabled), change.Disabled == limiter.Unset)
		put.keep(it, string(limiter.FlagCascade), change.Cascade == limiter.Unset)
		put.keep(it, "on_unavailable", change.OnUnavailable == "")
		s.identifyConfig(it, k)
		it["config_version"] = number(1)
		putConfigLimits(it, change.Limits)
		setFlagAttr(it, limiter.FlagDisabled, change.Disabled)
		setFlagAttr(it, limiter.FlagCascade, change.Cascade)
		if change.OnUnavailable != "" {
			it["on_unavailable"] = str(string(change.OnUnavailable))
		}
		return s.writeConfig(ctx, k, it, &put)
	})
	return before, wrap("store limits of", configSubject(k), err)
}

// decodeLeniently reads a config that is to be replaced or deleted, which must be possible also when it
// cannot be understood.
func decodeLeniently(it item) limiter.Config {
	var decoded limiter.Config
	if decodeConfig(it, &decoded) != nil {
		return limiter.Config{Exists: true}
	}
	return decoded
}

// identifyConfig gives a config item its identity and index attributes.
func (s *Store) identifyConfig(it item, k limiter.ConfigKey) {
	maps.Copy(it, s.configIdentity(k))
}

func (s *Store) configIdentity(k limiter.ConfigKey) item {
	pk, _ := s.configKeys(k)
	identity := item{"GSI4PK": str(s.ns), "GSI4SK": str(pk)}
	if k.Resource != "" {
		identity["resource"] = str(k.Resource)
	}
	if k.EntityID != "" {
		identity["entity_id"] = str(k.EntityID)
		identity["GSI3PK"], identity["GSI3SK"] = str(entityConfigPK(s.ns, k.Resource)), str(k.EntityID)
	}
	return identity
}

// flagAttr is a flag as config items hold it, nil when it is not set.
func flagAttr(value limiter.Flag) types.AttributeValue {
	switch value {
	case limiter.Off, limiter.On:
		return boolean(value == limiter.On)
	case limiter.Bypassed:
		return str(disabledBypass)
	}
	return nil
}

func setFlagAttr(it item, name limiter.FlagName, value limiter.Flag) {
	if v := flagAttr(value); v != nil {
		it[string(name)] = v
	}
}

// configPut is what a whole config item may replace: an item as it was read.
type configPut struct {
	existed, listed bool
	guard           expression
}

// keep makes the write fail when somebody else changed an attribute that it carries over.
func (p *configPut) keep(it item, attr string, carried bool) {
	if !carried {
		return
	}
	name := p.guard.name(attr)
	if v, ok := it[attr]; ok {
		p.guard.require(name + " = " + p.guard.value(v))
	} else {
		p.guard.require("attribute_not_exists(" + name + ")")
	}
}

// writeConfig stores the item together with its registry entry. An entity's config is counted once:
// when it is new, or was written by somebody who does not list configs.
func (s *Store) writeConfig(ctx context.Context, k limiter.ConfigKey, it item, p *configPut) error {
	var registry *types.Update
	switch {
	case k.EntityID != "" && p.listed:
		p.guard.require("attribute_exists(PK)")
	case k.EntityID != "":
		if p.existed {
			p.guard.require("attribute_exists(PK)", "attribute_not_exists(GSI3PK)")
		} else {
			p.guard.require(conditionAbsent)
		}
		registry = s.countEntityConfig(k.Resource, 1)
	case k.Resource != "":
		registry = s.listResource(k.Resource)
	}
	put := &types.Put{TableName: s.t.tableN, Item: it, ConditionExpression: p.guard.condition(),
		ExpressionAttributeNames: p.guard.namesOrNil(), ExpressionAttributeValues: p.guard.valuesOrNil()}
	if registry == nil {
		_, err := s.t.api.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: put.TableName, Item: put.Item, ConditionExpression: put.ConditionExpression,
			ExpressionAttributeNames: put.ExpressionAttributeNames, ExpressionAttributeValues: put.ExpressionAttributeValues,
		})
		return err
	}
	_, err := s.t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []types.TransactWriteItem{{Put: put}, {Update: registry}},
	})
	return err
}

// SetFlag implements limiter.AdminStore.
func (s *Store) SetFlag(ctx context.Context, k limiter.ConfigKey, name limiter.FlagName, value limiter.Flag) error {
	pk, sk := s.configKeys(k)
	err := retryRaces(ctx, func() error {
		it, err := s.t.getItem(ctx, pk, sk, true)
		if err != nil {
			return err
		}
		if len(it) == 0 && value == limiter.Unset {
			return nil
		}
		_, listed := it["GSI3PK"]
		return s.writeFlag(ctx, k, name, value, len(it) > 0, listed)
	})
	return wrap("set "+string(name)+" of", configSubject(k), err)
}

// writeFlag changes one attribute of a level, so that it loses to nobody who changes another. A level that
// it creates is registered in the same transaction.
func (s *Store) writeFlag(ctx context.Context, k limiter.ConfigKey, name limiter.FlagName, value limiter.Flag, existed, listed bool) error {
	pk, sk := s.configKeys(k)
	var e expression
	attr := e.name(string(name))
	var registry *types.Update
	if v := flagAttr(value); v == nil {
		e.remove(attr)
		e.require("attribute_exists(PK)")
	} else {
		e.set(attr, v)
		for _, id := range sortedAttrs(s.configIdentity(k)) {
			e.setIfAbsent(e.name(id.name), id.value)
		}
		switch {
		case k.EntityID == "":
			registry = s.listResource(k.Resource)
		case !listed:
			e.require("attribute_not_exists(GSI3PK)")
			registry = s.countEntityConfig(k.Resource, 1)
		default:
			e.require("attribute_exists(GSI3PK)")
		}
	}
	in := s.update(key(pk, sk), &e)
	if registry == nil {
		in.ReturnValuesOnConditionCheckFailure = ""
		_, err := s.t.api.UpdateItem(ctx, in)
		if isConditionFailed(err) && value == limiter.Unset {
			return nil // the level was deleted, and the flag with it
		}
		return err
	}
	_, err := s.t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []types.TransactWriteItem{
			{Update: &types.Update{TableName: in.TableName, Key: in.Key, UpdateExpression: in.UpdateExpression,
				ConditionExpression: in.ConditionExpression, ExpressionAttributeNames: in.ExpressionAttributeNames,
				ExpressionAttributeValues: in.ExpressionAttributeValues}},
			{Update: registry},
		},
	})
	return err
}

type namedValue struct {
	name  string
	value types.AttributeValue
}

func sortedAttrs(it item) []namedValue {
	attrs := make([]namedValue, 0, len(it))
	for _, name := range slices.Sorted(maps.Keys(it)) {
		attrs = append(attrs, namedValue{name, it[name]})
	}
	return attrs
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
		if held = decodeLeniently(it); !held.Exists {
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

// EntitiesWithConfig implements limiter.AdminStore. Cursors are those of the other clients of the table.
func (s *Store) EntitiesWithConfig(ctx context.Context, resource string, limit int, cursor string) (ids []string, next string, err error) {
	in := &dynamodb.QueryInput{
		TableName:                 s.t.tableN,
		IndexName:                 aws.String(indexEntities),
		KeyConditionExpression:    aws.String("GSI3PK = :p"),
		ExpressionAttributeValues: item{":p": str(entityConfigPK(s.ns, resource))},
	}
	if limit > 0 {
		in.Limit = aws.Int32(int32(limit))
	}
	if in.ExclusiveStartKey, err = decodeCursor(cursor); err != nil {
		return nil, "", err
	}
	out, err := s.t.api.Query(ctx, in)
	if err != nil {
		return nil, "", wrap("list entities with limits on", resource, err)
	}
	for _, it := range out.Items {
		if id := stringOf(it, "GSI3SK"); id != "" {
			ids = append(ids, id)
		}
	}
	return ids, encodeCursor(out.LastEvaluatedKey), nil
}
