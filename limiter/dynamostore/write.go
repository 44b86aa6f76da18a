package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

const conditionAbsent = "attribute_not_exists(PK)"

// Write implements limiter.Store.
func (s *Store) Write(ctx context.Context, in []limiter.Write, out *limiter.WriteOutput) error {
	out.Outcome, out.Results = limiter.Done, out.Results[:0]
	if len(in) == 0 {
		return nil
	}
	if len(in) == 1 && !pinsOwner(&in[0]) {
		return s.writeOne(ctx, &in[0], out)
	}
	return s.writeAll(ctx, in, out)
}

// pinsOwner says whether a write comes with a check of the owner's META, which takes a transaction.
func pinsOwner(w *limiter.Write) bool {
	return w.Kind == limiter.WriteCreate || w.Kind == limiter.WriteRebuild
}

func (s *Store) writeOne(ctx context.Context, w *limiter.Write, out *limiter.WriteOutput) error {
	e, err := s.writeExpression(w)
	if err != nil {
		return err
	}
	_, err = s.t.api.UpdateItem(ctx, s.update(s.bucketKey(w.Key), e), s.t.writeOnce...)
	if err == nil {
		return nil
	}
	if old, refused := failedImage(err); refused {
		out.Outcome = limiter.Refused
		out.Results = append(out.Results, limiter.WriteResult{Failed: true})
		return wrapAcquire("write", writeSubject(w), decodeBucket(old, w.Key, &out.Results[0].Image))
	}
	if isConflict(err) {
		out.Outcome = limiter.Conflict
		return nil
	}
	return wrapAcquire("write", writeSubject(w), err)
}

func (s *Store) writeAll(ctx context.Context, in []limiter.Write, out *limiter.WriteOutput) error {
	actions := make([]types.TransactWriteItem, 0, 2*len(in))
	for i := range in {
		action, err := s.writeAction(&in[i])
		if err != nil {
			return err
		}
		actions = append(actions, action)
		switch first := ownerPinned(in, i); {
		case !pinsOwner(&in[i]) || first < i && in[first].Owner == in[i].Owner:
		case first < i:
			// Read before and after it changed: one of the two reads is stale.
			refuseOwner(in, i, out)
			return nil
		default:
			actions = append(actions, types.TransactWriteItem{ConditionCheck: s.ownerCheck(&in[i])})
		}
	}
	_, err := s.t.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: actions}, s.t.writeOnce...)
	if err == nil {
		return nil
	}
	if isConflict(err) {
		out.Outcome = limiter.Conflict
		return nil
	}
	cancelled, ok := errors.AsType[*types.TransactionCanceledException](err)
	if !ok || !hasReason(cancelled, reasonConditionFailed) {
		return wrapAcquire("write", writeSubject(&in[0]), err)
	}
	out.Outcome = limiter.Refused
	return wrapAcquire("write", writeSubject(&in[0]), readReasons(cancelled.CancellationReasons, in, out))
}

// ownerPinned is the first write that comes with the check of the same META as write i. An item stands in
// a transaction once.
func ownerPinned(in []limiter.Write, i int) int {
	return slices.IndexFunc(in[:i+1], func(w limiter.Write) bool { return pinsOwner(&w) && w.Key.EntityID == in[i].Key.EntityID })
}

func refuseOwner(in []limiter.Write, i int, out *limiter.WriteOutput) {
	out.Outcome = limiter.Refused
	out.Results = append(out.Results, make([]limiter.WriteResult, len(in))...)
	out.Results[i].OwnerFailed = true
}

// readReasons spreads the reasons of a cancelled transaction, one per action, over the writes.
func readReasons(reasons []types.CancellationReason, in []limiter.Write, out *limiter.WriteOutput) error {
	next := func() (reason types.CancellationReason) {
		if len(reasons) > 0 {
			reason, reasons = reasons[0], reasons[1:]
		}
		return reason
	}
	failed := func(r types.CancellationReason) bool { return aws.ToString(r.Code) == reasonConditionFailed }
	for i := range in {
		var result limiter.WriteResult
		if reason := next(); failed(reason) {
			result.Failed = true
			if err := decodeBucket(reason.Item, in[i].Key, &result.Image); err != nil {
				return err
			}
		}
		switch first := ownerPinned(in, i); {
		case !pinsOwner(&in[i]):
		case first < i:
			result.OwnerFailed = out.Results[first].OwnerFailed
		default:
			result.OwnerFailed = failed(next())
		}
		out.Results = append(out.Results, result)
	}
	return nil
}

