package limitmanifest

import (
	"iter"
	"slices"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Action is what a change does to a level.
type Action string

// The actions.
const (
	Create Action = "create" // the table has no such level
	Update Action = "update"
	Delete Action = "delete" // an earlier manifest declared it, this one does not
)

// Change is one level that differs from what the manifest declares.
type Change struct {
	Action Action
	Key    limiter.ConfigKey
	Before limiter.Config // as stored
	After  limiter.Config // as declared; zero for Delete
}

// Plan compares a manifest with what is stored. managed are the levels of the manifest before; stored must
// have every level that is declared or managed. With full, levels that are as declared are written, too. The
// second result is how many levels are left alone because of that.
func Plan(m *Manifest, managed []limiter.ConfigKey, stored map[limiter.ConfigKey]limiter.Config, full bool) (changes []Change, unchanged int) {
	for _, key := range m.Keys() {
		before, after := stored[key], m.Levels[key]
		if !full && same(before, after) {
			unchanged++
			continue
		}
		action := Update
		if !before.Exists {
			action = Create
		}
		changes = append(changes, Change{action, key, before, after})
	}
	for _, key := range sorted(slices.Values(managed)) {
		if _, declared := m.Levels[key]; !declared && stored[key].Exists {
			changes = append(changes, Change{Action: Delete, Key: key, Before: stored[key]})
		}
	}
	return changes, unchanged
}

// same says whether a level holds what is declared. What acquires do on an unavailable table is not the
// manifest's unless it says so.
func same(stored, declared limiter.Config) bool {
	return stored.Exists && slices.Equal(stored.Limits, declared.Limits) && stored.Disabled == declared.Disabled && stored.Cascade == declared.Cascade &&
		(declared.OnUnavailable == "" || stored.OnUnavailable == declared.OnUnavailable)
}

func sorted(keys iter.Seq[limiter.ConfigKey]) []limiter.ConfigKey {
	return slices.SortedFunc(keys, compareKeys)
}
