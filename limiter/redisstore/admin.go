package redisstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore/internal/resp"
)

// PutEntity implements limiter.AdminStore.
func (s *Store) PutEntity(ctx context.Context, m limiter.Meta) error {
	c := &change{key: s.entityKey(m.EntityID)}
	c.when(missing())
	c.setText(fieldName, m.Name)
	c.setText(fieldParent, m.ParentID)
	c.setText(fieldCreated, m.CreatedAt)
	if m.Cascade {
		c.set(fieldCascade, "1")
	}
	c.setNumber(fieldGeneration, m.Generation)
	c.set(fieldIncarnation, m.PInc)
	if m.Metadata != nil {
		text, err := json.Marshal(m.Metadata)
		if err != nil {
			return fmt.Errorf("PutEntity: metadata of %s: %w", m.EntityID, err)
		}
		c.set(fieldMetadata, string(text))
	}
	changes := []*change{c}
	if m.ParentID != "" {
		index := &change{key: s.childrenKey(m.ParentID)}
		index.include(m.EntityID)
		changes = append(changes, index)
	}
	w, err := s.commit(ctx, "PutEntity", false, changes...)
	if err == nil && !w.done {
		err = fmt.Errorf("%w: %s", limiter.ErrEntityExists, m.EntityID)
	}
	return err
}

// Entity implements limiter.AdminStore.
func (s *Store) Entity(ctx context.Context, id string, _ bool) (limiter.Meta, error) {
	found, err := s.read(ctx, "Entity", s.entityKey(id))
	if err != nil {
		return limiter.Meta{}, err
	}
	return metaOf(id, found[0], true)
}

// SetParent implements limiter.AdminStore. The listing of the former parent is brought in line with what
// the entity was, which is why the change is tied to it.
func (s *Store) SetParent(ctx context.Context, id, parentID string) (limiter.Meta, error) {
	for {
		before, err := s.Entity(ctx, id, true)
		if err != nil {
			return limiter.Meta{}, err
		}
		if !before.Found {
			return limiter.Meta{}, fmt.Errorf("%w: %s", limiter.ErrEntityNotFound, id)
		}
		c := &change{key: s.entityKey(id)}
		c.when(equalsNumber(fieldGeneration, before.Generation))
		c.when(equals(fieldIncarnation, before.PInc))
		c.setText(fieldParent, parentID)
		c.add(fieldGeneration, 1)
		changes := []*change{c}
		if before.ParentID != "" && before.ParentID != parentID {
			index := &change{key: s.childrenKey(before.ParentID)}
			index.exclude(id)
			changes = append(changes, index)
		}
		if parentID != "" {
			index := &change{key: s.childrenKey(parentID)}
			index.include(id)
			changes = append(changes, index)
		}
		w, err := s.commit(ctx, "SetParent", false, changes...)
		if err != nil || w.done {
			return before, err
		}
		if err := ctx.Err(); err != nil { // somebody keeps moving it
			return limiter.Meta{}, err
		}
	}
}

