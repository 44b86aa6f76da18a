package redisstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Fields of entities and config levels, beside those that buckets have too.
const (
	fieldName      = "name"
	fieldCreated   = "created"
	fieldMetadata  = "metadata"
	fieldLimits    = "limits"
	fieldFlag      = "disabled"
	fieldPolicy    = "cascade"
	fieldMode      = "on_unavailable"
	fieldRetention = "audit_retention_days"
	fieldExists    = "v" // every level has it
	fieldJSON      = "json"
)

// storedLimit is a limit as JSON.
type storedLimit struct {
	Name          string `json:"name"`
	Capacity      int64  `json:"capacity"`
	Refill        int64  `json:"refill_amount,omitempty"`
	Period        int64  `json:"refill_period_seconds"`
	Schedule      string `json:"schedule,omitempty"`
	ResetSchedule string `json:"reset_schedule,omitempty"`
	Zone          string `json:"zone,omitempty"`
	ResetAfter    int64  `json:"reset_after_seconds,omitempty"`
	Soft          bool   `json:"soft,omitempty"`
}

func encodeLimits(limits []limiter.Limit) (string, error) {
	stored := make([]storedLimit, len(limits))
	for i, l := range limits {
		stored[i] = storedLimit{l.Name, l.Capacity, l.RefillAmount, int64(l.RefillPeriod / time.Second),
			l.Schedule, l.ResetSchedule, l.Zone, int64(l.ResetAfter / time.Second), l.Soft}
	}
	text, err := json.Marshal(stored)
	return string(text), err
}

func decodeLimits(text string) ([]limiter.Limit, error) {
	if text == "" {
		return nil, nil
	}
	var stored []storedLimit
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, err
	}
	var limits []limiter.Limit
	for _, l := range stored {
		limits = append(limits, limiter.Limit{
			Name: l.Name, Capacity: l.Capacity, RefillAmount: l.Refill, RefillPeriod: time.Duration(l.Period) * time.Second,
			Schedule: l.Schedule, ResetSchedule: l.ResetSchedule, Zone: l.Zone, ResetAfter: time.Duration(l.ResetAfter) * time.Second, Soft: l.Soft,
		})
	}
	return limits, nil
}

func configOf(p pairs) (limiter.Config, error) {
	c := limiter.Config{Exists: len(p) > 0, OnUnavailable: limiter.OnUnavailable(p.get(fieldMode))}
	var err error
	if c.Limits, err = decodeLimits(p.get(fieldLimits)); err != nil {
		return limiter.Config{}, fmt.Errorf("limits of a config level: %w", err)
	}
	for field, to := range map[string]*limiter.Flag{fieldFlag: &c.Disabled, fieldPolicy: &c.Cascade} {
		text := p.get(field)
		for flag, name := range flagNames {
			if name != "" && name == text {
				*to = limiter.Flag(flag)
			}
		}
	}
	if days := p.get(fieldRetention); days != "" {
		if c.AuditRetentionDays, err = strconv.ParseInt(days, 10, 64); err != nil {
			return limiter.Config{}, fmt.Errorf("audit retention of a config level: %w", err)
		}
	}
	return c, nil
}

// flagNames are the stored forms of limiter.Flag; unset is absent.
var flagNames = [...]string{limiter.Unset: "", limiter.Off: "false", limiter.On: "true", limiter.Bypassed: "bypass"}

func metaOf(id string, p pairs, metadata bool) (limiter.Meta, error) {
	m := limiter.Meta{EntityID: id}
	if len(p) == 0 {
		return limiter.Meta{}, nil
	}
	m.Found = true
	m.Name, m.ParentID, m.Cascade = p.get(fieldName), p.get(fieldParent), p.get(fieldCascade) != ""
	m.PInc, m.CreatedAt = p.get(fieldIncarnation), p.get(fieldCreated)
	var err error
	if m.Generation, err = strconv.ParseInt(p.get(fieldGeneration), 10, 64); err != nil {
		return limiter.Meta{}, fmt.Errorf("generation of entity %s: %w", id, err)
	}
	if text := p.get(fieldMetadata); metadata && text != "" {
		if m.Metadata, err = decodeMap(text); err != nil {
			return limiter.Meta{}, fmt.Errorf("metadata of entity %s: %w", id, err)
		}
	}
	return m, nil
}

// decodeMap reads an object. Whole numbers are int64, others float64.
func decodeMap(text string) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	var m map[string]any
	if err := decoder.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	for k, v := range m {
		m[k] = plain(v)
	}
	return m, nil
}

func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // out of range: the nearest
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// The bounds of identifiers by time.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ulidTime is how ULIDs made at a time start.
func ulidTime(t time.Time) string {
	var text [10]byte
	ms := t.UnixMilli()
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = crockford[ms&31]
		ms >>= 5
	}
	return string(text[:])
}
