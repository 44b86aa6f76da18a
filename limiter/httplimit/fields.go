package httplimit

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// maxInteger is the largest number that a structured field can hold.
const maxInteger = 999_999_999_999_999

// setFields sets RateLimit-Policy and RateLimit. In a refusal only the limits that caused it say when
// there will be more: the wait of another must not read as longer than Retry-After.
func setFields(header http.Header, statuses []limiter.LimitStatus, refused bool, now time.Time) {
	if len(statuses) == 0 {
		return
	}
	named := policies(statuses)
	var policy, limit []string
	for i := range named {
		s := &named[i].LimitStatus
		item := named[i].name + ";q=" + integer(s.Limit.Capacity)
		if w := window(s.Limit); w > 0 {
			item += ";w=" + integer(w)
		}
		policy = append(policy, item)
		item = named[i].name + ";r=" + integer(s.Available)
		if t := more(s, now); t > 0 && (s.Exceeded || !refused) {
			item += ";t=" + integer(t)
		}
		limit = append(limit, item)
	}
	header.Set("RateLimit-Policy", strings.Join(policy, ", "))
	header.Set("RateLimit", strings.Join(limit, ", "))
}

type namedStatus struct {
	name string
	limiter.LimitStatus
}

// policies gives each limit its name, behind the resource where there are several. Where an entity
// and its parent both have a limit, the tighter one counts for the client. Ids are not for clients.
func policies(statuses []limiter.LimitStatus) []namedStatus {
	several := false
	for _, s := range statuses {
		several = several || s.Resource != statuses[0].Resource
	}
	var named []namedStatus
next:
	for _, s := range statuses {
		name := s.Limit.Name
		if several {
			name = s.Resource + "/" + name
		}
		name = strconv.Quote(name) // names have no character that needs more
		for i := range named {
			if named[i].name == name {
				if tighter(&s, &named[i].LimitStatus) {
					named[i].LimitStatus = s
				}
				continue next
			}
		}
		named = append(named, namedStatus{name, s})
	}
	return named
}

func tighter(a, b *limiter.LimitStatus) bool {
	if a.Exceeded != b.Exceeded {
		return a.Exceeded
	}
	if a.Exceeded {
		return a.RetryAfter > b.RetryAfter
	}
	return a.Available < b.Available
}

// window is the time in seconds in which the whole capacity comes back; 0 for a quota that comes back
// by the calendar.
func window(l limiter.Limit) int64 {
	if l.RefillAmount <= 0 {
		return int64(l.ResetAfter / time.Second)
	}
	return ceil(float64(l.Capacity) / float64(l.RefillAmount) * l.RefillPeriod.Seconds())
}

// more is the time in seconds until there is more of a limit; 0 when it is full, or unknown.
func more(s *limiter.LimitStatus, now time.Time) int64 {
	switch {
	case s.Exceeded:
		return ceil(s.RetryAfter.Seconds())
	case s.Available >= s.Limit.Capacity:
		return 0
	case s.Limit.RefillAmount > 0:
		return ceil(s.Limit.RefillPeriod.Seconds() / float64(s.Limit.RefillAmount))
	case s.ResetsAt > 0:
		return max(0, ceil(float64(s.ResetsAt-now.UnixMilli())/1000))
	}
	return 0
}

// ceil rounds up, and stays within what a field can hold.
func ceil(seconds float64) int64 {
	if seconds >= maxInteger {
		return maxInteger
	}
	whole := int64(seconds)
	if float64(whole) < seconds {
		whole++
	}
	return whole
}

func integer(n int64) string { return strconv.FormatInt(min(max(0, n), maxInteger), 10) }
