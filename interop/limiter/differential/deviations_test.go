//go:build interop

package differential

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// deviation is one way in which our limiter is meant to differ from Python's.
type deviation struct {
	name string
	is   func(c *comparison, f difference) bool
}

var allowedDeviations = []deviation{
	{"a limit that is not configured is refused, not ignored (B10)", func(c *comparison, _ difference) bool {
		return c.refused("is not a limit")
	}},
	// What the bucket still has is charged by a fast path, and ignored by Python's slow one; ours refuses it. Which
	// path is taken depends on what a process remembers.
	{"a limit that is not configured is charged by the fast path of one side (B10)", func(c *comparison, f difference) bool {
		return c.op.Do == "acquire" && c.unconfigured(f)
	}},
	{"one side answered from its memory (B33)", func(c *comparison, f difference) bool {
		return c.d.memory && c.ours["error"] != nil && c.python["error"] != nil && (fromMemory(c.ours) || fromMemory(c.python))
	}},
	{"a slow pass that needs no refill leaves rf, and what is earned, for later (B7)", func(c *comparison, f difference) bool {
		return c.op.Do == "acquire" && c.leftForLater(f)
	}},
	{"shards are not doubled where the requests seen would not fit (H14)", func(c *comparison, f difference) bool {
		return c.op.Do == "acquire" && slices.ContainsFunc([]string{c.op.Entity, c.parent()}, func(entity string) bool {
			first := c.bucket(entity, c.op.Resource)
			return c.stored(first, "shard_count") > 0 && c.stored(first, "b_wcu_tk") < 1000 && c.number(0, first, "shard_count") == c.stored(first, "shard_count") &&
				c.number(1, first, "shard_count") == 2*c.stored(first, "shard_count") &&
				(f.Item == "" || strings.HasPrefix(f.Item, strings.TrimSuffix(first, "0 #STATE")))
		})
	}},
	{"deleting an entity takes its configs out of the registry (B15)", func(c *comparison, f difference) bool {
		return c.op.Do == "delete_entity" && strings.HasSuffix(f.Item, " #ENTITY_CONFIG_RESOURCES")
	}},
	// wcu counts requests, and what a process remembers decides how many an acquire takes: Python also tries the
	// parent at once when another resource of the entity cascades.
	{"an acquire that takes more or fewer speculative writes (5.2, wcu alone)", func(c *comparison, f difference) bool {
		// A refund that may lift a balance over its ceiling asks for a slow pass.
		return c.op.Do == "acquire" && (f.Attribute == "b_wcu_tk" || f.Attribute == "b_wcu_tc" || f.Attribute == "vu" && c.differs(f.Item, "b_wcu_tc"))
	}},
	// So does whether a bypassed bucket is written as one at once, or by a debit that is refunded; a refund above
	// the ceiling asks for a slow pass, too. And a slow pass renews the stamp.
	{"a bypass that one side has not seen yet (5.2)", func(c *comparison, f difference) bool {
		bypass := c.stored(f.Item, "bypass")
		switch {
		case c.op.Do != "acquire" || bypass <= c.op.NowMS:
			return false
		case f.Attribute == "vu":
			return c.number(0, f.Item, "vu") == c.stored(f.Item, "vu") && c.number(1, f.Item, "vu") == 0
		}
		return f.Attribute == "bypass" && (c.number(0, f.Item, "bypass") == bypass || c.number(1, f.Item, "bypass") == bypass)
	}},
	// A bypass admits also what the bucket has no limit for. Python then leaves the counter of a limit without
	// parameters, and what the shape of the write leaves depends on whether the process has seen the stamp.
	{"a waived acquire of a limit that is not on the bucket takes the slow path (H3)", func(c *comparison, f difference) bool {
		return c.op.Do == "acquire" && c.takesSlowPath(f)
	}},
	// Python's fast path has charged it then, and tells what that left.
	{"a refusal does not tell of a waived resource with a limit that is not on its bucket (H3)", func(c *comparison, f difference) bool {
		return f.Item == "" && f.Attribute == "error" && c.withoutWaived()
	}},
	// Python judges what the entity has left after the debit that it is about to refund.
	{"an entity whose parent refuses is judged as it was before", func(c *comparison, f difference) bool {
		return f.Item == "" && f.Attribute == "error" && c.judgedAfter()
	}},
	// Python gives it a ttl although the entity's own defaults hold then.
	{"deleting limits of an entity leaves a bucket without a ttl where its own defaults hold (W7)", func(c *comparison, f difference) bool {
		return c.op.Do == "delete_limits" && c.op.Entity != "" && f.Attribute == "ttl" && f.Ours == nil
	}},
	// It depends on what a process remembers of the parent, too. The other side gets as far as correcting stamps.
	{"a closed parent is met by the fast path of one side (5.2, level bucket)", func(c *comparison, f difference) bool {
		return c.metClosed() && (f.Item == "" || f.Attribute == "bypass" || strings.HasSuffix(f.Attribute, "_soft"))
	}},
	// Python's process also remembers that of a bucket that is not there yet, whatever config says of its resource.
	{"a closed parent is met although the resource does not cascade to it (5.2)", func(c *comparison, f difference) bool {
		e, _ := c.python["error"].(map[string]any)
		return c.op.Do == "acquire" && e["type"] == "ResourceDisabled" && e["level"] == "bucket" && e["entity_id"] == c.parent() &&
			c.d.before[c.bucket(c.op.Entity, c.op.Resource)] == nil && (f.Item == "" || f.Item == c.bucket(c.op.Entity, c.op.Resource))
	}},
	// Python's lease has no entries for what it creates under a bypass: it tells less than was consumed, and
	// corrections are lost.
	{"what a bypass creates is in the lease, too", func(c *comparison, f difference) bool {
		return c.createdWaived(f)
	}},
	// Python's lease then has no entry of the entity that says so.
	{"a lease is bypassed also when the bucket has none of the limits", func(c *comparison, f difference) bool {
		return c.d.before[c.bucket(c.op.Entity, c.op.Resource)] != nil && c.result(0)["bypassed"] == true && c.result(1)["bypassed"] == false && !slices.ContainsFunc(slices.Collect(maps.Keys(c.op.Consume)), func(name string) bool {
			return !c.lacks(c.op.Entity, c.op.Resource, name)
		}) && (f.Item == "" || strings.HasSuffix(f.Attribute, "_tc") || f.Attribute == "bypass")
	}},
	// Python looks for stamps alone. The next acquire is waived all the same.
	{"the availability of a bypassed resource without a bucket says that it is bypassed", func(c *comparison, f difference) bool {
		return c.op.Do == "available" && c.d.before[c.bucket(c.op.Entity, c.op.Resource)] == nil &&
			c.result(0)["bypassed"] == true && c.result(1)["bypassed"] == false && sameAvailable(c.result(0)["statuses"], c.result(1)["statuses"])
	}},
	// Such a bucket has no owner stamp until its next slow pass. A fast write of it takes from the parent, too, if
	// the process remembers whom the entity cascades to: from this resource alone, or in Python from any.
	{"a bucket that is older than its entity: the parent is charged if it is remembered (5.2)", func(c *comparison, f difference) bool {
		return c.op.Do == "acquire" && c.unstamped(f)
	}},
}