// DeleteEntity implements limiter.AdminStore.
func (s *Store) DeleteEntity(ctx context.Context, id string) (deleted int, err error) {
	drop := func(target *change, more ...*change) error {
		target.when(present())
		target.drop()
		w, err := s.commit(ctx, "DeleteEntity", false, append([]*change{target}, more...)...)
		if err == nil && w.done {
			deleted++
		}
		return err
	}
	records, err := s.list(ctx, "DeleteEntity", "SMEMBERS", s.operationsKey(id))
	if err != nil {
		return deleted, err
	}
	for _, key := range records {
		if err := drop(&change{key: key}); err != nil {
			return deleted, err
		}
	}
	if len(records) > 0 {
		if err := s.command(ctx, "DeleteEntity", "DEL", s.operationsKey(id)); err != nil {
			return deleted, err
		}
	}
	keys, err := s.BucketKeys(ctx, id, "")
	if err != nil {
		return deleted, err
	}
	for _, key := range keys {
		index := &change{key: s.bucketsKey(key.Resource)}
		index.unrank(member(key))
		if err := drop(&change{key: s.bucketKey(key)}, index); err != nil {
			return deleted, err
		}
	}
	resources, err := s.list(ctx, "DeleteEntity", "SMEMBERS", s.entityConfigsKey())
	if err != nil {
		return deleted, err
	}
	for _, resource := range resources {
		before, err := s.DeleteConfig(ctx, limiter.ConfigKey{EntityID: id, Resource: resource})
		if err != nil {
			return deleted, err
		}
		if before.Exists {
			deleted++
		}
	}
	meta, err := s.Entity(ctx, id, true)
	if err != nil || !meta.Found {
		return deleted, err
	}
	var index []*change
	if meta.ParentID != "" {
		c := &change{key: s.childrenKey(meta.ParentID)}
		c.exclude(id)
		index = append(index, c)
	}
	return deleted, drop(&change{key: s.entityKey(id)}, index...)
}

// command sends a command whose reply does not matter.
func (s *Store) command(ctx context.Context, operation, command string, args ...string) error {
	call := resp.NewCall(command)
	for _, arg := range args {
		call.Arg(arg)
	}
	var n numbers
	return s.do(ctx, operation, call, &n)
}

// Children implements limiter.AdminStore.
func (s *Store) Children(ctx context.Context, id string) ([]limiter.Meta, error) {
	ids, err := s.list(ctx, "Children", "SMEMBERS", s.childrenKey(id))
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	var children []limiter.Meta
	for some := range slices.Chunk(ids, 256) {
		keys := make([]string, len(some))
		for i := range some {
			keys[i] = s.entityKey(some[i])
		}
		found, err := s.read(ctx, "Children", keys...)
		if err != nil {
			return nil, err
		}
		for i := range found {
			child, err := metaOf(some[i], found[i], true)
			if err != nil {
				return nil, err
			}
			if child.Found && child.ParentID == id {
				children = append(children, child)
			}
		}
	}
	return children, nil
}

// Config implements limiter.AdminStore.
func (s *Store) Config(ctx context.Context, key limiter.ConfigKey, _ bool) (limiter.Config, error) {
	found, err := s.read(ctx, "Config", s.configKey(key))
	if err != nil {
		return limiter.Config{}, err
	}
	return configOf(found[0])
}

// registered is the change of the registries when a level is there, or is deleted.
func (s *Store) registered(key limiter.ConfigKey, there bool) []*change {
	switch {
	case key.EntityID != "":
		entities, resources := &change{key: s.entityConfigKey(key.Resource)}, &change{key: s.entityConfigsKey()}
		if !there {
			entities.unrank(key.EntityID)
			return []*change{entities}
		}
		entities.rank(key.EntityID, "0")
		resources.include(key.Resource)
		return []*change{entities, resources}
	case key.Resource != "":
		resources := &change{key: s.resourceConfigsKey()}
		if there {
			resources.include(key.Resource)
		} else {
			resources.exclude(key.Resource)
		}
		return []*change{resources}
	}
	return nil
}

// PutConfig implements limiter.AdminStore.
func (s *Store) PutConfig(ctx context.Context, key limiter.ConfigKey, put limiter.ConfigChange) (limiter.Config, error) {
	limits := slices.SortedFunc(slices.Values(put.Limits), func(a, b limiter.Limit) int { return strings.Compare(a.Name, b.Name) })
	text, err := encodeLimits(limits)
	if err != nil {
		return limiter.Config{}, fmt.Errorf("PutConfig: %w", err)
	}
	c := &change{key: s.configKey(key)}
	c.set(fieldExists, "1")
	c.set(fieldLimits, text)
	if put.Disabled != limiter.Unset {
		c.set(fieldFlag, flagNames[put.Disabled])
	}
	if put.Cascade != limiter.Unset {
		c.set(fieldPolicy, flagNames[put.Cascade])
	}
	if put.OnUnavailable != "" {
		c.set(fieldMode, string(put.OnUnavailable))
	}
	w, err := s.commit(ctx, "PutConfig", true, append([]*change{c}, s.registered(key, true)...)...)
	if err != nil {
		return limiter.Config{}, err
	}
	return configOf(w.before)
}

