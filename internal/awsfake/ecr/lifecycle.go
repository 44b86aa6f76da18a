package ecr

import (
	"encoding/json"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// lifecyclePolicy says which images expire.
type lifecyclePolicy struct {
	Rules []lifecycleRule `json:"rules"`
}

type lifecycleRule struct {
	Priority  int `json:"rulePriority"`
	Selection struct {
		TagStatus      string   `json:"tagStatus"` // tagged, untagged, any
		TagPrefixList  []string `json:"tagPrefixList"`
		TagPatternList []string `json:"tagPatternList"`
		CountType      string   `json:"countType"`   // imageCountMoreThan, sinceImagePushed
		CountNumber    int      `json:"countNumber"` // of images, or of days
	} `json:"selection"`
}

func parseLifecycle(text string) (lifecyclePolicy, error) {
	var p lifecyclePolicy
	if err := json.Unmarshal([]byte(text), &p); err != nil || len(p.Rules) == 0 {
		return p, protocol.Errorf("InvalidParameterException", "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: the policy must be JSON with rules'")
	}
	sort.Slice(p.Rules, func(i, j int) bool { return p.Rules[i].Priority < p.Rules[j].Priority })
	return p, nil
}

// selects says whether an image meets the tagging requirements of a rule: each prefix and pattern is one
// of a tag.
func (r *lifecycleRule) selects(img *image) bool {
	switch r.Selection.TagStatus {
	case "untagged":
		return len(img.Tags) == 0
	case "any":
		return true
	case "tagged":
	default:
		return false
	}
	for _, prefix := range r.Selection.TagPrefixList {
		if !slices.ContainsFunc(img.Tags, func(tag string) bool { return strings.HasPrefix(tag, prefix) }) {
			return false
		}
	}
	for _, pattern := range r.Selection.TagPatternList {
		if !slices.ContainsFunc(img.Tags, func(tag string) bool { matched, err := path.Match(pattern, tag); return err == nil && matched }) {
			return false
		}
	}
	return len(img.Tags) > 0
}

// expire deletes the images that the lifecycle policy lets expire, at once; the service takes a day. An
// image that meets the tagging requirements of a rule is not expired by a later one, which counts it all
// the same. The lock is held.
func (r *repository) expire(now time.Time) {
	p, err := parseLifecycle(r.Lifecycle)
	if err != nil {
		return // it has none
	}
	images := r.sorted()
	met := map[*image]bool{}
	for i := range p.Rules {
		rule := &p.Rules[i]
		selected := slices.DeleteFunc(slices.Clone(images), func(img *image) bool { return !rule.selects(img) })
		for n, img := range selected {
			old := false
			switch most := rule.Selection.CountNumber; rule.Selection.CountType {
			case "imageCountMoreThan":
				old = n >= most
			case "sinceImagePushed":
				old = now.Sub(img.Pushed) > time.Duration(most)*24*time.Hour
			}
			if old && !met[img] {
				delete(r.Images, img.Digest)
			}
		}
		for _, img := range selected {
			met[img] = true
		}
	}
}
