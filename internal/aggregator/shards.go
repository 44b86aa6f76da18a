package aggregator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// growth is a shard count that a record shows to have grown.
type growth struct {
	*image
	item     Item // shard 0, as the record shows it
	old, now int64
	// quotas are the limits whose shards are funded by moves.
	quotas []*limitImage
	// siblings are the shards that there were, as they are now.
	siblings map[int64]*image
	items    map[int64]Item
}

// propagate carries a shard count that grew on shard 0 to the other shards: those that exist are told, those
// that are missing are made as clones of shard 0 (W9). It returns how many it wrote.
func (a *Aggregator) propagate(ctx context.Context, r *Record, now int64) (written int, err error) {
	g, err := a.growthOf(r)
	if g == nil || err != nil {
		return 0, err
	}
	clonable := g.undecodable == nil
	if clonable && len(g.quotas) > 0 {
		if err := a.readSiblings(ctx, g); err != nil {
			// The shards are told all the same; what they grant cannot be frozen, nor clones be funded.
			a.log.Warn("shards of a quota could not be read", "resource", g.key.resource, "error", err)
			g.siblings, g.items, clonable = nil, nil, false
		}
	}
	for shard := int64(1); shard < g.old; shard++ {
		done, err := a.conditional(ctx, g.tell(shard, now).input(g.key.of(shard).item()))
		if err != nil {
			return written, err
		}
		if done {
			written++
		}
	}
	if !clonable || g.overtaken() {
		return written, nil
	}
	made, err := a.clone(ctx, g, now)
	return written + len(made), err
}

// growthOf returns what a record shows of a shard count, nil when it shows nothing to carry on. A count above
// the bound is one that ran away, and never a split.
func (a *Aggregator) growthOf(r *Record) (*growth, error) {
	if r.Event != Modify || textOf(r.New, "SK") != stateKey {
		return nil, nil
	}
	key, ok := parseKey(textOf(r.New, "PK"))
	if !ok || key.shard != 0 {
		return nil, nil
	}
	before, err1 := integerOf(r.Old, "shard_count")
	after, err2 := integerOf(r.New, "shard_count")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if !before.set || !after.set || after.value <= before.value || after.value > maxShards {
		return nil, nil
	}
	i, err := a.readImage(key, r.New, "cp")
	if err != nil {
		return nil, err
	}
	g := &growth{image: i, item: r.New, old: max(1, before.value), now: after.value}
	for at := range i.limits {
		if l := &i.limits[at]; l.Refill == 0 && l.Quota() {
			g.quotas = append(g.quotas, l)
		}
	}
	return g, nil
}

