package schedule

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// version is the marker that compact forms begin with, the only one that is known.
const version = 1

// ErrNewer is the cause of decoding errors of texts that a newer client wrote.
var ErrNewer = errors.New("written by a newer client")

// tags are the letters before values: the five fields, then scale in thousandths, capacity, refill
// amount and refill period.
const tags = "mhDMwscap"

// encode gives the compact form: entries joined by ";", each the fields that are not "*" and then
// what it sets, every value behind its letter.
func encode(entries []Entry) string {
	text := strconv.AppendInt(nil, version, 10)
	for i := range entries {
		if i > 0 {
			text = append(text, ';')
		}
		text = entries[i].appendTo(text)
	}
	return string(text)
}

func (e *Entry) appendTo(text []byte) []byte {
	for i, part := range strings.Fields(e.Cron) {
		if part = fields[i].canonical(part); part != "*" {
			text = append(append(text, fields[i].tag), part...)
		}
	}
	if e.Scale != 0 {
		thousandths := max(1, math.RoundToEven(e.Scale*1000))
		text = strconv.AppendInt(append(text, 's'), int64(thousandths), 10)
	}
	for _, m := range [...]struct {
		tag   byte
		value int64
	}{{'c', e.Capacity}, {'a', e.RefillAmount}, {'p', e.RefillPeriod}} {
		if m.value != 0 {
			text = strconv.AppendInt(append(text, m.tag), m.value, 10)
		}
	}
	return text
}

// canonical writes names as numbers. Sunday alone is 7, in ranges and steps 0: 7 would not ascend.
func (f *field) canonical(text string) string {
	if f.names == nil {
		return text
	}
	items := strings.Split(text, ",")
	for i, item := range items {
		if f.tag == 'w' && (item == "0" || strings.EqualFold(item, "SUN")) {
			items[i] = "7"
			continue
		}
		span, step, stepped := strings.Cut(item, "/")
		ends := strings.Split(span, "-")
		for j := range ends {
			if n := f.nameIndex(ends[j]); n >= 0 {
				ends[j] = strconv.Itoa(f.min + n)
			}
		}
		items[i] = strings.Join(ends, "-")
		if stepped {
			items[i] += "/" + step
		}
	}
	return strings.Join(items, ",")
}

// Decode reads the compact form of a parameter schedule; "" is one without entries. A text that a
// newer client wrote fails with ErrNewer.
func Decode(text, tz string) (*Schedule, error) { return decode(text, tz, loadZone) }

func decode(text, tz string, load func(string) (*zone, error)) (*Schedule, error) {
	entries, err := decodeEntries(text, tz, tags)
	if err == nil {
		var s *Schedule
		if s, err = parse(entries, load); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("schedule %q: %w", text, err)
}

// DecodeResets reads the compact form of a reset schedule; "" is one without entries. It accepts
// what ParseResets refuses: entries without edges that a peer may have stored.
func DecodeResets(text, tz string) (*Resets, error) { return decodeResets(text, tz, loadZone) }

func decodeResets(text, tz string, load func(string) (*zone, error)) (*Resets, error) {
	entries, err := decodeEntries(text, tz, tags[:len(fields)])
	if err == nil {
		var r *Resets
		if r, err = parseResets(entries, load); err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("reset schedule %q: %w", text, err)
}

func decodeEntries(text, tz, allowed string) ([]Entry, error) {
	if text == "" {
		return nil, nil
	}
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	marker, _ := number(text[:digits])
	switch {
	case digits == 0:
		return nil, errors.New("has no version marker")
	case digits == len(text):
		return nil, errors.New("has no entries")
	case marker > version:
		return nil, fmt.Errorf("has version %s: %w", text[:digits], ErrNewer)
	case marker < version:
		return nil, fmt.Errorf("has version %s, which never was", text[:digits])
	}
	var entries []Entry
	for part := range strings.SplitSeq(text[digits:], ";") {
		e, err := decodeEntry(part, allowed)
		if err != nil {
			return nil, err
		}
		e.TZ = tz
		entries = append(entries, e)
	}
	return entries, nil
}

func decodeEntry(part, allowed string) (Entry, error) {
	var values [len(tags)]string
	for rest := part; rest != ""; {
		i := strings.IndexByte(tags, rest[0])
		if i < 0 {
			return Entry{}, fmt.Errorf("entry %q has an unknown tag %q", part, rest[:1])
		}
		if i >= len(allowed) {
			return Entry{}, fmt.Errorf("entry %q sets parameters", part)
		}
		end := strings.IndexAny(rest[1:], tags) + 1
		if end == 0 {
			end = len(rest)
		}
		if end == 1 {
			return Entry{}, fmt.Errorf("entry %q has nothing behind %q", part, rest[:1])
		}
		if values[i] != "" {
			return Entry{}, fmt.Errorf("entry %q has %q twice", part, rest[:1])
		}
		values[i], rest = rest[1:end], rest[end:]
	}
	for i := range fields {
		if values[i] == "" {
			values[i] = "*"
		}
	}
	e := Entry{Cron: strings.Join(values[:len(fields)], " ")}
	if s := values[5]; s != "" {
		thousandths, err := strconv.ParseUint(s, 10, 63)
		if err != nil || thousandths == 0 {
			return Entry{}, fmt.Errorf("entry %q: scale %q is not a whole number above 0", part, s)
		}
		e.Scale = float64(thousandths) / 1000
	}
	for i, value := range []*int64{&e.Capacity, &e.RefillAmount, &e.RefillPeriod} {
		if s := values[6+i]; s != "" {
			n, err := strconv.ParseUint(s, 10, 63)
			if err != nil || n == 0 {
				return Entry{}, fmt.Errorf("entry %q: %q is not a whole number above 0", part, s)
			}
			*value = int64(n)
		}
	}
	return e, nil
}