// SetFlag implements limiter.AdminStore.
func (s *Store) SetFlag(ctx context.Context, key limiter.ConfigKey, name limiter.FlagName, value limiter.Flag) error {
	field := fieldFlag
	if name == limiter.FlagCascade {
		field = fieldPolicy
	}
	c := &change{key: s.configKey(key)}
	if value == limiter.Unset {
		c.when(present())
		c.remove(field)
		_, err := s.commit(ctx, "SetFlag", false, c)
		return err
	}
	c.set(fieldExists, "1")
	c.set(field, flagNames[value])
	_, err := s.commit(ctx, "SetFlag", false, append([]*change{c}, s.registered(key, true)...)...)
	return err
}

// DeleteConfig implements limiter.AdminStore.
func (s *Store) DeleteConfig(ctx context.Context, key limiter.ConfigKey) (limiter.Config, error) {
	c := &change{key: s.configKey(key)}
	c.drop()
	w, err := s.commit(ctx, "DeleteConfig", true, append([]*change{c}, s.registered(key, false)...)...)
	if err != nil {
		return limiter.Config{}, err
	}
	return configOf(w.before)
}

// ResourcesWithDefaults implements limiter.AdminStore.
func (s *Store) ResourcesWithDefaults(ctx context.Context) ([]string, error) {
	names, err := s.list(ctx, "ResourcesWithDefaults", "SMEMBERS", s.resourceConfigsKey())
	slices.Sort(names)
	return names, err
}

// EntityConfigResources implements limiter.AdminStore.
func (s *Store) EntityConfigResources(ctx context.Context) ([]string, error) {
	names, err := s.list(ctx, "EntityConfigResources", "SMEMBERS", s.entityConfigsKey())
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	keys := make([]string, len(names))
	for i := range names {
		keys[i] = s.entityConfigKey(names[i])
	}
	there, err := s.exist(ctx, "EntityConfigResources", keys)
	if err != nil {
		return nil, err
	}
	var used []string
	for i := range names {
		if there[i] {
			used = append(used, names[i])
		}
	}
	return used, nil
}

// EntitiesWithConfig implements limiter.AdminStore. A cursor is the last entity of the page before.
func (s *Store) EntitiesWithConfig(ctx context.Context, resource string, limit int, cursor string) (ids []string, next string, err error) {
	if limit <= 0 {
		limit = 1000
	}
	from := "-"
	if cursor != "" {
		from = "(" + cursor
	}
	ids, err = s.list(ctx, "EntitiesWithConfig", "ZRANGEBYLEX", s.entityConfigKey(resource), from, "+", "LIMIT", "0", strconv.Itoa(limit+1))
	if err == nil && len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	return ids, next, err
}

// BucketKeys implements limiter.AdminStore.
func (s *Store) BucketKeys(ctx context.Context, entityID, resource string) ([]limiter.BucketKey, error) {
	resources := []string{resource}
	if resource == "" {
		var err error
		if resources, err = s.list(ctx, "BucketKeys", "SMEMBERS", s.resourcesKey()); err != nil {
			return nil, err
		}
	}
	var keys []limiter.BucketKey
	var err error
	if entityID != "" {
		keys, err = s.entityBuckets(ctx, entityID, resources)
	} else {
		for _, r := range resources {
			var some []limiter.BucketKey
			if some, err = s.resourceBuckets(ctx, r); err != nil {
				break
			}
			keys = append(keys, some...)
		}
	}
	slices.SortFunc(keys, func(a, b limiter.BucketKey) int {
		return cmp.Or(strings.Compare(a.EntityID, b.EntityID), strings.Compare(a.Resource, b.Resource), a.Shard-b.Shard)
	})
	return keys, err
}

