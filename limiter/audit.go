package limiter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// The actions of audit events.
const (
	AuditEntityCreated       = "entity_created"
	AuditEntityDeleted       = "entity_deleted"
	AuditEntityParentChanged = "entity_parent_changed"
	AuditLimitsSet           = "limits_set"
	AuditLimitsDeleted       = "limits_deleted"
	AuditBucketReset         = "bucket_reset"
	AuditBucketToppedUp      = "bucket_topped_up"
)

// AuditSystem is the subject of events about system defaults.
const AuditSystem = "$SYSTEM"

// AuditResource is the subject of events about the defaults of a resource.
func AuditResource(resource string) string { return "$RESOURCE:" + resource }

// defaultAuditRetention is how long events are kept when the system defaults do not say.
const defaultAuditRetention = 90

// ErrNotAudited is wrapped by the error of a change that was made but whose audit event could not be
// written.
var ErrNotAudited = errors.New("limiter: change made, but not audited")

// AuditEvents lists at most limit events about a subject (an entity id, AuditSystem, AuditResource(name)),
// newest first, from the one after the event id on; "" starts with the newest, and limit 0 means 100.
func (a *Admin) AuditEvents(ctx context.Context, subject string, limit int, after string) ([]AuditEvent, error) {
	if err := a.check(validateSubject(subject), validatePage(limit)); err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultPage
	}
	events, err := a.store.AuditEvents(ctx, subject, limit, after)
	if err != nil {
		return nil, fmt.Errorf("audit events of %s: %w", subject, err)
	}
	return events, nil
}

// defaultPage is how much a list call returns when it is not told.
const defaultPage = 100

func validatePage(limit int) error {
	if limit < 0 || limit > 10_000 {
		return invalid("limit", fmt.Sprint(limit), "must be between 1 and 10000")
	}
	return nil
}

func validateSubject(subject string) error {
	if resource, ok := strings.CutPrefix(subject, AuditResource("")); ok {
		return validateResource(resource)
	}
	if subject == AuditSystem {
		return nil
	}
	return validateEntityID("entity_id", subject)
}

func validatePrincipal(principal string) error {
	if principal == "" || strings.HasPrefix(principal, "arn:") {
		return nil
	}
	return validateEntityID("principal", principal)
}

// record writes an audit event; it fills in who, when and for how long.
func (a *Admin) record(ctx context.Context, e AuditEvent) error {
	if a.l.opts.WithoutAudit {
		return nil
	}
	e = a.complete(ctx, e)
	if err := a.store.PutAudit(ctx, e); err != nil {
		return fmt.Errorf("%w: %s of %s: %w", ErrNotAudited, e.Action, e.Subject, err)
	}
	return nil
}

func (a *Admin) complete(ctx context.Context, e AuditEvent) AuditEvent {
	now := a.l.now().UTC()
	e.ID, e.Timestamp, e.Principal = a.l.audit.ids.next(now), now.Truncate(time.Second), a.principal
	e.TTL = now.Unix() + a.retention(ctx, now)*86400
	return e
}

// auditing is what the administrations of one Limiter share.
type auditing struct {
	ids ulids

	mu      sync.Mutex
	days    int64
	expires time.Time
}

// retention is for how many days events are kept. It is remembered apart from the levels that acquires use,
// which administration must not warm.
func (a *Admin) retention(ctx context.Context, now time.Time) int64 {
	shared := &a.l.audit
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.days > 0 && now.Before(shared.expires) {
		return shared.days
	}
	system, err := a.store.Config(ctx, ConfigKey{}, false)
	if err != nil { // no reason to fail the change
		return defaultAuditRetention
	}
	shared.days, shared.expires = defaultAuditRetention, now.Add(time.Minute)
	if system.AuditRetentionDays > 0 {
		shared.days = system.AuditRetentionDays
	}
	return shared.days
}

// ulids makes identifiers that sort by time, also within one millisecond.
type ulids struct {
	mu   sync.Mutex
	ms   int64
	last [10]byte
}

// crockford is the alphabet of ULIDs.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func (u *ulids) next(now time.Time) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if ms := now.UnixMilli(); ms > u.ms {
		u.ms = ms
		rand.Read(u.last[:]) // never fails
		u.last[0] &= 0x7f    // leaves room to count up
	} else {
		for i := len(u.last) - 1; i >= 0; i-- {
			if u.last[i]++; u.last[i] != 0 {
				break
			}
		}
	}
	var raw [16]byte
	for i := range 6 {
		raw[i] = byte(u.ms >> (40 - 8*i))
	}
	copy(raw[6:], u.last[:])
	// 128 bits as 26 characters of five bits each: the first has only the upper three.
	var text [26]byte
	for i := range text {
		bit := i*5 - 2
		var five uint
		for b := bit; b < bit+5; b++ {
			five <<= 1
			if b >= 0 {
				five |= uint(raw[b/8]>>(7-b%8)) & 1
			}
		}
		text[i] = crockford[five]
	}
	return string(text[:])
}

// limitMaps are limits as audit events describe them.
func limitMaps(limits []Limit) []any {
	maps := make([]any, len(limits))
	for i, l := range limits {
		maps[i] = l.Map()
	}
	return maps
}
