package limiter

import (
	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// levels are the config levels that hold for one entity and resource, from the most to the least
// specific: entity and resource, entity, resource, system.
type levels [4]*Config

var levelNames = [...]string{"entity", "entity_default", "resource", "system"}

// resolved is what the levels say.
type resolved struct {
	limits []Limit // never empty
	// kept says that the limits come from the entity itself, whose buckets never expire.
	kept bool
}

// limits takes the first level that has any, whole. Explicit limits beat them all; what else is on the
// bucket already stays in force there.
func (lv *levels) limits(explicit []Limit, entity, resource string) (resolved, error) {
	var r resolved
	for i, level := range lv {
		if features := level.Features &^ FeatureBypass; features != 0 {
			return r, &UnsupportedFeatureError{Feature: features.String(), Where: levelNames[i] + " config of " + entity + "/" + resource}
		}
		if len(level.Limits) > 0 {
			r.limits, r.kept = level.Limits, i < 2
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

func findLimit(limits []Limit, name string) *Limit {
	for i := range limits {
		if limits[i].Name == name {
			return &limits[i]
		}
	}
	return nil
}

// enforced fails when the first explicit value of `disabled` closes the resource.
func (lv *levels) enforced(entity, resource string) error {
	for i, level := range lv[:3] {
		switch {
		case level.Features&FeatureBypass != 0:
			return &UnsupportedFeatureError{Feature: FeatureBypass.String(), Where: levelNames[i] + " config of " + entity + "/" + resource}
		case level.Disabled == On:
			return &DisabledError{EntityID: entity, Resource: resource, Level: levelNames[i]}
		case level.Disabled == Off:
			return nil
		}
	}
	return nil
}

// cascades is the policy: the first explicit value, else what META says.
func (lv *levels) cascades(meta *Meta) bool {
	for _, level := range lv[:3] {
		if level.Cascade != Unset {
			return level.Cascade == On
		}
	}
	return meta.Cascade
}

// ttl is what a write does to the ttl of a bucket of these limits at now (ms).
func (l *Limiter) ttl(r resolved, now int64) (TTLAction, int64) {
	if r.kept {
		return TTLRemove, 0
	}
	var buffer [8]bucket.Limit
	limits := buffer[:0]
	for _, limit := range r.limits {
		limits = append(limits, limit.bucketLimit())
	}
	seconds, keep := bucket.TTLSeconds(limits, l.opts.TTLMultiplier)
	if !keep {
		return TTLKeep, 0
	}
	return TTLSet, now/1000 + seconds
}