// sameAvailable says whether statuses agree on what is available.
func sameAvailable(a, b any) bool {
	ours, _ := a.([]any)
	theirs, _ := b.([]any)
	return len(ours) > 0 && slices.EqualFunc(ours, theirs, func(a, b any) bool {
		x, _ := a.(map[string]any)
		y, _ := b.(map[string]any)
		return x["limit"] == y["limit"] && x["available"] == y["available"] && x["requested"] == y["requested"]
	})
}

// createdWaived says whether a difference is about what a lease tells or corrects of a bucket that this acquire
// created under a bypass.
func (c *comparison) createdWaived(f difference) bool {
	created := func(item string) bool {
		return strings.HasSuffix(item, " #STATE") && c.d.before[item] == nil && c.items[1][item]["bypass"] != nil
	}
	switch {
	case c.op.Do != "acquire" || reflect.DeepEqual(c.result(1)["consumed"], c.result(0)["consumed"]):
		return false
	case f.Item == "":
		return f.Attribute == "result" && slices.ContainsFunc(slices.Collect(maps.Keys(c.items[1])), created)
	}
	return created(f.Item) && strings.HasSuffix(f.Attribute, "_tc")
}

// parent is whom META says the entity of the operation belongs to, "" if to nobody.
func (c *comparison) parent() string {
	id, _ := c.d.before[c.d.prefix+"ENTITY#"+c.op.Entity+" #META"]["parent_id"].(string)
	return id
}

