package target

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// runIDEncoding keeps the order of the bytes in the order of the text and uses only lower case
// letters and digits.
var runIDEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// runIDTime is when an id was made; ok is false for text that is no id.
func runIDTime(id string) (made time.Time, ok bool) {
	raw, err := runIDEncoding.DecodeString(id)
	if err != nil || len(raw) != 11 {
		return time.Time{}, false
	}
	var millis [8]byte
	copy(millis[2:], raw[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(millis[:]))), true
}

// NewRunID returns an identifier that sorts by time (milliseconds), is unique (40 random bits) and
// consists of 18 lower case letters and digits.
func NewRunID(now time.Time) string {
	var id [11]byte
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(now.UnixMilli()))
	copy(id[:6], millis[2:])
	// Read never fails: the runtime aborts when the system has no randomness.
	_, _ = rand.Read(id[6:])
	return runIDEncoding.EncodeToString(id[:])
}
