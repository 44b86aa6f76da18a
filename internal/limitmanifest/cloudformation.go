package limitmanifest

import (
	"bytes"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// The shapes of the template. The names of the properties are those that the provisioner of the Python client reads.
type (
	cfnTemplate struct {
		Version     string `yaml:"AWSTemplateFormatVersion"`
		Description string `yaml:"Description"`
		Resources   struct {
			Limits cfnResource `yaml:"TenantLimits"`
		} `yaml:"Resources"`
	}
	cfnResource struct {
		Type       string        `yaml:"Type"`
		Properties cfnProperties `yaml:"Properties"`
	}
	cfnProperties struct {
		ServiceToken map[string]string    `yaml:"ServiceToken"`
		TableName    string               `yaml:"TableName"`
		Namespace    string               `yaml:"Namespace"`
		FullApply    bool                 `yaml:"FullApply,omitempty"`
		System       *cfnLevel            `yaml:"System,omitempty"`
		Resources    map[string]*cfnLevel `yaml:"Resources,omitempty"`
		Entities     map[string]cfnEntity `yaml:"Entities,omitempty"`
	}
	cfnEntity struct {
		Resources map[string]*cfnLevel `yaml:"Resources"`
	}
	cfnLevel struct {
		OnUnavailable string              `yaml:"OnUnavailable,omitempty"`
		Disabled      any                 `yaml:"Disabled,omitempty"`
		Cascade       any                 `yaml:"Cascade,omitempty"`
		Limits        map[string]cfnLimit `yaml:"Limits"`
	}
	cfnLimit struct {
		Capacity     int64      `yaml:"Capacity"`
		RefillAmount int64      `yaml:"RefillAmount,omitempty"`
		RefillPeriod int64      `yaml:"RefillPeriod,omitempty"`
		ResetAfter   int64      `yaml:"ResetAfterSeconds,omitempty"`
		Soft         bool       `yaml:"Soft,omitempty"`
		Schedule     []cfnEntry `yaml:"Schedule,omitempty"`
		Resets       []cfnEntry `yaml:"ResetSchedule,omitempty"`
	}
	cfnEntry struct {
		Cron         string  `yaml:"Cron"`
		TZ           string  `yaml:"Tz,omitempty"`
		Scale        float64 `yaml:"Scale,omitempty"`
		Capacity     int64   `yaml:"Capacity,omitempty"`
		RefillAmount int64   `yaml:"RefillAmount,omitempty"`
		RefillPeriod int64   `yaml:"RefillPeriodSeconds,omitempty"`
	}
)

// CloudFormation is a template, in YAML, whose only resource has the provisioner of the limiter's stack apply the
// manifest. full has every update of the stack write levels that are as declared, too.
func (m *Manifest) CloudFormation(stack string, full bool) (string, error) {
	p := cfnProperties{
		ServiceToken: map[string]string{"Fn::ImportValue": stack + "-ProvisionerArn"},
		TableName:    stack, Namespace: m.Namespace, FullApply: full,
		Resources: map[string]*cfnLevel{}, Entities: map[string]cfnEntity{},
	}
	for _, key := range m.Keys() {
		level, err := cfnLevelOf(m.Levels[key])
		switch {
		case err != nil:
			return "", err
		case key.EntityID != "":
			if _, ok := p.Entities[key.EntityID]; !ok {
				p.Entities[key.EntityID] = cfnEntity{Resources: map[string]*cfnLevel{}}
			}
			p.Entities[key.EntityID].Resources[key.Resource] = level
		case key.Resource != "":
			p.Resources[key.Resource] = level
		default:
			p.System = level
		}
	}
	t := cfnTemplate{Version: "2010-09-09", Description: "Limits of namespace " + m.Namespace}
	t.Resources.Limits = cfnResource{Type: "Custom::ZaeLimiterLimits", Properties: p}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(t); err != nil {
		return "", err
	}
	return out.String(), encoder.Close()
}

func cfnLevelOf(c limiter.Config) (*cfnLevel, error) {
	level := &cfnLevel{
		OnUnavailable: string(c.OnUnavailable), Limits: map[string]cfnLimit{},
		Disabled: limiter.FlagDisabled.Value(c.Disabled), Cascade: limiter.FlagCascade.Value(c.Cascade),
	}
	for _, l := range c.Limits {
		parameters, resets, err := l.Entries()
		if err != nil {
			return nil, err
		}
		limit := cfnLimit{
			Capacity: l.Capacity, RefillAmount: l.RefillAmount, ResetAfter: int64(l.ResetAfter / time.Second), Soft: l.Soft,
			Schedule: cfnEntries(parameters), Resets: cfnEntries(resets),
		}
		if period := int64(l.RefillPeriod / time.Second); period != defaultPeriod {
			limit.RefillPeriod = period
		}
		level.Limits[l.Name] = limit
	}
	return level, nil
}

func cfnEntries(entries []schedule.Entry) []cfnEntry {
	var out []cfnEntry
	for _, e := range entries {
		out = append(out, cfnEntry(e))
	}
	return out
}
