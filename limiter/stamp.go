package limiter

import "time"

// The bounds of StampTTL.
const (
	defaultStampTTL = time.Minute
	minStampTTL     = 10 * time.Second
)

// stampDeadline is until when a stamp made from config that is read at now (ms) or later is trusted. It is
// spread over the last fifth, so that not all buckets ask at once.
func (l *Limiter) stampDeadline(now int64) int64 {
	ttl := l.opts.StampTTL
	if ttl == 0 {
		ttl = defaultStampTTL
	}
	ms := max(ttl, minStampTTL).Milliseconds()
	return now + ms - int64(l.rand(int(ms/5)+1))
}
