package dynamostore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// disabledBypass is the third value of the flag disabled.
const disabledBypass = "bypass"

// maxPeriodSeconds is the longest period that a config may state.
const maxPeriodSeconds = 1_000_000_000

// decodeConfig reads a config item of any level. A limit of which l_{name}_cp exists must be
// complete; one that is not makes the whole item an error, so that nobody runs on half of a level.
func decodeConfig(it item, out *limiter.Config) error {
	*out = limiter.Config{}
	if len(it) == 0 {
		return nil
	}
	out.Exists = true
	for name, v := range it {
		if rest, ok := strings.CutPrefix(name, "l_"); ok {
			if err := decodeConfigLimit(it, rest, v, out); err != nil {
				return err
			}
			continue
		}
		decodeConfigAttr(name, v, out)
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
				out.Disabled = limiter.Unset
				out.Features |= limiter.FeatureBypass
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
	default:
		if strings.HasPrefix(name, "w_") {
			out.Features |= limiter.FeatureSessionQuota
		}
	}
}

func flagOf(on bool) limiter.Flag {
	if on {
		return limiter.On
	}
	return limiter.Off
}

// decodeConfigLimit reads an attribute l_{name}_{field}; at cp, which tells that the limit exists,
// the whole limit.
func decodeConfigLimit(it item, rest string, v types.AttributeValue, out *limiter.Config) error {
	cut := strings.LastIndexByte(rest, '_')
	if cut <= 0 {
		return nil
	}
	name, field := rest[:cut], rest[cut+1:]
	switch field {
	case "sched":
		out.Features |= limiter.FeatureSchedule
	case "rsched":
		out.Features |= limiter.FeatureQuota
	case "soft":
		if b, ok := v.(*types.AttributeValueMemberBOOL); !ok || b.Value {
			out.Features |= limiter.FeatureSoft
		}
	case "cp":
		limit, err := configLimit(it, name)
		if err != nil {
			return fmt.Errorf("limit %s of the config: %w", name, err)
		}
		if limit.RefillAmount == 0 {
			out.Features |= limiter.FeatureQuota
		}
		out.Limits = append(out.Limits, limit)
	}
	return nil
}

func configLimit(it item, name string) (limiter.Limit, error) {
	var fields [3]int64
	for i, field := range [...]string{"cp", "ra", "rp"} {
		n, ok, err := intOf(it, "l_"+name+"_"+field)
		if err != nil {
			return limiter.Limit{}, err
		}
		if !ok {
			return limiter.Limit{}, fmt.Errorf("%s is missing", field)
		}
		fields[i] = n
	}
	capacity, amount, seconds := fields[0], fields[1], fields[2]
	_, quota := it["l_"+name+"_rsched"]
	switch {
	case capacity <= 0:
		return limiter.Limit{}, fmt.Errorf("capacity %d is not positive", capacity)
	case amount < 0 || amount == 0 && !quota:
		return limiter.Limit{}, fmt.Errorf("refill amount %d is not positive", amount)
	case seconds <= 0 || seconds > maxPeriodSeconds:
		return limiter.Limit{}, fmt.Errorf("refill period of %d seconds is out of range", seconds)
	}
	return limiter.Custom(name, capacity, amount, time.Duration(seconds)*time.Second), nil
}

// putConfigLimits replaces the limits on a config item; every other attribute stays.
func putConfigLimits(it item, limits []limiter.Limit) {
	for name := range it {
		if strings.HasPrefix(name, "l_") || strings.HasPrefix(name, "w_") || name == "sched_tz" {
			delete(it, name)
		}
	}
	for _, l := range limits {
		it["l_"+l.Name+"_cp"] = number(l.Capacity)
		it["l_"+l.Name+"_ra"] = number(l.RefillAmount)
		it["l_"+l.Name+"_rp"] = number(int64(l.RefillPeriod / time.Second))
	}
}