func (s *Store) writeAction(w *limiter.Write) (types.TransactWriteItem, error) {
	if w.Kind == limiter.WriteCreate {
		return types.TransactWriteItem{Put: &types.Put{
			TableName: s.t.tableN, Item: s.bucketItem(w),
			ConditionExpression:                 aws.String(conditionAbsent),
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}}, nil
	}
	e, err := s.writeExpression(w)
	if err != nil {
		return types.TransactWriteItem{}, err
	}
	return types.TransactWriteItem{Update: &types.Update{
		TableName: s.t.tableN, Key: s.bucketKey(w.Key),
		UpdateExpression: e.update(), ConditionExpression: e.condition(),
		ExpressionAttributeNames: e.namesOrNil(), ExpressionAttributeValues: e.valuesOrNil(),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}}, nil
}

// writeExpression is the update of every kind but the create.
func (s *Store) writeExpression(w *limiter.Write) (*expression, error) {
	switch w.Kind {
	case limiter.WriteRebuild:
		return s.rebuildExpression(w), nil
	case limiter.WriteRefill, limiter.WriteClaim:
		return s.refillExpression(w), nil
	case limiter.WriteRetry:
		return retryExpression(w), nil
	case limiter.WriteBypass:
		return bypassExpression(w), nil
	case limiter.WriteMove:
		return moveExpression(w), nil
	case limiter.WriteOperation:
		return operationExpression(w), nil
	}
	return nil, fmt.Errorf("write %s: unknown kind %d", writeSubject(w), w.Kind)
}

func writeSubject(w *limiter.Write) string { return w.Key.EntityID + "/" + w.Key.Resource }

// bucketIdentity is what every bucket has, whatever its limits.
func (s *Store) bucketIdentity(w *limiter.Write) item {
	k := w.Key
	return item{
		"entity_id":   str(k.EntityID),
		"resource":    str(k.Resource),
		"shard_count": number(int64(max(1, w.ShardCount))),
		"cascade":     boolean(w.Cascade),
		"GSI2PK":      str(resourcePK(s.ns, k.Resource)),
		"GSI2SK":      str(fmt.Sprintf("BUCKET#%s#%d", k.EntityID, k.Shard)),
		"GSI3PK":      str(entityPK(s.ns, k.EntityID)),
		"GSI3SK":      str(fmt.Sprintf("BUCKET#%s#%d", k.Resource, k.Shard)),
		"GSI4PK":      str(s.ns),
		"GSI4SK":      str(bucketGSI4SK(k.EntityID, k.Resource, k.Shard)),
	}
}

// bucketItem is a whole new bucket.
func (s *Store) bucketItem(w *limiter.Write) item {
	k := w.Key
	it := s.bucketIdentity(w)
	it[attrPK], it[attrSK] = str(bucketPK(s.ns, k.EntityID, k.Resource, k.Shard)), s.stateSK
	it["rf"] = number(w.RF)
	if w.ParentID != "" {
		it["parent_id"] = str(w.ParentID)
	}
	if w.Owner.Found {
		it["pgen"], it["pinc"] = number(w.Owner.Generation), str(w.Owner.Incarnation())
	}
	if w.TTL == limiter.TTLSet {
		it[ttlAttribute] = number(w.TTLValue)
	}
	if w.HasVU {
		it["vu"] = number(w.VU)
	}
	if w.Bypass == limiter.StampSet {
		it["bypass"] = number(w.BypassUntil)
	}
	for i := range w.Limits {
		l := &w.Limits[i]
		for _, a := range limitAttrs(l) {
			it[a.name] = number(a.value)
		}
		for field, v := range extraFields(l) {
			it[bucketAttr(l.Name, field)] = number(v)
		}
	}
	putSchedules(it, w)
	return it
}

// putSchedules gives a new item its schedules: the first of each kind becomes the item's, and a limit
// that differs from it has its own, or "-" for none.
func putSchedules(it item, w *limiter.Write) {
	for _, kind := range [...]struct {
		attr string
		of   func(*limiter.LimitWrite) string
	}{
		{"sched", func(l *limiter.LimitWrite) string { return l.Schedule }},
		{"rsched", func(l *limiter.LimitWrite) string { return l.ResetSchedule }},
	} {
		first := ""
		for i := range w.Limits {
			if first = kind.of(&w.Limits[i]); first != "" {
				break
			}
		}
		if first == "" {
			continue
		}
		it[kind.attr] = str(first)
		it["sched_tz"] = str(cmp.Or(w.Zone, utc))
		for i := range w.Limits {
			l := &w.Limits[i]
			if own := kind.of(l); own != first && l.Name != limiter.WCU {
				it[bucketAttr(l.Name, kind.attr)] = str(cmp.Or(own, limiter.NoSchedule))
			}
		}
	}
}

