package limiter

import "sync"

// Clients of a table before a release go on as if these were not stored: nothing keeps them out, since they
// look at the table's minimum version when they open it, and those before 0.15 never do.
var (
	scheduleIgnored = ignored{"schedule", "0.14.0"} // they refill to the base capacity
	quotaIgnored    = ignored{"quota", "0.14.0"}    // they fail on the level, or drain the bucket
	sessionIgnored  = ignored{"session quota", "0.15.0"}
	disabledIgnored = ignored{"disabled", "0.12.0"} // they keep admitting
	bypassIgnored   = ignored{"bypass", "0.17.0"}   // they enforce
	softIgnored     = ignored{"soft limit", "0.17.0"}
)

// ignored is a feature and the release that clients honour it from.
type ignored struct{ feature, release string }

// olderClients remembers what a limiter warned of. Its zero value is ready for use.
type olderClients struct {
	mu     sync.Mutex
	warned map[ignored]bool
}

func (o *olderClients) first(i ignored) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.warned[i] {
		return false
	}
	if o.warned == nil {
		o.warned = map[ignored]bool{}
	}
	o.warned[i] = true
	return true
}

// warnOfLimits warns before the first of these limits of each kind is stored that older clients do not honour.
func (a *Admin) warnOfLimits(key ConfigKey, limits []Limit) {
	for i := range limits {
		l := &limits[i]
		if l.Schedule != "" {
			a.warn(key, scheduleIgnored, "limit", l.Name)
		}
		switch {
		case l.ResetAfter > 0:
			a.warn(key, sessionIgnored, "limit", l.Name)
		case l.Quota():
			a.warn(key, quotaIgnored, "limit", l.Name)
		}
		if l.Soft {
			a.warn(key, softIgnored, "limit", l.Name)
		}
	}
}

// warnOfFlag does so for a flag.
func (a *Admin) warnOfFlag(key ConfigKey, name FlagName, value Flag) {
	switch {
	case name == FlagDisabled && value == On:
		a.warn(key, disabledIgnored)
	case name == FlagDisabled && value == Bypassed:
		a.warn(key, bypassIgnored)
	}
}

func (a *Admin) warn(key ConfigKey, i ignored, more ...any) {
	if a.l.older.first(i) {
		a.l.logger.Warn("older clients of the table do not honour this", append([]any{"feature", i.feature, "level", key.String(), "before_release", i.release}, more...)...)
	}
}
