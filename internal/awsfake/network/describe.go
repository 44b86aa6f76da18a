package network

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// API returns EC2.
func (n *Network) API() protocol.Service {
	return protocol.Service{Name: "ec2", Wire: protocol.EC2Query, Operations: map[string]protocol.Operation{
		"DescribeAvailabilityZones": protocol.Op(n.describeZones),
		"DescribeNatGateways":       protocol.Op(n.describeNATs),
		"DescribeNetworkInterfaces": protocol.Op(n.describeInterfaces),
		"DescribeRouteTables":       protocol.Op(n.describeRouteTables),
		"DescribeSecurityGroups":    protocol.Op(n.describeGroups),
		"DescribeSubnets":           protocol.Op(n.describeSubnets),
		"DescribeVpcAttribute":      protocol.Op(n.describeVPCAttribute),
		"DescribeVpcEndpoints":      protocol.Op(n.describeEndpoints),
		"DescribeVpcs":              protocol.Op(n.describeVPCs),
	}}
}

// kind is how one kind of resource is listed.
type kind[T any] struct {
	id      func(T) string
	tags    func(T) []types.Tag
	missing func(id string) error
	// values are what each filter compares, by the filter's name.
	values map[string]func(T) []string
}

// list checks the permission, selects by id and by filter, and cuts a page.
func list[T any](n *Network, call *protocol.Call, k kind[T], all func() []T, ids []string, filters []types.Filter, token *string, limit *int32) ([]T, *string, error) {
	if err := call.Allow("ec2:" + call.Action); err != nil {
		return nil, nil, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	items := all()
	for _, id := range ids {
		if !slices.ContainsFunc(items, func(item T) bool { return k.id(item) == id }) {
			return nil, nil, k.missing(id)
		}
	}
	selected := []T{}
	for _, item := range items {
		if len(ids) > 0 && !slices.Contains(ids, k.id(item)) {
			continue
		}
		ok, err := k.passes(item, filters)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			selected = append(selected, item)
		}
	}
	return protocol.Page(selected, token, limit, 1000)
}

// passes says whether each filter finds one of its values; values may have * and ?.
func (k kind[T]) passes(item T, filters []types.Filter) (bool, error) {
	for _, f := range filters {
		name := aws.ToString(f.Name)
		var values []string
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			for _, tag := range k.tags(item) {
				if *tag.Key == key {
					values = append(values, *tag.Value)
				}
			}
		} else if name == "tag-key" {
			for _, tag := range k.tags(item) {
				values = append(values, *tag.Key)
			}
		} else if read := k.values[name]; read != nil {
			values = read(item)
		} else {
			return false, protocol.Errorf("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		if !slices.ContainsFunc(f.Values, func(pattern string) bool {
			return slices.ContainsFunc(values, func(value string) bool { return matches(pattern, value) })
		}) {
			return false, nil
		}
	}
	return true, nil
}

// matches knows * and ? ; the slash of a CIDR block is a character like others.
func matches(pattern, value string) bool {
	flat := strings.NewReplacer("/", "\x00", "[", `\[`)
	ok, err := path.Match(flat.Replace(pattern), flat.Replace(value))
	return pattern == value || err == nil && ok
}

// one makes a filter's value of a field.
func one[T any](read func(T) *string) func(T) []string {
	return func(item T) []string {
		if value := read(item); value != nil {
			return []string{*value}
		}
		return nil
	}
}

var vpcKind = kind[types.Vpc]{
	id:   func(v types.Vpc) string { return *v.VpcId },
	tags: func(v types.Vpc) []types.Tag { return v.Tags }, missing: noVPC,
	values: map[string]func(types.Vpc) []string{
		"vpc-id":    one(func(v types.Vpc) *string { return v.VpcId }),
		"cidr":      one(func(v types.Vpc) *string { return v.CidrBlock }),
		"state":     func(v types.Vpc) []string { return []string{string(v.State)} },
		"isDefault": func(types.Vpc) []string { return []string{"false"} }, "is-default": func(types.Vpc) []string { return []string{"false"} },
	},
}