// extraFields yields the attributes of Set with their values.
func extraFields(l *limiter.LimitWrite) iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		if l.Set == 0 {
			return
		}
		for _, f := range numberFields {
			if l.Set&f.field != 0 && !yield(f.attr, *f.of(&l.Extra)) {
				return
			}
		}
	}
}

// numberFields are the attributes of limits that are not plain and hold a number.
var numberFields = [...]struct {
	field limiter.Fields
	attr  string
	of    func(*limiter.Extra) *int64
}{
	{limiter.FieldGrants, "gc", func(e *limiter.Extra) *int64 { return &e.Grants }},
	{limiter.FieldWindow, "rsa", func(e *limiter.Extra) *int64 { return &e.Window }},
	{limiter.FieldWindowStart, "ws", func(e *limiter.Extra) *int64 { return &e.WindowStart }},
	{limiter.FieldWindowApplied, "wa", func(e *limiter.Extra) *int64 { return &e.WindowApplied }},
	{limiter.FieldWindowCounter, "wtc", func(e *limiter.Extra) *int64 { return &e.WindowCounter }},
	{limiter.FieldSoft, "soft", func(e *limiter.Extra) *int64 { return &e.Soft }},
	{limiter.FieldTopUp, "tu", func(e *limiter.Extra) *int64 { return &e.TopUp }},
	{limiter.FieldResets, "rn", func(e *limiter.Extra) *int64 { return &e.Resets }},
}

type limitAttr struct {
	name  string
	value int64
}

// limitAttrs are the attributes that a new limit of a bucket starts with.
func limitAttrs(l *limiter.LimitWrite) [5]limitAttr {
	return [5]limitAttr{
		{bucketAttr(l.Name, "tk"), l.Tokens},
		{bucketAttr(l.Name, "cp"), l.Capacity},
		{bucketAttr(l.Name, "ra"), l.Refill},
		{bucketAttr(l.Name, "rp"), l.Period},
		{bucketAttr(l.Name, "tc"), l.Consumed},
	}
}

// ownerCheck pins a new bucket to the owner's META as it was read, so that a bucket planned before
// the entity was moved, deleted or made again is not written after it.
func (s *Store) ownerCheck(w *limiter.Write) *types.ConditionCheck {
	check := &types.ConditionCheck{
		TableName: s.t.tableN,
		Key:       item{attrPK: str(entityPK(s.ns, w.Key.EntityID)), attrSK: s.metaSK},
	}
	if !w.Owner.Found {
		check.ConditionExpression = aws.String(conditionAbsent)
		return check
	}
	var e expression
	generation := "pgen = " + e.value(number(w.Owner.Generation))
	if w.Owner.Generation == 0 {
		generation = "(" + generation + " OR attribute_not_exists(pgen))"
	}
	e.require("attribute_exists(PK)", generation)
	switch {
	case w.Owner.PInc != "":
		e.require("pinc = " + e.value(str(w.Owner.PInc)))
	case w.Owner.CreatedAt != "":
		e.require("(attribute_not_exists(pinc) OR pinc = "+e.value(str(""))+")", "created_at = "+e.value(str(w.Owner.CreatedAt)))
	default:
		empty := e.value(str(""))
		e.require("(attribute_not_exists(pinc) OR pinc = "+empty+")",
			"(attribute_not_exists(created_at) OR created_at = "+empty+")")
	}
	check.ConditionExpression = e.condition()
	check.ExpressionAttributeValues = e.valuesOrNil()
	return check
}

// rebuildExpression sets everything that a create puts on an item that lost or never had its rf.
func (s *Store) rebuildExpression(w *limiter.Write) *expression {
	e := &expression{}
	e.require("attribute_exists(PK)", "attribute_not_exists(rf)")
	whole := s.bucketItem(w)
	delete(whole, attrPK)
	delete(whole, attrSK)
	for _, name := range slices.Sorted(maps.Keys(whole)) {
		e.set(e.name(name), whole[name])
	}
	for _, name := range [...]string{"parent_id", "pgen", "pinc", ttlAttribute, "vu", "bypass", "sched", "rsched", "sched_tz"} {
		if _, set := whole[name]; !set {
			e.remove(e.name(name))
		}
	}
	return e
}