// metClosed says whether both sides found a resource closed, one of them at the bucket of the entity or its parent.
func (c *comparison) metClosed() bool {
	a, _ := c.ours["error"].(map[string]any)
	b, _ := c.python["error"].(map[string]any)
	return a["type"] == "ResourceDisabled" && b["type"] == "ResourceDisabled" && a["resource"] == b["resource"] &&
		(a["level"] == "bucket" || b["level"] == "bucket") && (a["entity_id"] == b["entity_id"] || b["entity_id"] == c.parent())
}

// unstamped says whether a difference is about a bucket without an owner stamp, whose entity has a parent, and of
// which one side alone charged the parent, too.
func (c *comparison) unstamped(f difference) bool {
	parent := c.parent()
	if parent == "" {
		return false
	}
	resources := append(slices.Collect(maps.Keys(c.op.Also)), c.op.Resource)
	// Where the parent of one resource refuses, nothing of the others is written.
	all := (c.ours["error"] == nil) != (c.python["error"] == nil) && slices.ContainsFunc(resources, func(resource string) bool {
		return strings.HasPrefix(f.Item, c.d.prefix+"BUCKET#"+c.op.Entity+"#"+resource+"#") || strings.HasPrefix(f.Item, c.d.prefix+"BUCKET#"+parent+"#"+resource+"#")
	})
	return slices.ContainsFunc(resources, func(resource string) bool {
		child, above := c.d.prefix+"BUCKET#"+c.op.Entity+"#"+resource+"#", c.d.prefix+"BUCKET#"+parent+"#"+resource+"#"
		bare, charged := false, [2]bool{c.tellsOf(0, parent), c.tellsOf(1, parent)}
		for _, side := range []int{0, 1} {
			for item, now := range c.items[side] {
				before := c.d.before[item]
				bare = bare || before != nil && strings.HasPrefix(item, child) && before["pgen"] == nil && before["parent_id"] == nil
				charged[side] = charged[side] || strings.HasPrefix(item, above) && !reflect.DeepEqual(before, now)
			}
		}
		return bare && charged[0] != charged[1] && (f.Item == "" || all || strings.HasPrefix(f.Item, child) || strings.HasPrefix(f.Item, above))
	})
}

// agreeBut says whether both sides were admitted and agree but for what they say was consumed of some limits.
func (c *comparison) agreeBut(some func(limit string) bool) bool {
	ours, theirs := maps.Clone(c.result(0)), maps.Clone(c.result(1))
	for _, result := range []map[string]any{ours, theirs} {
		consumed, ok := result["consumed"].(map[string]any)
		if !ok {
			return false
		}
		consumed = maps.Clone(consumed)
		maps.DeleteFunc(consumed, func(limit string, _ any) bool { return some(limit) })
		result["consumed"] = consumed
	}
	return reflect.DeepEqual(ours, theirs)
}

// level is the config item whose limits hold for an entity on a resource, nil when there is none.
func (c *comparison) level(entity, resource string) attributes {
	for _, key := range []string{"ENTITY#" + entity + " #CONFIG#" + resource, "ENTITY#" + entity + " #CONFIG#" + limiter.DefaultResource,
		"RESOURCE#" + resource + " #CONFIG", "SYSTEM# #CONFIG"} {
		if item := c.d.before[c.d.prefix+key]; len(limitsOf(item)) > 0 {
			return item
		}
	}
	return nil
}

func limitsOf(config attributes) map[string]bool {
	names := map[string]bool{}
	for attribute := range config {
		name, ok := strings.CutSuffix(attribute, "_cp")
		if ok && (strings.HasPrefix(name, "l_") || strings.HasPrefix(name, "w_")) {
			names[name[len("l_"):]] = true
		}
	}
	return names
}

// configured names the limits that hold for an entity on a resource.
func (c *comparison) configured(entity, resource string) map[string]bool {
	return limitsOf(c.level(entity, resource))
}

// scheduled says whether a limit (b_ and its name) of a bucket has a schedule in config that the bucket lacks.
func (c *comparison) scheduled(bucket attributes, limit string) bool {
	entity, _ := bucket["entity_id"].(string)
	resource, _ := bucket["resource"].(string)
	return c.level(entity, resource)["l_"+strings.TrimPrefix(limit, "b_")+"_sched"] != nil
}

