// Package limitmanifest reads files that declare the limits of a namespace, and works out what has to change for
// the table to hold what they say. It sends nothing.
package limitmanifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Manifest is what a file declares.
type Manifest struct {
	Namespace string
	// Levels has what each declared level holds, whole.
	Levels map[limiter.ConfigKey]limiter.Config
	// Hash names the content: sha256: and hexadecimal digits.
	Hash string
}

// The shapes of the file.
type (
	file struct {
		Namespace string            `yaml:"namespace"`
		System    *level            `yaml:"system"`
		Resources map[string]*level `yaml:"resources"`
		Entities  map[string]*struct {
			Resources map[string]*level `yaml:"resources"`
		} `yaml:"entities"`
	}
	level struct {
		Limits        map[string]*limit `yaml:"limits"`
		OnUnavailable *string           `yaml:"on_unavailable"`
		Disabled      yaml.Node         `yaml:"disabled"`
		Cascade       *bool             `yaml:"cascade"`
	}
	limit struct {
		Capacity     *whole  `yaml:"capacity"`
		Burst        *whole  `yaml:"burst"` // an older name of capacity, which goes before it
		RefillAmount *whole  `yaml:"refill_amount"`
		RefillPeriod *whole  `yaml:"refill_period"` // seconds
		Schedule     []entry `yaml:"schedule"`
		Resets       []entry `yaml:"reset_schedule"`
		ResetAfter   *whole  `yaml:"reset_after_seconds"`
		Soft         bool    `yaml:"soft"`
	}
	entry struct {
		Cron         string   `yaml:"cron"`
		TZ           string   `yaml:"tz"`
		Scale        *float64 `yaml:"scale"`
		Capacity     *whole   `yaml:"capacity"`
		RefillAmount *whole   `yaml:"refill_amount"`
		RefillPeriod *whole   `yaml:"refill_period_seconds"`
	}
)

// whole is an integer; 1.5 and "1" are none.
type whole int64

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *whole) UnmarshalYAML(n *yaml.Node) error {
	if n.ShortTag() != "!!int" {
		// Named as the decoder names its own, which goes on then and finds what else is wrong.
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: cannot unmarshal %s `%s` into limitmanifest.whole", n.Line, n.ShortTag(), n.Value)}}
	}
	return n.Decode((*int64)(w))
}

// defaultPeriod is the refill period of a limit that states none.
const defaultPeriod = 60

// Parse reads a manifest, YAML or JSON. It reports every problem at once, and what the file says that has no
// meaning is one.
func Parse(text []byte) (*Manifest, error) {
	var f file
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the manifest is empty")
		}
		return nil, mistakes(text, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the manifest holds more than one document")
	}
	m := &Manifest{Namespace: f.Namespace, Levels: map[limiter.ConfigKey]limiter.Config{}}
	var errs []error
	if f.Namespace == "" {
		errs = append(errs, errors.New("namespace: is missing"))
	}
	declare := func(where string, key limiter.ConfigKey, l *level) {
		config, err := l.config(key)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
		m.Levels[key] = config
	}
	if f.System != nil {
		declare("system", limiter.ConfigKey{}, f.System)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Resources)) {
		declare("resources."+name, limiter.ConfigKey{Resource: name}, f.Resources[name])
	}
	for _, id := range slices.Sorted(maps.Keys(f.Entities)) {
		if f.Entities[id] == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(f.Entities[id].Resources)) {
			declare("entities."+id+".resources."+name, limiter.ConfigKey{EntityID: id, Resource: name}, f.Entities[id].Resources[name])
		}
	}
	m.Hash = hashOf(m)
	return m, errors.Join(errs...)
}

func (l *level) config(key limiter.ConfigKey) (limiter.Config, error) {
	c := limiter.Config{Exists: true}
	if err := key.Validate(); err != nil {
		return c, err
	}
	if l == nil {
		return c, nil
	}
	for _, name := range slices.Sorted(maps.Keys(l.Limits)) {
		limit, err := l.Limits[name].limit(name)
		if err != nil {
			return c, fmt.Errorf("limits.%s: %w", name, err)
		}
		c.Limits = append(c.Limits, limit)
	}
	if l.OnUnavailable != nil {
		c.OnUnavailable = limiter.OnUnavailable(*l.OnUnavailable)
		if c.OnUnavailable != limiter.Allow && c.OnUnavailable != limiter.Block {
			return c, fmt.Errorf("on_unavailable: %q: want allow or block", *l.OnUnavailable)
		}
	}
	if l.Cascade != nil {
		c.Cascade = flag(*l.Cascade)
	}
	var err error
	if c.Disabled, err = disabled(&l.Disabled); err != nil {
		return c, err
	}
	change := limiter.ConfigChange{Limits: c.Limits, Disabled: c.Disabled, Cascade: c.Cascade, OnUnavailable: c.OnUnavailable}
	return c, change.Validate(key)
}

func flag(on bool) limiter.Flag {
	if on {
		return limiter.On
	}
	return limiter.Off
}

func disabled(n *yaml.Node) (limiter.Flag, error) {
	if n.IsZero() || n.Tag == "!!null" {
		return limiter.Unset, nil
	}
	var on bool
	switch {
	case n.Value == "bypass":
		return limiter.Bypassed, nil
	case n.Decode(&on) == nil:
		return flag(on), nil
	}
	return limiter.Unset, fmt.Errorf("disabled: %q: want true, false or bypass", n.Value)
}