// refillExpression brings an item to RF and charges it (WriteRefill, WriteClaim).
func (s *Store) refillExpression(w *limiter.Write) *expression {
	e := &expression{}
	if w.Repair {
		identity := s.bucketIdentity(w)
		if w.Owner.Found {
			delete(identity, "cascade") // comes with the stamp
		}
		for _, name := range slices.Sorted(maps.Keys(identity)) {
			e.setIfAbsent(e.name(name), identity[name])
		}
	}
	e.set("rf", number(w.RF))
	e.require("rf = " + e.value(number(w.ReadRF)))
	restamp(e, "bypass", w.Bypass, w.BypassUntil)
	e.require(stampAsRead(e, "bypass", limiter.Stamp{Present: w.ReadHasBypass, Until: w.ReadBypass}))
	switch w.TTL {
	case limiter.TTLSet:
		e.set(e.name(ttlAttribute), number(w.TTLValue))
	case limiter.TTLRemove:
		e.remove(e.name(ttlAttribute))
	}
	if w.HasVU {
		e.set("vu", number(w.VU))
	} else {
		e.remove("vu")
	}
	if w.ReadHasVU {
		e.require("vu = " + e.value(number(w.ReadVU)))
	} else {
		e.require("attribute_not_exists(vu)")
	}
	stampOwner(e, w)
	granted, scheduled := false, false
	for i := range w.Limits {
		l := &w.Limits[i]
		granted = granted || l.Set&limiter.FieldGrants != 0
		if l.Seed {
			seedLimit(e, l)
			scheduled = scheduled || l.Schedule != "" || l.ResetSchedule != ""
		} else {
			refillLimit(e, l)
		}
	}
	if scheduled {
		e.set("sched_tz", str(cmp.Or(w.Zone, utc)))
	}
	if granted {
		e.require("(attribute_not_exists(shard_count) OR shard_count <= " + e.value(number(int64(max(1, w.ShardCount)))) + ")")
	}
	return e
}

// restamp sets or removes a stamp.
func restamp(e *expression, attr string, action limiter.StampAction, until int64) {
	switch action {
	case limiter.StampSet:
		e.set(attr, number(until))
	case limiter.StampRemove:
		e.remove(attr)
	}
}

// stampAsRead is the condition that a stamp is what it was.
func stampAsRead(e *expression, attr string, read limiter.Stamp) string {
	switch {
	case !read.Present:
		return "attribute_not_exists(" + attr + ")"
	case read.Until == 0: // not a number, perhaps
		return "attribute_exists(" + attr + ")"
	}
	return attr + " = " + e.value(number(read.Until))
}

// stampOwner writes the owner stamp and lets an older generation lose.
func stampOwner(e *expression, w *limiter.Write) {
	if w.Kind == limiter.WriteClaim {
		e.require("pinc = " + e.value(str(w.ReadPInc)))
	}
	if !w.Owner.Found {
		return
	}
	e.set(e.name("cascade"), boolean(w.Cascade))
	if w.ParentID != "" {
		e.set("parent_id", str(w.ParentID))
	} else {
		e.remove("parent_id")
	}
	generation, incarnation := e.value(number(w.Owner.Generation)), e.value(str(w.Owner.Incarnation()))
	e.sets = append(e.sets, "pgen = "+generation, "pinc = "+incarnation)
	if w.Kind != limiter.WriteClaim {
		e.require("(attribute_not_exists(pinc) OR (pinc = " + incarnation +
			" AND (attribute_not_exists(pgen) OR pgen <= " + generation + ")))")
	}
}

// seedLimit gives an item a limit that it lacks, whole. Its own schedules say explicitly none where it has
// none, so that it does not take the default of an item that has one.
func seedLimit(e *expression, l *limiter.LimitWrite) {
	var absent string
	for i, a := range limitAttrs(l) {
		name := e.name(a.name)
		e.set(name, number(a.value))
		if i == 4 { // the counter does not make a limit complete
			continue
		}
		if absent != "" {
			absent += " OR "
		}
		absent += "attribute_not_exists(" + name + ")"
	}
	e.set(e.name(bucketAttr(l.Name, "sched")), str(cmp.Or(l.Schedule, limiter.NoSchedule)))
	e.set(e.name(bucketAttr(l.Name, "rsched")), str(cmp.Or(l.ResetSchedule, limiter.NoSchedule)))
	setExtras(e, l)
	e.require("(" + absent + ")")
}