// readSiblings reads the shards that there were; a move that was planned on a stale balance would fail.
func (a *Aggregator) readSiblings(ctx context.Context, g *growth) error {
	g.siblings, g.items = map[int64]*image{}, map[int64]Item{}
	for shard := range g.old {
		key := g.key.of(shard)
		out, err := a.config.Table.GetItem(ctx, &dynamodb.GetItemInput{TableName: &a.config.TableName, Key: key.item(), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return err
		}
		if len(out.Item) == 0 {
			continue
		}
		sibling, err := a.readImage(key, out.Item, "tk")
		if err != nil {
			return err
		}
		g.siblings[shard], g.items[shard] = sibling, out.Item
	}
	return nil
}

// overtaken reports whether a later doubling has come already: clones of this count would hold slots that a
// client may have granted at that one.
func (g *growth) overtaken() bool {
	for _, s := range g.siblings {
		if s.shards > g.now {
			return true
		}
	}
	return false
}

// sizeOf is the shard count that a quota of a shard was granted at.
func sizeOf(l *limitImage, capacity int64) int64 {
	if l.grants.set && l.grants.value > 0 {
		return l.grants.value
	}
	if l.grants.set {
		return l.Shards
	}
	return bucket.InferGrants(l.Shards, l.Tokens, capacity)
}

// tell is the write that raises the count of a shard. What its quotas were granted at stays with them.
func (g *growth) tell(shard, now int64) *update {
	u := newUpdate()
	u.set("shard_count", g.now)
	u.require(u.name("shard_count") + " < " + u.number(g.now))
	if s := g.siblings[shard]; s != nil {
		freeze(u, s, now)
	}
	return u
}

func freeze(u *update, s *image, now int64) {
	for i := range s.limits {
		l := &s.limits[i]
		if l.Refill != 0 || !l.Quota() {
			continue
		}
		grants := u.name(attribute(l.name, "gc"))
		u.sets = append(u.sets, grants+" = if_not_exists("+grants+", "+u.number(sizeOf(l, l.Params(now).Capacity))+")")
	}
}

// move takes tokens of a quota from one shard for another.
type move struct {
	quota  *limitImage // as shard 0's image has it
	donor  int64
	grants int64
	tokens int64
}

// clone makes the missing shards and returns which.
func (a *Aggregator) clone(ctx context.Context, g *growth, now int64) (made []int64, err error) {
	plans := map[string][]bucket.Sibling{}
	for _, q := range g.quotas {
		plans[q.name] = g.plan(q, now)
	}
	for shard := g.old; shard < g.now; shard++ {
		item, moves, ok := g.cloned(shard, now, plans)
		if !ok {
			continue
		}
		done, err := a.makeShard(ctx, g, item, moves, now)
		if err != nil {
			return made, err
		}
		if !done {
			continue
		}
		made = append(made, shard)
		for _, m := range moves {
			for i := range plans[m.quota.name] {
				if s := &plans[m.quota.name][i]; s.Shard == m.donor {
					s.Tokens -= m.tokens
				}
			}
		}
	}
	if len(made) > 0 && len(g.quotas) > 0 {
		a.catchUp(ctx, g, made)
	}
	return made, nil
}

// plan lists the shards of a quota for the plan of a grant.
func (g *growth) plan(q *limitImage, now int64) (siblings []bucket.Sibling) {
	for _, shard := range slices.Sorted(maps.Keys(g.siblings)) {
		l := g.siblings[shard].limit(q.name)
		if l == nil {
			continue
		}
		// The rules of the quota are shard 0's, which are those of all shards.
		state := l.State
		state.Schedule, state.Resets, state.Window.Length = q.Schedule, q.Resets, q.Window.Length
		siblings = append(siblings, bucket.Sibling{
			Shard: shard, Tokens: l.Tokens, Grants: sizeOf(l, q.Params(now).Capacity), Current: state.Current(now),
		})
	}
	return siblings
}

// cloned returns the item of a new shard and the moves that fund it. It is false for one that must be left to
// the clients: with a reset or a window pending on shard 0, the clone would be given a share on top of what
// was moved to it.
func (g *growth) cloned(shard, now int64, plans map[string][]bucket.Sibling) (item Item, moves []move, ok bool) {
	item = maps.Clone(g.item)
	key := g.key.of(shard)
	number := strconv.FormatInt(shard, 10)
	item["PK"], item["SK"] = key.item()["PK"], text(stateKey)
	item["GSI2SK"] = text("BUCKET#" + key.entity + "#" + number)
	item["GSI3SK"] = text("BUCKET#" + key.resource + "#" + number)
	item["GSI4SK"] = text(key.tail())
	item["shard_count"] = integer(g.now)
	for i := range g.limits {
		l := &g.limits[i]
		tokens := l.Capacity
		switch {
		case l.name == infrastructure:
		case l.Refill == 0 && l.Quota():
			grant := bucket.PlanGrant(plans[l.name], shard, l.Params(now).Capacity/g.now)
			if grant.Moved && !l.Current(now) {
				return nil, nil, false
			}
			if grant.Moved && grant.Tokens > 0 {
				moves = append(moves, move{l, grant.Donor, grant.DonorGrants, grant.Tokens})
			}
			tokens = grant.Tokens
			item[attribute(l.name, "gc")] = integer(g.now)
			delete(item, attribute(l.name, "tu"))
		default:
			tokens = l.Params(now).Capacity / g.now
		}
		item[attribute(l.name, "tk")], item[attribute(l.name, "tc")] = integer(tokens), integer(0)
		if _, marked := item[attribute(l.name, "wtc")]; marked {
			item[attribute(l.name, "wtc")] = integer(0)
		}
	}
	return item, moves, true
}

// makeShard makes a shard and takes from the donors in one transaction, which also asserts that the entity is
// the one of the image: a move of the entity since has gone past a shard that was not there.
func (a *Aggregator) makeShard(ctx context.Context, g *growth, item Item, moves []move, now int64) (bool, error) {
	table := &a.config.TableName
	actions := []types.TransactWriteItem{{Put: &types.Put{TableName: table, Item: item, ConditionExpression: aws.String("attribute_not_exists(PK)")}}}
	byDonor := map[int64]*update{}
	for _, m := range moves {
		u := byDonor[m.donor]
		if u == nil {
			u = newUpdate()
			u.require("attribute_exists(PK)")
			byDonor[m.donor] = u
		}
		g.debit(u, &m, now)
	}
	for _, donor := range slices.Sorted(maps.Keys(byDonor)) {
		in := byDonor[donor].input(g.key.of(donor).item())
		actions = append(actions, types.TransactWriteItem{Update: &types.Update{
			TableName: table, Key: in.Key, UpdateExpression: in.UpdateExpression, ConditionExpression: in.ConditionExpression,
			ExpressionAttributeNames: in.ExpressionAttributeNames, ExpressionAttributeValues: in.ExpressionAttributeValues,
		}})
	}
	actions = append(actions, types.TransactWriteItem{ConditionCheck: g.ownerCheck(table)})
	_, err := a.config.Table.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: actions})
	if err != nil && !refused(err) {
		return false, fmt.Errorf("new shard: %w", err)
	}
	return err == nil, nil
}