func (n *Network) describeVPCs(_ context.Context, call *protocol.Call, in *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
	all := func() (out []types.Vpc) {
		for _, v := range n.state.VPCs {
			out = append(out, v.Vpc)
		}
		return out
	}
	page, next, err := list(n, call, vpcKind, all, in.VpcIds, in.Filters, in.NextToken, in.MaxResults)
	return &ec2.DescribeVpcsOutput{Vpcs: page, NextToken: next}, err
}

func (n *Network) describeVPCAttribute(_ context.Context, call *protocol.Call, in *ec2.DescribeVpcAttributeInput) (*ec2.DescribeVpcAttributeOutput, error) {
	if err := call.Allow("ec2:DescribeVpcAttribute", n.arn("vpc/"+aws.ToString(in.VpcId))); err != nil {
		return nil, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	v := n.findVPC(aws.ToString(in.VpcId))
	if v == nil {
		return nil, noVPC(aws.ToString(in.VpcId))
	}
	out := &ec2.DescribeVpcAttributeOutput{VpcId: v.VpcId}
	switch in.Attribute {
	case types.VpcAttributeNameEnableDnsSupport:
		out.EnableDnsSupport = &types.AttributeBooleanValue{Value: aws.Bool(v.DNSSupport)}
	case types.VpcAttributeNameEnableDnsHostnames:
		out.EnableDnsHostnames = &types.AttributeBooleanValue{Value: aws.Bool(v.DNSHostnames)}
	default:
		return nil, protocol.Errorf("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", in.Attribute)
	}
	return out, nil
}

var subnetKind = kind[types.Subnet]{
	id:   func(s types.Subnet) string { return *s.SubnetId },
	tags: func(s types.Subnet) []types.Tag { return s.Tags },
	missing: func(id string) error {
		return absent("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
	},
	values: map[string]func(types.Subnet) []string{
		"subnet-id":         one(func(s types.Subnet) *string { return s.SubnetId }),
		"vpc-id":            one(func(s types.Subnet) *string { return s.VpcId }),
		"cidr-block":        one(func(s types.Subnet) *string { return s.CidrBlock }),
		"availability-zone": one(func(s types.Subnet) *string { return s.AvailabilityZone }),
		"state":             func(s types.Subnet) []string { return []string{string(s.State)} },
	},
}

func (n *Network) describeSubnets(_ context.Context, call *protocol.Call, in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	page, next, err := list(n, call, subnetKind, func() []types.Subnet { return n.state.Subnets }, in.SubnetIds, in.Filters, in.NextToken, in.MaxResults)
	return &ec2.DescribeSubnetsOutput{Subnets: page, NextToken: next}, err
}

var routeTableKind = kind[types.RouteTable]{
	id:   func(t types.RouteTable) string { return *t.RouteTableId },
	tags: func(t types.RouteTable) []types.Tag { return t.Tags },
	missing: func(id string) error {
		return absent("InvalidRouteTableID.NotFound", "The routeTable ID '%s' does not exist", id)
	},
	values: map[string]func(types.RouteTable) []string{
		"route-table-id":             one(func(t types.RouteTable) *string { return t.RouteTableId }),
		"association.route-table-id": one(func(t types.RouteTable) *string { return t.RouteTableId }),
		"vpc-id":                     one(func(t types.RouteTable) *string { return t.VpcId }),
		"association.subnet-id": func(t types.RouteTable) (ids []string) {
			for _, a := range t.Associations {
				if a.SubnetId != nil {
					ids = append(ids, *a.SubnetId)
				}
			}
			return ids
		},
		"association.main": func(t types.RouteTable) (main []string) {
			for _, a := range t.Associations {
				main = append(main, map[bool]string{true: "true", false: "false"}[aws.ToBool(a.Main)])
			}
			return main
		},
	},
}

func (n *Network) describeRouteTables(_ context.Context, call *protocol.Call, in *ec2.DescribeRouteTablesInput) (*ec2.DescribeRouteTablesOutput, error) {
	page, next, err := list(n, call, routeTableKind, func() []types.RouteTable { return n.state.RouteTables }, in.RouteTableIds, in.Filters, in.NextToken, in.MaxResults)
	return &ec2.DescribeRouteTablesOutput{RouteTables: page, NextToken: next}, err
}

var endpointKind = kind[types.VpcEndpoint]{
	id:   func(e types.VpcEndpoint) string { return *e.VpcEndpointId },
	tags: func(e types.VpcEndpoint) []types.Tag { return e.Tags },
	missing: func(id string) error {
		return absent("InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id '%s' does not exist", id)
	},
	values: map[string]func(types.VpcEndpoint) []string{
		"vpc-endpoint-id":    one(func(e types.VpcEndpoint) *string { return e.VpcEndpointId }),
		"vpc-id":             one(func(e types.VpcEndpoint) *string { return e.VpcId }),
		"service-name":       one(func(e types.VpcEndpoint) *string { return e.ServiceName }),
		"vpc-endpoint-type":  func(e types.VpcEndpoint) []string { return []string{string(e.VpcEndpointType)} },
		"vpc-endpoint-state": func(e types.VpcEndpoint) []string { return []string{string(e.State)} },
	},
}

func (n *Network) describeEndpoints(_ context.Context, call *protocol.Call, in *ec2.DescribeVpcEndpointsInput) (*ec2.DescribeVpcEndpointsOutput, error) {
	page, next, err := list(n, call, endpointKind, func() []types.VpcEndpoint { return n.state.Endpoints }, in.VpcEndpointIds, in.Filters, in.NextToken, in.MaxResults)
	return &ec2.DescribeVpcEndpointsOutput{VpcEndpoints: page, NextToken: next}, err
}

var groupKind = kind[types.SecurityGroup]{
	id:      func(g types.SecurityGroup) string { return *g.GroupId },
	tags:    func(g types.SecurityGroup) []types.Tag { return g.Tags },
	missing: noGroup,
	values: map[string]func(types.SecurityGroup) []string{
		"group-id":   one(func(g types.SecurityGroup) *string { return g.GroupId }),
		"group-name": one(func(g types.SecurityGroup) *string { return g.GroupName }),
		"vpc-id":     one(func(g types.SecurityGroup) *string { return g.VpcId }),
	},
}

func (n *Network) describeGroups(_ context.Context, call *protocol.Call, in *ec2.DescribeSecurityGroupsInput) (*ec2.DescribeSecurityGroupsOutput, error) {
	all := func() (out []types.SecurityGroup) {
		for _, g := range n.state.Groups {
			out = append(out, g.described())
		}
		return out
	}
	filters := in.Filters
	if len(in.GroupNames) > 0 {
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("group-name"), Values: in.GroupNames})
	}
	page, next, err := list(n, call, groupKind, all, in.GroupIds, filters, in.NextToken, in.MaxResults)
	return &ec2.DescribeSecurityGroupsOutput{SecurityGroups: page, NextToken: next}, err
}