func (l *limit) limit(name string) (limiter.Limit, error) {
	if l == nil || l.Capacity == nil && l.Burst == nil {
		return limiter.Limit{}, errors.New("capacity: is missing")
	}
	capacity := l.Capacity
	if l.Burst != nil {
		capacity = l.Burst
	}
	quota := len(l.Resets) > 0 || l.ResetAfter != nil
	amount := int64(*capacity)
	if quota {
		amount = 0
	}
	amount = orElse(l.RefillAmount, amount)
	period, err := seconds("refill_period", orElse(l.RefillPeriod, defaultPeriod))
	if err != nil {
		return limiter.Limit{}, err
	}
	out := limiter.Custom(name, int64(*capacity), amount, period)
	out.Soft = l.Soft
	if l.ResetAfter != nil {
		if out.ResetAfter, err = seconds("reset_after_seconds", int64(*l.ResetAfter)); err != nil {
			return out, err
		}
	}
	if err := schedules(&out, l); err != nil {
		return out, err
	}
	return out, out.Validate()
}

func orElse(n *whole, standard int64) int64 {
	if n == nil {
		return standard
	}
	return int64(*n)
}

func seconds(field string, n int64) (time.Duration, error) {
	if n < 1 || n > schedule.MaxSeconds {
		return 0, fmt.Errorf("%s: %d: want whole seconds between 1 and 10^9", field, n)
	}
	return time.Duration(n) * time.Second, nil
}

// schedules gives a limit the entries of the file.
func schedules(out *limiter.Limit, l *limit) error {
	resets, err := entries("reset_schedule", l.Resets, true)
	if err != nil {
		return err
	}
	parameters, err := entries("schedule", l.Schedule, false)
	if err != nil {
		return err
	}
	if len(resets) > 0 {
		quota, err := limiter.Quota(out.Name, out.Capacity, resets...)
		if err != nil {
			return err
		}
		out.ResetSchedule, out.Zone = quota.ResetSchedule, quota.Zone
	}
	if len(parameters) == 0 {
		return nil
	}
	scheduled, err := out.WithSchedule(parameters...)
	if err == nil {
		*out = scheduled
	}
	return err
}

func entries(field string, list []entry, reset bool) ([]schedule.Entry, error) {
	out := make([]schedule.Entry, len(list))
	for i, e := range list {
		where := fmt.Sprintf("%s[%d]", field, i)
		sets := e.Scale != nil || e.Capacity != nil || e.RefillAmount != nil || e.RefillPeriod != nil
		switch {
		case e.Cron == "":
			return nil, fmt.Errorf("%s: cron is missing", where)
		case reset && sets:
			return nil, fmt.Errorf("%s: a reset has cron and tz only", where)
		case !reset && !sets:
			return nil, fmt.Errorf("%s: sets nothing: want scale, or some of capacity, refill_amount and refill_period_seconds", where)
		}
		out[i] = schedule.Entry{Cron: e.Cron, TZ: e.TZ, Capacity: orElse(e.Capacity, 0), RefillAmount: orElse(e.RefillAmount, 0), RefillPeriod: orElse(e.RefillPeriod, 0)}
		if e.Scale != nil {
			out[i].Scale = *e.Scale
		}
		if err := bounds(&e); err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
	}
	return out, nil
}

// bounds checks what an entry gives: what is 0 would count as not given.
func bounds(e *entry) error {
	if e.Scale != nil && !(*e.Scale > 0 && *e.Scale <= schedule.MaxScale) {
		return fmt.Errorf("scale: %v: must be above 0 and at most %d", *e.Scale, int64(schedule.MaxScale))
	}
	for _, field := range []struct {
		name string
		n    *whole
		most int64
	}{{"capacity", e.Capacity, schedule.MaxTokens}, {"refill_amount", e.RefillAmount, schedule.MaxTokens}, {"refill_period_seconds", e.RefillPeriod, schedule.MaxSeconds}} {
		if field.n != nil && (*field.n < 1 || int64(*field.n) > field.most) {
			return fmt.Errorf("%s: %d: must be between 1 and %d", field.name, *field.n, field.most)
		}
	}
	return nil
}

// hashOf is the same for files that declare the same.
func hashOf(m *Manifest) string {
	type declared struct {
		Level  string
		Config limiter.Config
	}
	var levels []declared
	for _, key := range m.Keys() {
		levels = append(levels, declared{key.String(), m.Levels[key]})
	}
	text, _ := json.Marshal(levels) // plain values always can be
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Keys are the declared levels in the order in which they are applied: system, resources, entities.
func (m *Manifest) Keys() []limiter.ConfigKey { return sorted(maps.Keys(m.Levels)) }

// Managed is what the namespace's record says after the manifest was applied.
func (m *Manifest) Managed() limiter.Managed {
	return limiter.NewManaged(m.Keys(), m.Hash)
}

func compareKeys(a, b limiter.ConfigKey) int {
	rank := func(k limiter.ConfigKey) int {
		switch {
		case k.EntityID != "":
			return 2
		case k.Resource != "":
			return 1
		}
		return 0
	}
	if c := rank(a) - rank(b); c != 0 {
		return c
	}
	if c := strings.Compare(a.EntityID, b.EntityID); c != 0 {
		return c
	}
	return strings.Compare(a.Resource, b.Resource)
}