// unconfigured says whether a difference is about declared limits alone that are not configured.
func (c *comparison) unconfigured(f difference) bool {
	known := c.configured(c.op.Entity, c.op.Resource)
	if f.Attribute == "bypass" || strings.HasSuffix(f.Attribute, "_soft") {
		// Where another resource is closed Python has planned this one, and corrects its stamps.
		resource, _ := c.items[0][f.Item]["resource"].(string)
		declared := c.declared(resource)
		known := c.configured(c.op.Entity, resource)
		return c.ours["error"] != nil && len(c.op.Also) > 0 && (f.Item == c.bucket(c.op.Entity, resource) || f.Item == c.bucket(c.parent(), resource)) &&
			slices.ContainsFunc(slices.Collect(maps.Keys(declared)), func(limit string) bool { return !known[limit] })
	}
	if f.Item == "" {
		return c.agreeBut(func(limit string) bool { return !known[limit] })
	}
	name, isLimit := strings.CutPrefix(f.Attribute, "b_")
	at := strings.LastIndex(name, "_")
	if !isLimit || at < 0 || !strings.HasPrefix(f.Item, c.d.prefix+"BUCKET#"+c.op.Entity+"#"+c.op.Resource+"#") {
		return false
	}
	_, declared := c.op.Consume[name[:at]]
	return declared && !known[name[:at]] && (name[at:] == "_tc" || name[at:] == "_tk")
}

// lacks says whether the bucket of an entity had no limit by that name that can be evaluated.
func (c *comparison) lacks(entity, resource, limit string) bool {
	before := c.d.before[c.bucket(entity, resource)]
	return before["b_"+limit+"_tk"] == nil || before["b_"+limit+"_cp"] == nil
}

// statuses are those of a rejection of our side (0) or of Python's.
func (c *comparison) statuses(side int) []any {
	e, _ := [2]map[string]any{c.ours, c.python}[side]["error"].(map[string]any)
	d, _ := e["as_dict"].(map[string]any)
	l, _ := d["limits"].([]any)
	return l
}

// tellsOf says whether the error of a side is about an entity, too.
func (c *comparison) tellsOf(side int, entity string) bool {
	e, _ := [2]map[string]any{c.ours, c.python}[side]["error"].(map[string]any)
	return e["entity_id"] == entity || slices.ContainsFunc(c.statuses(side), func(status any) bool {
		s, _ := status.(map[string]any)
		return s["entity_id"] == entity
	})
}

// withoutWaived says whether all that one side's rejection tells and the other's does not is about bypassed buckets
// that lack a declared limit.
func (c *comparison) withoutWaived() bool {
	less, more := c.statuses(0), c.statuses(1)
	if len(less) > len(more) {
		less, more = more, less
	}
	if len(less) == 0 || len(less) == len(more) || !reflect.DeepEqual(less, more[:len(less)]) {
		return false
	}
	return !slices.ContainsFunc(more[len(less):], func(status any) bool {
		s, _ := status.(map[string]any)
		resource, _ := s["resource"].(string)
		return !c.waivedLacks(resource)
	})
}

// waivedLacks says whether the entity's bucket on a resource, or its parent's, was bypassed and had no limit of those
// declared.
func (c *comparison) waivedLacks(resource string) bool {
	return slices.ContainsFunc([]string{c.op.Entity, c.parent()}, func(entity string) bool {
		return c.stored(c.bucket(entity, resource), "bypass") != 0 && slices.ContainsFunc(slices.Collect(maps.Keys(c.declared(resource))), func(limit string) bool {
			return c.lacks(entity, resource, limit)
		})
	})
}

// declared is what the operation wants of a resource.
func (c *comparison) declared(resource string) limiter.Amounts {
	if resource == c.op.Resource {
		return c.op.Consume
	}
	return c.op.Also[resource]
}

// takesSlowPath says whether a difference is one between a slow pass and a fast write that a bypass admitted although
// a declared limit is not on the bucket. What was consumed of the limits that are there must agree.
func (c *comparison) takesSlowPath(f difference) bool {
	if f.Item == "" {
		return c.agreeBut(func(limit string) bool {
			return slices.ContainsFunc([]string{c.op.Entity, c.parent()}, func(entity string) bool {
				return c.stored(c.bucket(entity, c.op.Resource), "bypass") != 0 && c.lacks(entity, c.op.Resource, limit)
			})
		})
	}
	entity, _ := c.d.before[f.Item]["entity_id"].(string)
	resource, _ := c.d.before[f.Item]["resource"].(string)
	if !c.waivedLacks(resource) || f.Item != c.bucket(c.op.Entity, resource) && f.Item != c.bucket(c.parent(), resource) {
		return false
	}
	limit, counter := strings.CutSuffix(f.Attribute, "_tc")
	return !counter || c.lacks(entity, resource, strings.TrimPrefix(limit, "b_"))
}