// entityBuckets tries all shards that there can be.
func (s *Store) entityBuckets(ctx context.Context, entityID string, resources []string) ([]limiter.BucketKey, error) {
	var candidates []limiter.BucketKey
	var names []string
	for _, r := range resources {
		for shard := range limiter.MaxShards {
			key := limiter.BucketKey{EntityID: entityID, Resource: r, Shard: shard}
			candidates, names = append(candidates, key), append(names, s.bucketKey(key))
		}
	}
	there, err := s.exist(ctx, "BucketKeys", names)
	if err != nil {
		return nil, err
	}
	var keys []limiter.BucketKey
	for i := range candidates {
		if there[i] {
			keys = append(keys, candidates[i])
		}
	}
	return keys, nil
}

// resourceBuckets reads the listing of a resource, page by page.
func (s *Store) resourceBuckets(ctx context.Context, resource string) ([]limiter.BucketKey, error) {
	const page = 10_000
	var keys []limiter.BucketKey
	for offset := 0; ; offset += page {
		members, err := s.list(ctx, "BucketKeys", "ZRANGEBYSCORE", s.bucketsKey(resource), decimal(time.Now().Unix()), "+inf", "LIMIT", strconv.Itoa(offset), strconv.Itoa(page))
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if key, ok := parseMember(m, resource); ok {
				keys = append(keys, key)
			}
		}
		if len(members) < page {
			return keys, nil
		}
	}
}

// Buckets implements limiter.AdminStore.
func (s *Store) Buckets(ctx context.Context, entityID, resource string) ([]limiter.Bucket, error) {
	keys := make([]limiter.BucketKey, limiter.MaxShards)
	for shard := range keys {
		keys[shard] = limiter.BucketKey{EntityID: entityID, Resource: resource, Shard: shard}
	}
	owned, err := s.readBuckets(ctx, "Buckets", keys)
	var buckets []limiter.Bucket
	for _, b := range owned {
		buckets = append(buckets, b.Bucket)
	}
	return buckets, err
}

// ResourceBuckets implements limiter.AdminStore.
func (s *Store) ResourceBuckets(ctx context.Context, resource string) ([]limiter.OwnedBucket, error) {
	keys, err := s.BucketKeys(ctx, "", resource)
	if err != nil {
		return nil, err
	}
	return s.readBuckets(ctx, "ResourceBuckets", keys)
}