var interfaceKind = kind[types.NetworkInterface]{
	id:   func(i types.NetworkInterface) string { return *i.NetworkInterfaceId },
	tags: func(i types.NetworkInterface) []types.Tag { return i.TagSet },
	missing: func(id string) error {
		return absent("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", id)
	},
	values: map[string]func(types.NetworkInterface) []string{
		"network-interface-id":         one(func(i types.NetworkInterface) *string { return i.NetworkInterfaceId }),
		"vpc-id":                       one(func(i types.NetworkInterface) *string { return i.VpcId }),
		"subnet-id":                    one(func(i types.NetworkInterface) *string { return i.SubnetId }),
		"description":                  one(func(i types.NetworkInterface) *string { return i.Description }),
		"addresses.private-ip-address": one(func(i types.NetworkInterface) *string { return i.PrivateIpAddress }),
		"private-ip-address":           one(func(i types.NetworkInterface) *string { return i.PrivateIpAddress }),
		"interface-type":               func(i types.NetworkInterface) []string { return []string{string(i.InterfaceType)} },
		"status":                       func(i types.NetworkInterface) []string { return []string{string(i.Status)} },
		"group-id": func(i types.NetworkInterface) (ids []string) {
			for _, g := range i.Groups {
				ids = append(ids, *g.GroupId)
			}
			return ids
		},
	},
}