// stored is an attribute of an item before the operation, 0 when it is absent.
func (c *comparison) stored(item, attribute string) int64 {
	n, _ := c.d.before[item][attribute].(json.Number)
	value, _ := n.Int64()
	return value
}

// bucket is the item of an entity's first shard.
func (c *comparison) bucket(entity, resource string) string {
	return c.d.prefix + "BUCKET#" + entity + "#" + resource + "#0 #STATE"
}

// number is an attribute of an item, 0 when it is absent.
func (c *comparison) number(side int, item, attribute string) int64 {
	n, _ := c.items[side][item][attribute].(json.Number)
	value, _ := n.Int64()
	return value
}

// leftForLater says whether a difference is one that goes with an older rf: what the time between earned, stamps
// and the ttl. With a clock that is behind rf Python's pass writes it as it was: stamps alone differ then.
func (c *comparison) leftForLater(f difference) bool {
	ours := func(attribute string) int64 { return c.number(0, f.Item, attribute) }
	before := func(attribute string) int64 { return c.stored(f.Item, attribute) }
	rf, later := ours("rf"), c.number(1, f.Item, "rf")
	switch {
	case f.Item == "" || rf == 0 || rf != before("rf") || rf > later || rf == later && c.op.NowMS > rf:
		return false
	case f.Attribute == "ttl" || strings.HasSuffix(f.Attribute, "_soft"):
		return true
	case f.Attribute == "rf" || f.Attribute == "vu":
		return rf < later
	case !strings.HasSuffix(f.Attribute, "_tk"):
		return false
	}
	limit := strings.TrimSuffix(f.Attribute, "_tk")
	tokens, laterTokens := ours(f.Attribute), c.number(1, f.Item, f.Attribute)
	item := c.items[0][f.Item]
	if item["sched"] != nil || item[limit+"_sched"] != nil && item[limit+"_sched"] != "-" || ours(limit+"_ra") == 0 || c.scheduled(item, limit) {
		return laterTokens >= tokens
	}
	shards := max(1, ours("shard_count"))
	if limit == "b_wcu" {
		shards = 1
	}
	taken := before(f.Attribute) - tokens
	earned, _ := bucket.Refill(before(f.Attribute), rf, later, ours(limit+"_cp")/shards, ours(limit+"_ra")/shards, ours(limit+"_rp"))
	return earned-taken == laterTokens
}

// differs says whether an attribute of an item does.
func (c *comparison) differs(item, attribute string) bool {
	return slices.ContainsFunc(c.differences, func(f difference) bool { return f.Item == item && f.Attribute == attribute })
}

// judgedAfter says whether two rejections differ only in statuses of the entity, which Python has after the debit.
func (c *comparison) judgedAfter() bool {
	ours, theirs := c.statuses(0), c.statuses(1)
	if len(ours) == 0 || len(ours) != len(theirs) {
		return false
	}
	for i := range ours {
		a, b := ours[i].(map[string]any), theirs[i].(map[string]any)
		if reflect.DeepEqual(a, b) {
			continue
		}
		before, _ := a["available"].(float64)
		after, _ := b["available"].(float64)
		requested, _ := a["requested"].(float64)
		if a["entity_id"] != c.op.Entity || b["entity_id"] != c.op.Entity || a["limit_name"] != b["limit_name"] || a["exceeded"] == true ||
			after > before || after < before-requested { // what was earned since may show
			return false
		}
	}
	return true
}

// result is what an operation returned on our side (0) or on Python's.
func (c *comparison) result(side int) map[string]any {
	out, _ := [2]map[string]any{c.ours, c.python}[side]["result"].(map[string]any)
	return out
}

// fromMemory says whether a side rejected without a request.
func fromMemory(answer map[string]any) bool {
	e, _ := answer["error"].(map[string]any)
	return e["from_memory"] == true
}

// refused says whether our side refused an argument for a reason.
func (c *comparison) refused(reason string) bool {
	e, ok := c.ours["error"].(map[string]any)
	if !ok || e["type"] != "ValidationError" {
		return false
	}
	message, _ := e["message"].(string)
	return strings.Contains(message, reason)
}