// readBuckets reads the buckets that are there.
func (s *Store) readBuckets(ctx context.Context, operation string, keys []limiter.BucketKey) ([]limiter.OwnedBucket, error) {
	var buckets []limiter.OwnedBucket
	for some := range slices.Chunk(keys, 256) {
		names := make([]string, len(some))
		for i := range some {
			names[i] = s.bucketKey(some[i])
		}
		found, err := s.read(ctx, operation, names...)
		if err != nil {
			return nil, err
		}
		for i := range found {
			b, err := bucketOf(found[i], some[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", operation, err)
			}
			if b.Exists {
				buckets = append(buckets, limiter.OwnedBucket{EntityID: some[i].EntityID, Bucket: b})
			}
		}
	}
	return buckets, nil
}

// SyncParameters implements limiter.AdminStore.
func (s *Store) SyncParameters(ctx context.Context, in limiter.SyncInput) (bool, error) {
	c := &change{key: s.bucketKey(in.Key)}
	c.when(present())
	var schedule, resets, zone string
	for _, l := range in.Limits {
		schedule, resets = cmp.Or(schedule, l.Schedule), cmp.Or(resets, l.ResetSchedule)
		if l.Schedule != "" || l.ResetSchedule != "" {
			zone = l.Zone
		}
	}
	c.setText(fieldSchedule, schedule)
	c.setText(fieldResetSchedule, resets)
	c.setText(fieldZone, zone)
	for i := range in.Limits {
		syncLimit(c, &in.Limits[i], in.SoftUntil, schedule, resets)
	}
	for _, name := range in.Stale {
		for _, prefix := range [...]string{limitTokens, limitCounter, limitParameters} {
			c.remove(prefix + name)
		}
		for i := range rareFields {
			c.remove(rareFields[i].prefix + name)
		}
	}
	c.setNumber(fieldVU, 0)
	changes := []*change{c}
	if c.setTTL(in.TTL, in.TTLValue) {
		changes = append(changes, s.listed(in.Key, in.TTL, in.TTLValue)...)
	}
	w, err := s.commit(ctx, "SyncParameters", false, changes...)
	return err == nil && w.done, err
}

// syncLimit gives a limit the parameters of its config; balance and marks stay.
func syncLimit(c *change, l *limiter.Limit, softUntil int64, schedule, resets string) {
	c.set(limitParameters+l.Name, parameters(l.Capacity*1000, l.RefillAmount*1000, l.RefillPeriod.Milliseconds()))
	w := limiter.LimitWrite{Name: l.Name, Remove: limiter.FieldWindow | limiter.FieldSoft | limiter.FieldSchedule | limiter.FieldResetSchedule}
	if l.ResetAfter > 0 {
		w.Set |= limiter.FieldWindow
		w.Extra.Window = int64(l.ResetAfter / time.Second)
	}
	if l.Soft {
		w.Set |= limiter.FieldSoft
		w.Extra.Soft = softUntil
	}
	if l.Schedule != schedule {
		w.Set |= limiter.FieldSchedule
		w.Extra.Schedule = cmp.Or(l.Schedule, limiter.NoSchedule)
	}
	if l.ResetSchedule != resets {
		w.Set |= limiter.FieldResetSchedule
		w.Extra.ResetSchedule = cmp.Or(l.ResetSchedule, limiter.NoSchedule)
	}
	w.Remove &^= w.Set
	setRare(c, &w)
}

// Stamp implements limiter.AdminStore.
func (s *Store) Stamp(ctx context.Context, in limiter.StampInput) (bool, error) {
	c := &change{key: s.bucketKey(in.Key)}
	c.when(present())
	if o := in.Owner; o != nil {
		c.when(lacks(fieldIncarnation), differs(fieldIncarnation, o.Incarnation()), lacks(fieldGeneration), atMost(fieldGeneration, o.Generation))
		setOwner(c, &limiter.Write{Owner: limiter.Owner{Found: true, Generation: o.Generation, PInc: o.Incarnation()}, Cascade: in.Cascade, ParentID: in.ParentID})
	}
	switch in.Access {
	case limiter.On:
		c.set(fieldDisabled, "1")
		c.remove(fieldBypass)
	case limiter.Bypassed:
		c.remove(fieldDisabled)
		c.setNumber(fieldBypass, in.Until)
	case limiter.Off:
		c.remove(fieldDisabled)
		c.remove(fieldBypass)
	}
	for name, soft := range in.Soft {
		action := limiter.StampRemove
		if soft {
			action = limiter.StampSet
		}
		stamp(c, rare(limiter.FieldSoft).prefix+name, action, in.Until)
	}
	w, err := s.commit(ctx, "Stamp", false, c)
	return err == nil && w.done, err
}

// RequireReaders implements limiter.AdminStore: every client of the store understands all that is in it.
func (s *Store) RequireReaders(ctx context.Context, _ string, _ bool) error { return ctx.Err() }

// OperationRecord implements limiter.AdminStore.
func (s *Store) OperationRecord(ctx context.Context, entityID, resource, id string) (limiter.OperationRecord, error) {
	found, err := s.read(ctx, "OperationRecord", s.operationKey(entityID, resource, id))
	if err != nil || len(found[0]) == 0 {
		return limiter.OperationRecord{}, err
	}
	var record limiter.OperationRecord
	if err := json.Unmarshal([]byte(found[0].get(fieldJSON)), &record); err != nil {
		return limiter.OperationRecord{}, fmt.Errorf("OperationRecord: %w", err)
	}
	record.Found = true
	return record, nil
}

// WriteOperation implements limiter.AdminStore. The token is not needed: nothing is sent twice, and a caller
// that does finds its record.
func (s *Store) WriteOperation(ctx context.Context, in []limiter.Write, record limiter.OperationRecord, audit *limiter.AuditEvent, _ string) (limiter.Outcome, error) {
	changes, err := s.plan(in)
	if err != nil {
		return limiter.Refused, err
	}
	text, err := json.Marshal(record)
	if err != nil {
		return limiter.Refused, fmt.Errorf("WriteOperation: %w", err)
	}
	key := s.operationKey(record.EntityID, record.Resource, record.ID)
	c, index := &change{key: key}, &change{key: s.operationsKey(record.EntityID)}
	if record.Incarnation == "-" {
		c.when(missing())
	} else {
		c.when(missing(), differs(fieldIncarnation, record.Incarnation))
		c.when(missing(), differs(fieldIncarnation, "-"))
	}
	c.set(fieldJSON, string(text))
	c.set(fieldIncarnation, record.Incarnation)
	if record.TTL != 0 {
		c.expireAt(goesAt(record.TTL))
	}
	index.include(key)
	changes = append(changes, c, index)
	if audit != nil {
		event, err := s.auditChange(*audit)
		if err != nil {
			return limiter.Refused, fmt.Errorf("WriteOperation: %w", err)
		}
		changes = append(changes, event)
	}
	w, err := s.commit(ctx, "WriteOperation", false, changes...)
	if err != nil || !w.done {
		return limiter.Refused, err
	}
	return limiter.Done, nil
}

// auditChange adds an event to those of its subject, and takes those out whose time is over. An event is its
// id and, after it, JSON: the order of the texts is that of the ids.
func (s *Store) auditChange(e limiter.AuditEvent) (*change, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	c := &change{key: s.auditKey(e.Subject)}
	c.rank(e.ID+string(text), "0")
	if e.TTL > 0 {
		kept := time.Duration(e.TTL-e.Timestamp.Unix()) * time.Second
		c.dropNames(ulidTime(e.Timestamp.Add(-kept)))
		c.expireAt(goesAt(e.TTL))
	}
	return c, nil
}

// PutAudit implements limiter.AdminStore.
func (s *Store) PutAudit(ctx context.Context, e limiter.AuditEvent) error {
	c, err := s.auditChange(e)
	if err != nil {
		return fmt.Errorf("PutAudit: %w", err)
	}
	_, err = s.commit(ctx, "PutAudit", false, c)
	return err
}

// AuditEvents implements limiter.AdminStore.
func (s *Store) AuditEvents(ctx context.Context, subject string, limit int, after string) ([]limiter.AuditEvent, error) {
	from := "+"
	if after != "" {
		from = "(" + after
	}
	texts, err := s.list(ctx, "AuditEvents", "ZREVRANGEBYLEX", s.auditKey(subject), from, "-", "LIMIT", "0", strconv.Itoa(limit))
	if err != nil {
		return nil, err
	}
	var events []limiter.AuditEvent
	for _, text := range texts {
		var e limiter.AuditEvent
		start := strings.IndexByte(text, '{')
		if start < 0 {
			return nil, fmt.Errorf("AuditEvents: an event of %s is damaged", subject)
		}
		if err := json.Unmarshal([]byte(text[start:]), &e); err != nil {
			return nil, fmt.Errorf("AuditEvents: %w", err)
		}
		details, err := decodeMap(text[start:])
		if err != nil {
			return nil, fmt.Errorf("AuditEvents: %w", err)
		}
		e.Details, _ = details["Details"].(map[string]any)
		e.Timestamp, e.TTL = e.Timestamp.UTC(), 0
		events = append(events, e)
	}
	return events, nil
}

// UsageSnapshots implements limiter.AdminStore: nothing makes snapshots of the store.
func (s *Store) UsageSnapshots(ctx context.Context, _ limiter.UsageQuery) ([]limiter.UsageSnapshot, string, error) {
	return nil, "", ctx.Err()
}

// Managed implements limiter.AdminStore.
func (s *Store) Managed(ctx context.Context) (limiter.Managed, error) {
	found, err := s.read(ctx, "Managed", s.managedKey())
	if err != nil || len(found[0]) == 0 {
		return limiter.Managed{}, err
	}
	var m limiter.Managed
	if err := json.Unmarshal([]byte(found[0].get(fieldJSON)), &m); err != nil {
		return limiter.Managed{}, fmt.Errorf("Managed: %w", err)
	}
	return m, nil
}

// PutManaged implements limiter.AdminStore.
func (s *Store) PutManaged(ctx context.Context, m limiter.Managed) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("PutManaged: %w", err)
	}
	c := &change{key: s.managedKey()}
	c.set(fieldJSON, string(text))
	_, err = s.commit(ctx, "PutManaged", false, c)
	return err
}

