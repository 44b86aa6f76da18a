package limiter

import (
	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// levels are the config levels that hold for one entity and resource, from the most to the least
// specific: entity and resource, entity, resource, system.
type levels [4]*Config

var levelNames = [...]string{"entity", "entity_default", "resource", "system"}

// systemLevel is the level that is remembered instead of read in every slow pass.
const systemLevel = 3

// resolved is what the levels say.
type resolved struct {
	limits []Limit // never empty
	// kept says that the limits come from the entity itself, whose buckets never expire.
	kept bool
	// stored are the limits of the levels, which explicit ones hide; stamps follow them. level is theirs.
	stored []Limit
	level  int
	at     int64 // a time not after they were read, ms; set by resolve only
}

// limits takes the first level that has any, whole. Explicit limits beat them all; what else is on the
// bucket already stays in force there.
func (lv *levels) limits(explicit []Limit, entity, resource string) (resolved, error) {
	var r resolved
	for i, level := range lv {
		if len(level.Limits) > 0 {
			r.limits, r.kept = level.Limits, i < 2
			r.stored, r.level = level.Limits, i
			break
		}
	}
	if len(explicit) > 0 {
		r.limits, r.kept = explicit, false
	}
	if len(r.limits) == 0 {
		return r, invalid("limits", "entity="+entity+", resource="+resource, "has no limits at any level")
	}
	return r, nil
}

// over is resolved with what the levels have of an item's limits that explicit ones do not name: it stays in
// force there.
func (r resolved) over(b *Bucket) resolved {
	explicit := r.limits
	for i := range r.stored {
		if s := b.Limit(r.stored[i].Name); s != nil && s.Complete() && findLimit(explicit, s.Name) == nil {
			r.limits = append(r.limits[:len(r.limits):len(r.limits)], r.stored[i])
		}
	}
	return r
}

// find is the limit that holds by that name: the explicit or resolved one, else the one of the levels.
func (r *resolved) find(name string) *Limit {
	if limit := findLimit(r.limits, name); limit != nil {
		return limit
	}
	return findLimit(r.stored, name)
}

func findLimit(limits []Limit, name string) *Limit {
	for i := range limits {
		if limits[i].Name == name {
			return &limits[i]
		}
	}
	return nil
}

// enforced fails when the first explicit value of `disabled` closes the resource, and says whether it
// waives the limits.
func (lv *levels) enforced(entity, resource string) (bypassed bool, err error) {
	for i, level := range lv[:systemLevel] {
		switch level.Disabled {
		case On:
			return false, &DisabledError{EntityID: entity, Resource: resource, Level: levelNames[i]}
		case Bypassed:
			return true, nil
		case Off:
			return false, nil
		}
	}
	return false, nil
}

// cascades is the policy: the first explicit value, else what META says.
func (lv *levels) cascades(meta *Meta) bool {
	for _, level := range lv[:systemLevel] {
		if level.Cascade != Unset {
			return level.Cascade == On
		}
	}
	return meta.Cascade
}

// ttl is what a write does to the ttl of a bucket of these limits at now (ms).
func (l *Limiter) ttl(r resolved, now int64) (TTLAction, int64, error) {
	if r.kept {
		return TTLRemove, 0, nil
	}
	var buffer [4]bucket.Limit
	limits := buffer[:0]
	for i := range r.limits {
		limit, err := l.arithmetic(&r.limits[i])
		if err != nil {
			return TTLKeep, 0, err
		}
		limits = append(limits, limit)
	}
	seconds, keep := bucket.TTLSeconds(limits, l.opts.TTLMultiplier)
	if !keep {
		return TTLKeep, 0, nil
	}
	return TTLSet, now/1000 + seconds, nil
}
