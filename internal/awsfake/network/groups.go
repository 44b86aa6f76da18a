package network

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers returns the types that stacks may have.
func (n *Network) Providers() resource.Providers {
	return resource.Providers{
		"AWS::EC2::SecurityGroup":        &groupProvider{n},
		"AWS::EC2::SecurityGroupIngress": &ruleProvider{network: n},
		"AWS::EC2::SecurityGroupEgress":  &ruleProvider{network: n, egress: true},
		"AWS::EC2::VPCEndpoint":          &endpointProvider{n},
	}
}

// ruleProperties are those of a rule, in a group or of its own. Source… is for incoming traffic,
// Destination… for outgoing.
type ruleProperties struct {
	GroupID                    string
	IPProtocol                 string
	FromPort, ToPort           *int32
	CidrIP, CidrIPv6           string
	SourceSecurityGroupID      string
	DestinationSecurityGroupID string
	SourcePrefixListID         string
	DestinationPrefixListID    string
	Description                string
}

func (n *Network) ruleOf(p ruleProperties, egress, own bool) (rule, error) {
	permission := types.IpPermission{IpProtocol: aws.String(cmp.Or(p.IPProtocol, "-1")), FromPort: p.FromPort, ToPort: p.ToPort}
	var description *string
	if p.Description != "" {
		description = &p.Description
	}
	other := cmp.Or(p.SourceSecurityGroupID, p.DestinationSecurityGroupID)
	prefixes := cmp.Or(p.SourcePrefixListID, p.DestinationPrefixListID)
	switch {
	case other != "":
		if n.group(other) == nil {
			return rule{}, noGroup(other)
		}
		permission.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &other, UserId: &n.account, Description: description}}
	case prefixes != "":
		permission.PrefixListIds = []types.PrefixListId{{PrefixListId: &prefixes, Description: description}}
	case p.CidrIP != "":
		permission.IpRanges = []types.IpRange{{CidrIp: &p.CidrIP, Description: description}}
	case p.CidrIPv6 != "":
		permission.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: &p.CidrIPv6, Description: description}}
	default:
		return rule{}, protocol.Errorf("MissingParameter", "The request must contain a source or a destination: CidrIp, CidrIpv6, a security group or a prefix list")
	}
	return rule{ID: newID("sgr"), Egress: egress, Own: own, Permission: permission}, nil
}

type groupProvider struct{ network *Network }

type groupProperties struct {
	GroupName, GroupDescription, VpcID        string
	SecurityGroupIngress, SecurityGroupEgress []ruleProperties
}

func readGroup(r *resource.Resource) (groupProperties, []types.Tag, error) {
	var want groupProperties
	if err := resource.Decode(r.Properties, &want); err != nil {
		return want, nil, err
	}
	tags, err := r.AllTags()
	return want, tagsOf(tags), err
}

// rules are a group's own rules; without outgoing ones everything may leave.
func (p *groupProvider) rules(want groupProperties) ([]rule, error) {
	var rules []rule
	for _, properties := range want.SecurityGroupIngress {
		made, err := p.network.ruleOf(properties, false, true)
		if err != nil {
			return nil, err
		}
		rules = append(rules, made)
	}
	if len(want.SecurityGroupEgress) == 0 {
		return append(rules, allOut()), nil
	}
	for _, properties := range want.SecurityGroupEgress {
		made, err := p.network.ruleOf(properties, true, true)
		if err != nil {
			return nil, err
		}
		rules = append(rules, made)
	}
	return rules, nil
}

// Create implements resource.Provider.
func (p *groupProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	want, tags, err := readGroup(r)
	if err != nil {
		return nil, err
	}
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.findVPC(want.VpcID) == nil {
		return nil, noVPC(want.VpcID)
	}
	name := cmp.Or(want.GroupName, r.Stack+"-"+r.LogicalID+newID(""))
	for _, g := range n.state.Groups {
		if *g.VpcId == want.VpcID && *g.GroupName == name {
			return nil, protocol.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, want.VpcID)
		}
	}
	rules, err := p.rules(want)
	if err != nil {
		return nil, err
	}
	id := newID("sg")
	n.state.Groups = append(n.state.Groups, &group{
		SecurityGroup: types.SecurityGroup{
			GroupId: &id, GroupName: &name, Description: &want.GroupDescription, VpcId: &want.VpcID, OwnerId: &n.account, Tags: tags,
			SecurityGroupArn: aws.String(n.arn("security-group/" + id)),
		},
		Rules: rules,
	})
	return &resource.Physical{ID: id, Attributes: map[string]string{"GroupId": id, "VpcId": want.VpcID}}, nil
}