// Ping implements limiter.AdminStore.
func (s *Store) Ping(ctx context.Context) error {
	reply, err := s.list(ctx, "Ping", "PING")
	if err == nil && !slices.Equal(reply, []string{"PONG"}) {
		err = errors.New("Ping: the answer is not PONG: not a Redis server?")
	}
	return err
}

// Purge deletes everything in the namespace, and returns how many keys that were. It looks at every key of
// the database.
func (s *Store) Purge(ctx context.Context) (deleted int, err error) {
	err = s.scan(ctx, "Purge", func(keys []string) (more bool, err error) {
		call := resp.NewCall("UNLINK")
		for _, key := range keys {
			call.Arg(key)
		}
		var n numbers
		if err := s.do(ctx, "Purge", call, &n); err != nil {
			return false, err
		}
		deleted += int(n[0])
		return true, nil
	})
	return deleted, err
}

// InUse reports whether there is anything in the namespace. It may look at every key of the database.
func (s *Store) InUse(ctx context.Context) (used bool, err error) {
	err = s.scan(ctx, "InUse", func([]string) (more bool, err error) {
		used = true
		return false, nil
	})
	return used, err
}

// scan shows the keys of the namespace, some at a time, while it is told to go on.
func (s *Store) scan(ctx context.Context, operation string, show func(keys []string) (more bool, err error)) error {
	// A call with a key leads to the node of a cluster that has the others too.
	if _, err := s.exist(ctx, operation, []string{s.resourcesKey()}); err != nil {
		return err
	}
	for cursor := "0"; ; {
		var page scanned
		call := resp.NewCall("SCAN")
		call.Arg(cursor)
		for _, arg := range [...]string{"MATCH", s.prefix + "*", "COUNT", "1000"} {
			call.Arg(arg)
		}
		if err := s.do(ctx, operation, call, &page); err != nil {
			return err
		}
		if len(page.keys) > 0 {
			if more, err := show(page.keys); err != nil || !more {
				return err
			}
		}
		if cursor = page.cursor; cursor == "0" {
			return nil
		}
	}
}

// scanned is a reply of SCAN.
type scanned struct {
	cursor string
	keys   []string
}

// Decode implements resp.Decoder.
func (p *scanned) Decode(r *resp.Reader, v resp.Value) error {
	if v.Kind != resp.Array || v.N != 2 {
		return errReply
	}
	cursor, err := r.Next()
	if err != nil {
		return err
	}
	p.cursor = string(cursor.Text)
	list, err := r.Next()
	if err != nil {
		return err
	}
	if list.Kind != resp.Array {
		return errReply
	}
	p.keys, err = texts(r, list.N)
	return err
}
