package dynamostore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// disabledBypass is the third value of the flag disabled.
const disabledBypass = "bypass"

// maxPeriodSeconds is the longest period or window that a config may state.
const maxPeriodSeconds = 1_000_000_000

// The prefixes of a limit's attributes. Session quotas stand under one of their own, which hides them from
// readers that do not know them.
const (
	limitPrefix  = "l_"
	windowPrefix = "w_"
)

// decodeConfig reads a config item of any level. A limit of which {prefix}{name}_cp exists must be
// complete; one that is not makes the whole item an error, so that nobody runs on half of a level.
func decodeConfig(it item, out *limiter.Config) error {
	*out = limiter.Config{}
	if len(it) == 0 {
		return nil
	}
	out.Exists = true
	for attr, v := range it {
		if rest, ok := strings.CutPrefix(attr, limitPrefix); ok {
			if name, ok := strings.CutSuffix(rest, "_cp"); ok && name != "" {
				limit, err := configLimit(it, name)
				if err != nil {
					return fmt.Errorf("limit %s of the config: %w", name, err)
				}
				out.Limits = append(out.Limits, limit)
			}
			continue
		}
		if rest, ok := strings.CutPrefix(attr, windowPrefix); ok {
			if name, ok := strings.CutSuffix(rest, "_cp"); ok && name != "" {
				limit, err := configWindow(it, name)
				if err != nil {
					return fmt.Errorf("limit %s of the config: %w", name, err)
				}
				out.Limits = append(out.Limits, limit)
			}
			continue
		}
		decodeConfigAttr(attr, v, out)
	}
	slices.SortFunc(out.Limits, func(a, b limiter.Limit) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func decodeConfigAttr(name string, v types.AttributeValue, out *limiter.Config) {
	switch name {
	case "disabled":
		switch v := v.(type) {
		case *types.AttributeValueMemberBOOL:
			out.Disabled = flagOf(v.Value)
		case *types.AttributeValueMemberS:
			out.Disabled = limiter.Off
			if v.Value == disabledBypass {
				out.Disabled = limiter.Bypassed
			}
		}
	case "cascade":
		if b, ok := v.(*types.AttributeValueMemberBOOL); ok {
			out.Cascade = flagOf(b.Value)
		}
	case "audit_retention_days":
		if n, err := parseInt(v); err == nil && n > 0 {
			out.AuditRetentionDays = n
		}
	case "on_unavailable":
		if s, ok := v.(*types.AttributeValueMemberS); ok {
			if mode := limiter.OnUnavailable(s.Value); mode == limiter.Block || mode == limiter.Allow {
				out.OnUnavailable = mode
			}
		}
	}
}

func flagOf(on bool) limiter.Flag {
	if on {
		return limiter.On
	}
	return limiter.Off
}

// configLimit reads a dripping limit or a calendar quota.
func configLimit(it item, name string) (limiter.Limit, error) {
	prefix := limitPrefix + name
	limit, err := configParameters(it, prefix, name)
	if err != nil {
		return limit, err
	}
	limit.ResetSchedule = stringOf(it, prefix+"_rsched")
	switch {
	case it[windowPrefix+name+"_cp"] != nil:
		return limit, errors.New("stands there twice, as a session quota too")
	case it[prefix+"_rsched"] != nil && limit.ResetSchedule == "":
		return limit, errors.New("rsched is not a schedule")
	case (limit.RefillAmount == 0) != (limit.ResetSchedule != ""):
		return limit, fmt.Errorf("refill amount %d does not go with the reset schedule %q", limit.RefillAmount, limit.ResetSchedule)
	case limit.ResetSchedule != "":
		limit.Zone = zoneOf(it)
	}
	return limit, nil
}

// configWindow reads a session quota.
func configWindow(it item, name string) (limiter.Limit, error) {
	prefix := windowPrefix + name
	limit, err := configParameters(it, prefix, name)
	if err != nil {
		return limit, err
	}
	seconds, ok, err := intOf(it, prefix+"_rsa")
	switch {
	case err != nil:
		return limit, err
	case !ok:
		return limit, errors.New("rsa is missing")
	case seconds <= 0 || seconds > maxPeriodSeconds:
		return limit, fmt.Errorf("window of %d seconds is out of range", seconds)
	case limit.RefillAmount != 0:
		return limit, fmt.Errorf("refill amount %d of a session quota is not 0", limit.RefillAmount)
	}
	limit.ResetAfter = time.Duration(seconds) * time.Second
	return limit, nil
}

// configParameters reads what both kinds have.
func configParameters(it item, prefix, name string) (limiter.Limit, error) {
	var fields [3]int64
	for i, field := range [...]string{"cp", "ra", "rp"} {
		n, ok, err := intOf(it, prefix+"_"+field)
		if err != nil {
			return limiter.Limit{}, err
		}
		if !ok {
			return limiter.Limit{}, fmt.Errorf("%s is missing", field)
		}
		fields[i] = n
	}
	capacity, amount, seconds := fields[0], fields[1], fields[2]
	switch {
	case capacity <= 0:
		return limiter.Limit{}, fmt.Errorf("capacity %d is not positive", capacity)
	case amount < 0:
		return limiter.Limit{}, fmt.Errorf("refill amount %d is negative", amount)
	case seconds <= 0 || seconds > maxPeriodSeconds:
		return limiter.Limit{}, fmt.Errorf("refill period of %d seconds is out of range", seconds)
	}
	limit := limiter.Custom(name, capacity, amount, time.Duration(seconds)*time.Second)
	limit.Soft = boolOf(it, prefix+"_soft")
	if it[prefix+"_sched"] != nil {
		limit.Schedule, limit.Zone = stringOf(it, prefix+"_sched"), zoneOf(it)
		if limit.Schedule == "" {
			return limit, errors.New("sched is not a schedule")
		}
	}
	return limit, nil
}

// putConfigLimits replaces the limits on a config item; every other attribute stays. A config has one
// time zone, which all its limits share.
func putConfigLimits(it item, limits []limiter.Limit) {
	for name := range it {
		if strings.HasPrefix(name, limitPrefix) || strings.HasPrefix(name, windowPrefix) || name == "sched_tz" {
			delete(it, name)
		}
	}
	for _, l := range limits {
		prefix := limitPrefix + l.Name
		if l.ResetAfter > 0 {
			prefix = windowPrefix + l.Name
			it[prefix+"_rsa"] = number(int64(l.ResetAfter / time.Second))
		}
		it[prefix+"_cp"] = number(l.Capacity)
		it[prefix+"_ra"] = number(l.RefillAmount)
		it[prefix+"_rp"] = number(int64(l.RefillPeriod / time.Second))
		if l.Soft {
			it[prefix+"_soft"] = boolean(true)
		}
		if l.Schedule != "" {
			it[prefix+"_sched"] = str(l.Schedule)
		}
		if l.ResetSchedule != "" {
			it[prefix+"_rsched"] = str(l.ResetSchedule)
		}
		if l.Schedule != "" || l.ResetSchedule != "" {
			it["sched_tz"] = str(cmp.Or(l.Zone, utc))
		}
	}
}

// utc is the time zone of schedules that name none.
const utc = "UTC"

// zoneOf is the zone of all schedules of an item; limits leave UTC out.
func zoneOf(it item) string {
	if zone := stringOf(it, "sched_tz"); zone != utc {
		return zone
	}
	return ""
}