// setExtras sets and removes what a write says of a limit beyond its balance.
func setExtras(e *expression, l *limiter.LimitWrite) {
	if l.Set|l.Remove == 0 {
		return
	}
	for field, v := range extraFields(l) {
		e.set(e.name(bucketAttr(l.Name, field)), number(v))
	}
	for _, f := range numberFields {
		if l.Remove&f.field != 0 {
			e.remove(e.name(bucketAttr(l.Name, f.attr)))
		}
	}
	if (l.Set|l.Remove)&limiter.FieldSoft != 0 && !l.Seed {
		e.require(stampAsRead(e, e.name(bucketAttr(l.Name, "soft")), l.ReadSoft))
	}
}

func refillLimit(e *expression, l *limiter.LimitWrite) {
	tk := e.name(bucketAttr(l.Name, "tk"))
	e.add(tk, number(l.Change-l.Debit()))
	e.add(e.name(bucketAttr(l.Name, "tc")), number(l.Consumed))
	if need := l.Debit() - l.Change; need > 0 && !l.Free {
		e.require(tk + " >= " + e.value(number(need)))
	}
	if l.Change > 0 {
		// A credit that landed since the read would be lifted over the ceiling.
		e.require(tk + " <= " + e.value(number(l.ReadTokens)))
	}
	setExtras(e, l)
}

// retryExpression charges what is there, without refilling (WriteRetry). What the plan reset must have been
// reset by the winner.
func retryExpression(w *limiter.Write) *expression {
	e := &expression{}
	for i := range w.Limits {
		l := &w.Limits[i]
		if l.Consumed <= 0 {
			continue
		}
		tk := e.name(bucketAttr(l.Name, "tk"))
		e.add(tk, number(-l.Consumed))
		e.add(e.name(bucketAttr(l.Name, "tc")), number(l.Consumed))
		if l.Free {
			e.require("attribute_exists("+tk+")", "attribute_exists("+e.name(bucketAttr(l.Name, "cp"))+")")
		} else {
			e.require(tk + " >= " + e.value(number(l.Consumed)))
		}
		requirePeriod(e, l)
	}
	return e
}

// requirePeriod pins a write to the period of a quota that it relies on.
func requirePeriod(e *expression, l *limiter.LimitWrite) {
	if l.Edge > 0 {
		e.require("rf >= " + e.value(number(l.Edge)))
	}
	if l.Set&limiter.FieldWindowApplied != 0 {
		e.require(e.name(bucketAttr(l.Name, "wa")) + " = " + e.value(number(l.Extra.WindowApplied)))
	}
}

// bypassExpression counts what an operator waived, and renews the stamp (WriteBypass).
func bypassExpression(w *limiter.Write) *expression {
	e := &expression{}
	e.require("attribute_exists(bypass)")
	e.set("bypass", number(w.BypassUntil))
	for i := range w.Limits {
		if l := &w.Limits[i]; l.Consumed != 0 {
			e.add(e.name(bucketAttr(l.Name, "tc")), number(l.Consumed))
		}
	}
	return e
}

// moveExpression takes a part of a quota from the shard that held it (WriteMove).
func moveExpression(w *limiter.Write) *expression {
	e := &expression{}
	e.require("attribute_exists(PK)")
	for i := range w.Limits {
		l := &w.Limits[i]
		tk := e.name(bucketAttr(l.Name, "tk"))
		e.add(tk, number(l.Change))
		e.require(tk + " >= " + e.value(number(-l.Change)))
		asRead(e, l.Name, "gc", l.Has&limiter.FieldGrants != 0, l.Extra.Grants)
		if l.Has&limiter.FieldGrants == 0 {
			shardCountAsRead(e, w.ShardCount)
		}
		if l.Edge > 0 {
			e.require("rf >= " + e.value(number(l.Edge)))
		}
		if l.Has&limiter.FieldWindow != 0 {
			asRead(e, l.Name, "wa", l.Has&limiter.FieldWindowApplied != 0, l.Extra.WindowApplied)
		}
	}
	return e
}

// asRead requires a number of a limit to be what it was, or absent as it was.
func asRead(e *expression, limit, field string, present bool, value int64) {
	attr := e.name(bucketAttr(limit, field))
	if present {
		e.require(attr + " = " + e.value(number(value)))
	} else {
		e.require("attribute_not_exists(" + attr + ")")
	}
}

// shardCountAsRead requires the stored count to be what it was; 0 and 1 read as absent too.
func shardCountAsRead(e *expression, count int) {
	is := "shard_count = " + e.value(number(int64(max(1, count))))
	if count <= 1 {
		is = "(" + is + " OR attribute_not_exists(shard_count))"
	}
	e.require(is)
}
