//go:build interop

package differential

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

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
	{"one side answered from its memory (B33)", func(c *comparison, f difference) bool {
		return c.d.memory && c.ours["error"] != nil && c.python["error"] != nil && (fromMemory(c.ours) || fromMemory(c.python))
	}},
	{"a slow pass that needs no refill leaves rf, and what is earned, for later (B7)", func(c *comparison, f difference) bool {
		return c.op.Do == "acquire" && c.number(0, f.Item, "rf") < c.number(1, f.Item, "rf") && c.leftForLater(f)
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
	// A bypass admits also what the bucket has no limit for. Python then leaves the counter of a limit without
	// parameters, and what the shape of the write leaves depends on whether the process has seen the stamp.
	{"a waived acquire of a limit that is not on the bucket takes the slow path (H3)", func(c *comparison, f difference) bool {
		name, isLimit := strings.CutPrefix(f.Attribute, "b_")
		at := strings.LastIndex(name, "_")
		if c.op.Do != "acquire" || f.Item == "" {
			return false
		}
		before := c.d.before[f.Item]
		return f.Attribute == "bypass" && c.result(0)["bypassed"] == true ||
			isLimit && at > 0 && before["bypass"] != nil && (before["b_"+name[:at]+"_cp"] == nil || before["b_"+name[:at]+"_tk"] == nil)
	}},
	// Python judges what the entity has left after the debit that it is about to refund.
	{"an entity whose parent refuses is judged as it was before", func(c *comparison, f difference) bool {
		return f.Item == "" && f.Attribute == "error" && c.judgedAfter()
	}},
	// Python gives it a ttl although the entity's own defaults hold then.
	{"deleting limits of an entity leaves a bucket without a ttl where its own defaults hold (W7)", func(c *comparison, f difference) bool {
		return c.op.Do == "delete_limits" && c.op.Entity != "" && f.Attribute == "ttl" && f.Ours == nil
	}},
	// It depends on what a process remembers of the parent, too.
	{"a closed parent is met by the fast path of one side (5.2, level bucket)", func(c *comparison, f difference) bool {
		a, _ := c.ours["error"].(map[string]any)
		b, _ := c.python["error"].(map[string]any)
		return f.Item == "" && a["type"] == "ResourceDisabled" && b["type"] == "ResourceDisabled" &&
			a["entity_id"] == b["entity_id"] && a["resource"] == b["resource"] && (a["level"] == "bucket" || b["level"] == "bucket")
	}},
	// Python's lease has no entries for what it created under a bypass, so that corrections are lost; and nothing
	// renews the owner stamp of a bypassed bucket that is older than its entity, so that its parent is not counted.
	{"a waived acquire is counted whole: at the parent that META names, and what a lease corrects", func(c *comparison, f difference) bool {
		ours, theirs := c.result(0), c.result(1)
		none, _ := theirs["consumed"].(map[string]any)
		switch {
		case ours["bypassed"] != true:
			return false
		case theirs["bypassed"] == true && less(theirs["consumed"], ours["consumed"]):
		case theirs["bypassed"] == false && len(none) == 0: // none of the limits is there: a lease of nothing
		default:
			return false
		}
		return f.Item == "" || strings.HasSuffix(f.Attribute, "_tc") || f.Attribute == "bypass"
	}},
}

// number is an attribute of an item, 0 when it is absent.
func (c *comparison) number(side int, item, attribute string) int64 {
	n, _ := c.items[side][item][attribute].(json.Number)
	value, _ := n.Int64()
	return value
}

// leftForLater says whether a difference is one that goes with an older rf: what the time between earned, stamps
// and the ttl.
func (c *comparison) leftForLater(f difference) bool {
	switch {
	case f.Attribute == "rf" || f.Attribute == "ttl" || f.Attribute == "vu" || strings.HasSuffix(f.Attribute, "_soft"):
		return true
	case !strings.HasSuffix(f.Attribute, "_tk"):
		return false
	}
	limit := strings.TrimSuffix(f.Attribute, "_tk")
	ours := func(attribute string) int64 { return c.number(0, f.Item, attribute) }
	tokens, later := ours(f.Attribute), c.number(1, f.Item, f.Attribute)
	item := c.items[0][f.Item]
	if item["sched"] != nil || item[limit+"_sched"] != nil && item[limit+"_sched"] != "-" || ours(limit+"_ra") == 0 {
		return later >= tokens
	}
	shards := max(1, ours("shard_count"))
	if limit == "b_wcu" {
		shards = 1
	}
	earned, _ := bucket.Refill(tokens, ours("rf"), c.number(1, f.Item, "rf"), ours(limit+"_cp")/shards, ours(limit+"_ra")/shards, ours(limit+"_rp"))
	return earned == later
}

// differs says whether an attribute of an item does.
func (c *comparison) differs(item, attribute string) bool {
	return slices.ContainsFunc(c.differences, func(f difference) bool { return f.Item == item && f.Attribute == attribute })
}

// judgedAfter says whether two rejections differ only in statuses of the entity, which Python has after the debit.
func (c *comparison) judgedAfter() bool {
	statuses := func(answer map[string]any) []any {
		e, _ := answer["error"].(map[string]any)
		d, _ := e["as_dict"].(map[string]any)
		l, _ := d["limits"].([]any)
		return l
	}
	ours, theirs := statuses(c.ours), statuses(c.python)
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
		if a["entity_id"] != c.op.Entity || b["entity_id"] != c.op.Entity || a["limit_name"] != b["limit_name"] || a["exceeded"] == true || after != before-requested {
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

// less says whether a has less of something than b.
func less(a, b any) bool {
	x, _ := a.(map[string]any)
	y, _ := b.(map[string]any)
	for name, n := range y {
		more, _ := n.(float64)
		if fewer, there := x[name].(float64); !there || fewer < more {
			return true
		}
	}
	return false
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