// Update implements resource.Provider; rules of resources of their own stay.
func (p *groupProvider) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	want, tags, err := readGroup(to)
	if err != nil {
		return nil, err
	}
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.group(old.ID)
	if g == nil {
		return nil, noGroup(old.ID)
	}
	rules, err := p.rules(want)
	if err != nil {
		return nil, err
	}
	g.Tags = tags
	g.Rules = append(slices.DeleteFunc(slices.Clone(g.Rules), func(r rule) bool { return r.Own }), rules...)
	return old, nil
}

// Delete implements resource.Provider: a group that an interface or another group's rule uses stays.
func (p *groupProvider) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.IndexFunc(n.state.Groups, func(g *group) bool { return *g.GroupId == old.ID })
	if at < 0 {
		return nil
	}
	if n.used(old.ID) {
		return protocol.Errorf("DependencyViolation", "resource %s has a dependent object", old.ID)
	}
	n.state.Groups = slices.Delete(n.state.Groups, at, at+1)
	return nil
}

func (n *Network) used(id string) bool {
	for _, i := range n.state.Interfaces {
		if slices.ContainsFunc(i.Groups, func(g types.GroupIdentifier) bool { return *g.GroupId == id }) {
			return true
		}
	}
	for _, g := range n.state.Groups {
		if *g.GroupId == id {
			continue
		}
		for _, r := range g.Rules {
			if slices.ContainsFunc(r.Permission.UserIdGroupPairs, func(pair types.UserIdGroupPair) bool { return *pair.GroupId == id }) {
				return true
			}
		}
	}
	return false
}

// Replaces implements resource.Provider.
func (*groupProvider) Replaces(property string, _, _ any) resource.Replacement {
	switch property {
	case "GroupName", "GroupDescription", "VpcId":
		return resource.Always
	default:
		return resource.Never
	}
}

// ruleProvider makes rules as resources of their own.
type ruleProvider struct {
	network *Network
	egress  bool
}

// read makes the rule that a resource wants, and finds its group. The lock is held.
func (p *ruleProvider) read(r *resource.Resource) (g *group, made rule, err error) {
	var want ruleProperties
	if err := resource.Decode(r.Properties, &want); err != nil {
		return nil, rule{}, err
	}
	if g = p.network.group(want.GroupID); g == nil {
		return nil, rule{}, noGroup(want.GroupID)
	}
	made, err = p.network.ruleOf(want, p.egress, false)
	return g, made, err
}

// Create implements resource.Provider.
func (p *ruleProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	p.network.mu.Lock()
	defer p.network.mu.Unlock()
	g, made, err := p.read(r)
	if err != nil {
		return nil, err
	}
	g.Rules = append(g.Rules, made)
	return &resource.Physical{ID: made.ID, Attributes: map[string]string{"Id": made.ID}}, nil
}

// Update implements resource.Provider: only the description changes in place.
func (p *ruleProvider) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	p.network.mu.Lock()
	defer p.network.mu.Unlock()
	g, made, err := p.read(to)
	if err != nil {
		return nil, err
	}
	for i := range g.Rules {
		if g.Rules[i].ID == old.ID {
			g.Rules[i].Permission = made.Permission
			return old, nil
		}
	}
	return nil, absent("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", old.ID)
}

// Delete implements resource.Provider.
func (p *ruleProvider) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.network.mu.Lock()
	defer p.network.mu.Unlock()
	for _, g := range p.network.state.Groups {
		g.Rules = slices.DeleteFunc(g.Rules, func(r rule) bool { return r.ID == old.ID })
	}
	return nil
}

// Replaces implements resource.Provider.
func (*ruleProvider) Replaces(property string, _, _ any) resource.Replacement {
	if property == "Description" {
		return resource.Never
	}
	return resource.Always
}