func (n *Network) describeInterfaces(_ context.Context, call *protocol.Call, in *ec2.DescribeNetworkInterfacesInput) (*ec2.DescribeNetworkInterfacesOutput, error) {
	page, next, err := list(n, call, interfaceKind, func() []types.NetworkInterface { return n.state.Interfaces }, in.NetworkInterfaceIds, in.Filters, in.NextToken, in.MaxResults)
	return &ec2.DescribeNetworkInterfacesOutput{NetworkInterfaces: page, NextToken: next}, err
}

var natKind = kind[types.NatGateway]{
	id:      func(g types.NatGateway) string { return *g.NatGatewayId },
	tags:    func(g types.NatGateway) []types.Tag { return g.Tags },
	missing: func(id string) error { return absent("NatGatewayNotFound", "NAT gateway %s was not found", id) },
	values: map[string]func(types.NatGateway) []string{
		"nat-gateway-id": one(func(g types.NatGateway) *string { return g.NatGatewayId }),
		"vpc-id":         one(func(g types.NatGateway) *string { return g.VpcId }),
		"subnet-id":      one(func(g types.NatGateway) *string { return g.SubnetId }),
		"state":          func(g types.NatGateway) []string { return []string{string(g.State)} },
	},
}

func (n *Network) describeNATs(_ context.Context, call *protocol.Call, in *ec2.DescribeNatGatewaysInput) (*ec2.DescribeNatGatewaysOutput, error) {
	page, next, err := list(n, call, natKind, func() []types.NatGateway { return n.state.NATs }, in.NatGatewayIds, in.Filter, in.NextToken, in.MaxResults)
	return &ec2.DescribeNatGatewaysOutput{NatGateways: page, NextToken: next}, err
}

var zoneKind = kind[types.AvailabilityZone]{
	id:   func(z types.AvailabilityZone) string { return *z.ZoneName },
	tags: func(types.AvailabilityZone) []types.Tag { return nil },
	missing: func(id string) error {
		return protocol.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", id)
	},
	values: map[string]func(types.AvailabilityZone) []string{
		"zone-name":   one(func(z types.AvailabilityZone) *string { return z.ZoneName }),
		"region-name": one(func(z types.AvailabilityZone) *string { return z.RegionName }),
		"state":       func(z types.AvailabilityZone) []string { return []string{string(z.State)} },
	},
}

func (n *Network) describeZones(_ context.Context, call *protocol.Call, in *ec2.DescribeAvailabilityZonesInput) (*ec2.DescribeAvailabilityZonesOutput, error) {
	all := func() (out []types.AvailabilityZone) {
		for _, letter := range []string{"a", "b", "c"} {
			out = append(out, types.AvailabilityZone{
				ZoneName: aws.String(n.region + letter), ZoneId: aws.String(zoneID(letter)), RegionName: &n.region, ZoneType: aws.String("availability-zone"),
				State: types.AvailabilityZoneStateAvailable, OptInStatus: types.AvailabilityZoneOptInStatusOptInNotRequired,
			})
		}
		return out
	}
	page, _, err := list(n, call, zoneKind, all, in.ZoneNames, in.Filters, nil, nil)
	return &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: page}, err
}