// debit takes the tokens of a move from its donor, as long as it is in the period that it was read in.
func (g *growth) debit(u *update, m *move, now int64) {
	name := m.quota.name
	donor := g.siblings[m.donor].limit(name)
	tokens, grants := u.name(attribute(name, "tk")), u.name(attribute(name, "gc"))
	u.add(attribute(name, "tk"), -m.tokens)
	u.require(tokens + " >= " + u.number(m.tokens))
	stored := m.grants
	if !donor.grants.set {
		stored = donor.Shards
	}
	u.require("(" + grants + " = " + u.number(m.grants) + " OR (attribute_not_exists(" + grants + ") AND " + u.name("shard_count") + " = " + u.number(stored) + "))")
	if m.quota.Window.Length > 0 {
		if donor.applied.set {
			u.require(u.name(attribute(name, "wa")) + " = " + u.number(donor.applied.value))
		}
		return
	}
	if edge, ok := m.quota.Resets.Prev(now); ok {
		u.require(u.name("rf") + " >= " + u.number(edge))
	}
}

// ownerCheck pins the entity to the generation and the incarnation that shard 0 carries.
func (g *growth) ownerCheck(table *string) *types.ConditionCheck {
	u := newUpdate()
	generation, err := integerOf(g.item, "pgen")
	stamped := err == nil && generation.set
	incarnation := textOf(g.item, "pinc")
	if stamped || incarnation != "" {
		u.require("attribute_exists(PK)")
	}
	pgen := u.name("pgen")
	switch {
	case !stamped:
		u.require("attribute_not_exists(" + pgen + ")")
	case generation.value == 0:
		u.require("(" + pgen + " = " + u.number(0) + " OR attribute_not_exists(" + pgen + "))")
	default:
		u.require(pgen + " = " + u.number(generation.value))
	}
	pinc := u.name("pinc")
	switch incarnation {
	case "":
		u.require("attribute_not_exists(" + pinc + ")")
	case noIncarnation:
		u.require("attribute_not_exists(" + pinc + ") AND attribute_not_exists(" + u.name("created_at") + ")")
	default:
		token := u.text(incarnation)
		u.require("(" + pinc + " = " + token + " OR (attribute_not_exists(" + pinc + ") AND " + u.name("created_at") + " = " + token + "))")
	}
	check := &types.ConditionCheck{
		TableName: table, Key: Item{"PK": text(g.key.namespace + "/ENTITY#" + g.key.entity), "SK": text(metaKey)},
		ConditionExpression: aws.String(u.condition()), ExpressionAttributeNames: u.names,
	}
	if len(u.values) > 0 {
		check.ExpressionAttributeValues = u.values
	}
	return check
}

// noIncarnation stands for an entity that carries neither incarnation nor time of creation.
const noIncarnation = "-"

// catchUp tells new shards of a quota when shard 0 doubled again while they were made: nobody else knew of
// them. A failure costs a share of the next period and no more.
func (a *Aggregator) catchUp(ctx context.Context, g *growth, made []int64) {
	out, err := a.config.Table.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &a.config.TableName, Key: g.key.of(0).item(), ProjectionExpression: aws.String("shard_count"), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		a.log.Warn("the shard count was not read again", "resource", g.key.resource, "error", err)
		return
	}
	count, err := integerOf(out.Item, "shard_count")
	if err != nil || count.or(1) <= g.now {
		return
	}
	for _, shard := range made {
		u := newUpdate()
		u.set("shard_count", count.value)
		u.require(u.name("shard_count") + " < " + u.number(count.value))
		for _, q := range g.quotas {
			grants := u.name(attribute(q.name, "gc"))
			u.sets = append(u.sets, grants+" = if_not_exists("+grants+", "+u.number(g.now)+")")
		}
		if _, err := a.conditional(ctx, u.input(g.key.of(shard).item())); err != nil {
			a.log.Warn("a new shard was not told of the count", "resource", g.key.resource, "error", err)
		}
	}
}
