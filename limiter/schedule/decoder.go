package schedule

import (
	"sync"
)

// maxDecoded is how many texts a Decoder remembers before it starts over.
const maxDecoded = 4096

// Decoder decodes compact forms and remembers them, since the items of a table carry few different
// ones over and over. A text that it knows costs no allocation. The zero value is ready for use; it is
// safe for concurrent use, and what it returns is shared.
type Decoder struct {
	mu        sync.RWMutex
	zones     map[string]*zone
	schedules map[stored]*Schedule
	resets    map[stored]*Resets
}

type stored struct{ text, tz string }

// Schedule is Decode. tz "" is UTC.
func (d *Decoder) Schedule(text, tz string) (*Schedule, error) {
	key := stored{text, tz}
	d.mu.RLock()
	s, known := d.schedules[key]
	d.mu.RUnlock()
	if known || text == "" {
		return s, nil
	}
	s, err := decode(text, tz, d.zone)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.schedules == nil || len(d.schedules) >= maxDecoded {
		d.schedules = map[stored]*Schedule{}
	}
	d.schedules[key] = s
	return s, nil
}

// Resets is DecodeResets. tz "" is UTC.
func (d *Decoder) Resets(text, tz string) (*Resets, error) {
	key := stored{text, tz}
	d.mu.RLock()
	r, known := d.resets[key]
	d.mu.RUnlock()
	if known || text == "" {
		return r, nil
	}
	r, err := decodeResets(text, tz, d.zone)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.resets == nil || len(d.resets) >= maxDecoded {
		d.resets = map[stored]*Resets{}
	}
	d.resets[key] = r
	return r, nil
}

// zone loads a zone once. There are some six hundred.
func (d *Decoder) zone(name string) (*zone, error) {
	d.mu.RLock()
	z := d.zones[name]
	d.mu.RUnlock()
	if z != nil {
		return z, nil
	}
	z, err := loadZone(name)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.zones == nil {
		d.zones = map[string]*zone{}
	}
	d.zones[name] = z
	return z, nil
}
